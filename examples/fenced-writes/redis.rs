use fred::clients::Client;
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, LuaInterface};
use fred::types::config::Config;
use locking::{FencingToken, ProviderConfig};

use crate::{Product, Result};

/// Compares and writes in one step. Tokens are compared as texts of digits: Lua's numbers are exact only
/// up to 2^53.
const SET_STOCK: &str = "
    local last, token = redis.call('HGET', KEYS[1], 'lock_token') or '0', ARGV[1]
    if #token < #last or (#token == #last and token < last) then
      return 0 -- a newer holder was here
    end
    redis.call('HSET', KEYS[1], 'lock_token', token, 'stock', ARGV[2])
    return 1
";

/// A hash.
pub(crate) struct RedisProduct {
    client: Client,
    name: String,
}

impl Product for RedisProduct {
    fn locks() -> ProviderConfig {
        ProviderConfig::new("locking-redis").with_option("redis_url", "${LOCKING_REDIS_URL}")
    }

    async fn open(url: &str, key: &str) -> Result<Self> {
        let client = Client::new(Config::from_url(url)?, None, None, None);
        client.init().await?;
        Ok(Self { client, name: format!("fenced-writes/{key}") })
    }

    async fn set_stock(&self, stock: i64, token: FencingToken) -> Result<bool> {
        let arguments = vec![token.to_string(), stock.to_string()];
        let written: i64 = self.client.eval(SET_STOCK, self.name.as_str(), arguments).await?;
        Ok(written == 1)
    }

    async fn stock(&self) -> Result<i64> {
        Ok(self.client.hget(self.name.as_str(), "stock").await?)
    }

    async fn remove(&self) -> Result {
        self.client.del::<(), _>(self.name.as_str()).await?;
        Ok(())
    }
}

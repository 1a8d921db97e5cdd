use fred::clients::Client;
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, LuaInterface};
use fred::types::config::Config;
use locking::{FencingToken, ProviderConfig};

use crate::{Product, Result};

/// Compares, remembers and answers in one step: the stock, once it was set if there is a new one. Tokens are compared
/// as texts of digits: Lua's numbers are exact only up to 2^53.
const STOCK: &str = "
    local last, token = redis.call('HGET', KEYS[1], 'lock_token') or '0', ARGV[1]
    if #token < #last or (#token == #last and token < last) then
      return false -- a newer holder was here
    end
    redis.call('HSET', KEYS[1], 'lock_token', token)
    if ARGV[2] then redis.call('HSET', KEYS[1], 'stock', ARGV[2]) end
    return redis.call('HGET', KEYS[1], 'stock')
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
        let name = format!("fenced-writes/{key}");
        client.hsetnx::<(), _, _, _>(name.as_str(), "stock", 5).await?;
        Ok(Self { client, name })
    }

    async fn stock(&self, token: FencingToken) -> Result<Option<i64>> {
        Ok(self.client.eval(STOCK, self.name.as_str(), vec![token.to_string()]).await?)
    }

    async fn set_stock(&self, stock: i64, token: FencingToken) -> Result<bool> {
        let arguments = vec![token.to_string(), stock.to_string()];
        let set: Option<i64> = self.client.eval(STOCK, self.name.as_str(), arguments).await?;
        Ok(set.is_some())
    }

    async fn remove(&self) -> Result {
        self.client.del::<(), _>(self.name.as_str()).await?;
        Ok(())
    }
}

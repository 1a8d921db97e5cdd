use std::time::Duration;

use fred::types::Value;
use locking_core::line::{Ask, AskId, ClientId, Manner};
use locking_core::{Expiry, HoldKind, Lease, LeasedKey, LockKey, OwnerId};

use crate::message::Message;

/// One operation of the script.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) keys: Vec<Value>,
    /// Its name, how many keys it has, and its arguments, in a list unless it has one key. One argument of the
    /// call: the driver and the server take much longer over ten.
    pub(crate) message: Value,
}

impl Operation {
    pub(crate) fn new(name: &str, keys: Vec<Value>, args: &[&str]) -> Self {
        let bytes = name.len() + 9 + args.iter().map(|arg| arg.len() + 5).sum::<usize>();
        let mut message = Message::with_capacity(bytes);
        message.text(name);
        message.number(keys.len());
        if keys.len() != 1 {
            message.list(args.len());
        }
        args.iter().for_each(|arg| message.text(arg));
        Self { keys, message: Value::Bytes(message.into_bytes().into()) }
    }
}

/// Makes operations on the keys of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    namespace: String,
    client: ClientId,
    /// For how long a command may be under way, in ms: so long it is remembered that a request was taken back.
    on_its_way: String,
}

impl Operations {
    pub(crate) fn new(namespace: &str, client: ClientId, command_timeout: Duration) -> Self {
        // The connection is given up after twice the timeout, as far as the client can see that.
        let on_its_way = (command_timeout * 4).max(Duration::from_secs(10));
        let on_its_way = on_its_way.as_millis().to_string();
        Self { namespace: namespace.to_owned(), client, on_its_way }
    }

    pub(crate) fn acquire(&self, ask: &Ask, manner: Manner, repeated: bool) -> Option<Operation> {
        let manner = match manner {
            Manner::Once => "once",
            Manner::Queue => "queue",
            Manner::Again => "again",
            Manner::Reenter => "reenter",
            _ => return None,
        };
        let more: &[&str] = if repeated { &["1", &self.on_its_way] } else { &["0"] };
        Some(self.of_request("acquire", manner, ask, more))
    }

    pub(crate) fn withdraw(&self, ask: &Ask, unsure: bool) -> Operation {
        self.of_request("withdraw", if unsure { "1" } else { "0" }, ask, &[&self.on_its_way])
    }

    fn of_request(&self, name: &str, how: &str, ask: &Ask, more: &[&str]) -> Operation {
        let request = &ask.request;
        let kind = match (request.hold.kind(), &request.owner) {
            (HoldKind::Lease, Some(_)) => "o",
            (HoldKind::Lease, None) => "a",
            _ => "g",
        };
        let (ms, spare) = (request.expiry.map(millis), ask.spare_tokens.to_string());
        let ms = ms.as_deref().unwrap_or_default();
        let args = [how, ask.id.as_str(), ms, kind, &spare, owner(request.owner.as_ref())];
        Operation::new(name, self.keys(&request.keys), &[&args, more].concat())
    }

    pub(crate) fn release(&self, keys: &[LockKey], of: Option<&OwnerId>) -> Operation {
        Operation::new("release", self.keys(keys), &[owner(of)])
    }

    pub(crate) fn release_lease(&self, taken: &[&LeasedKey], origin: Option<&AskId>) -> Operation {
        let keys = taken.iter().map(|leased| self.key(leased.key.as_str())).collect();
        let tokens: Vec<_> = taken.iter().map(|leased| token(leased)).collect();
        Operation::new("release_lease", keys, &self.meant(&tokens, origin).collect::<Vec<_>>())
    }

    pub(crate) fn release_or_keep(
        &self,
        lease: &Lease,
        origin: &AskId,
        expiry: Option<Expiry>,
        count: u64,
    ) -> Operation {
        let leased = &lease.keys()[0];
        let (key, token) = (self.key(leased.key.as_str()), token(leased));
        let (ms, count) = (expiry.map(millis), count.to_string());
        let ms = ms.as_deref().unwrap_or_default();
        let args = [token.as_str(), origin.as_str(), &count, ms, owner(lease.owner.as_ref())];
        Operation::new("release_or_keep", vec![key], &args)
    }

    pub(crate) fn extend(
        &self,
        lease: &Lease,
        expiry: Expiry,
        origin: Option<&AskId>,
    ) -> Operation {
        let keys = lease.keys().iter().map(|leased| self.key(leased.key.as_str())).collect();
        let tokens: Vec<_> = lease.keys().iter().map(token).collect();
        let ms = millis(expiry);
        let mut args = vec![ms.as_str(), owner(lease.owner.as_ref())];
        args.extend(self.meant(&tokens, origin));
        Operation::new("extend", keys, &args)
    }

    pub(crate) fn rename(&self, origin: &AskId, lease: &Lease) -> Operation {
        let leased = &lease.keys()[0];
        let (key, token) = (self.key(leased.key.as_str()), token(leased));
        Operation::new("rename", vec![key], &[origin.as_str(), &token, owner(lease.owner.as_ref())])
    }

    /// Token and origin of each key: by what the script finds the hold that a lease means.
    fn meant<'a>(
        &'a self,
        tokens: &'a [String],
        origin: Option<&'a AskId>,
    ) -> impl Iterator<Item = &'a str> {
        let origin = match tokens {
            [_] => origin.map_or(self.client.as_str(), AskId::as_str),
            _ => "",
        };
        tokens.iter().flat_map(move |token| [token.as_str(), origin])
    }

    pub(crate) fn newest() -> Operation {
        Operation::new("newest", Vec::new(), &[])
    }

    pub(crate) fn free_all(
        keys: Vec<Value>,
        limit: &str,
        running: bool,
        of: Option<&OwnerId>,
    ) -> Operation {
        let running = if running { "1" } else { "0" };
        Operation::new("free_all", keys, &[limit, running, owner(of)])
    }

    pub(crate) fn free_owned(limit: &str, of: &OwnerId, skip: i64, length: i64) -> Operation {
        let (skip, length) = (skip.to_string(), length.to_string());
        Operation::new("free_owned", Vec::new(), &[limit, of.as_str(), &skip, &length])
    }

    pub(crate) fn inspect(keys: Vec<Value>) -> Operation {
        Operation::new("inspect", keys, &[])
    }

    /// A lock's key on the server.
    pub(crate) fn key(&self, key: &str) -> Value {
        [self.namespace.as_str(), key].concat().into()
    }

    /// The lock that a key on the server is, if it is one.
    pub(crate) fn lock(&self, key: &str) -> Option<LockKey> {
        LockKey::new(key.strip_prefix(&self.namespace)?).ok()
    }

    fn keys(&self, keys: &[LockKey]) -> Vec<Value> {
        keys.iter().map(|key| self.key(key.as_str())).collect()
    }
}

/// Tokens have 16 digits on the server, so that they compare as texts.
fn token(leased: &LeasedKey) -> String {
    format!("{:016}", leased.token.get())
}

fn owner(owner: Option<&OwnerId>) -> &str {
    owner.map_or("", OwnerId::as_str)
}

fn millis(expiry: Expiry) -> String {
    expiry.as_millis_rounded_up().to_string()
}

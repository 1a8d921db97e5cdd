use fred::types::Value;
use locking_core::line::{Ask, AskId, Manner, Standing};
use locking_core::{Expiry, HoldKind, Lease, LeasedKey, LockKey, OwnerId};

/// One operation of the script: its name, its keys and its arguments.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) keys: Vec<Value>,
    pub(crate) args: Vec<Value>,
}

/// Makes operations on the keys of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    namespace: String,
}

impl Operations {
    pub(crate) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned() }
    }

    pub(crate) fn acquire(&self, ask: &Ask, manner: Manner, repeated: bool) -> Option<Operation> {
        let manner = match manner {
            Manner::Once => "once",
            Manner::Queue => "queue",
            Manner::Again => "again",
            Manner::Reenter => "reenter",
            _ => return None,
        };
        let mut operation = self.of_request("acquire", manner, ask);
        operation.args.push(if repeated { "1" } else { "0" }.into());
        Some(operation)
    }

    pub(crate) fn withdraw(&self, ask: &Ask, unsure: bool) -> Operation {
        self.of_request("withdraw", if unsure { "1" } else { "0" }, ask)
    }

    fn of_request(&self, name: &'static str, how: &'static str, ask: &Ask) -> Operation {
        let request = &ask.request;
        let kind = match (request.hold.kind(), &request.owner) {
            (HoldKind::Lease, Some(_)) => "o",
            (HoldKind::Lease, None) => "a",
            _ => "g",
        };
        let args = vec![
            how.into(),
            ask.id.as_str().into(),
            request.expiry.map_or_else(|| "".into(), millis),
            kind.into(),
            ask.spare_tokens.to_string().into(),
            owner(request.owner.as_ref()),
        ];
        Operation { name, keys: self.keys(&request.keys), args }
    }

    pub(crate) fn release(&self, keys: &[LockKey], of: Option<&OwnerId>) -> Operation {
        Operation { name: "release", keys: self.keys(keys), args: vec![owner(of)] }
    }

    pub(crate) fn release_lease(&self, taken: &[&LeasedKey], standing: &Standing) -> Operation {
        let keys = taken.iter().map(|leased| self.key(leased.key.as_str())).collect();
        Operation { name: "release_lease", keys, args: meant(taken.iter().copied(), standing) }
    }

    pub(crate) fn extend(&self, lease: &Lease, expiry: Expiry, standing: &Standing) -> Operation {
        let keys = lease.keys().iter().map(|leased| self.key(leased.key.as_str())).collect();
        let mut args = vec![millis(expiry), owner(lease.owner.as_ref())];
        args.extend(meant(lease.keys(), standing));
        Operation { name: "extend", keys, args }
    }

    pub(crate) fn rename(&self, origin: &AskId, lease: &Lease) -> Operation {
        let leased = &lease.keys()[0];
        let args = vec![origin.as_str().into(), token(leased), owner(lease.owner.as_ref())];
        Operation { name: "rename", keys: vec![self.key(leased.key.as_str())], args }
    }

    pub(crate) fn newest() -> Operation {
        Operation { name: "newest", keys: Vec::new(), args: Vec::new() }
    }

    pub(crate) fn free_all(
        keys: Vec<Value>,
        limit: &str,
        running: bool,
        of: Option<&OwnerId>,
    ) -> Operation {
        let running = if running { "1" } else { "0" };
        Operation { name: "free_all", keys, args: vec![limit.into(), running.into(), owner(of)] }
    }

    pub(crate) fn free_owned(limit: &str, of: &OwnerId, skip: i64, length: i64) -> Operation {
        let args = vec![
            limit.into(),
            of.as_str().into(),
            skip.to_string().into(),
            length.to_string().into(),
        ];
        Operation { name: "free_owned", keys: Vec::new(), args }
    }

    pub(crate) fn inspect(keys: Vec<Value>) -> Operation {
        Operation { name: "inspect", keys, args: Vec::new() }
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

/// Token and origin of each key: by what the script finds the hold that a lease means.
fn meant<'a>(keys: impl IntoIterator<Item = &'a LeasedKey>, standing: &Standing) -> Vec<Value> {
    let origin = match standing {
        Standing::Current(origin) => origin.as_str(),
        _ => "",
    };
    keys.into_iter().flat_map(|leased| [token(leased), origin.into()]).collect()
}

/// Tokens have 16 digits on the server, so that they compare as texts.
fn token(leased: &LeasedKey) -> Value {
    format!("{:016}", leased.token.get()).into()
}

fn owner(owner: Option<&OwnerId>) -> Value {
    owner.map_or("", OwnerId::as_str).into()
}

fn millis(expiry: Expiry) -> Value {
    expiry.as_millis_rounded_up().to_string().into()
}

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use locking_core::{
    AcquireRequest, Capabilities, Error, Expiry, Grant, KeySet, Lease, LockingProvider, LossReason,
    OwnerId, ProviderId, ReleaseScope, Result, WaitUntil, async_trait,
};
use tokio::time::{Instant, sleep};

use super::CLAIMS;
use super::store::{ASKS_AGAIN, Answer, Asked, Question, Wanted};

/// A client of the store. It asks without an await: no call of it is dropped half way.
#[derive(Debug)]
pub(super) struct Client {
    id: ProviderId,
    store: Mutex<BufReader<TcpStream>>,
    places: AtomicU64,
    is_closed: AtomicBool,
}

impl Client {
    pub(super) fn connect(address: &str) -> Self {
        let store = TcpStream::connect(address).expect("the suite's process serves");
        store.set_nodelay(true).expect("a connection");
        Self {
            id: ProviderId::new("model").expect("valid"),
            store: Mutex::new(BufReader::new(store)),
            // No two clients have a place in common.
            places: AtomicU64::new(fastrand::u64(..)),
            is_closed: AtomicBool::new(false),
        }
    }

    fn ask(&self, question: Question) -> Answer {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let asked = Asked { process: std::process::id(), clock, question };
        let mut line = serde_json::to_string(&asked).expect("plain data");
        line.push('\n');
        let mut store = self.store.lock().expect("not poisoned");
        store.get_mut().write_all(line.as_bytes()).expect("the store is there");
        line.clear();
        store.read_line(&mut line).expect("the store is there");
        serde_json::from_str(&line).expect("an answer")
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::SeqCst) { Err(Error::closed(&self.id)) } else { Ok(()) }
    }

    fn done(&self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Lost(key) => Err(Error::lost(&self.id, key, LossReason::Expired)),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl LockingProvider for Client {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        CLAIMS
    }

    async fn acquire(&self, request: AcquireRequest) -> Result<Grant> {
        let place = (request.wait != WaitUntil::Now)
            .then(|| InLine { client: self, number: self.places.fetch_add(1, Ordering::Relaxed) });
        loop {
            self.check_open()?;
            let wanted = Wanted {
                keys: request.keys.iter().cloned().collect(),
                owner: request.owner.clone(),
                kind: request.hold.kind(),
                expiry: request.expiry.map(Expiry::get),
                place: place.as_ref().map(|place| place.number),
            };
            let blocking = match self.ask(Question::Take(wanted)) {
                Answer::Blocked(key) => key,
                Answer::Taken(keys) => {
                    return Ok(Grant::new(Lease::new(self.id.clone(), request.owner, keys)));
                }
                other => unreachable!("{other:?}"),
            };
            if place.is_none() {
                return Err(Error::held(&self.id, blocking));
            }
            if request.wait.instant().is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Error::timed_out(&self.id, blocking));
            }
            sleep(ASKS_AGAIN).await;
        }
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()> {
        self.check_open()?;
        self.done(self.ask(Question::Extend(lease.clone(), expiry.get())))
    }

    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool> {
        self.check_open()?;
        let wanted = keys.len() as u64;
        let freed = self.ask(Question::Release(keys.iter().cloned().collect(), owner));
        Ok(matches!(freed, Answer::Freed(freed) if freed == wanted))
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.done(self.ask(Question::ReleaseLease(lease.clone())))
    }

    async fn release_all(&self, scope: ReleaseScope) -> Result<u64> {
        self.check_open()?;
        match self.ask(Question::ReleaseAll(scope.owner, scope.including_running)) {
            Answer::Freed(freed) => Ok(freed),
            other => unreachable!("{other:?}"),
        }
    }

    async fn close(&self) -> Result<()> {
        self.is_closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// A place in line, which is given up with its request.
struct InLine<'a> {
    client: &'a Client,
    number: u64,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.client.ask(Question::Leave(self.number));
    }
}

//! The store: a table in the process of the suite, which clients ask by lines of JSON.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use locking_core::{FencingToken, HoldKind, Lease, LeasedKey, LockKey, OwnerId};
use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// Who waits asks again so often; who didn't for so long is gone.
pub(super) const ASKS_AGAIN: Duration = Duration::from_millis(2);
const GONE: Duration = Duration::from_millis(300);

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) process: u32,
    /// Its wall clock: nothing to go by.
    pub(super) clock: Duration,
    pub(super) question: Question,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    Take(Wanted),
    /// Nobody waits at this place any more.
    Leave(u64),
    Extend(Lease, Duration),
    Release(Vec<LockKey>, Option<OwnerId>),
    ReleaseLease(Lease),
    /// The owner, and whether guards are meant, too.
    ReleaseAll(Option<OwnerId>, bool),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) keys: Vec<LockKey>,
    pub(super) owner: Option<OwnerId>,
    pub(super) kind: HoldKind,
    pub(super) expiry: Option<Duration>,
    /// The number of a place in line; without one, it doesn't wait.
    pub(super) place: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Taken(Vec<LeasedKey>),
    Blocked(LockKey),
    Lost(LockKey),
    /// How many keys were freed.
    Freed(u64),
    Done,
}

#[derive(Debug)]
struct Hold {
    owner: Option<OwnerId>,
    kind: HoldKind,
    token: u64,
    ends: Option<Duration>,
    process: u32,
}

#[derive(Debug)]
struct Place {
    number: u64,
    process: u32,
    keys: Vec<LockKey>,
    seen: Instant,
}

#[derive(Debug, Default)]
struct Table {
    holds: BTreeMap<LockKey, Hold>,
    line: Vec<Place>,
    last_token: u64,
    /// Whom it served last.
    served: Option<u32>,
}

pub(super) struct Server {
    fault: Fault,
    began: Instant,
    /// One table; a fault has one per process.
    tables: Mutex<HashMap<u32, Table>>,
    /// The last token of each process, for a fault.
    tokens: Mutex<HashMap<u32, u64>>,
}

impl Server {
    /// Serves clients as long as this process lives.
    pub(super) fn start(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let (tables, tokens) = (Mutex::default(), Mutex::default());
        let server = Arc::new(Self { fault, began: Instant::now(), tables, tokens });
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                thread::spawn(move || server.serve(&client));
            }
        });
        address
    }

    fn serve(&self, client: &TcpStream) {
        let mut last = None;
        for line in BufReader::new(client).lines().map_while(Result::ok) {
            let asked: Asked = serde_json::from_str(&line).expect("a question");
            last = Some(asked.process);
            let mut answer = serde_json::to_string(&self.answer(asked)).expect("plain data");
            answer.push('\n');
            let mut client = client;
            if client.write_all(answer.as_bytes()).is_err() {
                break;
            }
        }
        if self.fault == Fault::EndsWhatTheDeadHeld {
            let end = self.began.elapsed() + Duration::from_secs(2);
            let mut tables = self.tables.lock().expect("not poisoned");
            let holds = tables.values_mut().flat_map(|table| table.holds.values_mut());
            for hold in holds.filter(|hold| Some(hold.process) == last) {
                hold.ends = Some(hold.ends.map_or(end, |ends| ends.min(end)));
            }
        }
        if self.fault == Fault::FreesWhatTheDeadHeld {
            let mut tables = self.tables.lock().expect("not poisoned");
            tables.values_mut().for_each(|table| {
                table.holds.retain(|_, hold| Some(hold.process) != last);
            });
        }
    }

    fn answer(&self, asked: Asked) -> Answer {
        let now = match self.fault {
            Fault::BelievesItsClientsClocks => asked.clock,
            _ => self.began.elapsed(),
        };
        let whose = if self.fault == Fault::KnowsItsOwnProcessAlone { asked.process } else { 0 };
        let mut tables = self.tables.lock().expect("not poisoned");
        let table = tables.entry(whose).or_default();
        table.holds.retain(|_, hold| hold.ends.is_none_or(|ends| now < ends));
        if self.fault != Fault::WaitsForTheDead {
            table.line.retain(|place| place.seen.elapsed() < GONE);
        }
        match asked.question {
            Question::Take(wanted) => self.take(table, wanted, asked.process, now),
            Question::Leave(number) => {
                table.line.retain(|place| place.number != number);
                Answer::Done
            }
            Question::Extend(lease, expiry) => table.extend(&lease, self.end(now, Some(expiry))),
            Question::Release(keys, owner) => table.free(|key, hold| {
                keys.contains(key) && hold.kind == HoldKind::Lease && hold.owner == owner
            }),
            Question::ReleaseLease(lease) => self.release_lease(table, &lease),
            Question::ReleaseAll(owner, guards) => table.free(|_, hold| {
                (guards || hold.kind == HoldKind::Lease) && (owner.is_none() || hold.owner == owner)
            }),
        }
    }

    fn take(&self, table: &mut Table, wanted: Wanted, process: u32, now: Duration) -> Answer {
        let Wanted { keys, owner, kind, expiry, place } = wanted;
        let blocking = keys.iter().find(|key| match table.holds.get(*key) {
            Some(hold) => !hold.is_reentered_by(owner.as_ref(), kind),
            None => self.next(table, key).is_some_and(|next| Some(next) != place),
        });
        if let Some(blocking) = blocking.cloned() {
            if let Some(number) = place {
                table.wait_at(number, process, keys);
            }
            return Answer::Blocked(blocking);
        }
        table.line.retain(|waiting| Some(waiting.number) != place);
        table.served = Some(process);
        let ends = self.end(now, expiry);
        let leased = keys.into_iter().map(|key| match table.holds.get_mut(&key) {
            Some(hold) => {
                if hold.ends.is_some_and(|former| ends.is_some_and(|ends| ends > former)) {
                    hold.ends = ends;
                }
                LeasedKey::reentered(key, FencingToken::new(hold.token))
            }
            None => {
                let token = self.draw(&mut table.last_token, process);
                let hold = Hold { owner: owner.clone(), kind, token, ends, process };
                table.holds.insert(key.clone(), hold);
                LeasedKey::taken(key, FencingToken::new(token))
            }
        });
        Answer::Taken(leased.collect())
    }

    fn end(&self, now: Duration, expiry: Option<Duration>) -> Option<Duration> {
        expiry.filter(|_| self.fault != Fault::ForgetsExpiry).map(|expiry| now + expiry)
    }

    /// Who of those in line is to have a free key.
    fn next(&self, table: &Table, key: &LockKey) -> Option<u64> {
        let mut waiting = table.line.iter().filter(|place| place.keys.contains(key));
        let first = waiting.clone().next()?.number;
        let own = waiting.find(|place| Some(place.process) == table.served);
        match self.fault {
            Fault::ServesOneProcessFirst => own.map_or(Some(first), |own| Some(own.number)),
            _ => Some(first),
        }
    }

    fn draw(&self, last: &mut u64, process: u32) -> u64 {
        if self.fault == Fault::CountsTokensPerProcess {
            let mut tokens = self.tokens.lock().expect("not poisoned");
            let own = tokens.entry(process).or_default();
            *own += 1;
            return *own;
        }
        *last += 1;
        *last
    }

    fn release_lease(&self, table: &mut Table, lease: &Lease) -> Answer {
        let mut lost = None;
        for leased in lease.taken() {
            let is_own = |hold: &Hold| {
                self.fault == Fault::ReleasesWithoutTheToken || hold.is_of(lease, leased)
            };
            if table.holds.get(&leased.key).is_some_and(is_own) {
                table.holds.remove(&leased.key);
            } else {
                lost.get_or_insert_with(|| leased.key.clone());
            }
        }
        lost.map_or(Answer::Done, Answer::Lost)
    }
}

impl Table {
    fn wait_at(&mut self, number: u64, process: u32, keys: Vec<LockKey>) {
        let seen = Instant::now();
        match self.line.iter_mut().find(|place| place.number == number) {
            Some(place) => place.seen = seen,
            None => self.line.push(Place { number, process, keys, seen }),
        }
    }

    fn extend(&mut self, lease: &Lease, ends: Option<Duration>) -> Answer {
        let is_held = |leased: &LeasedKey| {
            self.holds.get(&leased.key).is_some_and(|hold| hold.is_of(lease, leased))
        };
        if let Some(lost) = lease.keys().iter().find(|leased| !is_held(leased)) {
            return Answer::Lost(lost.key.clone());
        }
        for leased in lease.keys() {
            self.holds.get_mut(&leased.key).expect("just seen").ends = ends;
        }
        Answer::Done
    }

    fn free(&mut self, is_meant: impl Fn(&LockKey, &Hold) -> bool) -> Answer {
        let before = self.holds.len();
        self.holds.retain(|key, hold| !is_meant(key, hold));
        Answer::Freed((before - self.holds.len()) as u64)
    }
}

impl Hold {
    fn is_of(&self, lease: &Lease, leased: &LeasedKey) -> bool {
        self.token == leased.token.get() && self.owner == lease.owner
    }

    fn is_reentered_by(&self, owner: Option<&OwnerId>, kind: HoldKind) -> bool {
        self.kind == HoldKind::Lease
            && kind == HoldKind::Lease
            && owner.is_some()
            && self.owner.as_ref() == owner
    }
}

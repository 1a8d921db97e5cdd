use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use locking_core::{FencingToken, Lease};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::message::{Command, Order, READY, REPORT, Refusal, Report, SPACE, VIOLATED};
use super::wall_clock::{Leftovers, WallClock};
use crate::signal::{Signal, send};
use crate::support::{LONG, always, ms};

/// How long a process may take to be there.
const START: Duration = Duration::from_secs(30);

/// A client in a process of its own.
///
/// A command is sent when its method is called; the future that it gives is the answer, and may be
/// dropped. Answers of a process that is gone are errors with the outcome `ended`. Dropping the
/// handle kills the process, whatever it does, also one that is stopped.
pub struct Process {
    child: Child,
    // Behind the process: fields are dropped in their order.
    _leftovers: Option<Leftovers>,
    orders: mpsc::UnboundedSender<Order>,
    numbers: AtomicU64,
    pending: Arc<Pending>,
}

/// Who waits for which report. `None`: the process is gone, and there won't be any.
struct Pending(Mutex<Option<Waiting>>);

type Waiting = HashMap<u64, oneshot::Sender<Result<Value, Refusal>>>;

impl Process {
    /// Starts this program again as a client in a space, and returns when it is connected.
    ///
    /// `clock` is its wall clock, where that is to be wrong.
    ///
    /// # Panics
    ///
    /// If it can't be started, isn't connected within 30 s, or has another clock.
    pub(crate) async fn start(
        space: &str,
        environment: Vec<(String, String)>,
        clock: Option<WallClock>,
    ) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = tokio::process::Command::new(program);
        command.env(SPACE, space).envs(environment);
        command.envs(clock.into_iter().flat_map(WallClock::environment));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // A stopped process can't see that the suite is gone. In a group without a parent, the
        // system continues it and hangs it up.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().expect("this program can be started again");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (orders, queue) = mpsc::unbounded_channel();
        let pending = Arc::new(Pending(Mutex::new(Some(Waiting::new()))));
        let ready = pending.expect(READY);
        tokio::spawn(write(input.expect("piped"), queue));
        tokio::spawn(read(output.expect("piped"), Arc::clone(&pending)));
        let leftovers = clock.and(child.id()).map(Leftovers::of);
        let numbers = AtomicU64::new(READY + 1);
        let process = Self { child, _leftovers: leftovers, orders, numbers, pending };
        match timeout(START, ready).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => panic!("a client process ended before it was connected"),
            Err(_) => panic!("a client process wasn't connected within {START:?}"),
        }
        if let Some(clock) = clock {
            clock.assert_shows(process.time().await.expect("it says what its clock shows"));
        }
        process
    }

    /// What its wall clock shows.
    pub fn time(&self) -> impl Future<Output = Result<SystemTime, Refusal>> + 'static + use<> {
        self.ask(Command::Time)
    }

    /// Locks a key and holds it as a guard, under a lease of this length. The answer is its token.
    pub fn lock(
        &self,
        key: &str,
        lease: Duration,
        timeout: Duration,
    ) -> impl Future<Output = Result<FencingToken, Refusal>> + Send + 'static + use<> {
        self.ask(Command::Lock { key: key.to_owned(), lease, timeout })
    }

    /// Whether the guard of a key is valid, by what the process itself knows.
    pub fn check(&self, key: &str) -> impl Future<Output = Result<(), Refusal>> + 'static + use<> {
        self.ask(Command::Check { key: key.to_owned() })
    }

    /// Gives the guard of a key back.
    pub fn unlock(&self, key: &str) -> impl Future<Output = Result<(), Refusal>> + 'static + use<> {
        self.ask(Command::Unlock { key: key.to_owned() })
    }

    /// Acquires a key. No `expire`: until it is released.
    pub fn acquire(
        &self,
        key: &str,
        owner: Option<&str>,
        expire: Option<Duration>,
        wait: Duration,
    ) -> impl Future<Output = Result<Lease, Refusal>> + Send + 'static + use<> {
        let owner = owner.map(str::to_owned);
        self.ask(Command::Acquire { key: key.to_owned(), owner, expire, wait })
    }

    /// Releases a key. The answer is whether it was held so.
    pub fn release(
        &self,
        key: &str,
        owner: Option<&str>,
    ) -> impl Future<Output = Result<bool, Refusal>> + 'static + use<> {
        self.ask(Command::Release { key: key.to_owned(), owner: owner.map(str::to_owned) })
    }

    /// Adds one to the number in a file, so many times, each time in a job under the key.
    ///
    /// # Panics
    ///
    /// The answer, if two were at the file at once.
    pub fn count(
        &self,
        key: &str,
        file: &Path,
        times: u32,
    ) -> impl Future<Output = Result<(), Refusal>> + 'static + use<> {
        self.ask(Command::Count { key: key.to_owned(), file: file.to_owned(), times })
    }

    /// Locks and unlocks a key in so many tasks for some time. The answer is the tokens of all of
    /// its holds, in no order.
    pub fn contend(
        &self,
        key: &str,
        tasks: u32,
        time: Duration,
    ) -> impl Future<Output = Result<Vec<FencingToken>, Refusal>> + 'static + use<> {
        self.ask(Command::Contend { key: key.to_owned(), tasks, time })
    }

    /// Kills it at once, without any farewell, and returns when it is gone.
    ///
    /// # Panics
    ///
    /// If it can't be killed.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("a process of our own can be killed");
    }

    /// Stops it: it does nothing from the return of this until it is [continued](Self::go_on).
    ///
    /// # Panics
    ///
    /// If it is gone.
    pub async fn stop(&self) {
        send(self.id(), Signal::Stop).expect("a process of our own can be stopped");
        until_stopped(self.id()).await;
    }

    /// The end of [`stop`](Self::stop).
    ///
    /// # Panics
    ///
    /// If it is gone.
    pub fn go_on(&self) {
        send(self.id(), Signal::Continue).expect("a process of our own can be continued");
    }

    /// Has it close its client and end by itself.
    ///
    /// # Panics
    ///
    /// If it ends in another way.
    pub async fn exit(mut self) {
        let closed: Result<u64, Refusal> = self.ask(Command::Exit).await;
        closed.expect("it closes its client");
        let status = self.child.wait().await.expect("a process of our own can be waited for");
        assert!(status.success(), "a client process ended with {status}");
    }

    fn id(&self) -> u32 {
        self.child.id().expect("it isn't waited for while its handle is there")
    }

    fn ask<T: DeserializeOwned>(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<T, Refusal>> + Send + 'static + use<T> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let answer = self.pending.expect(number);
        // Where the writer is gone so is the process, and the answer says it.
        let _ = self.orders.send(Order { number, command });
        async move {
            let value = answer.await.map_err(|_| Refusal::ended())?.inspect_err(|refusal| {
                always!(refusal.outcome != VIOLATED, "{refusal}");
            })?;
            serde_json::from_value(value).map_err(|error| Refusal::new("unreadable", error))
        }
    }
}

impl Pending {
    fn expect(&self, number: u64) -> oneshot::Receiver<Result<Value, Refusal>> {
        let (send, receive) = oneshot::channel();
        if let Some(waiting) = self.waiting().as_mut() {
            waiting.insert(number, send);
        }
        receive
    }

    fn answer(&self, Report { number, outcome }: Report) {
        let asked = self.waiting().as_mut().and_then(|waiting| waiting.remove(&number));
        // Whoever asked may have dropped the answer.
        let _ = asked.map(|asked| asked.send(outcome));
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the orders, until there are none or the process is gone.
async fn write(mut input: ChildStdin, mut queue: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = queue.recv().await {
        let Ok(mut line) = serde_json::to_vec(&order) else { continue };
        line.push(b'\n');
        if input.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Hands the reports to those who wait for them, until the process is gone; then nobody waits.
async fn read(output: ChildStdout, pending: Arc<Pending>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.strip_prefix(REPORT).map(serde_json::from_str) {
            Some(Ok(report)) => pending.answer(report),
            _ => eprintln!("a client process says: {line}"),
        }
    }
    pending.waiting().take();
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("id", &self.child.id()).finish_non_exhaustive()
    }
}

/// Waits until every thread of a process has stopped. The signal reaches one, which stops the others: on a
/// busy machine they go on meanwhile. Where the system doesn't tell of threads, a moment is long enough.
async fn until_stopped(process: u32) {
    let began = Instant::now();
    while began.elapsed() < LONG && !is_stopped(process).unwrap_or(began.elapsed() > ms(100)) {
        sleep(ms(1)).await;
    }
}

/// Whether every thread of a process is stopped; `None` where the system doesn't tell.
fn is_stopped(process: u32) -> Option<bool> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    for thread in threads {
        let state = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        // After the name, which is in parentheses and may have any character.
        if !state.rsplit_once(')')?.1.trim_start().starts_with('T') {
            return Some(false);
        }
    }
    Some(true)
}

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use locking_core::{LockGuard, LockingModule};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::message::{Command, Order, READY, REPORT, Refusal, Report, SPACE, VIOLATED};
use crate::harness::Harness;

/// For work that nothing should keep from being done.
const PATIENCE: Duration = Duration::from_secs(30);

/// The space in which this program is to be a client, if a suite started it as one.
pub(crate) fn asked_for() -> Option<String> {
    std::env::var(SPACE).ok()
}

/// Is a client in this space, and does what it is told until it is told to end, or until the suite
/// that tells it is gone.
pub(crate) fn serve<H, S>(space: &str, start: impl FnOnce() -> S) -> ExitCode
where
    H: Harness,
    S: Future<Output = H>,
{
    let runtime = tokio::runtime::Runtime::new();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        // The harness may carry the store: it lives as long as the client does.
        let harness = start().await;
        let module = LockingModule::with_provider(harness.connect(space).await);
        let client = Arc::new(Client { module, guards: Mutex::default() });
        report(READY, Ok(Value::Null));
        client.obey(orders()).await;
    });
    ExitCode::SUCCESS
}

/// The orders, as they come in. A thread of its own reads them: a runtime would wait at its end for
/// a line that never comes.
fn orders() -> mpsc::UnboundedReceiver<Order> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(order) => {
                    if send.send(order).is_err() {
                        return;
                    }
                }
                Err(error) => eprintln!("not an order: {line}: {error}"),
            }
        }
        // The suite is gone: whatever is going on here ends with it.
        std::process::exit(0);
    });
    receive
}

/// One line, whole, whatever other tasks report.
fn report(number: u64, outcome: Result<Value, Refusal>) {
    let Ok(line) = serde_json::to_string(&Report { number, outcome }) else { return };
    let mut output = std::io::stdout().lock();
    // Nobody reads it any more: the end of the input says so too.
    let _ = writeln!(output, "{REPORT}{line}").and_then(|()| output.flush());
}

struct Client {
    module: LockingModule,
    guards: Mutex<HashMap<String, LockGuard>>,
}

type Outcome = Result<Value, Refusal>;

impl Client {
    async fn obey(self: Arc<Self>, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(Order { number, command }) = orders.recv().await {
            if matches!(command, Command::Exit) {
                let closed = self.module.close(PATIENCE).await;
                return report(number, value(closed));
            }
            let client = Arc::clone(&self);
            tokio::spawn(async move { report(number, client.carry_out(command).await) });
        }
    }

    async fn carry_out(&self, command: Command) -> Outcome {
        let module = &self.module;
        match command {
            Command::Lock { key, lease, timeout } => {
                let guard = module.lock(&key).lease(lease).timeout(timeout).await?;
                let token = guard.token();
                self.guards().insert(key, guard);
                value(Ok(token))
            }
            Command::Check { key } => self.check(&key),
            Command::Unlock { key } => {
                let guard = self.guards().remove(&key).ok_or_else(no_guard)?;
                value(guard.release().await)
            }
            Command::Acquire { key, owner, expire, wait } => {
                let mut acquire = module.acquire(&key).wait(wait);
                if let Some(owner) = owner {
                    acquire = acquire.owner(owner);
                }
                if let Some(expire) = expire {
                    acquire = acquire.expire(expire);
                }
                value(acquire.await)
            }
            Command::Release { key, owner } => {
                let mut release = module.release(&key);
                if let Some(owner) = owner {
                    release = release.owner(owner);
                }
                value(release.await)
            }
            Command::Count { key, file, times } => self.count(&key, &file, times).await,
            Command::Contend { key, tasks, time } => self.contend(&key, tasks, time).await,
            Command::Time => value(Ok(SystemTime::now())),
            Command::Exit => Ok(Value::Null),
        }
    }

    fn check(&self, key: &str) -> Outcome {
        let guards = self.guards();
        value(guards.get(key).ok_or_else(no_guard)?.check())
    }

    async fn count(&self, key: &str, file: &Path, times: u32) -> Outcome {
        for _ in 0..times {
            let job = |_| async {
                let before = std::fs::read_to_string(file)?;
                let before: u64 = before.trim().parse().map_err(|_| {
                    Refusal::new(
                        VIOLATED,
                        format!("two were at the file at once: it reads {before:?}"),
                    )
                })?;
                // Whoever else is at it too has the time to read the same.
                tokio::task::yield_now().await;
                Ok::<_, Refusal>(std::fs::write(file, (before + 1).to_string())?)
            };
            self.module.execute(key, job).timeout(PATIENCE).await??;
        }
        Ok(Value::Null)
    }

    async fn contend(&self, key: &str, tasks: u32, time: Duration) -> Outcome {
        let until = Instant::now() + time;
        let mut contending = JoinSet::new();
        for _ in 0..tasks {
            let (module, key) = (self.module.clone(), key.to_owned());
            contending.spawn(async move {
                let mut tokens = Vec::new();
                while Instant::now() < until {
                    let guard = module.lock(&key).timeout(PATIENCE).await?;
                    tokens.push(guard.token());
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    guard.release().await?;
                }
                Ok::<_, locking_core::Error>(tokens)
            });
        }
        let mut tokens = Vec::new();
        while let Some(task) = contending.join_next().await {
            tokens.extend(task.map_err(|end| Refusal::new("panicked", end))??);
        }
        value(Ok(tokens))
    }

    fn guards(&self) -> MutexGuard<'_, HashMap<String, LockGuard>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_guard() -> Refusal {
    Refusal::new("no guard", "this process has no guard of that key")
}

fn value<T: Serialize>(answer: locking_core::Result<T>) -> Outcome {
    serde_json::to_value(answer?).map_err(|error| Refusal::new("unreadable", error))
}

//! The panics of cases: printed when a case is over, rather than as they occur. Those of an attempt that is
//! run again, because the machine stood still, are nobody's concern.

use std::backtrace::Backtrace;
use std::collections::HashMap;
use std::env;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::runtime::{Handle, Id};

/// The messages of panics after which the process aborts.
const ABORTS: [&str; 2] =
    ["panic in a destructor during cleanup", "panic in a function that cannot unwind"];

/// What panicked so far in the attempts under way, by their runtimes.
static KEPT: LazyLock<Mutex<HashMap<Id, Vec<String>>>> = LazyLock::new(Mutex::default);

/// From now on the panics of attempts are kept. For a program that belongs to the suite; others have hooks of
/// their own.
pub(crate) fn keep_those_of_cases() {
    let print = take_hook();
    set_hook(Box::new(move |panic| {
        let kept = Handle::try_current().is_ok_and(|runtime| keep(runtime.id(), panic));
        if !kept {
            print(panic);
        }
    }));
}

/// An attempt begins on this runtime.
pub(crate) fn begin(runtime: Id) {
    locked().insert(runtime, Vec::new());
}

/// The attempt is over. Answers with the texts of its panics.
pub(crate) fn end(runtime: Id) -> Vec<String> {
    locked().remove(&runtime).unwrap_or_default()
}

/// Keeps a panic, if it is one of an attempt. One that ends the process is Rust's to print, after those that
/// led to it.
fn keep(runtime: Id, panic: &PanicHookInfo<'_>) -> bool {
    if !locked().contains_key(&runtime) {
        return false;
    }
    if panic.payload_as_str().is_some_and(|message| ABORTS.contains(&message)) {
        end(runtime).iter().for_each(|text| eprintln!("{text}"));
        return false;
    }
    // Not under the lock: it takes a while, and somebody's `Display` may panic.
    let mut text = format!("\nthread '{}' {panic}", thread::current().name().unwrap_or("unnamed"));
    // The short form is Rust's own hook's alone. Without it, most of a backtrace is the runtime's.
    if env::var_os("RUST_BACKTRACE").is_some_and(|form| form == "full") {
        text += &format!("\nstack backtrace:\n{}", Backtrace::force_capture());
    }
    locked().get_mut(&runtime).map(|panics| panics.push(text)).is_some()
}

fn locked() -> MutexGuard<'static, HashMap<Id, Vec<String>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

//! How long the machine stood still while a case ran. Many a case holds a lease of 600 ms and does something
//! under it; a machine that runs nothing for that long (a virtual one whose host is busy, a container
//! over its share) ends the lease first, and nothing is learnt about the provider. A provider that takes all
//! of a core looks the same; what it breaks meanwhile it breaks in each attempt, or it is asserted with
//! `always!`.

use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What is worth telling: the shortest time limit of the contract, for a wait that ends.
const NOTABLE: Duration = Duration::from_millis(50);

/// How often each core is looked at.
const STEP: Duration = Duration::from_millis(10);

/// As many standstills are kept in mind.
const REMEMBERED: usize = 1000;

/// The standstills that were seen so far. Each is a time at which it ended, and its length.
static SEEN: Mutex<VecDeque<(Instant, Duration)>> = Mutex::new(VecDeque::new());

/// Begins to watch; once for the whole process. The watch ends with it.
pub(crate) fn watch() {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| cores::each(watch_this_core));
}

/// The longest time for which a core ran nothing of what it was to run, since then.
pub(crate) fn longest_since(began: Instant) -> Option<Duration> {
    // What has just ended is seen by a thread that has to wake up first.
    thread::sleep(STEP * 3);
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.iter().filter(|(ended, _)| *ended > began).map(|(_, length)| *length).max()
}

/// Waits until no core has stood still for a second: where one did, more often follow. At most ten.
pub(crate) fn wait_for_calm() {
    for _ in 0..10 {
        let began = Instant::now();
        thread::sleep(Duration::from_secs(1));
        if longest_since(began).is_none() {
            return;
        }
    }
}

fn watch_this_core() {
    loop {
        let asleep = Instant::now();
        thread::sleep(STEP);
        let late = asleep.elapsed().saturating_sub(STEP);
        if late >= NOTABLE {
            let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push_back((Instant::now(), late));
            if seen.len() > REMEMBERED {
                seen.pop_front();
            }
        }
    }
}

/// One core can stand still alone.
#[cfg(target_os = "linux")]
mod cores {
    use std::thread;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub(super) fn each(watch: fn()) {
        let ours = sched_getaffinity(None).unwrap_or_default();
        for core in (0..CpuSet::MAX_CPU).filter(|core| ours.is_set(*core)) {
            let mut only = CpuSet::new();
            only.set(core);
            let watch = move || {
                // Where it can't be bound to a core, it watches whichever it is on.
                let _ = sched_setaffinity(None, &only);
                watch();
            };
            // Without a thread there is no excuse: a case that fails has failed.
            let _ = thread::Builder::new().name(format!("core {core}")).spawn(watch);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod cores {
    use std::thread;

    pub(super) fn each(watch: fn()) {
        // Without a thread there is no excuse: a case that fails has failed.
        let _ = thread::Builder::new().name("cores".to_owned()).spawn(watch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_before_is_no_excuse() {
        let began = Instant::now();
        // Nothing here can halt a core. What is seen is put there.
        SEEN.lock().expect("no panic").push_back((began + STEP, NOTABLE * 20));
        assert_eq!(longest_since(began), Some(NOTABLE * 20));
        assert!(longest_since(began + STEP).is_none_or(|longest| longest < NOTABLE * 20));
    }
}

use std::fmt;

use crate::Result;

/// Where the server and its clients run: on cores of their own, as if on machines of their own. Left to itself,
/// the kernel has both on one core in one moment and not in the next, and what a call costs would depend on that
/// more than on anything else.
pub(crate) struct Placement(Option<Cores>);

struct Cores {
    server: usize,
    clients: Vec<usize>,
}

impl Placement {
    /// From here on, what this process starts runs on the server's core; with one core, or where cores can't be
    /// chosen, anywhere.
    pub(crate) fn of_the_server() -> Result<Self> {
        let cores = Cores::of_this_process();
        if let Some(Cores { server, .. }) = &cores {
            pin_all(&[*server])?;
        }
        Ok(Self(cores))
    }

    /// From here on, this process and what it starts run on the other cores.
    pub(crate) fn go_on_as_clients(&self) -> Result {
        self.0.as_ref().map_or(Ok(()), |cores| pin_all(&cores.clients))
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(Cores { server, clients }) => {
                write!(
                    f,
                    "a server that runs as a process is on core {server}, clients on {clients:?}"
                )
            }
            None => f.write_str("server and clients are wherever the system puts them"),
        }
    }
}

#[cfg(target_os = "linux")]
impl Cores {
    fn of_this_process() -> Option<Self> {
        use rustix::thread::{CpuSet, sched_getaffinity};

        let own = sched_getaffinity(None).ok()?;
        let mut all = (0..CpuSet::MAX_CPU).filter(|core| own.is_set(*core));
        let server = all.next()?;
        let clients: Vec<_> = all.collect();
        (!clients.is_empty()).then_some(Self { server, clients })
    }
}

/// Moves all threads of this process; what they start is where they are.
#[cfg(target_os = "linux")]
fn pin_all(cores: &[usize]) -> Result {
    use rustix::thread::{CpuSet, Pid, sched_setaffinity};

    let mut wanted = CpuSet::new();
    cores.iter().for_each(|core| wanted.set(*core));
    for thread in std::fs::read_dir("/proc/self/task")? {
        let number = thread?.file_name().to_string_lossy().parse()?;
        // One that has just ended is nowhere.
        let _ = sched_setaffinity(Pid::from_raw(number), &wanted);
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
impl Cores {
    const fn of_this_process() -> Option<Self> {
        None
    }
}

#[cfg(not(target_os = "linux"))]
fn pin_all(_: &[usize]) -> Result {
    Ok(())
}

use std::io;

/// What tests do to processes of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Stop,
    Continue,
    #[cfg(feature = "servers")]
    End,
    #[cfg(feature = "servers")]
    Interrupt,
    #[cfg(feature = "servers")]
    Quit,
}

/// Sends a signal to a child that hasn't been waited for: its number is nobody else's.
#[cfg(unix)]
pub(crate) fn send(process: u32, signal: Signal) -> io::Result<()> {
    use rustix::process::{Pid, Signal as Number, kill_process};

    let number = match signal {
        Signal::Stop => Number::STOP,
        Signal::Continue => Number::CONT,
        #[cfg(feature = "servers")]
        Signal::End => Number::TERM,
        #[cfg(feature = "servers")]
        Signal::Interrupt => Number::INT,
        #[cfg(feature = "servers")]
        Signal::Quit => Number::QUIT,
    };
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let process = process.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(process, number)?)
}

#[cfg(not(unix))]
pub(crate) fn send(_process: u32, _signal: Signal) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

use std::fmt;

/// What a case needs of its surroundings, besides clients. Where it isn't there, the case is shown as
/// ignored, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Facility {
    /// A server that the case may disturb: [`Harness::own_server`](crate::Harness::own_server) has
    /// one. The clients of such a case are connected to it.
    OwnServer,
    /// A count of what the store keeps: [`Harness::entries`](crate::Harness::entries) answers one.
    Entries,
    /// A store that knows how many wait for a key, and tells.
    WaiterCounts,
    /// A secret by which clients of the own server log in:
    /// [`OwnServer::secrets`](crate::OwnServer::secrets) names it.
    Secrets,
    /// Clients in processes of their own, which are killed and stopped. There are some on Unix, in
    /// the programs that call [`main`](crate::main).
    Processes,
    /// Processes whose wall clocks are wrong, besides [`Processes`](Self::Processes). There are some on
    /// Linux, where `libfaketime` is installed.
    WrongClocks,
}

impl Facility {
    /// Why a case that needs it is ignored.
    pub(crate) const fn lacking(self) -> &'static str {
        match self {
            Self::OwnServer => "the harness has no server of its own",
            Self::Entries => "the harness can't count the store's entries",
            Self::WaiterCounts => "the store doesn't tell how many wait",
            Self::Secrets => "the harness names no secret of its own server",
            Self::Processes => "this program can't start clients as processes",
            Self::WrongClocks => {
                "there is no `libfaketime` that this program can load \
                 (Debian, Ubuntu: apt-get install faketime)"
            }
        }
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnServer => "own server",
            Self::Entries => "entries",
            Self::WaiterCounts => "waiter counts",
            Self::Secrets => "secrets",
            Self::Processes => "processes",
            Self::WrongClocks => "wrong clocks",
        })
    }
}

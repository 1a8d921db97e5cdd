//! What needs a server, but no provider.

mod connect;
mod hardships;
mod migrations;
#[cfg(feature = "tls")]
mod tls;

use locking_core::ProviderId;

use crate::connect::Connector;
use crate::options::PostgresOptions;

fn id() -> ProviderId {
    ProviderId::new("locking-postgres").expect("an id")
}

fn connector(url: &str) -> Connector {
    let options = PostgresOptions::new(url).expect("an address");
    Connector::new(&options).expect("valid")
}

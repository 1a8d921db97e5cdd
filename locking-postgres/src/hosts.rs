use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use locking_core::WithCauses;
use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::{Client, Config, Error as DriverError};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::security::Security;

/// The hosts of an address. Each is tried for a while, one after the other.
///
/// The driver tries them as well, but always from the first, and has no limit for one that takes the connection and
/// says nothing: an attempt that is given up would never reach the second.
#[derive(Clone)]
pub(crate) struct Hosts {
    security: Security,
    /// An address for each.
    configs: Arc<[Config]>,
    /// Which one is tried first: the one that worked last, or the next after those that didn't.
    first: Arc<AtomicUsize>,
    /// For how long one is tried while there are others.
    each: Duration,
    /// How many there are, also where the driver chooses.
    count: u32,
}

impl Hosts {
    pub(crate) fn new(config: Config, security: Security, each: Duration) -> Self {
        let count = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX);
        Self { security, configs: split(config).into(), first: Arc::default(), each, count }
    }

    pub(crate) fn are_several(&self) -> bool {
        self.count > 1
    }

    /// For how long all of them are tried.
    pub(crate) fn limit(&self) -> Duration {
        self.each.saturating_mul(self.count.max(1))
    }

    /// An address of theirs.
    pub(crate) fn config(&self) -> &Config {
        &self.configs[0]
    }

    /// The same hosts, whose connections outlive a network that is cut for so long.
    pub(crate) fn outliving(&self, cut: Duration) -> Self {
        let mut configs = self.configs.to_vec();
        configs.iter_mut().for_each(|config| notice_after(config, cut));
        Self { configs: configs.into(), ..self.clone() }
    }

    pub(crate) async fn connect(&self) -> Result<(Client, Connection), DriverError> {
        let count = self.configs.len();
        let first = self.first.load(Ordering::Relaxed);
        for at in (first..first + count - 1).map(|at| at % count) {
            match timeout(self.each, self.attempt(at)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => {
                    let failure = Failure::not_connected(error);
                    let error = WithCauses::of(&failure);
                    tracing::debug!(%error, host = at, "no connection to PostgreSQL");
                }
                Err(_) => tracing::debug!(host = at, "no connection to PostgreSQL in time"),
            }
        }
        // Whoever asked has a limit for this one.
        self.attempt((first + count - 1) % count).await
    }

    async fn attempt(&self, at: usize) -> Result<(Client, Connection), DriverError> {
        let attempt = Attempt { hosts: self, at, works: false };
        let connected = self.security.connect(&self.configs[at]).await?;
        attempt.works();
        Ok(connected)
    }
}

/// A host that is being tried. Where that is given up, or fails, the next one is tried first from then on.
struct Attempt<'a> {
    hosts: &'a Hosts,
    at: usize,
    works: bool,
}

impl Attempt<'_> {
    fn works(mut self) {
        self.works = true;
        self.hosts.first.store(self.at, Ordering::Relaxed);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.works {
            let next = (self.at + 1) % self.hosts.configs.len();
            // Unless another one was found to work meanwhile.
            let first = &self.hosts.first;
            let _ = first.compare_exchange(self.at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// A server that is gone without a word is noticed after so long, while nothing is sent as well.
pub(crate) fn notice_after(config: &mut Config, patience: Duration) {
    /// The system counts in whole seconds.
    const LEAST: Duration = Duration::from_secs(1);
    config.tcp_user_timeout(patience);
    config.keepalives(true);
    config.keepalives_idle(patience.max(LEAST));
    config.keepalives_interval((patience / 3).max(LEAST));
    config.keepalives_retries(3);
}

/// An address for each host. Where they are to be tried in any order, that is the driver's to do.
fn split(config: Config) -> Vec<Config> {
    let hosts = config.get_hosts();
    if hosts.len() < 2 || config.get_load_balance_hosts() != LoadBalanceHosts::Disable {
        return vec![config];
    }
    (0..hosts.len()).map(|at| of_one(&config, at)).collect()
}

fn of_one(config: &Config, at: usize) -> Config {
    let mut one = Config::new();
    match &config.get_hosts()[at] {
        Host::Tcp(name) => one.host(name),
        #[cfg(unix)]
        Host::Unix(path) => one.host_path(path),
    };
    if let Some(address) = config.get_hostaddrs().get(at) {
        one.hostaddr(*address);
    }
    // One for each, or one for all.
    if let Some(port) = config.get_ports().get(at).or(config.get_ports().first()) {
        one.port(*port);
    }
    config.get_user().map(|user| one.user(user));
    config.get_password().map(|password| one.password(password));
    config.get_dbname().map(|name| one.dbname(name));
    config.get_options().map(|options| one.options(options));
    config.get_application_name().map(|name| one.application_name(name));
    config.get_connect_timeout().map(|limit| one.connect_timeout(*limit));
    config.get_tcp_user_timeout().map(|limit| one.tcp_user_timeout(*limit));
    one.keepalives(config.get_keepalives());
    one.keepalives_idle(config.get_keepalives_idle());
    config.get_keepalives_interval().map(|interval| one.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| one.keepalives_retries(retries));
    one.ssl_mode(config.get_ssl_mode());
    one.ssl_negotiation(config.get_ssl_negotiation());
    one.channel_binding(config.get_channel_binding());
    one.target_session_attrs(config.get_target_session_attrs());
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_several_hosts_is_one_for_each_and_else_the_same() {
        let parameters = "user=u password=p dbname=d options='-c x=y' application_name=a sslmode=require \
                          sslnegotiation=direct channel_binding=require connect_timeout=7 \
                          tcp_user_timeout=8 keepalives=0 keepalives_idle=9 keepalives_interval=10 \
                          keepalives_retries=11 target_session_attrs=read-write";
        let of = |hosts: &str| format!("{hosts} {parameters}").parse::<Config>().expect("valid");
        let split = split(of("host=one,two hostaddr=10.0.0.1,10.0.0.2 port=1,2"));
        let expected =
            [of("host=one hostaddr=10.0.0.1 port=1"), of("host=two hostaddr=10.0.0.2 port=2")];
        assert_eq!(split, expected);
    }
}

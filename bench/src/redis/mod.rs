//! The Redis provider, over a server of its own.

mod bare;
mod one_key;
mod pairs;
pub(crate) mod process;
mod server;
mod several;

use std::rc::Rc;

use clap::Args;

use tokio::runtime::Handle;

use self::server::Server;
use crate::server::hand_off::{self, Asked};
use crate::server::placement::Placement;
use crate::server::processes::Processes;
use crate::server::release_all;
use crate::server::report::Report;
use crate::{Measured, Result, rounds};

/// For how long the rates are measured where nobody says.
const SECONDS: u64 = 60;

/// How many processes contend at most.
const PROCESSES: usize = 8;

const HAND_OFF: Asked = Asked { ratio: 0.92, calls: ("script calls", 2.05) };

/// What `release_all` of few among many should take the server at most, in milliseconds.
const RELEASE_ALL: f64 = 0.5;

#[derive(Debug, Args)]
pub(crate) struct Redis {
    #[command(flatten)]
    measured: Measured,
}

impl Redis {
    pub(crate) fn run(&self) -> Result {
        let placement = Placement::of_the_server()?;
        let runtime = crate::runtime()?;
        let server = Rc::new(runtime.block_on(Server::start())?);
        placement.go_on_as_clients()?;
        let module = runtime.block_on(server.module())?;
        let alone = crate::one_thread()?;
        let pairs_alone = alone.block_on(async {
            let group = pairs::group(&server, &server.module().await?, 1).await?;
            Result::Ok(group.within(&alone, pairs::ONE_THREAD))
        })?;
        let release_all =
            runtime.block_on(release_all::measure(&module, RELEASE_ALL, async || {
                Ok(server.scripts().await?.microseconds as f64 / 1e3)
            }))?;

        let processes = Rc::new(Processes::start(PROCESSES, "redis-process", &server.url())?);
        let mut groups = runtime.block_on(async {
            Result::Ok(vec![
                pairs::group(&server, &module, 1).await?,
                pairs_alone,
                pairs::group(&server, &module, 64).await?,
                several::group(&module),
                one_key::group(&server, &module, 50).await?,
            ])
        })?;
        let counting = Rc::clone(&server);
        let scripts = move |runtime: &Handle| {
            runtime.block_on(counting.scripts()).expect("the server answers").calls
        };
        let mut figures = Vec::new();
        for (group, beside) in [
            one_key::two_processes(&processes, 50),
            hand_off::group(&processes, 2, HAND_OFF, scripts.clone()),
            hand_off::group(&processes, PROCESSES, HAND_OFF, scripts),
        ] {
            groups.push(group);
            figures.extend(beside);
        }
        rounds::run(runtime.handle(), &mut groups, self.measured.length_or(SECONDS));

        let report = Report { placement, groups, figures, release_all };
        self.measured.print(&report, Report::to_json);
        runtime.block_on(module.close(std::time::Duration::from_secs(1)))?;
        Ok(())
    }
}

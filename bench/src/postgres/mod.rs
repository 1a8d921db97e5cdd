//! The PostgreSQL provider, over a server of its own.

mod bare;
mod notices;
mod pairs;
pub(crate) mod process;
mod server;

use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Handle;

use self::notices::Notices;
use self::server::Server;
use crate::server::figure::{Bound, Figure};
use crate::server::hand_off::{self, Asked};
use crate::server::placement::Placement;
use crate::server::processes::Processes;
use crate::server::release_all;
use crate::server::report::Report;
use crate::{Measured, Result, rounds};

/// For how long the rates are measured where nobody says.
const SECONDS: u64 = 90;

/// How many processes contend at most.
const PROCESSES: usize = 8;

const HAND_OFF: Asked = Asked { ratio: 0.85, calls: ("statements", 3.05) };

/// What `release_all` of few among many should take the server at most, in milliseconds.
const RELEASE_ALL: f64 = 1.0;

/// How many connections a process may have beside its pool.
const BESIDE: f64 = 3.0;

#[derive(Debug, Args)]
pub(crate) struct Postgres {
    #[command(flatten)]
    measured: Measured,
    /// For how many microseconds each commit waits besides, as on a slower disk.
    #[arg(long, default_value_t = 0)]
    commit_delay: u32,
}

impl Postgres {
    pub(crate) fn run(&self) -> Result {
        let placement = Placement::of_the_server()?;
        let runtime = crate::runtime()?;
        let server = Rc::new(runtime.block_on(Server::start(self.commit_delay))?);
        placement.go_on_as_clients()?;
        let module = runtime.block_on(server.module())?;
        let notices = runtime.block_on(Notices::of(&module, &server))?;
        let alone = crate::one_thread()?;
        let pairs_alone = alone.block_on(async {
            let group = pairs::group(&server, &server.module().await?, 1).await?;
            Result::Ok(group.within(&alone, pairs::ONE_THREAD))
        })?;
        let release_all =
            runtime.block_on(release_all::measure(&module, RELEASE_ALL, async || {
                let freeing = server.busy_with("locking_release_all").await?;
                Ok(freeing + server.busy_with("locking_newest").await?)
            }))?;
        // What is left of those is cleared now, and not while rates are measured.
        runtime.block_on(server.execute("VACUUM (ANALYZE)"))?;

        let processes = Rc::new(Processes::start(PROCESSES, "postgres-process", &server.url())?);
        let mut groups = runtime.block_on(async {
            Result::Ok(vec![
                pairs::group(&server, &module, 1).await?,
                pairs_alone,
                pairs::group(&server, &module, 64).await?,
            ])
        })?;
        let counting = Rc::clone(&server);
        let statements = move |runtime: &Handle| {
            runtime.block_on(counting.statements()).expect("the server answers")
        };
        let mut figures = Vec::new();
        for (group, beside) in [
            hand_off::group(&processes, 2, HAND_OFF, statements.clone()),
            hand_off::group(&processes, PROCESSES, HAND_OFF, statements),
        ] {
            groups.push(group);
            figures.extend(beside);
        }
        rounds::run(runtime.handle(), &mut groups, self.measured.length_or(SECONDS));

        let modules = PROCESSES + 2;
        let beside = runtime.block_on(server.beside_the_pools(modules))? / modules as f64;
        let title = "connections of a process beside its pool";
        figures.push(Figure::of(title, Bound::AtMost(BESIDE), beside));
        figures.push(notices.figure());

        let report = Report { placement, groups, figures, release_all };
        self.measured.print(&report, Report::to_json);
        runtime.block_on(module.close(Duration::from_secs(1)))?;
        Ok(())
    }
}

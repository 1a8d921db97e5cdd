//! The Redis provider, over a server of its own.

mod bare;
mod figure;
mod hand_off;
mod one_key;
mod pairs;
pub(crate) mod process;
mod processes;
mod release_all;
mod report;
mod server;
mod several;

use std::rc::Rc;

use clap::Args;

use self::processes::Processes;
use self::report::Report;
use self::server::Server;
use crate::{Measured, Result, rounds};

/// For how long the rates are measured where nobody says.
const SECONDS: u64 = 60;

/// How many processes contend at most.
const PROCESSES: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Redis {
    #[command(flatten)]
    measured: Measured,
}

impl Redis {
    pub(crate) fn run(&self) -> Result {
        let runtime = crate::runtime()?;
        let server = Rc::new(runtime.block_on(Server::start())?);
        let module = runtime.block_on(server.module())?;
        let release_all = runtime.block_on(release_all::measure(&server, &module))?;

        let processes = Rc::new(Processes::start(PROCESSES, &server)?);
        let mut groups = runtime.block_on(async {
            Result::Ok(vec![
                pairs::group(&server, &module, 1).await?,
                pairs::group(&server, &module, 64).await?,
                several::group(&module),
                one_key::group(&server, &module, 50).await?,
            ])
        })?;
        let mut figures = Vec::new();
        for (group, beside) in [
            one_key::two_processes(&processes, 50),
            hand_off::group(&processes, &server, 2),
            hand_off::group(&processes, &server, PROCESSES),
        ] {
            groups.push(group);
            figures.extend(beside);
        }
        rounds::run(&runtime, &mut groups, self.measured.length_or(SECONDS));

        let report = Report { groups, figures, release_all };
        self.measured.print(&report, Report::to_json);
        runtime.block_on(module.close(std::time::Duration::from_secs(1)))?;
        Ok(())
    }
}

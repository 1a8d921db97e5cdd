use std::sync::Arc;
use std::time::{Duration, Instant};

use locking_core::{Capabilities, Capability};

use crate::case::{CASES, Case};
use crate::fixture::{Fixture, Scale};
use crate::harness::Harness;
use crate::panics;
use crate::report::{CaseReport, Disturbance, Outcome, Report};
use crate::standstill;
use crate::support::violation_in;
use crate::surroundings::Surroundings;

/// How often a case is run while the machine doesn't let it.
const ATTEMPTS: usize = 3;

/// Runs every case, one after another, and reports. Cases that use processes are ignored: only in
/// programs of [`main`](crate::main) there are some.
///
/// # Panics
///
/// If the harness can't connect to its store.
pub async fn run(harness: Arc<dyn Harness>, claims: Capabilities, scale: Scale) -> Report {
    run_cases(CASES, &Surroundings { harness, claims, scale, processes: false }).await
}

/// The same for some of the cases.
pub(crate) async fn run_cases(
    chosen: impl IntoIterator<Item = &'static Case>,
    surroundings: &Surroundings,
) -> Report {
    let (harness, claims) = (&surroundings.harness, surroundings.claims);
    let provider = harness.connect("report").await.id().to_string();
    let (mut cases, mut ran) = (Vec::with_capacity(CASES.len()), Vec::new());
    for case in chosen {
        let report = run_in(case, surroundings.clone()).await;
        if report.outcome.is_a_run() {
            ran.extend(case.needs);
        }
        cases.push(report);
    }
    Report {
        provider,
        claims: claims.iter().map(|claim| claim.to_string()).collect(),
        untested_claims: untested(claims, &ran).map(|claim| claim.to_string()).collect(),
        cases,
    }
}

/// The claims of which no case ran; `ran`: what those that did need.
pub(crate) fn untested(
    claims: Capabilities,
    ran: &[Capability],
) -> impl Iterator<Item = Capability> {
    claims.iter().filter(|claim| !ran.contains(claim))
}

/// Runs one case in a runtime of its own, so that it leaves nothing running behind. Cases that use
/// processes are ignored, as in [`run`]: only in programs of [`main`](crate::main) there are some.
///
/// # Panics
///
/// Never: what panics in a case is its failure.
pub async fn run_case(
    case: &'static Case,
    harness: Arc<dyn Harness>,
    claims: Capabilities,
    scale: Scale,
) -> CaseReport {
    run_in(case, Surroundings { harness, claims, scale, processes: false }).await
}

async fn run_in(case: &'static Case, surroundings: Surroundings) -> CaseReport {
    let began = Instant::now();
    let (outcome, disturbances) = match case.lacks(surroundings.claims) {
        Some(lacking) => {
            (Outcome::Ignored(format!("needs `{lacking}`, which is not claimed")), Vec::new())
        }
        None => {
            let run = move || run_to_end(case, surroundings);
            let run = tokio::task::spawn_blocking(run).await;
            run.unwrap_or_else(|panic| (Outcome::Failed(panic.to_string()), Vec::new()))
        }
    };
    CaseReport { name: case.name, lines: case.lines, outcome, disturbances, took: began.elapsed() }
}

/// Runs one case on a runtime of its own, on the calling thread. One that failed while the machine stood
/// still is run again, but for what no standstill excuses.
pub(crate) fn run_to_end(
    case: &'static Case,
    surroundings: Surroundings,
) -> (Outcome, Vec<Disturbance>) {
    standstill::watch();
    let mut disturbances = Vec::new();
    loop {
        let began = Instant::now();
        let (outcome, panics) = attempt(case, surroundings.clone());
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(Failure { message, may_be_late }) => {
                let standstill = standstill::longest_since(began).filter(|_| may_be_late);
                if let Some(standstill) = standstill
                    && disturbances.len() + 1 < ATTEMPTS
                {
                    disturbances.push(Disturbance { standstill, message });
                    standstill::wait_for_calm();
                    continue;
                }
                Outcome::Failed(message)
            }
        };
        panics.iter().for_each(|panic| eprintln!("{panic}"));
        return (outcome, disturbances);
    }
}

/// Why an attempt at a case failed.
struct Failure {
    message: String,
    /// Whether it could be that the machine was too late, rather than the provider wrong.
    may_be_late: bool,
}

impl Failure {
    fn certain(message: String) -> Self {
        Self { message, may_be_late: false }
    }
}

/// Answers with the texts of its panics, too, unless they were printed at once.
fn attempt(
    case: &'static Case,
    surroundings: Surroundings,
) -> (Result<Outcome, Failure>, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(case.name)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return (Err(Failure::certain(format!("no runtime: {error}"))), Vec::new());
        }
    };
    let id = runtime.handle().id();
    panics::begin(id);
    let limit = match surroundings.scale {
        Scale::Hundredth => Duration::from_secs(60),
        Scale::Full => Duration::from_secs(1800),
    };
    let outcome = runtime.block_on(async move {
        // A task of its own: a panic ends there.
        let mut running = tokio::spawn(async move {
            match Fixture::new(surroundings, case.uses).await {
                Ok(fixture) => case.run(fixture).await,
                Err(lacking) => return Outcome::Ignored(lacking.lacking().to_owned()),
            }
            Outcome::Passed
        });
        match tokio::time::timeout(limit, &mut running).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(end)) => Err(failure(end)),
            Err(_) => {
                running.abort();
                Err(Failure::certain(format!("not finished after {limit:?}")))
            }
        }
    });
    let violation = violation_in(id);
    runtime.shutdown_background();
    let panics = panics::end(id);
    let outcome = violation.map_or(outcome, |violation| Err(Failure::certain(violation)));
    (outcome, panics)
}

fn failure(end: tokio::task::JoinError) -> Failure {
    let Ok(panic) = end.try_into_panic() else { return Failure::certain("cancelled".to_owned()) };
    let message = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or("panicked".to_owned(), |t| (*t).to_owned()),
    };
    Failure { message, may_be_late: true }
}

use std::sync::Arc;
use std::time::{Duration, Instant};

use locking_core::{Capabilities, Capability};

use crate::case::{CASES, Case};
use crate::fixture::{Fixture, Scale};
use crate::harness::Harness;
use crate::report::{CaseReport, Outcome, Report};

/// Runs every case, one after another, and reports.
///
/// # Panics
///
/// If the harness can't connect to its store.
pub async fn run(harness: Arc<dyn Harness>, claims: Capabilities, scale: Scale) -> Report {
    run_cases(CASES, harness, claims, scale).await
}

/// The same for some of the cases.
pub(crate) async fn run_cases(
    chosen: impl IntoIterator<Item = &'static Case>,
    harness: Arc<dyn Harness>,
    claims: Capabilities,
    scale: Scale,
) -> Report {
    let provider = harness.connect("report").await.id().to_string();
    let mut cases = Vec::with_capacity(CASES.len());
    for case in chosen {
        cases.push(run_case(case, Arc::clone(&harness), claims, scale).await);
    }
    Report {
        provider,
        claims: claims.iter().map(|claim| claim.to_string()).collect(),
        untested_claims: untested(claims).map(|claim| claim.to_string()).collect(),
        cases,
    }
}

/// The claims that no case tests.
pub(crate) fn untested(claims: Capabilities) -> impl Iterator<Item = Capability> {
    claims.iter().filter(|claim| !CASES.iter().any(|case| case.needs.contains(claim)))
}

/// Runs one case in a runtime of its own, so that it leaves nothing running behind.
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
    let began = Instant::now();
    let outcome = match case.lacks(claims) {
        Some(lacking) => Outcome::Ignored(format!("needs `{lacking}`, which is not claimed")),
        None => {
            let run = move || run_to_end(case, harness, claims, scale);
            let run = tokio::task::spawn_blocking(run).await;
            run.unwrap_or_else(|panic| Outcome::Failed(panic.to_string()))
        }
    };
    CaseReport { name: case.name, lines: case.lines, outcome, took: began.elapsed() }
}

/// Runs one case on a runtime of its own, on the calling thread.
pub(crate) fn run_to_end(
    case: &'static Case,
    harness: Arc<dyn Harness>,
    claims: Capabilities,
    scale: Scale,
) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::Failed(format!("no runtime: {error}")),
    };
    let limit = match scale {
        Scale::Hundredth => Duration::from_secs(60),
        Scale::Full => Duration::from_secs(1800),
    };
    let outcome = runtime.block_on(async move {
        // A task of its own: a panic ends there.
        let mut running = tokio::spawn(async move {
            case.run(Fixture::new(harness, claims, scale).await).await;
        });
        match tokio::time::timeout(limit, &mut running).await {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(end)) => Outcome::Failed(message(end)),
            Err(_) => {
                running.abort();
                Outcome::Failed(format!("not finished after {limit:?}"))
            }
        }
    });
    runtime.shutdown_background();
    outcome
}

fn message(end: tokio::task::JoinError) -> String {
    let Ok(panic) = end.try_into_panic() else { return "cancelled".to_owned() };
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or("panicked".to_owned(), |t| (*t).to_owned()),
    }
}

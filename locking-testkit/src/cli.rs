use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use locking_core::{Capabilities, Capability};
use tokio::runtime::Runtime;

use crate::case::CASES;
use crate::fixture::Scale;
use crate::harness::Harness;
use crate::panics;
use crate::process;
use crate::report::Outcome;
use crate::runner;
use crate::surroundings::Surroundings;

/// The `main` of a provider's contract test: runs the suite against what `start` gives, with the
/// capabilities that the provider `claims`.
///
/// `start` is called at the first case that runs, not when the cases are listed; what it starts
/// lives until the process is about to end, and is dropped then. It is called in client processes too,
/// which the suite starts for cases about processes: this program again, in the environment that
/// [`Harness::child_environment`] gives.
///
/// # Panics
///
/// If no runtime can be started.
pub fn main<H, S>(claims: Capabilities, start: impl FnOnce() -> S + Send + 'static) -> ExitCode
where
    H: Harness,
    S: Future<Output = H> + Send + 'static,
{
    // Most cases wait most of the time.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    run(claims, cores * 2, start)
}

/// The same, one case after the other, unless the arguments say otherwise: for a store that is so slow
/// while many are at it that time limits would be measured rather than promises.
///
/// # Panics
///
/// If no runtime can be started.
pub fn main_in_turn<H, S>(
    claims: Capabilities,
    start: impl FnOnce() -> S + Send + 'static,
) -> ExitCode
where
    H: Harness,
    S: Future<Output = H> + Send + 'static,
{
    run(claims, 1, start)
}

fn run<H, S>(
    claims: Capabilities,
    at_once: usize,
    start: impl FnOnce() -> S + Send + 'static,
) -> ExitCode
where
    H: Harness,
    S: Future<Output = H> + Send + 'static,
{
    // Started by a suite, as a client that can be killed.
    if let Some(space) = process::asked_for() {
        return process::serve(&space, start);
    }
    let (own, rest) = match OwnArguments::split(std::env::args()) {
        Ok(arguments) => arguments,
        Err(mistake) => {
            eprintln!("{mistake}");
            return ExitCode::from(2);
        }
    };
    if rest.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{OWN_HELP}");
    }
    panics::keep_those_of_cases();
    let mut arguments = Arguments::from_iter(rest);
    arguments.test_threads.get_or_insert(at_once);
    let backend = Arc::new(Backend::new(start));
    match own.report {
        Some(form) => report(&backend, claims, &own, form, &arguments),
        None => test(&backend, claims, &own, &arguments),
    }
}

fn test(
    backend: &Arc<Backend>,
    claims: Capabilities,
    own: &OwnArguments,
    arguments: &Arguments,
) -> ExitCode {
    let scale = own.scale;
    let ran: Arc<Mutex<Vec<Capability>>> = Arc::default();
    let trials = CASES.iter().map(|case| {
        let (backend, ran) = (Arc::clone(backend), Arc::clone(&ran));
        Trial::ignorable_test(case.name, move || {
            if let Some(lacking) = case.lacks(claims) {
                return Ok(Completion::ignored_with(format!("`{lacking}` is not claimed")));
            }
            let (outcome, disturbances) =
                runner::run_to_end(case, backend.surroundings(claims, scale));
            for disturbance in disturbances {
                eprintln!("{}: {disturbance}", case.name);
            }
            if outcome.is_a_run() {
                ran.lock().unwrap_or_else(PoisonError::into_inner).extend(case.needs);
            }
            match outcome {
                Outcome::Failed(message) => Err(Failed::from(message)),
                Outcome::Ignored(reason) => Ok(Completion::ignored_with(reason)),
                Outcome::Passed => Ok(Completion::Completed),
            }
        })
    });
    let conclusion = libtest_mimic::run(arguments, trials.collect());
    // Of some cases alone, or of a list of them, nothing follows.
    if arguments.filter.is_some() || !arguments.skip.is_empty() || arguments.list {
        return conclusion.exit_code();
    }
    let ran = ran.lock().unwrap_or_else(PoisonError::into_inner);
    let untested: Vec<Capability> = runner::untested(claims, &ran).collect();
    for claim in &untested {
        println!("`{claim}` is claimed, and no case of it ran");
    }
    if own.every_claim && !untested.is_empty() {
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn report(
    backend: &Arc<Backend>,
    claims: Capabilities,
    own: &OwnArguments,
    form: Form,
    arguments: &Arguments,
) -> ExitCode {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let cases = CASES.iter().filter(|case| case.name.contains(filter));
    let surroundings = backend.surroundings(claims, own.scale);
    let report = backend.runtime.block_on(runner::run_cases(cases, &surroundings));
    match form {
        Form::Table => println!("{report}"),
        Form::Json => println!("{}", report.to_json()),
    }
    let takes_on_trust = filter.is_empty() && !report.untested_claims.is_empty();
    let fails = !report.is_conformant() || (own.every_claim && takes_on_trust);
    if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

const OWN_HELP: &str = "\
The contract suite's own options:
      --full                 heavy cases at full scale, else a hundredth
      --every-claim          a claim of which no case ran is a failure, unless only some cases were asked for
      --report table|json    one report instead of test results; takes a filter too
";

/// The arguments that a Rust test doesn't have.
struct OwnArguments {
    scale: Scale,
    /// Whether nothing is to be taken on trust.
    every_claim: bool,
    report: Option<Form>,
}

#[derive(Clone, Copy)]
enum Form {
    Table,
    Json,
}

impl OwnArguments {
    fn split(all: impl Iterator<Item = String>) -> Result<(Self, Vec<String>), String> {
        let mut own = Self { scale: Scale::Hundredth, every_claim: false, report: None };
        let mut rest = Vec::new();
        let mut all = all.peekable();
        while let Some(argument) = all.next() {
            match argument.as_str() {
                "--full" => own.scale = Scale::Full,
                "--every-claim" => own.every_claim = true,
                "--report" => own.report = Some(Form::parse(all.next().as_deref())?),
                "--report=table" => own.report = Some(Form::Table),
                "--report=json" => own.report = Some(Form::Json),
                _ => rest.push(argument),
            }
        }
        Ok((own, rest))
    }
}

impl Form {
    fn parse(text: Option<&str>) -> Result<Self, String> {
        match text {
            Some("table") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some(other) => Err(format!("--report takes `table` or `json`, not `{other}`")),
            None => Err("--report takes `table` or `json`".to_owned()),
        }
    }
}

/// The harness, started when it is first asked for, and the runtime on which it lives.
struct Backend {
    runtime: Runtime,
    start: std::sync::Mutex<Option<Start>>,
    harness: OnceLock<Arc<dyn Harness>>,
}

type Start = Box<dyn FnOnce(&Runtime) -> Arc<dyn Harness> + Send>;

impl Backend {
    fn new<H, S>(start: impl FnOnce() -> S + Send + 'static) -> Self
    where
        H: Harness,
        S: Future<Output = H> + Send + 'static,
    {
        let start: Start = Box::new(move |runtime| Arc::new(runtime.block_on(start())));
        Self {
            runtime: Runtime::new().expect("a runtime for the harness"),
            start: std::sync::Mutex::new(Some(start)),
            harness: OnceLock::new(),
        }
    }

    fn surroundings(&self, claims: Capabilities, scale: Scale) -> Surroundings {
        // Signals reach processes on Unix alone.
        Surroundings { harness: self.harness(), claims, scale, processes: cfg!(unix) }
    }

    fn harness(&self) -> Arc<dyn Harness> {
        let harness = self.harness.get_or_init(|| {
            let start = self
                .start
                .lock()
                .expect("a harness that panicked at its start is not tried again")
                .take();
            start.expect("a harness that panicked at its start is not tried again")(&self.runtime)
        });
        Arc::clone(harness)
    }
}

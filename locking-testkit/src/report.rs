use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What a run of the suite found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The provider's id.
    pub provider: String,
    /// The capabilities that it claims.
    pub claims: Vec<String>,
    /// Claims of which no case ran: they are taken on trust.
    pub untested_claims: Vec<String>,
    /// One entry per case, in the order of the contract.
    pub cases: Vec<CaseReport>,
}

/// What one case found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CaseReport {
    /// The case.
    pub name: &'static str,
    /// The lines of the contract that it tests.
    pub lines: &'static [u8],
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Attempts that came to nothing before that one.
    pub disturbances: Vec<Disturbance>,
    /// How long it took, with those.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "message", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// The provider keeps the claim.
    Passed,
    /// It doesn't: the message says what was seen.
    Failed(String),
    /// The case needs a capability that the provider doesn't claim, or a facility that the run doesn't have.
    Ignored(String),
}

/// An attempt at a case that failed while the machine stood still: nothing was learnt, and the case was run
/// again, up to twice. What no standstill excuses, such as two clients that believe in a key at one moment,
/// is a failure at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Disturbance {
    /// The longest time for which a core ran nothing of what it was to run; 50 ms at least.
    #[serde(rename = "standstill_seconds", serialize_with = "seconds")]
    pub standstill: Duration,
    /// What was seen.
    pub message: String,
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { standstill, message } = self;
        write!(f, "run again, the machine stood still for {standstill:.0?}: {message}")
    }
}

impl Outcome {
    /// Whether the case ran, however it ended.
    pub(crate) fn is_a_run(&self) -> bool {
        matches!(self, Self::Passed | Self::Failed(_))
    }
}

impl Report {
    /// Whether no case failed. [`untested_claims`](Self::untested_claims) had none that could: where nothing is
    /// to be taken on trust, they have to be empty, too.
    #[must_use]
    pub fn is_conformant(&self) -> bool {
        self.count(|outcome| matches!(outcome, Outcome::Failed(_))) == 0
    }

    /// The report as JSON.
    ///
    /// # Panics
    ///
    /// Never: everything in a report can be written as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }

    fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.cases.iter().filter(|case| wanted(&case.outcome)).count()
    }
}

/// The report as a table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "provider: {}", self.provider)?;
        writeln!(f, "claims: {}", self.claims.join(", "))?;
        if !self.untested_claims.is_empty() {
            writeln!(f, "claims of which no case ran: {}", self.untested_claims.join(", "))?;
        }
        for case in &self.cases {
            let lines = case.lines.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            let (mark, message) = match &case.outcome {
                Outcome::Passed => ("passed ", ""),
                Outcome::Failed(message) => ("FAILED ", message.as_str()),
                Outcome::Ignored(reason) => ("ignored", reason.as_str()),
            };
            let seconds = case.took.as_secs_f64();
            writeln!(f, "{mark}  {seconds:>7.2} s  {:<78} [{lines}] {message}", case.name)?;
            for disturbance in &case.disturbances {
                writeln!(f, "         {disturbance}")?;
            }
        }
        let passed = self.count(|outcome| *outcome == Outcome::Passed);
        let failed = self.count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let ignored = self.count(|outcome| matches!(outcome, Outcome::Ignored(_)));
        write!(f, "{passed} passed, {failed} failed, {ignored} ignored")
    }
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

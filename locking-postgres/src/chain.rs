use std::error::Error;
use std::{fmt, iter};

/// An error with its causes, in one line: ours leave out what their source says, and that is what whoever reads
/// a log looks for.
///
/// As text, because not every subscriber shows the sources of what is recorded as an error. What a cause says that
/// was said before it isn't repeated.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for error in iter::successors(Some(self.0), |&error| error.source()) {
            for line in error.to_string().lines().map(str::trim) {
                if said.contains(line) {
                    continue;
                }
                if !said.is_empty() {
                    said.push_str(": ");
                }
                said.push_str(line);
            }
        }
        f.write_str(&said)
    }
}

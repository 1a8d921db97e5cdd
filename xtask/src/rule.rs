use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::command::Result;
use crate::leash::Leash;

/// Removes a rule with the task.
const SCRIPT: &str = include_str!("rule.sh");

/// How the last line of a rule begins that was set here; the task's process follows.
const MARK: &str = "# set by `cargo xtask`, process ";

/// A file by which a system is told how to install packages. A system that has such a file already
/// keeps its own.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) path: &'static str,
    pub(crate) text: &'static str,
    pub(crate) mode: u32,
}

/// A rule that holds. Dropped, it leaves the system as it was.
#[derive(Debug)]
pub(crate) struct Set {
    _leash: Option<Leash>,
}

impl Rule {
    /// Lets it hold until what this answers is dropped, or the task is gone.
    pub(crate) fn set(&self) -> Result<Set> {
        let path = Path::new(self.path);
        if path.exists() {
            return Ok(Set { _leash: None });
        }
        let folders: Vec<_> = path.ancestors().skip(1).take_while(|path| !path.exists()).collect();
        // Before the file: whenever the task ends, it is removed.
        let leash = Leash::start(SCRIPT, [path].into_iter().chain(folders))?;
        self.write().map_err(|error| format!("{}: {error}", self.path))?;
        Ok(Set { _leash: Some(leash) })
    }

    fn write(&self) -> std::io::Result<()> {
        let path = Path::new(self.path);
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        fs::write(path, format!("{}{MARK}{}\n", self.text, std::process::id()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode))
    }

    /// Removes it where a task left it that is gone, and its leash too: as when the machine was switched off. Of
    /// this task's own none may hold.
    pub(crate) fn remove_left(&self) {
        if self.is_left() {
            // Whoever may not remove it installs nothing either.
            let _ = fs::remove_file(self.path);
        }
    }

    fn is_left(&self) -> bool {
        let text = fs::read_to_string(self.path).unwrap_or_default();
        let process = text.lines().find_map(|line| line.strip_prefix(MARK));
        // A number is given again: in a container, mostly the same one.
        let own = std::process::id().to_string();
        process.is_some_and(|process| process == own || !Path::new("/proc").join(process).exists())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_a_task_left_goes_and_any_other_stays() {
        let path = std::env::temp_dir().join(format!("xtask-rule-{}", std::process::id()));
        let path: &'static str = path.to_str().expect("text").to_owned().leak();
        let rule = Rule { path, text: "#!/bin/sh\nexit 101\n", mode: 0o755 };
        for (text, stays) in [
            ("#!/bin/sh\nexit 101\n".to_owned(), true),
            (format!("exit 101\n{MARK}{}\n", std::os::unix::process::parent_id()), true),
            (format!("exit 101\n{MARK}{}\n", std::process::id()), false),
            (format!("exit 101\n{MARK}{}\n", u32::MAX), false),
        ] {
            fs::write(path, &text).expect("written");
            rule.remove_left();
            assert_eq!(Path::new(path).exists(), stays, "{text}");
        }
        let set = rule.set().expect("set");
        assert!(fs::read_to_string(path).expect("written").contains(MARK));
        drop(set);
        assert!(!Path::new(path).exists());
    }
}

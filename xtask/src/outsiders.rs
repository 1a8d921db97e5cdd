//! Crates outside of the workspace, which see what a stranger sees: the provider of one's own in
//! `examples/custom-provider`, and the one that the guide writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Result, cargo, root, target};
use crate::steps::Steps;

const MANIFEST: &str = "examples/custom-provider/Cargo.toml";
const GUIDE: &str = "docs/writing-a-provider.md";

/// What the guide says before each block that is a file of its crate; the file's path and [`END`] follow.
const FILE: &str = "<!-- file: ";
const END: &str = " -->\n";

/// The format of the custom provider.
pub(crate) fn format(steps: &mut Steps) -> Result {
    let mut format = cargo(&["fmt", "--manifest-path", MANIFEST, "--", "--check"]);
    steps.run("format, custom provider", &mut format)
}

/// Its lints.
pub(crate) fn lint(steps: &mut Steps) -> Result {
    let strictly = ["--all-targets", "--", "-D", "warnings"];
    custom_provider(steps, "lints, custom provider", custom("clippy").args(strictly))
}

/// The licenses, versions and sources of what it depends on, by the rules for all.
pub(crate) fn check_dependencies(steps: &mut Steps) -> Result {
    let mut deny = cargo(&["deny", "--manifest-path", MANIFEST, "--config"]);
    deny.arg(root().join("deny.toml")).args(["check", "licenses", "bans", "sources"]);
    steps.run("dependencies, custom provider", &mut deny)
}

/// The tests of both crates, each with its contract suite.
pub(crate) fn test(steps: &mut Steps) -> Result {
    if is_for_here(steps, "custom provider") {
        steps.test("custom provider", &mut custom("test"))?;
    }
    let mut test = cargo(&["test", "--manifest-path"]);
    let manifest = write_guides_crate()?;
    steps.test("the guide's provider", test.arg(&manifest))?;
    let mut example = cargo(&["run", "--example", "application", "--manifest-path"]);
    steps.run("the guide's application", example.arg(&manifest))
}

/// Its documentation.
pub(crate) fn document(steps: &mut Steps) -> Result {
    let mut documentation = custom("doc");
    documentation.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings");
    custom_provider(steps, "documentation, custom provider", &mut documentation)
}

/// A task of Cargo's on the custom provider, whose lock file has to fit.
fn custom(task: &str) -> Command {
    cargo(&[task, "--locked", "--manifest-path", MANIFEST])
}

/// A step that builds it.
fn custom_provider(steps: &mut Steps, name: &str, command: &mut Command) -> Result {
    if is_for_here(steps, name) { steps.run(name, command) } else { Ok(()) }
}

/// Whether it can be built here; else the step is left out.
fn is_for_here(steps: &mut Steps, name: &str) -> bool {
    if cfg!(not(target_os = "linux")) {
        steps.skip(name, "it is for Linux");
    }
    cfg!(target_os = "linux")
}

/// The crate that somebody has who copies what the guide says. Answers its manifest.
fn write_guides_crate() -> Result<PathBuf> {
    let folder = target().join("guide");
    let guide = root().join(GUIDE);
    let guide = fs::read_to_string(&guide).map_err(|error| format!("{GUIDE}: {error}"))?;
    let mut files = 0;
    for block in guide.split(FILE).skip(1) {
        let (file, text) =
            block_of(block).ok_or_else(|| format!("{GUIDE}: a block without end"))?;
        // Until its version is published, the crate has what is here; and it is in no workspace.
        let text = if file == "Cargo.toml" { text.to_owned() + &here() } else { text.to_owned() };
        write(&folder.join(file), &text)?;
        files += 1;
    }
    if files != 4 {
        return Err(format!(
            "{GUIDE}: {files} files instead of a manifest, a library, a test and an example"
        ));
    }
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))
        .map_err(|error| format!("Cargo.lock: {error}"))?;
    Ok(folder.join("Cargo.toml"))
}

/// A file's path, and what is between the fences.
fn block_of(text: &str) -> Option<(&str, &str)> {
    let (file, rest) = text.split_once(END)?;
    let (_, rest) = rest.split_once('\n')?;
    let (block, _) = rest.split_once("```")?;
    Some((file, block))
}

fn here() -> String {
    let of = |member: &str| format!("{member} = {{ path = {:?} }}\n", root().join(member));
    let members = ["locking", "locking-core", "locking-testkit"].map(of).concat();
    format!("\n[workspace]\n\n[patch.crates-io]\n{members}")
}

fn write(file: &Path, text: &str) -> Result {
    let folder = file.parent().unwrap_or(file);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(file, text));
    written.map_err(|error| format!("{}: {error}", file.display()))
}

//! `resound lab` as its users run it, and as a library.

mod at_terminal;
mod commands;
mod defects;
mod endings;
mod library;
mod long;
mod tools;

use std::process::Command;
use std::sync::OnceLock;

use crate::child::run;
use crate::not_tested::not_tested;

/// Does this machine allow a lab? If not, the reason is reported.
pub(super) fn is_allowed(what: &str) -> bool {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let answer = ANSWER.get_or_init(|| match run(&["lab", "-q", "--", "true"], b"") {
        (Some(0), ..) => Ok(()),
        (_, _, stderr) if stderr.contains("refuses a lab") => Err(stderr.lines().next().unwrap_or_default().into()),
        (code, _, stderr) => panic!("{code:?}: {stderr}"),
    });
    if let Err(reason) = answer {
        not_tested(what, reason);
    }
    answer.is_ok()
}

/// Is this machine able to run a lab with a program that is not ours?
pub(super) fn has(tool: &str, what: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().expect("sh");
    if !found.status.success() {
        not_tested(what, &format!("{tool} is not installed"));
    }
    found.status.success() && is_allowed(what)
}

/// Runs a lab: exit code, stdout, stderr.
fn lab(args: &[&str]) -> (Option<i32>, String, String) {
    let (code, stdout, stderr) = run(&[&["lab"], args].concat(), b"");
    (code, String::from_utf8_lossy(&stdout).into(), stderr)
}

/// The program, as a word of a shell.
pub(super) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_resound")
}

//! What this machine cannot test is reported, past the capture of the test runner, and can be made
//! a failure.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// Reports once per reason that something could not be tested here. `RESOUND_REQUIRE_ALL` makes it
/// a failure.
///
/// The line goes to the process's own stderr: the runner hides what a passing test prints.
pub(crate) fn not_tested(what: &str, reason: &str) {
    static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    assert!(std::env::var_os("RESOUND_REQUIRE_ALL").is_none(), "not tested: {what}: {reason}");
    let line = format!("NOT TESTED on this machine: {what}: {reason}\n");
    if REPORTED.lock().unwrap_or_else(PoisonError::into_inner).insert(line.clone()) {
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

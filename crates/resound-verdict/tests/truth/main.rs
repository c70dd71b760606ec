//! The truth table: for each planted defect, the checks that must fail or warn, and no others.
//!
//! These rows need no privileges: the defects are those of a relay in this process. The rows of the
//! lab and of other programs are in the project's own suite.

mod planted;
mod table;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use planted::Planted;
use table::{ROWS, Row};

/// Rows at once: most of a row is waiting.
const AT_ONCE: usize = 6;

/// Runs all rows, and returns what differs.
fn differences(rows: &[Row], planted: impl Fn(&Row) -> Planted + Sync) -> String {
    let next = AtomicUsize::new(0);
    let differences = Mutex::new(vec![String::new(); rows.len()]);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = planted(row).verdict(row);
                    let wanted = row.wanted();
                    if found.judged != wanted {
                        let at = rows.iter().position(|other| std::ptr::eq(other, row)).unwrap_or_default();
                        let mut all = differences.lock().unwrap_or_else(PoisonError::into_inner);
                        let mut text = format!("{}\n  wanted {wanted:?}\n  found  {:?}\n", row.faults, found.judged);
                        for line in found.lines {
                            let _ = writeln!(text, "    {line}");
                        }
                        all[at] = text;
                    }
                }
            });
        }
    });
    differences.into_inner().unwrap_or_else(PoisonError::into_inner).concat()
}

#[test]
fn each_fault_of_a_relay_gets_its_verdict_and_no_other() {
    let differences = differences(ROWS, |row| Planted::relay(row.faults, "127.0.0.1"));
    assert!(differences.is_empty(), "{differences}");
}

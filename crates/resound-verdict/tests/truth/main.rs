//! The truth table: for each planted defect, the checks that must fail or warn, and no others.
//!
//! These rows need no privileges: the defects are those of a relay in this process. The rows of the
//! lab and of other programs are in the project's own suite.

mod planted;
mod row;
mod rows;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use planted::Planted;
use row::{Row, Way};

/// Rows at once: most of a row is waiting.
const AT_ONCE: usize = 16;
/// Of those rows whose checks take times.
const TIMED_AT_ONCE: usize = 2;

/// What differs in a row, with all that was found.
fn difference(row: &Row, way: Way) -> Option<String> {
    let wanted = row.wanted(way);
    let found = Planted::new(row.faults, way).verdict(row, &wanted);
    let is_as_wanted = found.judged.iter().filter(|found| !row.may_show(found)).eq(wanted.iter());
    let mut text = format!("{way:?} '{}' in {:.1} s\n", row.faults, found.seconds);
    if is_as_wanted {
        eprint!("{text}");
        return None;
    }
    let _ = writeln!(text, "  wanted {wanted:?}\n  found  {:?}", found.judged);
    for line in found.lines {
        let _ = writeln!(text, "    {line}");
    }
    eprint!("DIFFERS {text}");
    Some(text)
}

/// Runs rows, and returns what differs. `RESOUND_TRUTH` runs those alone that contain its words.
fn differences(rows: &[(Row, Way)]) -> String {
    let words = std::env::var("RESOUND_TRUTH").unwrap_or_default();
    let rows = rows.iter().filter(|(row, way)| format!("{way:?} {}", row.faults).contains(&words));
    let (timed, others): (Vec<_>, Vec<_>) = rows.partition(|(row, _)| row.is_timed);
    let differences = [run(&timed, TIMED_AT_ONCE), run(&others, AT_ONCE)].concat();
    match differences.len() {
        0 => String::new(),
        count => format!("{count} of {} rows\n{}", timed.len() + others.len(), differences.concat()),
    }
}

fn run(rows: &[&(Row, Way)], at_once: usize) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let differences = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some((row, way)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(text) = difference(row, *way) {
                        differences.lock().push(text);
                    }
                }
            });
        }
    });
    differences.into_inner()
}

#[test]
fn a_short_table_holds() {
    let rows: Vec<_> = rows::all().into_iter().filter(|row| row.is_short).map(|row| (row, Way::Ipv4)).collect();
    let differences = differences(&rows);
    assert!(differences.is_empty(), "{differences}");
}

#[test]
#[ignore = "takes minutes"]
fn the_whole_table_holds_over_ipv4_ipv6_and_tls() {
    let ways = [Way::Ipv4, Way::Ipv6, Way::Tls];
    let rows = ways.into_iter().flat_map(|way| rows::all().into_iter().map(move |row| (row, way)));
    let rows: Vec<_> = rows.filter(|(row, way)| *way != Way::Tls || !row.is_plain).collect();
    let differences = differences(&rows);
    assert!(differences.is_empty(), "{differences}");
}

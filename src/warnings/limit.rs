//! [`WarningLimit`]: how many lines of each kind are printed.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::units::count;

/// Lines of one kind that are printed in a second.
const MOST: u32 = 5;
const SECOND: Duration = Duration::from_secs(1);
/// The count of those that were left out follows after this time.
const REPORT: Duration = Duration::from_secs(10);

/// The lines of each kind, of which there are as many as places in the source.
pub(super) struct WarningLimit<K> {
    kinds: HashMap<K, KindLimit>,
    /// A thread waits to report what was left out.
    is_awaited: bool,
}

struct KindLimit {
    /// When the second began that is counted now.
    second: Instant,
    printed: u32,
    /// What was left out since the last report.
    left_out: Option<LeftOut>,
}

struct LeftOut {
    lines: u64,
    since: Instant,
    last: String,
}

impl<K> Default for WarningLimit<K> {
    fn default() -> Self {
        Self { kinds: HashMap::new(), is_awaited: false }
    }
}

impl LeftOut {
    /// The last of them shows which kind it is.
    fn text(&self, now: Instant) -> String {
        let seconds = now.saturating_duration_since(self.since).as_secs().max(1);
        // `resound: warning: ` stays in front.
        let start = self.last.match_indices(": ").nth(1).map_or(0, |(at, found)| at + found.len());
        let (start, what) = self.last.split_at(start);
        let what = what.lines().next().unwrap_or_default();
        format!("{start}… and {} more of this kind in the last {seconds} s, such as: {what}\n", count(self.lines))
    }
}

impl<K: Hash + Eq + Clone> WarningLimit<K> {
    /// Whether a line is printed now; otherwise it is counted.
    pub(super) fn admits(&mut self, kind: &K, line: &str, now: Instant) -> bool {
        let new = || KindLimit { second: now, printed: 0, left_out: None };
        let kind = self.kinds.entry(kind.clone()).or_insert_with(new);
        if now.saturating_duration_since(kind.second) >= SECOND {
            (kind.second, kind.printed) = (now, 0);
        }
        if kind.printed < MOST {
            kind.printed += 1;
            return true;
        }
        let left_out = kind.left_out.get_or_insert_with(|| LeftOut { lines: 0, since: now, last: String::new() });
        left_out.lines += 1;
        left_out.last = line.into();
        false
    }

    /// Whether a thread is needed now that waits for the time of a report.
    pub(super) fn begins_to_wait(&mut self) -> bool {
        !std::mem::replace(&mut self.is_awaited, true)
    }

    pub(super) fn waits_no_more(&mut self) {
        self.is_awaited = false;
    }

    /// When the next report is due.
    pub(super) fn next_report(&self) -> Option<Instant> {
        self.kinds.values().filter_map(|kind| Some(kind.left_out.as_ref()?.since + REPORT)).min()
    }

    /// The reports that are due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(K, String)> {
        self.take(now, |left_out| left_out.since + REPORT <= now)
    }

    /// All reports: there will be no later ones.
    pub(super) fn finish(&mut self, now: Instant) -> Vec<(K, String)> {
        self.take(now, |_| true)
    }

    fn take(&mut self, now: Instant, is_due: impl Fn(&LeftOut) -> bool) -> Vec<(K, String)> {
        let taken = self.kinds.iter_mut().filter_map(|(kind, limit)| {
            let left_out = limit.left_out.take_if(|left_out| is_due(left_out))?;
            Some((kind.clone(), left_out.text(now)))
        });
        taken.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_of_each_kind_are_printed_and_the_others_counted() {
        let (mut limit, start) = (WarningLimit::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let line = "resound: warning: it rains\n";
        let printed = (0..1_239).filter(|ms| limit.admits(&"rain", line, at(ms % 1000))).count();
        assert_eq!(printed, 5);
        assert!(limit.admits(&"snow", "resound: error: it snows\n", at(999)), "another kind");
        assert!(limit.begins_to_wait() && !limit.begins_to_wait(), "one thread");
        assert_eq!((limit.due(at(9_000)), limit.next_report()), (Vec::new(), Some(at(10_005))));
        // A later second has lines of its own, and what was left out is still to be reported.
        assert!(limit.admits(&"rain", line, at(9_500)));
        let want = "resound: warning: … and 1,234 more of this kind in the last 10 s, such as: it rains\n";
        assert_eq!(limit.due(at(10_005)), [("rain", want.to_string())]);
        assert_eq!((limit.due(at(60_000)), limit.next_report()), (Vec::new(), None));
    }

    #[test]
    fn the_end_reports_what_no_one_waits_for() {
        let (mut limit, now) = (WarningLimit::default(), Instant::now());
        let printed = (0..7).filter(|_| limit.admits(&1, "resound: warning: a\n  and why\n", now)).count();
        assert_eq!(printed, 5);
        let want = "resound: warning: … and 2 more of this kind in the last 1 s, such as: a\n";
        assert_eq!(limit.finish(now), [(1, want.to_string())]);
        assert!(limit.finish(now).is_empty());
    }
}

//! Random failures can break each try of a check, and then look like the defect that the check
//! looks for.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::check::{CheckId, integrity, spurious_reset};
use crate::path_run::is_unjudged;
use crate::place::PathEnd;
use crate::report::{CheckReport, CheckVerdict};
use crate::together::Together;

/// A check is repeated this often: where half of all connections break, all twelve tries break in
/// one of 4,000 runs.
const AGAIN: usize = 3;
/// In all, no longer than this: what is not confirmed by then is not judged.
const WITHIN: Duration = Duration::from_secs(40);

/// Judges the reports that were kept until now. `end` has the connections of the run.
pub(crate) async fn confirm(together: &Together<'_>, end: &PathEnd) {
    let (run, until) = (together.run, Instant::now() + WITHIN);
    let breaks = breaks_by_chance(together, end);
    loop {
        // It stays among those that are kept until it is decided: a run may be cut off.
        let Some(report) = run.kept.borrow().first().cloned() else { break };
        let decided = match breaks {
            true if is_unjudged(&report) => {
                timeout_at(until, judged_again(together, report.id)).await.ok().flatten().unwrap_or(report)
            }
            true if !timeout_at(until, is_confirmed(together, &report)).await.unwrap_or(false) => by_chance(report),
            // One moment can break all tries at once.
            false if report.verdict == CheckVerdict::Fail => {
                let again = timeout_at(until, together.once_more(report.id)).await.ok().flatten();
                beside_another_time(report, again)
            }
            _ => report,
        };
        run.kept.borrow_mut().remove(0);
        run.add(decided);
    }
}

/// Whether some connections have broken, and no rule fits them.
fn breaks_by_chance(together: &Together<'_>, end: &PathEnd) -> bool {
    let (run, damage) = (together.run, end.ledger.damage());
    let is_flaky = |report: CheckReport| report.verdict == CheckVerdict::Flaky;
    let resets = spurious_reset::with_others(&run.judged_lines(end), &run.checks.borrow());
    let changes = match run.transfers.borrow().clone() {
        Some([integrity, both_ways]) => is_flaky(integrity::with_others(integrity, &damage, &both_ways)),
        None => !damage.symptoms.is_empty(),
    };
    is_flaky(resets) || changes
}

async fn is_confirmed(together: &Together<'_>, report: &CheckReport) -> bool {
    // Chance makes a check flaky again and again.
    if report.verdict == CheckVerdict::Flaky {
        return false;
    }
    for _ in 0..AGAIN {
        let again = together.once_more(report.id).await;
        if again.is_none_or(|again| (again.verdict, again.direction) != (report.verdict, report.direction)) {
            return false;
        }
    }
    true
}

async fn judged_again(together: &Together<'_>, id: CheckId) -> Option<CheckReport> {
    for _ in 0..AGAIN {
        let again = together.once_more(id).await;
        if let Some(judged) = again.filter(|again| again.verdict != CheckVerdict::Unknown) {
            return Some(judged);
        }
    }
    None
}

/// A check that failed, and what it found when it was done once more.
fn beside_another_time(report: CheckReport, again: Option<CheckReport>) -> CheckReport {
    let has_passed =
        |again: &CheckReport| matches!(again.verdict, CheckVerdict::Pass | CheckVerdict::Warn | CheckVerdict::Flaky);
    let Some(again) = again.filter(has_passed) else { return report };
    let summary = format!("{}; another time: {}", report.summary, again.summary);
    // A failure at one moment only does not point to a kind of box.
    CheckReport { verdict: CheckVerdict::Flaky, summary, suspect: Vec::new(), ..report }
}

fn by_chance(report: CheckReport) -> CheckReport {
    let summary = format!("not judged, since other connections break as well: {}", report.summary);
    CheckReport { verdict: CheckVerdict::Unknown, summary, ..report }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_at_one_moment_only_is_flaky() {
        let report = |verdict, what| CheckReport::new(CheckId::HalfCloseIn, verdict, what).suspects("a proxy");
        let failed = || report(CheckVerdict::Fail, "closed");
        let beside = |again| beside_another_time(failed(), again);
        for again in [None, Some(failed())] {
            assert_eq!((beside(again.clone()).verdict, beside(again).summary), (CheckVerdict::Fail, "closed".into()));
        }
        let flaky = beside(Some(report(CheckVerdict::Pass, "goes on")));
        assert_eq!((flaky.verdict, flaky.suspect.len()), (CheckVerdict::Flaky, 0));
        assert_eq!(flaky.summary, "closed; another time: goes on");
        assert_eq!(beside(Some(report(CheckVerdict::Unknown, "?"))).verdict, CheckVerdict::Fail);
    }

    #[test]
    fn what_chance_explains_is_not_judged() {
        let report = by_chance(CheckReport::new(CheckId::CloseTail, CheckVerdict::Fail, "a RST arrived"));
        assert_eq!(report.verdict, CheckVerdict::Unknown);
        assert_eq!(report.summary, "not judged, since other connections break as well: a RST arrived");
    }
}

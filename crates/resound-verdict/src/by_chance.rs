//! Connections that break by chance can break each try of a check too, so that it looks like what
//! the check is about.

use crate::check::{integrity, spurious_reset};
use crate::path_run::is_unjudged;
use crate::place::PathEnd;
use crate::report::{CheckReport, CheckVerdict};
use crate::together::Together;

/// So often a check is done again: half of all connections break all of so many tries in one of
/// 4,000 runs.
const AGAIN: usize = 3;

/// Judges the reports that were kept until now. `end` has the connections of the run.
pub(crate) async fn confirm(together: &Together<'_>, end: &PathEnd) {
    let kept = together.run.kept.take();
    let breaks = breaks_by_chance(together, end);
    for report in kept {
        together.run.add(match breaks {
            true if is_unjudged(&report) => judged_again(together, report).await,
            true if !is_confirmed(together, &report).await => by_chance(report),
            _ => report,
        });
    }
}

/// Whether some connections have broken, and no rule fits them.
fn breaks_by_chance(together: &Together<'_>, end: &PathEnd) -> bool {
    let is_flaky = |report: CheckReport| report.verdict == CheckVerdict::Flaky;
    let resets = spurious_reset::with_others(&end.ledger.lines(), &together.run.checks.borrow());
    let changes = together
        .run
        .transfers
        .borrow()
        .clone()
        .map(|[integrity, both_ways]| integrity::with_others(integrity, &end.ledger.damage(), &both_ways));
    is_flaky(resets) || changes.is_some_and(is_flaky)
}

async fn is_confirmed(together: &Together<'_>, report: &CheckReport) -> bool {
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

async fn judged_again(together: &Together<'_>, report: CheckReport) -> CheckReport {
    for _ in 0..AGAIN {
        let again = together.once_more(report.id).await;
        if let Some(judged) = again.filter(|again| again.verdict != CheckVerdict::Unknown) {
            return judged;
        }
    }
    report
}

fn by_chance(report: CheckReport) -> CheckReport {
    let summary = format!("not judged, since other connections break as well: {}", report.summary);
    CheckReport { verdict: CheckVerdict::Unknown, summary, ..report }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckId;

    #[test]
    fn what_chance_explains_is_not_judged() {
        let report = by_chance(CheckReport::new(CheckId::CloseTail, CheckVerdict::Fail, "a RST arrived"));
        assert_eq!(report.verdict, CheckVerdict::Unknown);
        assert_eq!(report.summary, "not judged, since other connections break as well: a RST arrived");
    }
}

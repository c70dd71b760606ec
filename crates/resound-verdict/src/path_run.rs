//! [`PathRun`]: what a run has learnt so far.

use std::cell::{Cell, RefCell};
use std::pin::Pin;

use resound::Address;

use crate::check::CheckId;
use crate::ledger::{ConnectionRecord, ResetSeen};
use crate::machine::{MachineWatch, SHORT_OF_MEMORY};
use crate::path::PathSettings;
use crate::place::PathEnd;
use crate::report::{CheckReport, CheckVerdict, FarKind};
use crate::symptom;

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The checks of an address begin.
    Begins(&'a Address),
    /// A check that takes long, or opens many connections, begins: what it does.
    Announces(&'a str),
    /// It is known what answers there: its kind, and its name.
    Greets(FarKind, Option<&'a str>),
    /// A check is done.
    Checked(&'a CheckReport),
}

/// What a run has learnt so far, and where its reports go.
pub(crate) struct PathRun<'a> {
    pub(crate) settings: &'a PathSettings,
    pub(crate) machine: MachineWatch,
    pub(crate) tell: &'a (dyn Fn(Progress<'_>) + Sync),
    pub(crate) checks: RefCell<Vec<CheckReport>>,
    /// `tls-split-hello`, until it is known whether other connections break too.
    pub(crate) hello: RefCell<Option<CheckReport>>,
    /// `integrity` and `both-ways`, until all other transfers are over.
    pub(crate) transfers: RefCell<Option<[CheckReport; 2]>>,
    /// Reports that random loss may explain, until all connections of the run have ended.
    pub(crate) kept: RefCell<Vec<CheckReport>>,
    /// Both ends misread windows, so that transfers stall.
    pub(crate) explains_stalls: Cell<bool>,
    /// Large packets are lost, whether that is asked for or not.
    pub(crate) loses_large: Cell<bool>,
    /// The far end itself refuses connections, or lets them wait, where there are many.
    pub(crate) far_has_limits: Cell<bool>,
}

/// What many connections at once show.
const OF_MANY: [CheckId; 4] = [CheckId::Connect, CheckId::AcceptTruth, CheckId::Churn, CheckId::Cap];

/// Checks whose tries are few, and look like their own defect when chance breaks them.
const BREAKABLE: [CheckId; 6] = [
    CheckId::HalfCloseOut,
    CheckId::HalfCloseIn,
    CheckId::ResetOut,
    CheckId::ResetIn,
    CheckId::CloseTail,
    CheckId::SlowReader,
];
/// Checks that say nothing where each of their tries has broken.
const UNJUDGED: [CheckId; 2] = [CheckId::HiddenBuffer, CheckId::SplitTcp];
/// Checks that run beside others, and add their reports themselves.
pub(crate) type Checking<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Whether it takes the other connections of a run to say what a report means.
fn may_be_chance(report: &CheckReport) -> bool {
    let is_noticed = matches!(report.verdict, CheckVerdict::Fail | CheckVerdict::Flaky | CheckVerdict::Warn);
    (BREAKABLE.contains(&report.id) && is_noticed) || is_unjudged(report)
}

pub(crate) fn is_unjudged(report: &CheckReport) -> bool {
    UNJUDGED.contains(&report.id) && report.verdict == CheckVerdict::Unknown
}

impl<'a> PathRun<'a> {
    pub(crate) fn new(
        settings: &'a PathSettings,
        machine: MachineWatch,
        tell: &'a (dyn Fn(Progress<'_>) + Sync),
    ) -> Self {
        Self {
            settings,
            machine,
            tell,
            checks: RefCell::default(),
            hello: RefCell::default(),
            transfers: RefCell::default(),
            kept: RefCell::default(),
            explains_stalls: Cell::new(false),
            loses_large: Cell::new(false),
            far_has_limits: Cell::new(false),
        }
    }
}

/// A run that is dropped early still adds the reports that it was about to confirm.
impl Drop for PathRun<'_> {
    fn drop(&mut self) {
        self.kept.take().into_iter().for_each(|report| self.add(report));
    }
}

impl PathRun<'_> {
    pub(crate) fn wants(&self, id: CheckId) -> bool {
        self.settings.wants(id)
    }

    pub(crate) fn add(&self, mut report: CheckReport) {
        let is_lost = matches!(report.verdict, CheckVerdict::Fail | CheckVerdict::Flaky);
        if is_lost && matches!(report.id, CheckId::MtuOut | CheckId::MtuIn) {
            self.loses_large.set(true);
        }
        if let Some((verdict, why)) = self.excuse(&report) {
            report = CheckReport { verdict, summary: format!("{why}: {}", report.summary), ..report };
        }
        if self.wants(report.id) {
            (self.tell)(Progress::Checked(&report));
            self.checks.borrow_mut().push(report);
        }
    }

    /// The connections of the run that count: a far end that limits its connections resets some at
    /// their beginning by itself.
    pub(crate) fn judged_lines(&self, end: &PathEnd) -> Vec<ConnectionRecord> {
        let mut lines = end.ledger.lines();
        lines.retain(|line| !self.far_has_limits.get() || line.fate != ResetSeen::BeforeGreeting);
        lines
    }

    /// Adds a report, or keeps it until the connections of the run are over.
    pub(crate) fn add_or_keep(&self, report: CheckReport) {
        match may_be_chance(&report) {
            true => self.kept.borrow_mut().push(report),
            false => self.add(report),
        }
    }

    /// The report of a check that ran again because it never reached the far end beside others.
    /// What was lost counts with all connections of a run, where these are judged.
    pub(crate) fn again(&self, first: &CheckReport, again: CheckReport) -> CheckReport {
        let is_judged = self.wants(CheckId::SpuriousReset) || self.far_has_limits.get();
        let seen = format!("at first, beside other connections: {}", first.summary);
        match again.verdict {
            CheckVerdict::Pass if first.never_reached_far_end && !is_judged => {
                let summary = format!("{}; {seen}", again.summary);
                CheckReport { verdict: CheckVerdict::Flaky, summary, ..again }
            }
            _ if first.never_reached_far_end => again.saw(seen),
            _ => again,
        }
    }

    /// Another cause that explains why a check did not pass.
    fn excuse(&self, report: &CheckReport) -> Option<(CheckVerdict, &'static str)> {
        let has_failed = matches!(report.verdict, CheckVerdict::Fail | CheckVerdict::Flaky);
        let is_noticed = has_failed || report.verdict == CheckVerdict::Warn;
        if has_failed && self.machine.was_short_of_memory() {
            Some((CheckVerdict::Error, SHORT_OF_MEMORY))
        } else if has_failed && self.explains_stalls.get() && report.summary.contains(symptom::STALLED) {
            Some((CheckVerdict::Unknown, "not judged, since what 'options' found explains it"))
        } else if is_noticed && self.far_has_limits.get() && OF_MANY.contains(&report.id) {
            Some((CheckVerdict::Unknown, "not judged, since the far end itself limits its connections"))
        } else {
            None
        }
    }

    /// Does a check if it is asked for.
    pub(crate) fn check<'a>(&'a self, id: CheckId, check: impl Future<Output = CheckReport> + 'a) -> Checking<'a> {
        Box::pin(async move {
            if self.wants(id) && !self.has(id) {
                self.add(check.await);
            }
        })
    }

    /// A check cannot be made. One with a setting of its own was expected to be.
    pub(crate) fn skip(&self, id: CheckId, why: &str) {
        let verdict = if self.settings.asks_for(id) { CheckVerdict::Unknown } else { CheckVerdict::Skip };
        self.add(CheckReport::new(id, verdict, why));
    }

    pub(crate) fn has(&self, id: CheckId) -> bool {
        self.checks.borrow().iter().any(|check| check.id == id)
    }

    /// Reports every check without a result as unknown, with the reason.
    pub(crate) fn give_up(&self, why: &str) {
        for id in CheckId::ALL {
            // It is added last.
            if !self.has(id) && id != CheckId::TlsSplitHello {
                self.add(CheckReport::new(id, CheckVerdict::Unknown, why));
            }
        }
    }

    /// All that was not judged by now is skipped.
    pub(crate) fn skip_rest(&self, why: &str) {
        for id in CheckId::ALL {
            if self.wants(id) && !self.has(id) {
                self.skip(id, why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_breaks_waits_for_what_the_other_connections_show() {
        let report = |id, verdict, ok| CheckReport::new(id, verdict, "").tried(ok, 3);
        assert!(may_be_chance(&report(CheckId::HalfCloseIn, CheckVerdict::Fail, 0)));
        assert!(may_be_chance(&report(CheckId::ResetIn, CheckVerdict::Warn, 0)));
        // Each RST has arrived, and a tail before it has not.
        assert!(may_be_chance(&report(CheckId::ResetOut, CheckVerdict::Warn, 3)));
        assert!(!may_be_chance(&report(CheckId::CloseTail, CheckVerdict::Unknown, 1)));
        assert!(may_be_chance(&report(CheckId::SplitTcp, CheckVerdict::Unknown, 0)));
        assert!(!may_be_chance(&report(CheckId::MtuIn, CheckVerdict::Fail, 0)));
    }
}

//! The checks that wait: which of them a run has, and all of them at once.

use std::time::Duration;

use super::hold::{HoldPlan, try_hold};
use super::idle::IdlePlan;
use super::{CheckId, half_closed_idle, hidden, idle, slow_reader};
use crate::place::PathEnd;
use crate::report::{CheckReport, CheckVerdict};
use crate::settings::{PathSettings, Profile};
use crate::tries::{TRIES, all};

const MIB: u64 = 1024 * 1024;
/// How long a window stays closed.
const HOLD: Duration = Duration::from_secs(1);
/// The waits of a thorough run.
const THOROUGH: Duration = Duration::from_secs(60);
/// A run without waits takes seconds, and a minute or two on a path that stalls again and again.
const LONGEST: Duration = Duration::from_secs(180);
/// Time limit of the idle checks, in multiples of their longest wait: without and with the search
/// for the exact time.
const IDLE_WAITS: (u32, u32) = (3, 12);

/// What a run waits for.
pub(crate) struct WaitsPlan {
    hold: Option<HoldPlan>,
    idle: Option<IdlePlan>,
    half_closed: Option<Duration>,
    /// The far end's own idle timeout.
    far_timeout: Option<Duration>,
}

impl WaitsPlan {
    pub(crate) fn of(settings: &PathSettings, far_timeout: Option<Duration>) -> Self {
        let is_thorough = settings.profile == Profile::Thorough;
        let held = [CheckId::SlowReader, CheckId::HiddenBuffer, CheckId::SplitTcp];
        let hold = HoldPlan {
            least: HOLD,
            most: Duration::from_secs(if is_thorough { 20 } else { 5 }),
            most_hidden: if is_thorough { 48 * MIB } else { 16 * MIB },
            is_slow: false,
            rtt: Duration::ZERO,
        };
        let limited = |wait| idle::limited(wait, far_timeout);
        let idle =
            IdlePlan { longest: limited(settings.idle.unwrap_or(THOROUGH)), is_exact: settings.finds_idle_timeout };
        let half_closed = limited(settings.idle.unwrap_or(half_closed_idle::LONGEST));
        Self {
            hold: held.into_iter().any(|id| settings.wants(id)).then_some(hold),
            idle: settings.wants(CheckId::Idle).then_some(idle),
            half_closed: settings.wants(CheckId::HalfClosedIdle).then_some(half_closed),
            far_timeout,
        }
    }

    /// Says what takes long.
    pub(crate) fn announce(&self, announce: impl Fn(&str)) {
        if let Some(idle) = self.idle {
            announce(&idle::announced(idle.longest));
        }
        if let Some(longest) = self.half_closed {
            announce(&half_closed_idle::announced(longest));
        }
    }
}

/// When a run is cut off: a path on which a byte moves every few seconds never stalls.
pub(crate) fn cut_off(settings: &PathSettings) -> Duration {
    let plan = WaitsPlan::of(settings, None);
    let longest = plan.idle.map(|idle| idle.longest).max(plan.half_closed).unwrap_or_default();
    let times = if settings.finds_idle_timeout { IDLE_WAITS.1 } else { IDLE_WAITS.0 };
    LONGEST.saturating_add(longest.saturating_mul(times))
}

async fn run_hold(end: &PathEnd, plan: HoldPlan) -> Vec<CheckReport> {
    let pause = plan.least;
    let (mut held, back) =
        tokio::join!(all((0..TRIES).map(|_| try_hold(end, plan))), slow_reader::tries_in(end, pause, plan.rtt));
    if hidden::is_much(&held) {
        held.push(try_hold(end, HoldPlan { is_slow: true, ..plan }).await);
    }
    let (hidden, split) = (hidden::hidden_buffer(&held, &plan), hidden::split_tcp(&held));
    let changed: Vec<_> = held.iter().filter_map(|(held, _)| held.changed.clone()).collect();
    let slow = slow_reader::run(end, held, back, pause, plan.rtt).await.report();
    // Where the pause is not to blame, it is what happens to any transfer.
    if slow.verdict != CheckVerdict::Fail {
        changed.iter().for_each(|symptom| end.ledger.moved(Some(symptom)));
    }
    vec![slow, hidden, split]
}

/// What breaks in these checks is theirs, and no reset for no reason.
fn apart(end: &PathEnd) -> PathEnd {
    PathEnd { ledger: end.ledger.apart(), ..end.clone() }
}

/// The checks in which a reader stops.
pub(crate) async fn held(end: &PathEnd, plan: &WaitsPlan, rtt: Duration) -> Vec<CheckReport> {
    match plan.hold {
        Some(hold) => Box::pin(run_hold(&apart(end), HoldPlan { rtt, ..hold })).await,
        None => Vec::new(),
    }
}

/// The checks in which connections are idle.
pub(crate) async fn idle(end: &PathEnd, plan: &WaitsPlan, rtt: Duration) -> Vec<CheckReport> {
    let end = &apart(end);
    if end.permits.at_once().is_some() {
        let wanted = [plan.idle.map(|_| CheckId::Idle), plan.half_closed.map(|_| CheckId::HalfClosedIdle)];
        return wanted.into_iter().flatten().filter_map(|id| end.permits.lack(id)).collect();
    }
    let idle = async {
        match plan.idle {
            Some(idle) => Some(idle::run(end, idle).await.report()),
            None => None,
        }
    };
    let half_closed = async {
        match plan.half_closed {
            Some(longest) => Some(half_closed_idle::run(end, longest, rtt, plan.idle.is_some()).await),
            None => None,
        }
    };
    let (idle, half_closed) = tokio::join!(Box::pin(idle), Box::pin(half_closed));
    idle.into_iter().chain(half_closed).map(|report| limited_by(report, plan.far_timeout)).collect()
}

/// A far end that closes idle connections limits what can be judged.
fn limited_by(report: CheckReport, far_timeout: Option<Duration>) -> CheckReport {
    match (far_timeout, report.verdict) {
        (Some(limit), CheckVerdict::Pass) if report.evidence.is_empty() => report.saw(format!(
            "the far end itself closes connections that are idle for {}: longer waits were not tried",
            super::greet::elapsed(limit)
        )),
        _ => report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;

    #[test]
    fn a_run_is_cut_off_behind_all_of_its_waits() {
        let to = || Path::to(resound::Address::tcp("127.0.0.1", "7").unwrap());
        let cut_off = |path: Path| cut_off(&path.settings);
        assert_eq!(cut_off(to()), LONGEST);
        assert_eq!(cut_off(to().idle(Duration::from_secs(10))), LONGEST + Duration::from_secs(30));
        assert_eq!(cut_off(to().only([CheckId::Idle]).find_idle_timeout()), LONGEST + 12 * THOROUGH);
        assert_eq!(cut_off(to().only([CheckId::HalfClosedIdle])), LONGEST + 3 * half_closed_idle::LONGEST);
        assert_eq!(cut_off(to().idle(Duration::MAX)), Duration::MAX);
    }
}

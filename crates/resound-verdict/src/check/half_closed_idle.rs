//! `half-closed-idle`: a connection of which one direction has ended outlives a pause in the other.

use std::mem::discriminant;
use std::time::Duration;

use super::CheckId;
use super::greet::elapsed;
use super::half_close::{AFTER_FIN, pause};
use super::idle_try::{HalfClosed, IdleDeath, IdleTry, try_half_closed};
use super::ladder::{LadderFinding, Rung, climb, found, rungs, when};
use crate::place::PathEnd;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TRIES, all};

/// Waits of a thorough run: longer than the 60 s of IPVS.
pub(crate) const LONGEST: Duration = Duration::from_secs(70);
/// Two connections that end within this part of their time have ended at the same one.
const SAME_TIME: u32 = 10;

/// What is tried after each end's FIN.
struct HalfClosedPlan {
    rungs: Vec<Duration>,
    rtt: Duration,
    idle_is_told: bool,
}

/// The tries of one end's FIN.
struct HalfClosedTries {
    by: HalfClosed,
    rungs: Vec<Rung>,
    /// What open connections die of is reported too, by `idle`.
    idle_is_told: bool,
    /// The same waits without the FIN.
    open: Vec<Rung>,
    /// The FIN, and a wait little shorter than that of the checks of half-closes.
    at_once: Vec<IdleTry>,
}

pub(crate) fn announced(longest: Duration) -> String {
    let connections = (rungs(longest).len() * 2 + 1) * 2 * TRIES;
    format!("half-closed-idle: {connections} connections wait, up to {} long", elapsed(longest))
}

async fn try_end(end: &PathEnd, plan: &HalfClosedPlan, by: HalfClosed) -> HalfClosedTries {
    let HalfClosedPlan { rungs, rtt, idle_is_told } = plan;
    // A little less: each death is seen here or there.
    let shortest = (if by == HalfClosed::Here { pause(*rtt) } else { AFTER_FIN }) * 4 / 5;
    let at_once = all((0..TRIES).map(|_| try_half_closed(end, shortest, by, true)));
    let (rungs, open, at_once) = tokio::join!(
        climb(rungs, end.seed, async |wait| try_half_closed(end, wait, by, true).await),
        climb(rungs, end.seed, async |wait| try_half_closed(end, wait, by, false).await),
        at_once
    );
    HalfClosedTries { by, rungs, idle_is_told: *idle_is_told, open, at_once }
}

/// `idle_is_told`: the check of open connections is done too.
pub(crate) async fn run(end: &PathEnd, longest: Duration, rtt: Duration, idle_is_told: bool) -> CheckReport {
    let plan = HalfClosedPlan { rungs: rungs(longest), rtt, idle_is_told };
    let (here, there) = tokio::join!(try_end(end, &plan, HalfClosed::Here), try_end(end, &plan, HalfClosed::There));
    report(&[here, there], longest)
}

fn report(ends: &[HalfClosedTries; 2], longest: Duration) -> CheckReport {
    let reports: Vec<_> = ends.iter().map(|tries| tries.judged(longest)).collect();
    let rank = |report: &CheckReport| {
        let order = [
            CheckVerdict::Pass,
            CheckVerdict::Error,
            CheckVerdict::Unknown,
            CheckVerdict::Flaky,
            CheckVerdict::Warn,
            CheckVerdict::Fail,
        ];
        order.iter().position(|verdict| *verdict == report.verdict)
    };
    let is_same = reports[0].verdict == reports[1].verdict;
    let counts = reports.iter().fold((0, 0), |(ok, tries), one| (ok + one.ok, tries + one.tries));
    let mut evidence: Vec<_> = reports.iter().flat_map(|report| report.evidence.clone()).collect();
    evidence.dedup();
    // Of two that are alike the first.
    let worst = reports.into_iter().rev().max_by_key(rank);
    let mut report =
        worst.unwrap_or_else(|| CheckReport::new(CheckId::HalfClosedIdle, CheckVerdict::Error, "it was not tried"));
    if is_same && report.direction.is_some() {
        report.direction = Some(PathDirection::Both);
    }
    (report.ok, report.tries) = counts;
    report.evidence = evidence;
    report.measure("longest_wait_s", longest.as_secs_f64())
}

impl HalfClosedTries {
    fn judged(&self, longest: Duration) -> CheckReport {
        let id = CheckId::HalfClosedIdle;
        let tries: Vec<_> = self.rungs.iter().flat_map(|rung| &rung.tries).collect();
        let lived = tries.iter().filter(|tried| matches!(tried.result, Ok(None))).count();
        let whose = if self.by == HalfClosed::Here { "this end's FIN" } else { "the far end's FIN" };
        let without_wait = self.at_once.iter().all(|tried| matches!(tried.result, Ok(None)));
        let unknown = |why: String| CheckReport::new(id, CheckVerdict::Unknown, format!("not judged: {why}"));
        let report = match found(&self.rungs) {
            LadderFinding::Lives(wait) if wait >= longest => {
                let summary = format!("half-closed connections that are idle for {} live", elapsed(wait));
                CheckReport::new(id, CheckVerdict::Pass, summary)
            }
            LadderFinding::Lives(_) | LadderFinding::Nothing => {
                let symptom = tries.iter().find_map(|tried| tried.symptom());
                let verdict = match symptom {
                    Some(symptom) if symptom.is_own() => CheckVerdict::Error,
                    _ => CheckVerdict::Unknown,
                };
                let why = symptom.map_or_else(|| "no wait was judged".into(), Symptom::to_string);
                CheckReport::new(id, verdict, format!("not judged: {why}"))
            }
            _ if !without_wait => unknown(format!("a half-closed connection dies at once after {whose}")),
            LadderFinding::Mixed(wait, death) => {
                let summary =
                    format!("of connections that were idle for {} after {whose}, some died: {death}", elapsed(wait));
                CheckReport::new(id, CheckVerdict::Flaky, summary)
            }
            LadderFinding::Dies(lives, dies, death) => match self.open_dies(dies) {
                // Half-closed connections have no shorter timer of their own.
                true if !lives.is_zero() && self.idle_is_told && self.is_shared(dies, death) => {
                    let summary = format!("half-closed connections that are idle for {} live", elapsed(lives));
                    let too = format!("open ones that are idle die too, of {} or little more", elapsed(dies));
                    CheckReport::new(id, CheckVerdict::Pass, summary).saw(too)
                }
                true => {
                    unknown(format!("an open connection that is idle dies too, of {} or little more", elapsed(dies)))
                }
                false => self.dead(lives, dies, death, whose),
            },
        };
        report.tried(lived, tries.len())
    }

    /// Whether the wait kills open connections too, or the next longer one does: then the same
    /// timer may have ended both.
    fn open_dies(&self, dies: Duration) -> bool {
        let longer = self.open.iter().filter(|rung| rung.wait >= dies).take(2);
        longer.into_iter().any(|rung| rung.lived() < rung.tries.len())
    }

    /// Whether open connections die of the same wait, in the same way and at the same time. Silence
    /// does not say when.
    fn is_shared(&self, dies: Duration, death: IdleDeath) -> bool {
        let Some(open) = self.open.iter().find(|rung| rung.wait == dies) else { return false };
        let is_near = |other: IdleDeath| match (death.at(), other.at()) {
            (Some(at), Some(other)) => at.abs_diff(other) <= at.max(other) / SAME_TIME,
            _ => false,
        };
        let is_same = |other: IdleDeath| discriminant(&other) == discriminant(&death) && is_near(other);
        let is_first = self.rungs.iter().all(|rung| rung.wait >= dies || rung.deaths().next().is_none());
        is_first && open.deaths().count() == open.tries.len() && open.deaths().all(is_same)
    }

    fn dead(&self, lives: Duration, dies: Duration, death: IdleDeath, whose: &str) -> CheckReport {
        let verdict = if matches!(death, IdleDeath::Silent(_)) { CheckVerdict::Fail } else { CheckVerdict::Warn };
        let when = when(lives, dies, death);
        let (from, to) = death.at().map_or((lives, dies), |at| (at, at));
        let open = self.open.iter().filter(|rung| rung.wait == dies);
        let (open_lived, open_tries) = (open.clone().map(Rung::lived).sum(), open.map(|rung| rung.tries.len()).sum());
        let direction = if self.by == HalfClosed::Here { PathDirection::In } else { PathDirection::Out };
        let mut report = CheckReport::new(
            CheckId::HalfClosedIdle,
            verdict,
            format!("an idle connection that is half-closed by {whose} dies {when}: {death}"),
        )
        .measure("half_closed_dies_s", to.as_secs_f64())
        .control("the same wait without the FIN", open_lived, open_tries)
        .towards(direction)
        .saw(format!("after {whose}: {death}"));
        if (0.97 * from.as_secs_f64()..=1.01 * to.as_secs_f64()).contains(&60.0) {
            report = report.suspects("IPVS, such as Docker Swarm or kube-proxy with it: 60 s");
        }
        if matches!(death, IdleDeath::Fin(at) if (0.45..0.6).contains(&at.as_secs_f64())) {
            report = report.suspects("socat, which closes half a second after a FIN (`-t`)");
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: [u64; 2] = [1, 5];

    fn rungs_of(death: Option<IdleDeath>) -> Vec<Rung> {
        let tried = |death| IdleTry { result: Ok(death), far: None };
        let deaths = SECONDS.into_iter().zip([None, death]);
        deaths.map(|(wait, death)| Rung { wait: Duration::from_secs(wait), tries: vec![tried(death); TRIES] }).collect()
    }

    fn tries(by: HalfClosed, closed: Option<IdleDeath>, open: Option<IdleDeath>) -> HalfClosedTries {
        let at_once = vec![IdleTry { result: Ok(None), far: None }; TRIES];
        HalfClosedTries { by, rungs: rungs_of(closed), idle_is_told: true, open: rungs_of(open), at_once }
    }

    fn verdict(here: HalfClosedTries, there: HalfClosedTries) -> (CheckVerdict, Option<PathDirection>) {
        let report = report(&[here, there], Duration::from_secs(5));
        assert_eq!(report.tries, 12);
        (report.verdict, report.direction)
    }

    const RESET: Option<IdleDeath> = Some(IdleDeath::Reset(Duration::from_secs(3)));

    #[test]
    fn each_end_is_judged_by_itself_and_the_worse_one_counts() {
        let clean = |by| tries(by, None, None);
        assert_eq!(verdict(clean(HalfClosed::Here), clean(HalfClosed::There)), (CheckVerdict::Pass, None));
        let here = tries(HalfClosed::Here, RESET, None);
        assert_eq!(verdict(here, clean(HalfClosed::There)), (CheckVerdict::Warn, Some(PathDirection::In)));
        let silent = Some(IdleDeath::Silent(PathDirection::Out));
        let there = tries(HalfClosed::There, silent, None);
        assert_eq!(verdict(clean(HalfClosed::Here), there), (CheckVerdict::Fail, Some(PathDirection::Out)));
        let both = [HalfClosed::Here, HalfClosed::There].map(|by| tries(by, RESET, None));
        let [here, there] = both;
        assert_eq!(verdict(here, there), (CheckVerdict::Warn, Some(PathDirection::Both)));
    }

    #[test]
    fn a_death_that_open_connections_share_is_not_its_matter() {
        let clean = || tries(HalfClosed::There, None, None);
        let open_too = || tries(HalfClosed::Here, RESET, RESET);
        let report = report(&[open_too(), clean()], Duration::from_secs(5));
        assert_eq!((report.verdict, report.ok, report.tries), (CheckVerdict::Pass, 9, 12));
        assert_eq!(report.summary, "half-closed connections that are idle for 1.0 s live");
        assert!(report.evidence[0].starts_with("open ones that are idle die too"), "{:?}", report.evidence);
        let mut each_dies = open_too();
        each_dies.rungs.remove(0);
        assert_eq!(each_dies.judged(Duration::from_secs(5)).verdict, CheckVerdict::Unknown);
        let untold = HalfClosedTries { idle_is_told: false, ..open_too() };
        assert_eq!(verdict(untold, clean()).0, CheckVerdict::Unknown, "no other check says that they die");
        let silent = Some(IdleDeath::Silent(PathDirection::Out));
        let silent = tries(HalfClosed::Here, silent, silent);
        assert_eq!(verdict(silent, clean()).0, CheckVerdict::Unknown, "silence does not say when");
        let closed = tries(HalfClosed::Here, RESET, Some(IdleDeath::Fin(Duration::from_secs(3))));
        assert_eq!(verdict(closed, clean()).0, CheckVerdict::Unknown, "another kind of end");
        let later = tries(HalfClosed::Here, RESET, Some(IdleDeath::Reset(Duration::from_millis(3500))));
        assert_eq!(verdict(later, clean()).0, CheckVerdict::Unknown, "another timer may be the shorter one");
        let mut at_once = tries(HalfClosed::Here, RESET, None);
        at_once.at_once[0].result = Ok(RESET);
        assert_eq!(verdict(at_once, clean()).0, CheckVerdict::Unknown);
    }
}

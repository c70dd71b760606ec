//! `idle`: a connection outlives a pause. Each wait has connections of its own, since a probe would
//! end the wait.

use std::time::Duration;

use super::CheckId;
use super::greet::elapsed;
use super::idle_try::{FirstWord, IdleDeath, IdleTry, try_idle};
use super::ladder::{LadderFinding, Rung, between, climb, found, precision, rungs, suspects, when};
use crate::place::PathEnd;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::tries::{TRIES, all};

/// Tries of each keepalive.
const KEPT_TRIES: usize = 2;
/// Waits of a further ladder inside the bracket.
const STEPS: u32 = 8;
/// Further ladders at most.
const MOST_LADDERS: usize = 6;

/// What closes a connection in order after a time that no box is known for.
const CLOSES: &str = "a proxy's own timer, such as HAProxy's `timeout client` and `timeout server`, or nginx's \
                      `proxy_timeout`";

/// What to wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdlePlan {
    pub(crate) longest: Duration,
    /// Search for the idle timeout to within 2 %.
    pub(crate) is_exact: bool,
}

/// A keepalive, and what became of connections that had it for the longest wait.
#[derive(Clone, Debug)]
struct KeepaliveResult {
    every: Duration,
    tries: Vec<IdleTry>,
}

/// All that was tried.
pub(crate) struct IdleFindings {
    longest: Duration,
    client: Vec<Rung>,
    server: Vec<Rung>,
    kept: Vec<KeepaliveResult>,
    /// The same messages without a wait; tried where something went wrong.
    control: Vec<IdleTry>,
}

/// The far end closes idle connections by itself: longer waits say nothing of the path.
pub(crate) fn limited(longest: Duration, far_timeout: Option<Duration>) -> Duration {
    far_timeout.map_or(longest, |limit| longest.min(limit.mul_f64(0.9)))
}

/// The announcement of the check.
pub(crate) fn announced(longest: Duration) -> String {
    let rungs = rungs(longest);
    let connections = rungs.len() * 2 * TRIES + keepalives(&rungs).len() * KEPT_TRIES;
    format!("idle: {connections} connections wait, up to {} long", elapsed(longest))
}

/// Half of each wait, in whole seconds as the system has them.
fn keepalives(rungs: &[Duration]) -> Vec<Duration> {
    let longest = rungs.last().copied().unwrap_or_default();
    let mut all: Vec<_> = rungs.iter().map(|rung| Duration::from_secs(rung.as_secs() / 2)).collect();
    all.retain(|every| *every >= Duration::from_secs(1) && 2 * *every < longest && every.as_secs() < 32_000);
    all.dedup();
    all
}

async fn keep(end: &PathEnd, rungs: &[Duration], longest: Duration) -> Vec<KeepaliveResult> {
    let all_kept = keepalives(rungs).into_iter().map(async |every| {
        let tries = (0..KEPT_TRIES).map(|_| try_idle(end, longest, FirstWord::Client, Some(every)));
        KeepaliveResult { every, tries: all(tries).await }
    });
    all(all_kept).await
}

/// The ladder, and further ones inside the bracket where that is wanted and worth it.
pub(crate) async fn run(end: &PathEnd, plan: IdlePlan) -> IdleFindings {
    let rungs = rungs(plan.longest);
    let (client, server, kept) = tokio::join!(
        climb(&rungs, end.seed, async |wait| try_idle(end, wait, FirstWord::Client, None).await),
        climb(&rungs, end.seed, async |wait| try_idle(end, wait, FirstWord::Server, None).await),
        keep(end, &rungs, plan.longest)
    );
    let mut findings = IdleFindings { longest: plan.longest, client, server, kept, control: Vec::new() };
    if matches!((found(&findings.client), found(&findings.server)), (LadderFinding::Lives(_), LadderFinding::Lives(_)))
    {
        return findings;
    }
    findings.control = all((0..TRIES).map(|_| try_idle(end, Duration::ZERO, FirstWord::Client, None))).await;
    for ladder in 0..MOST_LADDERS {
        let first = findings.dying();
        let (LadderFinding::Dies(lives, dies, death), first) = first else { break };
        let is_short = dies <= plan.longest / 5;
        let is_known = death.at().is_some() || dies.saturating_sub(lives) <= precision(dies);
        if is_known || !(plan.is_exact || (ladder == 0 && is_short)) {
            break;
        }
        let further =
            climb(&between(lives, dies, STEPS), end.seed, async |wait| try_idle(end, wait, first, None).await).await;
        let rungs = if first == FirstWord::Client { &mut findings.client } else { &mut findings.server };
        rungs.extend(further);
        rungs.sort_by_key(|rung| rung.wait);
    }
    findings
}

impl IdleFindings {
    /// The ladder on which connections die, of the end that speaks first.
    fn dying(&self) -> (LadderFinding, FirstWord) {
        let (client, server) = (found(&self.client), found(&self.server));
        let is_dying = |finding: &LadderFinding| matches!(finding, LadderFinding::Dies(..));
        let is_mixed = |finding: &LadderFinding| matches!(finding, LadderFinding::Mixed(..));
        if is_dying(&client) || (!is_dying(&server) && (is_mixed(&client) || !is_mixed(&server))) {
            (client, FirstWord::Client)
        } else {
            (server, FirstWord::Server)
        }
    }

    /// Whether a keepalive cures it: how often, or why that cannot be told.
    fn cure(&self, lives: Duration) -> Result<Option<Duration>, &'static str> {
        // A rarer probe than what lives may come too late.
        let fitting: Vec<_> = self.kept.iter().filter(|kept| kept.every <= lives).collect();
        let is_judged = |kept: &KeepaliveResult| kept.tries.iter().all(|tried| tried.result.is_ok());
        let lived = |kept: &KeepaliveResult| kept.tries.iter().all(|tried| matches!(tried.result, Ok(None)));
        if !fitting.iter().any(|kept| is_judged(kept)) {
            return Err("keepalive was not tried: it needs whole seconds, and a longer wait");
        }
        Ok(fitting.iter().rev().find(|kept| lived(kept)).map(|kept| kept.every))
    }

    pub(crate) fn report(&self) -> CheckReport {
        let tries: Vec<_> = self.client.iter().chain(&self.server).flat_map(|rung| &rung.tries).collect();
        let ok = tries.iter().filter(|tried| matches!(tried.result, Ok(None))).count();
        self.judged().tried(ok, tries.len()).measure("longest_wait_s", self.longest.as_secs_f64())
    }

    fn judged(&self) -> CheckReport {
        let id = CheckId::Idle;
        let (finding, first) = self.dying();
        let holds = self.control.iter().all(|tried| matches!(tried.result, Ok(None)));
        match finding {
            LadderFinding::Lives(longest) => {
                let both = [found(&self.client), found(&self.server)];
                if both.iter().any(|finding| *finding != LadderFinding::Lives(self.longest)) {
                    return self.not_judged(&format!("connections that are idle for {} live", elapsed(longest)));
                }
                CheckReport::new(
                    id,
                    CheckVerdict::Pass,
                    format!("connections that are idle for {} live", elapsed(longest)),
                )
            }
            LadderFinding::Nothing => self.not_judged("no wait was judged"),
            LadderFinding::Mixed(wait, death) => {
                let summary = format!("of connections that were idle for {}, some died: {death}", elapsed(wait));
                self.with_control(CheckReport::new(id, CheckVerdict::Flaky, summary))
            }
            LadderFinding::Dies(_, _, death) if !holds => self.with_control(CheckReport::new(
                id,
                CheckVerdict::Unknown,
                format!("not judged, since the same messages fail without a wait: {death}"),
            )),
            LadderFinding::Dies(lives, dies, death) => self.dead(lives, dies, death, first),
        }
    }

    fn not_judged(&self, what: &str) -> CheckReport {
        let symptom = self.client.iter().chain(&self.server).flat_map(|rung| &rung.tries).find_map(IdleTry::symptom);
        let is_own = symptom.is_some_and(|symptom| symptom.is_own());
        let why = symptom.map(|symptom| format!("; {symptom}")).unwrap_or_default();
        let verdict = if is_own { CheckVerdict::Error } else { CheckVerdict::Unknown };
        CheckReport::new(CheckId::Idle, verdict, format!("not judged: {what}{why}"))
    }

    fn with_control(&self, report: CheckReport) -> CheckReport {
        let good = self.control.iter().filter(|tried| matches!(tried.result, Ok(None))).count();
        report.control("the same messages without a wait", good, self.control.len())
    }

    fn dead(&self, lives: Duration, dies: Duration, death: IdleDeath, first: FirstWord) -> CheckReport {
        // A FIN or a RST says when; otherwise the time lies between two waits.
        let (from, to) = death.at().map_or((lives, dies), |at| (at, at));
        let when = when(lives, dies, death);
        let cure = self.cure(lives);
        let (kind, is_told) = match death {
            IdleDeath::Fin(_) => ("closed with a FIN", true),
            IdleDeath::Reset(_) => ("reset", true),
            IdleDeath::OnData => ("forgotten, and the next bytes are answered with a RST", true),
            IdleDeath::Silent(_) => ("forgotten, and nothing tells an end", false),
        };
        let direction = self.direction(death, first);
        let one_way = match direction {
            Some(PathDirection::In) => " (this end's bytes arrive, and the answers do not)",
            Some(PathDirection::Out) => " (the far end's bytes arrive, and this end's do not)",
            _ => "",
        };
        let cured = match cure {
            Ok(Some(every)) => format!("; keepalive every {} cures it", elapsed(every)),
            Ok(None) => "; keepalive does not cure it".into(),
            Err(_) => String::new(),
        };
        let verdict = if is_told || matches!(cure, Ok(Some(_))) { CheckVerdict::Warn } else { CheckVerdict::Fail };
        let summary = format!("an idle connection is {kind}{one_way}, {when}{cured}");
        let mut report = CheckReport::new(CheckId::Idle, verdict, summary)
            .measure("idle_lives_s", lives.as_secs_f64())
            .measure("idle_dies_s", to.as_secs_f64().min(dies.as_secs_f64()));
        if let Ok(cure) = cure {
            report = report.measure("keepalive_cures", cure.is_some());
        }
        report.direction = direction;
        report = self.seen(report);
        if let Err(why) = cure {
            report = report.saw(why);
        }
        // A NAT sends no FIN.
        let is_closed = matches!(death, IdleDeath::Fin(_));
        if to < Duration::from_secs(7440) && !is_closed {
            report =
                report.saw("a NAT must keep an idle connection for at least 2 hours and 4 minutes (RFC 5382, REQ-5)");
        }
        let known = suspects(from, to);
        if known.is_empty() && is_closed {
            report = report.suspects(CLOSES);
        }
        let report = known.iter().fold(report, |report, what| report.suspects(*what));
        self.with_control(report)
    }

    /// A silent death of one direction alone.
    fn direction(&self, death: IdleDeath, first: FirstWord) -> Option<PathDirection> {
        let IdleDeath::Silent(direction) = death else { return None };
        let (client, server) = (found(&self.client), found(&self.server));
        match (first, direction) {
            (FirstWord::Client, PathDirection::In) => Some(PathDirection::In),
            (FirstWord::Client, _) if matches!(server, LadderFinding::Lives(_)) => Some(PathDirection::Out),
            (FirstWord::Server, PathDirection::In) if matches!(client, LadderFinding::Lives(_)) => {
                Some(PathDirection::In)
            }
            // After what it heard, this end's own words were lost.
            (FirstWord::Server, PathDirection::Out) => Some(PathDirection::Out),
            _ => None,
        }
    }

    /// A line for the shortest wait that all died of, with the number of longer ones; and one for
    /// each wait that some died of.
    fn seen(&self, mut report: CheckReport) -> CheckReport {
        for (rungs, who) in [(&self.client, "this end"), (&self.server, "the far end")] {
            let are_dead = |rung: &&Rung| !rung.tries.is_empty() && rung.deaths().count() == rung.tries.len();
            let dead: Vec<_> = rungs.iter().filter(are_dead).map(|rung| rung.wait).collect();
            for rung in rungs {
                let Some(death) = rung.deaths().next() else { continue };
                if are_dead(&rung) && dead.first() != Some(&rung.wait) {
                    continue;
                }
                report = report.saw(format!(
                    "to be idle for {} until {who} speaks: {} of {} died; {death}",
                    elapsed(rung.wait),
                    rung.deaths().count(),
                    rung.tries.len()
                ));
            }
            if let [_, .., longest] = dead[..] {
                let further = dead.len() - 1;
                let waits = if further == 1 { "one longer wait".into() } else { format!("{further} longer waits") };
                report = report.saw(format!("{waits}, of up to {} until {who} speaks: all died", elapsed(longest)));
            }
        }
        report
    }
}

#[cfg(test)]
#[path = "idle_tests.rs"]
mod tests;

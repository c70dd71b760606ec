//! `churn`: connections in quick succession are made, and answered.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use resound::client::FailureClass;
use tokio::time::sleep;

use super::CheckId;
use super::at_once::{AnsweredAtOnce, BEGUN, answered_at_once};
use super::greet::elapsed;
use crate::pace::ConnectPace;
use crate::permits::ConnectionPermits;
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::{CheckReport, CheckVerdict};
use crate::symptom::{NoHello, Symptom};
use crate::tries::{TriesJudgement, TryOutcome, all};

/// Connections, and how many of them at once.
const CONNECTIONS: usize = 50;
const AT_ONCE: usize = 10;
/// Control connections, made one after the other once some have failed: random loss would show
/// there too. The usual number, and the most if few have failed.
const CONTROLS: (usize, usize) = (15, 40);
/// All of the control come through by chance no more often than this.
const BY_CHANCE: f64 = 0.002;
/// The pause before the control, in which a rate limiter forgets the earlier connections; and the
/// interval between control connections.
const SETTLES: Duration = Duration::from_secs(1);
const APART: Duration = Duration::from_millis(250);
/// No further one begins after this time and twenty round trips.
const TIME: Duration = Duration::from_secs(4);
/// A connection that does not close in this time and twice what one alone takes is left: the time
/// in which others wait for it must not hide that they wait for their turn.
const CLOSES: Duration = Duration::from_millis(250);
/// A SYN that was lost is sent again after a second.
const SYN_AGAIN: Duration = Duration::from_millis(900);
/// If half of the connections take this much more than ten times a single one, something makes them
/// wait.
const MADE_TO_WAIT: Duration = Duration::from_millis(500);
const QUEUES: &str = "a proxy or a server that serves a limited number of connections at once (HAProxy's `maxconn`, a \
                      fixed number of threads or children); others wait in its queue, or in that of its listener";
const SOME_HANG: &str = "a balancer one of whose backends hangs, or a box that forgets some connections";
const SOME_FAIL: &str = "a balancer one of whose backends is down, or a box that resets some connections";
/// The share of the answered connection rate that later checks use.
const USED: f64 = 0.8;
/// Bytes that one connection of this check costs a thin line.
const COST: f64 = 3000.0;

/// A connection that was greeted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChurnSample {
    connected_in: Duration,
    /// From the SYN to the far end's greeting.
    greeted_in: Duration,
    /// Since the first connection began.
    at: Duration,
}

async fn one(end: &PathEnd, alone: Duration, began: Instant) -> TryOutcome<ChurnSample> {
    let mut record = end.ledger.begins();
    let start = Instant::now();
    let result = match ProbeConnection::begin_with(end.permits.session().await, end, Special::default(), &[]).await {
        Ok(mut probe) => {
            end.greeted.add(&probe.hello);
            record.greeted(probe.lines);
            let greeted_in = start.elapsed();
            let churned = ChurnSample { connected_in: probe.connected_in, greeted_in, at: began.elapsed() };
            // A box counts it until both ends have closed; whether it passes a FIN on is the matter
            // of another check.
            if probe.finish().await.is_ok() {
                probe.end_within(2 * alone + CLOSES).await;
            }
            Ok(churned)
        }
        Err(symptom) => {
            record.failed(&symptom);
            Err(symptom)
        }
    };
    TryOutcome { result, far: None }
}

async fn churn(end: &PathEnd, alone: Duration) -> Vec<TryOutcome<ChurnSample>> {
    let (began, next, done) = (Instant::now(), Cell::new(0), RefCell::new(Vec::new()));
    all((0..AT_ONCE).map(async |_| {
        while next.get() < CONNECTIONS && began.elapsed() < TIME + 20 * alone {
            next.set(next.get() + 1);
            let tried = one(end, alone, began).await;
            done.borrow_mut().push(tried);
        }
    }))
    .await;
    done.into_inner()
}

fn is_mine(symptom: &Symptom) -> bool {
    matches!(symptom, Symptom::NoConnection { .. } | Symptom::NoHello(_) | Symptom::Reset { .. })
}

/// A connection that is refused or ended: chance may decide that, and lost packets do not do it.
fn is_chance(symptom: &Symptom) -> bool {
    match symptom {
        Symptom::NoConnection { class, .. } => *class == FailureClass::Refused,
        Symptom::NoHello(how) => *how != NoHello::Silent,
        other => matches!(other, Symptom::Reset { .. }),
    }
}

/// The same, or one that is accepted and never answered: a SYN that came through, and then nothing.
fn is_spurned(symptom: &Symptom) -> bool {
    is_chance(symptom) || matches!(symptom, Symptom::NoHello(NoHello::Silent))
}

/// Whether failures are spread over the whole run.
fn is_steady(tries: &[TryOutcome<ChurnSample>]) -> bool {
    let chunks: Vec<_> = tries.chunks(AT_ONCE).collect();
    let failing = chunks.iter().filter(|chunk| chunk.iter().any(|tried| tried.result.is_err())).count();
    failing >= 3 && failing * 5 >= chunks.len() * 3
}

/// Connections a second, of the later half: a first burst may be free.
fn rate(good: &[&ChurnSample]) -> f64 {
    let mut ends: Vec<_> = good.iter().map(|one| one.at).collect();
    ends.sort();
    let later = &ends[ends.len() / 2..];
    let time = later.last().copied().unwrap_or_default() - later.first().copied().unwrap_or_default();
    (later.len().saturating_sub(1)) as f64 / time.as_secs_f64().max(1e-6)
}

fn passed(good: &[&ChurnSample], alone: Duration, bandwidth: Option<f64>) -> CheckReport {
    let mut connects: Vec<_> = good.iter().map(|one| one.connected_in).collect();
    let mut greets: Vec<_> = good.iter().map(|one| one.greeted_in).collect();
    connects.sort();
    greets.sort();
    let middle = |times: &[Duration]| times[times.len() / 2];
    let (median, most) = (middle(&connects), connects[connects.len() - 1]);
    let rate = rate(good);
    let is_thin = bandwidth.is_some_and(|bandwidth| rate * COST > bandwidth / 4.0);
    let waits = middle(&greets) > MADE_TO_WAIT + 10 * alone && !is_thin;
    let report = if waits {
        let what = format!("connections wait for their turn: about {rate:.1} a second are answered");
        CheckReport::new(CheckId::Churn, CheckVerdict::Warn, what)
            .saw(format!("one alone is answered in {}, half of these in {}", elapsed(alone), elapsed(middle(&greets))))
            .suspects("a gateway that limits the rate of new connections, or a listener that accepts slowly")
    } else {
        let what =
            format!("{} connections, {AT_ONCE} at once, in {} to {}", good.len(), elapsed(connects[0]), elapsed(most));
        CheckReport::new(CheckId::Churn, CheckVerdict::Pass, what)
    };
    let late = connects.iter().filter(|time| **time > SYN_AGAIN + alone).count();
    let report = report
        .measure("connect_p50_ms", median.as_secs_f64() * 1000.0)
        .measure("connect_max_ms", most.as_secs_f64() * 1000.0)
        .measure("connections_per_s", rate);
    if late == 0 {
        return report;
    }
    report.saw(format!(
        "{late} of {} connections took a second or more, up to {}, as when a SYN is lost and sent again",
        good.len(),
        elapsed(most)
    ))
}

/// `alone` is what a single connection takes, from its SYN to the greeting.
pub(crate) fn judged(
    tries: &[TryOutcome<ChurnSample>],
    control: &[TryOutcome<()>],
    alone: Duration,
    bandwidth: Option<f64>,
) -> CheckReport {
    let id = CheckId::Churn;
    let failed = tries.iter().filter(|tried| tried.result.is_err()).count();
    let mut report = TriesJudgement { id, tries, control: Some(("one connection after the other", control)) }.report(
        |good| passed(good, alone, bandwidth),
        is_mine,
        |mine| {
            let what = format!("{failed} of {} connections failed: {}", tries.len(), mine[0]);
            CheckReport::new(id, CheckVerdict::Fail, what)
                .suspects("a gateway with a cap, a rate limit, or a short backlog")
        },
    );
    let lone = control.iter().filter(|tried| tried.result.is_err()).count();
    match report.verdict {
        CheckVerdict::Flaky if is_steady(tries) => report.verdict = CheckVerdict::Fail,
        // Their number is not the cause: something ends each of them all the same.
        CheckVerdict::Unknown
            if (1..control.len()).contains(&lone)
                && control.iter().all(|tried| tried.result.is_ok() || tried.symptom().is_some_and(is_spurned))
                && tries.iter().filter_map(TryOutcome::symptom).all(is_spurned) =>
        {
            let first = control.iter().find_map(TryOutcome::symptom).map(Symptom::to_string).unwrap_or_default();
            report.verdict = CheckVerdict::Flaky;
            report.summary = format!(
                "{failed} of {} connections failed, and {lone} of {} one after the other: {first}",
                tries.len(),
                control.len()
            );
            report.suspect = vec![
                if tries.iter().filter_map(TryOutcome::symptom).all(is_chance) { SOME_FAIL } else { SOME_HANG }.into(),
            ];
        }
        _ => {}
    }
    report
}

/// The report of a path that lets connections wait for others.
fn limited(found: AnsweredAtOnce) -> CheckReport {
    let AnsweredAtOnce { at_once, are_given_up, next_after } = found;
    let them = if at_once == 1 { "one connection is".into() } else { format!("{at_once} connections are") };
    let others = if are_given_up { "wait until one ends, or are given up" } else { "wait until one ends" };
    let what = format!("only {them} answered at a time: further ones {others}");
    CheckReport::new(CheckId::Churn, CheckVerdict::Warn, what)
        .saw(format!(
            "{at_once} of {BEGUN} that began at once were answered; when one of these ended, exactly one more was \
             answered, within {}",
            elapsed(next_after)
        ))
        .suspects(QUEUES)
        .measure("answered_at_once", at_once)
}

/// What a run knows of a path when its connections in quick succession are over: how soon further
/// ones may follow each other, and how many of them may be open at once. The checks after this one
/// are about other things.
#[derive(Default)]
pub(crate) struct ConnectLimits {
    pub(crate) pace: ConnectPace,
    pub(crate) permits: ConnectionPermits,
}

/// Nothing else may run meanwhile.
pub(crate) async fn run(end: &PathEnd, alone: Duration, bandwidth: Option<f64>) -> (CheckReport, ConnectLimits) {
    let tries = churn(end, alone).await;
    let (mut control, mut silent) = (Vec::new(), 0);
    if tries.iter().any(|tried| tried.result.is_err()) {
        sleep(SETTLES).await;
        let failed = tries.iter().filter(|tried| tried.result.is_err()).count();
        for _ in 0..controls(failed, tries.len()) {
            sleep(APART).await;
            let TryOutcome { result, far } = one(end, alone, Instant::now()).await;
            // A silent one takes the whole patience.
            let is_silent = result.as_ref().is_err_and(|symptom| !is_chance(symptom));
            let has_others = control.iter().any(|tried: &TryOutcome<()>| tried.result.is_ok());
            control.push(TryOutcome { result: result.map(drop), far });
            silent += usize::from(is_silent);
            // One among others that are answered says enough, and so do two.
            if (is_silent && has_others) || silent > 1 {
                break;
            }
        }
    }
    let report = judged(&tries, &control, alone, bandwidth);
    let good: Vec<_> = tries.iter().filter_map(|tried| tried.result.as_ref().ok()).collect();
    let is_well_apart = !control.is_empty() && control.iter().all(|tried| tried.result.is_ok());
    let pace = if is_well_apart { ConnectPace::every(APART) } else { pace(report.verdict, &good) };
    let is_thin = bandwidth.is_some_and(|bandwidth| CONNECTIONS as f64 * COST > bandwidth);
    if report.verdict == CheckVerdict::Pass
        && !is_thin
        && let Some(found) = answered_at_once(end, alone).await
    {
        let mut limited = CheckReport { tries: report.tries, ok: report.ok, ..limited(found) };
        limited.measured.extend(report.measured);
        limited.evidence.extend(report.evidence);
        return (limited, ConnectLimits { pace, permits: ConnectionPermits::limited(found.at_once) });
    }
    (report, ConnectLimits { pace, ..ConnectLimits::default() })
}

/// How many connections, one after the other, distinguish the failures from chance.
fn controls(failed: usize, of: usize) -> usize {
    let comes_through = 1.0 - failed as f64 / of.max(1) as f64;
    let enough = (BY_CHANCE.ln() / comes_through.ln()).ceil();
    (enough as usize).clamp(CONTROLS.0, CONTROLS.1)
}

/// The pace of connections on a path that lets them wait, or fail, where they come too quickly.
fn pace(verdict: CheckVerdict, good: &[&ChurnSample]) -> ConnectPace {
    match verdict {
        CheckVerdict::Warn | CheckVerdict::Fail => {
            ConnectPace::every(Duration::from_secs_f64(1.0 / (rate(good) * USED).max(1.0)))
        }
        _ => ConnectPace::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Duration = Duration::from_millis(2);

    fn good(n: u64, connected_ms: u64, greeted_ms: u64, every_ms: u64) -> Vec<TryOutcome<ChurnSample>> {
        let one = |k| ChurnSample {
            connected_in: Duration::from_millis(connected_ms),
            greeted_in: Duration::from_millis(greeted_ms),
            at: Duration::from_millis(k * every_ms),
        };
        (0..n).map(|k| TryOutcome { result: Ok(one(k)), far: None }).collect()
    }

    fn bad(symptom: Symptom) -> TryOutcome<ChurnSample> {
        TryOutcome { result: Err(symptom), far: None }
    }

    fn singles(symptom: Option<Symptom>) -> Vec<TryOutcome<()>> {
        vec![TryOutcome { result: symptom.map_or(Ok(()), Err), far: None }]
    }

    #[test]
    fn all_that_are_greeted_at_once_pass() {
        let report = judged(&good(50, 1, 2, 3), &[], ALONE, None);
        assert_eq!((report.verdict, report.ok), (CheckVerdict::Pass, 50));
        assert!(report.evidence.is_empty());
    }

    #[test]
    fn a_lost_syn_is_evidence_and_no_fault() {
        let tries = [good(48, 1, 2, 3), good(2, 1001, 1002, 3)].concat();
        let report = judged(&tries, &[], ALONE, None);
        assert_eq!(report.verdict, CheckVerdict::Pass);
        assert!(report.evidence[0].contains("2 of 50"), "{:?}", report.evidence);
    }

    #[test]
    fn connections_that_wait_their_turn_are_a_warning_with_the_rate() {
        let report = judged(&good(30, 1, 2000, 200), &[], ALONE, Some(1e9));
        assert_eq!(report.verdict, CheckVerdict::Warn);
        assert!(report.summary.contains("5.0 a second"), "{}", report.summary);
        let thin = judged(&good(30, 1, 2000, 200), &[], ALONE, Some(16_000.0));
        assert_eq!(thin.verdict, CheckVerdict::Pass, "a thin line makes all wait");
    }

    #[test]
    fn the_control_is_as_long_as_chance_asks_for() {
        assert_eq!([50, 25, 10, 1].map(|failed| controls(failed, 50)), [15, 15, 28, 40]);
        assert!(0.8_f64.powi(28) < BY_CHANCE);
    }

    #[test]
    fn failures_count_where_one_after_the_other_none_fails() {
        let reset = Symptom::NoHello(NoHello::Reset);
        let mut tries = good(50, 1, 2, 3);
        tries[7] = bad(reset.clone());
        assert_eq!(judged(&tries, &singles(None), ALONE, None).verdict, CheckVerdict::Flaky);
        for k in 0..5 {
            tries[10 * k + 3] = bad(reset.clone());
        }
        assert_eq!(judged(&tries, &singles(None), ALONE, None).verdict, CheckVerdict::Fail);
        assert_eq!(judged(&tries, &singles(Some(reset.clone())), ALONE, None).verdict, CheckVerdict::Unknown);
        let by_chance = [singles(Some(reset)), singles(None), singles(None)].concat();
        let report = judged(&tries, &by_chance, ALONE, None);
        assert_eq!(report.verdict, CheckVerdict::Flaky);
        assert!(report.summary.starts_with("6 of 50 connections failed, and 1 of 3 one"), "{}", report.summary);
        let local = vec![bad(Symptom::Local("no descriptor".into()))];
        assert_eq!(judged(&local, &singles(None), ALONE, None).verdict, CheckVerdict::Error);
    }
}

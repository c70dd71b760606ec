//! `reset-out`, `reset-in`: a RST of one end arrives at the other as a RST (RFC 9293, 3.5.3).
//!
//! No system retransmits a RST, so one that the path loses is legal: the other end learns of it
//! when it next sends. Only a RST that does not arrive even then is a fault. One that arrives as a
//! FIN is what most proxies make of it: a warning.

use std::time::Duration;

use tokio::time::timeout;

use super::CheckId;
use super::integrity::{amount, arrived};
use crate::place::{PathEnd, Special};
use crate::probe_connection::{ProbeConnection, StreamEnd};
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TriesJudgement, TryOutcome, all, play, play_and_end};
use resound_probe::{SessionLog, Step};

/// Bytes before the RST, in each try. The receiver has confirmed them.
const BEFORE: [u64; 3] = [0, 1, 64 * 1024];
/// Bytes before a RST that no receiver has confirmed.
const TAIL: u64 = 64 * 1024;
/// The same in the other direction, where the far end's receive buffer cannot be made small.
const TAIL_OUT: u64 = 256 * 1024;
/// Most of the tail waits in the path with so small a buffer.
const SLOWED: Special =
    Special { max_segment: None, receive_buffer: Some(8 * 1024), brief: false, traffic_class: None };
/// The name of a value.
const LOST_TAIL: &str = "lost_tail_bytes";
/// Bytes that the far end sends one by one: enough for a path that lets each question wait.
const PIECES: u32 = 12;
/// The step of a tail that sends them.
const STEP_OF_PIECES: u32 = 2;
const TRIES_OF_TAIL: usize = 3;
/// A late reader may leave no room for one.
const MOST_OF_TAIL: usize = 2;
/// Round trips in which the path takes the tail, where it has room.
const SLOW_START: u32 = 6;
/// The same on a busy machine.
const TAKES: Duration = Duration::from_millis(300);
/// Questions about a tail take no longer than this beside it.
const ASKS: Duration = Duration::from_secs(1);
/// A lost segment before the RST is retransmitted within this time.
const RETRANSMISSION: Duration = Duration::from_secs(2);
/// What has arrived is noticed within this time.
const AFTER_ANSWER: Duration = Duration::from_millis(50);
const TURNS: &str = "a proxy that ends both connections with a FIN, whatever ended the other one (nginx, socat, \
                     HAProxy for the server's RSTs, Envoy until 2026)";
/// How a RST is described that has become a FIN.
const AS_A_FIN: &str = "RST arrived as a FIN";
const EATS: &str = "a proxy that does not pass a RST on, or a firewall that drops RSTs";
const LOSES_TAIL: &str = "a proxy that discards what it still holds when a RST arrives (HAProxy, Envoy in 2026); \
                          that is legal";

/// How a RST arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ArrivedReset {
    /// Between the RST and the other end's notice.
    after: Duration,
    /// It came when the receiver sent the next byte, and not before.
    is_provoked: bool,
    /// Bytes before it that did not arrive.
    missing: u64,
}

/// A RST that arrives at all arrives within this time.
fn limit(end: &PathEnd, rtt: Duration) -> Duration {
    (2 * rtt + RETRANSMISSION).min(end.patience)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The far end's first piece shows that it waits for nothing else, each later one provokes a RST.
fn pieces(every: Duration) -> Step {
    Step::Pieces { count: PIECES, bytes: 1, every_ms: millis(every) }
}

/// Whether the far end may have sent all its bytes before the RST, as on a path that lets each
/// question wait for its turn. `aborted` is what the far end said after the RST.
fn is_too_late(aborted: &SessionLog, log: &SessionLog) -> bool {
    aborted.steps > STEP_OF_PIECES && !is_over(log)
}

fn is_over(log: &SessionLog) -> bool {
    log.closed.is_some() || log.fin_at_ms.is_some()
}

/// What the far end saw of a RST of this end's.
fn seen_by_far(log: &SessionLog, sent: u64, since_ms: f64, provoked_at: Duration) -> Result<ArrivedReset, Symptom> {
    // What its system holds has arrived.
    let missing = sent.saturating_sub(log.received.saturating_add(log.unread));
    let got = match missing {
        0 => String::new(),
        missing => format!("; the last {missing} of {sent} bytes are missing"),
    };
    if log.fin_at_ms.is_some() {
        return Err(Symptom::Own(format!("this end's {AS_A_FIN}: an aborted request looks whole{got}")));
    }
    match log.closed.as_deref() {
        Some("reset") => {
            let after_ms = log.closed_at_ms.unwrap_or_default() - since_ms;
            let after = Duration::try_from_secs_f64(after_ms.max(0.0) / 1000.0).unwrap_or(Duration::MAX);
            Ok(ArrivedReset { after, is_provoked: after >= provoked_at, missing })
        }
        Some(other) => {
            Err(Symptom::Own(format!("this end's RST ended the far end's connection otherwise: {other}{got}")))
        }
        None => Err(Symptom::Own("this end's RST never arrived, and the far end's bytes provoked none either".into())),
    }
}

async fn try_out(end: &PathEnd, before: u64, rtt: Duration) -> TryOutcome<ArrivedReset> {
    let wait = limit(end, rtt);
    let steps = [Step::Read(before), Step::Tell, pieces(wait), Step::Read(1)];
    play_and_end(end, Special::default(), &steps, async |mut probe| {
        probe.send(before).await?;
        let told = probe.told().await?;
        arrived(&told, before)?;
        probe.receive(1).await?;
        let far = probe.far();
        probe.abort();
        // A question after the RST has waited in the same queues.
        let mut log = far.asked().await?;
        if !is_over(&log) {
            // The far end goes on to provoke one.
            log = far.asked_within(3 * wait + rtt, is_over).await?;
        }
        seen_by_far(&log, before, told.now_ms, wait)
    })
    .await
}

/// The far end reads nothing until the path has taken all of the tail, or has not in time.
async fn try_tail_out(end: &PathEnd, bytes: u64, rtt: Duration) -> TryOutcome<ArrivedReset> {
    let wait = limit(end, rtt);
    let steps = [Step::Hold(millis(end.patience)), Step::Read(bytes), pieces(wait), Step::Read(1)];
    play_and_end(end, Special::default(), &steps, async |mut probe| {
        let far = probe.far();
        let is_held = {
            let delivery = async {
                probe.send(bytes).await?;
                probe.delivered().await
            };
            tokio::pin!(delivery);
            match timeout(SLOW_START * rtt + TAKES, &mut delivery).await {
                Ok(delivered) => delivered.map(|()| true)?,
                Err(_) => {
                    far.go().await?;
                    delivery.await?;
                    false
                }
            }
        };
        let mut log = far.asked().await?;
        if is_held && log.received.saturating_add(log.socket.unread.unwrap_or(0)) >= bytes {
            // All of it is at the far end: nothing waits in the path.
            far.go().await?;
            log = far.asked_within(end.patience, |log| log.received >= bytes || is_over(log)).await?;
        }
        let since = log.now_ms;
        probe.abort();
        let aborted = far.go().await?;
        let log = far.asked_within(3 * wait + rtt, is_over).await?;
        if is_too_late(&aborted, &log) {
            return Err(Symptom::TooLate);
        }
        seen_by_far(&log, bytes, since, wait)
    })
    .await
}

/// Nothing ends a connection that no end resets.
async fn try_control(end: &PathEnd, before: u64, rtt: Duration) -> TryOutcome<()> {
    let wait = 2 * rtt + Duration::from_millis(200);
    play(end, Special::default(), &[Step::Send(before), Step::Read(before + 1)], async |probe| {
        probe.receive(before).await?;
        probe.send(before).await?;
        if probe.end_within(wait).await != StreamEnd::Open {
            return Err(Symptom::Closed { sent: probe.sent, received: probe.received() });
        }
        let log = probe.asked().await?;
        if is_over(&log) { Err(Symptom::Closed { sent: before, received: before }) } else { arrived(&log, before) }
    })
    .await
}

/// The tail arrives where no RST comes after it, and the connection goes on.
async fn try_tail_control(end: &PathEnd, direction: PathDirection, bytes: u64) -> TryOutcome<()> {
    if direction == PathDirection::Out {
        let steps = [Step::Read(bytes), Step::Tell, Step::Read(1), Step::Send(1)];
        return play(end, Special::default(), &steps, async |probe| {
            probe.send(bytes).await?;
            arrived(&probe.told().await?, bytes)?;
            probe.round_trip(1, 1).await.map(drop)
        })
        .await;
    }
    let steps = [Step::Read(1), Step::Send(bytes), Step::Read(1), Step::Send(1)];
    play(end, SLOWED, &steps, async |probe| {
        probe.round_trip(1, bytes).await?;
        probe.round_trip(1, 1).await.map(drop)
    })
    .await
}

/// Reads to the RST of the far end, and provokes one where none comes.
async fn seen_here(probe: &mut ProbeConnection, bytes: u64, limit: Duration) -> Result<ArrivedReset, Symptom> {
    let start = std::time::Instant::now();
    let mut is_provoked = false;
    let mut seen = probe.end_within(limit).await;
    if seen == StreamEnd::Open && probe.received() >= bytes {
        // An answer from there has waited in the same queues as the RST before it.
        probe.asked().await?;
        seen = probe.end_within(AFTER_ANSWER).await;
    }
    if seen == StreamEnd::Open && probe.received() >= bytes {
        is_provoked = true;
        seen = match probe.send(1).await {
            Err(Symptom::Reset { .. }) => StreamEnd::Reset,
            _ => probe.end_within(limit).await,
        };
    }
    let missing = bytes.saturating_sub(probe.received());
    let got = match missing {
        0 => String::new(),
        missing => format!("; the last {missing} of {bytes} bytes are missing"),
    };
    match seen {
        StreamEnd::Reset => Ok(ArrivedReset { after: start.elapsed(), is_provoked, missing }),
        StreamEnd::Fin => Err(Symptom::Own(format!("the far end's {AS_A_FIN}: a failed answer looks whole{got}"))),
        StreamEnd::Open if missing > 0 => {
            Err(Symptom::Stalled { sent: probe.sent, acknowledged: None, received: probe.received(), wanted: bytes })
        }
        StreamEnd::Open => {
            Err(Symptom::Own("the far end's RST never arrived, and this end's bytes provoked none either".into()))
        }
    }
}

async fn try_in(end: &PathEnd, before: u64, rtt: Duration) -> TryOutcome<ArrivedReset> {
    play_and_end(end, Special::default(), &[Step::Send(before), Step::Read(1), Step::Reset], async |mut probe| {
        probe.receive(before).await?;
        probe.send(1).await?;
        let seen = seen_here(&mut probe, before, limit(end, rtt)).await;
        probe.check()?;
        seen
    })
    .await
}

async fn try_tail_in(end: &PathEnd, rtt: Duration) -> TryOutcome<ArrivedReset> {
    // The hello is no part of the tail.
    play_and_end(end, SLOWED, &[Step::Read(1), Step::Send(TAIL), Step::Reset], async |mut probe| {
        probe.send(1).await?;
        // Where the path takes all of it, the RST comes after it at once, and what the path is to
        // lose is lost before this end reads. An end-to-end connection waits for this end to read.
        // Where connections wait for their turn, so does the question, and the far end gives up.
        let limit = 2 * rtt + TAKES;
        let asked = timeout(limit + ASKS, probe.far().asked_within(limit, is_over)).await;
        if asked.is_ok_and(|asked| asked.is_ok_and(|log| is_over(&log))) {
            probe.end_arrives(rtt + TAKES).await;
        }
        let seen = seen_here(&mut probe, TAIL, end.patience).await;
        probe.check()?;
        seen
    })
    .await
}

fn is_mine(symptom: &Symptom) -> bool {
    matches!(symptom, Symptom::Own(_))
}

/// What the tries of one direction mean, with the controls of both: those whose bytes were
/// confirmed, and those with a tail.
fn judged(
    direction: PathDirection,
    [tries, tails]: [&[TryOutcome<ArrivedReset>]; 2],
    [control, whole]: [&[TryOutcome<()>]; 2],
) -> CheckReport {
    let (id, whose) = match direction {
        PathDirection::Out => (CheckId::ResetOut, "this end's"),
        _ => (CheckId::ResetIn, "the far end's"),
    };
    let is_fault =
        |tries: &[TryOutcome<_>]| !tries.is_empty() && tries.iter().all(|tried| tried.symptom().is_some_and(is_mine));
    // A box may treat a RST otherwise while bytes wait in it.
    let only_tails = tries.iter().all(|tried| tried.result.is_ok()) && is_fault(tails);
    let (judged, control) = if only_tails { (tails, whole) } else { (tries, control) };
    let report = TriesJudgement { id, tries: judged, control: Some(("the same bytes without a RST", control)) }.report(
        |good| passed(id, whose, direction, good, tails),
        is_mine,
        |mine| {
            let text = mine[0].to_string();
            let cause = if text.contains("never") { EATS } else { TURNS };
            CheckReport::new(id, CheckVerdict::Fail, text).towards(direction).suspects(cause)
        },
    );
    let mut own = judged.iter().filter_map(TryOutcome::symptom).filter(|symptom| is_mine(symptom));
    let is_turned = own.all(|symptom| symptom.to_string().contains(AS_A_FIN));
    let broken = whole.iter().find_map(TryOutcome::symptom);
    match (report.verdict, broken) {
        // Each of its two connections is ended in order.
        (CheckVerdict::Fail | CheckVerdict::Flaky, _) if is_turned => {
            CheckReport { verdict: CheckVerdict::Warn, ..report }
        }
        // The tail is lost without a RST too.
        (CheckVerdict::Warn, Some(symptom)) if report.measured.contains_key(LOST_TAIL) => {
            CheckReport { verdict: CheckVerdict::Unknown, summary: format!("not judged: {symptom}"), ..report }
        }
        _ => report,
    }
}

fn passed(
    id: CheckId,
    whose: &str,
    direction: PathDirection,
    good: &[&ArrivedReset],
    tails: &[TryOutcome<ArrivedReset>],
) -> CheckReport {
    let lost: Vec<_> = tails.iter().filter_map(|tried| tried.result.as_ref().ok()).map(|tail| tail.missing).collect();
    let report = if good.iter().all(|reset| reset.is_provoked) {
        let what = format!("{whose} RST arrives only when its receiver sends the next byte");
        CheckReport::new(id, CheckVerdict::Warn, what).towards(direction).suspects(EATS)
    } else if lost.iter().filter(|missing| **missing > 0).count() >= MOST_OF_TAIL {
        let most = lost.iter().copied().max().unwrap_or_default();
        let what = format!("{whose} RST arrives, without the last {} before it", amount(most));
        CheckReport::new(id, CheckVerdict::Warn, what).towards(direction).suspects(LOSES_TAIL)
    } else {
        CheckReport::new(id, CheckVerdict::Pass, format!("{whose} RST arrives as one"))
    };
    let fastest = good.iter().filter(|reset| !reset.is_provoked).map(|reset| reset.after).min();
    let report = match fastest {
        Some(fastest) => report.measure("arrived_after_ms", fastest.as_secs_f64() * 1000.0),
        None => report,
    };
    let late = good.iter().filter(|reset| reset.is_provoked).count();
    let report = if late > 0 {
        report.saw(format!("{late} of {} RSTs arrived only when the receiver sent the next byte", good.len()))
    } else {
        report
    };
    match lost.iter().max() {
        Some(most) if *most > 0 => report.measure(LOST_TAIL, *most).saw(format!(
            "missing before the RST, in each try: {}",
            lost.iter().map(|bytes| amount(*bytes)).collect::<Vec<_>>().join(", ")
        )),
        _ => report,
    }
}

/// The tries without a RST, where some with one have failed or lost something.
async fn controls(end: &PathEnd, tries: &[TryOutcome<ArrivedReset>], rtt: Duration) -> Vec<TryOutcome<()>> {
    if tries.iter().all(|tried| tried.result.is_ok()) {
        return Vec::new();
    }
    all(BEFORE.map(|before| try_control(end, before, rtt))).await
}

async fn tail_controls(
    end: &PathEnd,
    direction: PathDirection,
    tails: &[TryOutcome<ArrivedReset>],
    bytes: u64,
) -> Vec<TryOutcome<()>> {
    if tails.iter().all(|tail| tail.result.as_ref().is_ok_and(|reset| reset.missing == 0)) {
        return Vec::new();
    }
    all((0..TRIES_OF_TAIL).map(|_| try_tail_control(end, direction, bytes))).await
}

pub(crate) async fn run_out(end: &PathEnd, bytes: u64, rtt: Duration) -> CheckReport {
    // A tail that fits into the far end's system does not wait in the path: a slow one gets two
    // seconds.
    let bytes = (6 * bytes).min(TAIL_OUT);
    let (tries, tails) = tokio::join!(
        all(BEFORE.map(|before| try_out(end, before, rtt))),
        all((0..TRIES_OF_TAIL).map(|_| try_tail_out(end, bytes, rtt))),
    );
    let control = controls(end, &tries, rtt).await;
    let whole = tail_controls(end, PathDirection::Out, &tails, bytes).await;
    judged(PathDirection::Out, [&tries, &tails], [&control, &whole])
}

pub(crate) async fn run_in(end: &PathEnd, rtt: Duration) -> CheckReport {
    let (tries, tails) = tokio::join!(
        all(BEFORE.map(|before| try_in(end, before, rtt))),
        all((0..TRIES_OF_TAIL).map(|_| try_tail_in(end, rtt))),
    );
    let control = controls(end, &tries, rtt).await;
    let whole = tail_controls(end, PathDirection::In, &tails, TAIL).await;
    judged(PathDirection::In, [&tries, &tails], [&control, &whole])
}

#[cfg(test)]
mod tests;

//! `close-tail`: the last bytes before an orderly close arrive, and a FIN after them.
//!
//! A FIN that never arrives is the matter of the half-close checks.

use std::time::Duration;

use tokio::time::sleep;

use super::CheckId;
use super::integrity::arrived;
use crate::place::{PathEnd, Special};
use crate::probe_connection::StreamEnd;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::{NoHello, Symptom};
use crate::tries::{TRIES, TriesJudgement, TryOutcome, all, all_are, play, play_and_end};
use resound_probe::Step;

/// The most bytes before the FIN.
const MOST: u64 = 256 * 1024;
/// The number of small reads that come first.
const SLOW_READS: u32 = 8;
const SLOW_READ: u64 = 1024;
const BETWEEN_READS: Duration = Duration::from_millis(5);
const CUTS: &str = "a proxy that closes its other connection before all that it holds has left (speedbump, or socat \
                    behind its half second)";
const ADDS: &str = "a proxy that ends a stream with bytes of its own, or sends the last ones again";
const RESETS: &str = "a proxy that closes with unread bytes, or with a linger time of 0 (toxiproxy, HAProxy's \
                      `option nolinger`), or ends what it has not passed on in time (HAProxy's `timeout \
                      server-fin`)";

/// Bytes of each try.
fn sizes(bytes: u64) -> [u64; 3] {
    [1, 16 * 1024, bytes.min(MOST)]
}

/// Meanwhile the receiver reads nothing, so that the tail has to wait in the path.
fn pause(rtt: Duration) -> Duration {
    2 * rtt + Duration::from_millis(100)
}

/// What came before a stream ended like this.
fn ended(whose: &str, end: StreamEnd, received: u64, of: u64) -> Result<(), Symptom> {
    let own = |what: String| Err(Symptom::Own(what));
    match end {
        StreamEnd::Fin if received >= of => Ok(()),
        StreamEnd::Fin => own(format!("a FIN arrived, and only {received} of {of} bytes before it")),
        StreamEnd::Reset if received >= of => own(format!("{whose} FIN arrived as a RST, after all {of} bytes")),
        StreamEnd::Reset => own(format!("a RST arrived, and only {received} of {of} bytes before it")),
        // A FIN that is lost on a connection that is half closed is lost here too.
        StreamEnd::Open => Err(Symptom::NoFin { bytes: of }),
    }
}

/// Extra bytes after the sender's last one, in the place of its FIN.
fn added(symptom: Symptom, received: u64, of: u64) -> Symptom {
    match symptom {
        Symptom::Wrong(direction, wrong) if wrong.at >= of => Symptom::Added { direction, received, of, wrong },
        other => other,
    }
}

async fn try_in(end: &PathEnd, bytes: u64, rtt: Duration) -> TryOutcome<()> {
    let tried = play_and_end(end, Special::default(), &[Step::Send(bytes), Step::Close], async |mut probe| {
        sleep(pause(rtt)).await;
        let mut reads = 0;
        let seen = loop {
            reads += 1;
            let is_slow = reads <= SLOW_READS;
            match probe.read(bytes, if is_slow { SLOW_READ } else { u64::MAX }).await {
                Ok(0) | Err(Symptom::Closed { .. }) => break StreamEnd::Fin,
                Ok(_) if is_slow => sleep(BETWEEN_READS).await,
                Ok(_) => {}
                Err(Symptom::Reset { .. }) => break StreamEnd::Reset,
                Err(Symptom::Stalled { .. }) if probe.received() >= bytes => break StreamEnd::Open,
                Err(other) => return Err(other),
            }
        };
        let received = probe.received();
        probe.check().map_err(|symptom| added(symptom, received, bytes))?;
        if seen == StreamEnd::Reset && received < bytes {
            // Whether it has to do with the FIN, all tries together show.
            return Err(Symptom::Reset { sent: probe.sent, received });
        }
        ended("the far end's", seen, received, bytes)
    })
    .await;
    if tried.result.is_ok() {
        end.ledger.carried(0, bytes);
    }
    tried
}

/// The far end's last bytes and its FIN after this end's FIN. Only a RST that the far end has not
/// sent counts: what else goes wrong after a FIN is the matter of the half-close checks.
async fn try_in_behind_fin(end: &PathEnd, bytes: u64, rtt: Duration) -> TryOutcome<()> {
    let pause = pause(rtt);
    let wait = u64::try_from((2 * pause).as_millis()).unwrap_or(0);
    let steps = [Step::Eof, Step::Wait(wait), Step::Send(bytes), Step::Close];
    play_and_end(end, Special::default(), &steps, async |mut probe| {
        probe.finish().await?;
        // What answers this end's FIN comes before the tail.
        if probe.end_within(pause).await != StreamEnd::Open {
            return Ok(());
        }
        sleep(2 * pause).await;
        if probe.end().await != StreamEnd::Reset {
            return Ok(());
        }
        let received = probe.received();
        let log = probe.asked_until(|log| log.closed.is_some()).await?;
        let is_in_order = log.closed.as_deref().is_some_and(|end| end != "reset");
        if log.fin_at_ms.is_none() || log.sent < bytes || !is_in_order {
            return Ok(());
        }
        Err(Symptom::Own(format!(
            "after this end's FIN, the far end's FIN arrived as a RST, with {received} of {bytes} bytes before it"
        )))
    })
    .await
}

async fn try_out(end: &PathEnd, bytes: u64, rtt: Duration) -> TryOutcome<()> {
    let wait = u64::try_from(pause(rtt).as_millis()).unwrap_or(0);
    let tried = play_and_end(end, Special::default(), &[Step::Wait(wait), Step::Eof], async |mut probe| {
        probe.send(bytes).await?;
        probe.finish().await?;
        let far = probe.far();
        drop(probe);
        let log = far.asked_within(end.patience, |log| log.fin_at_ms.is_some() || log.closed.is_some()).await?;
        let seen = match (log.fin_at_ms, log.closed.as_deref()) {
            (Some(_), _) => StreamEnd::Fin,
            (None, Some("reset")) => StreamEnd::Reset,
            (None, None) => StreamEnd::Open,
            (None, Some(other)) => {
                return Err(Symptom::Own(format!("the far end's connection ended otherwise: {other}")));
            }
        };
        if let Some(wrong) = log.wrong {
            return Err(added(Symptom::Wrong(PathDirection::Out, wrong), log.received, bytes));
        }
        match seen {
            StreamEnd::Open if log.received < bytes => arrived(&log, bytes),
            // Whether it has to do with the FIN, all tries together show.
            StreamEnd::Reset if log.received < bytes => Err(Symptom::FarReset { sent: bytes, received: 0 }),
            seen => ended("this end's", seen, log.received, bytes),
        }
    })
    .await;
    if tried.result.is_ok() {
        end.ledger.carried(bytes, 0);
    }
    tried
}

/// The same bytes on a connection that no end closes.
async fn try_control(end: &PathEnd, direction: PathDirection, bytes: u64, rtt: Duration) -> TryOutcome<()> {
    let wait = u64::try_from(pause(rtt).as_millis()).unwrap_or(0);
    let there = [Step::Wait(wait), Step::Read(bytes), Step::Tell, Step::Read(1)];
    let back = [Step::Send(bytes), Step::Read(1)];
    if direction == PathDirection::Out {
        return play(end, Special::default(), &there, async |probe| {
            probe.send(bytes).await?;
            arrived(&probe.told().await?, bytes)
        })
        .await;
    }
    play(end, Special::default(), &back, async |probe| {
        sleep(pause(rtt)).await;
        probe.receive(bytes).await
    })
    .await
}

/// One direction.
fn judged(direction: PathDirection, tries: &[TryOutcome<()>], control: &[TryOutcome<()>]) -> CheckReport {
    let is_reset = |symptom: &Symptom| matches!(symptom, Symptom::Reset { .. } | Symptom::FarReset { .. });
    let is_own = |symptom: &Symptom| matches!(symptom, Symptom::Own(_) | Symptom::Added { .. });
    // A RST in the middle of one try is the matter of another check; in each, and never without
    // a close, it is what this path makes of a close. So is an early FIN with which a hello is
    // lost.
    let is_cut = |symptom: &Symptom| {
        let is_lost_hello = direction == PathDirection::In && *symptom == Symptom::NoHello(NoHello::Closed);
        is_reset(symptom) || is_lost_hello
    };
    let are_all = all_are(tries, |symptom| is_own(symptom) || is_cut(symptom))
        && tries.iter().filter_map(TryOutcome::symptom).any(|symptom| is_own(symptom) || is_reset(symptom));
    let what = "the same bytes without a close";
    let whose = if direction == PathDirection::Out { "this end's" } else { "the far end's" };
    TriesJudgement { id: CheckId::CloseTail, tries, control: Some((what, control)) }.report(
        |_| CheckReport::new(CheckId::CloseTail, CheckVerdict::Pass, "all bytes arrive, and a FIN after them"),
        |symptom| is_own(symptom) || (are_all && is_cut(symptom)),
        |mine| {
            // The longest try says most.
            let text = match mine.last() {
                Some(symptom) if is_reset(symptom) => format!("{whose} FIN arrived as a RST, without the last bytes"),
                last => last.map(ToString::to_string).unwrap_or_default(),
            };
            let cause = match () {
                () if text.contains("RST") => RESETS,
                () if text.contains("adds bytes") => ADDS,
                () => CUTS,
            };
            CheckReport::new(CheckId::CloseTail, CheckVerdict::Fail, text).towards(direction).suspects(cause)
        },
    )
}

fn behind_fin(symptom: &Symptom) -> CheckReport {
    CheckReport::new(CheckId::CloseTail, CheckVerdict::Fail, symptom.to_string())
        .towards(PathDirection::In)
        .suspects(RESETS)
}

/// Both directions: what is worse is said first.
fn merged(out: CheckReport, back: CheckReport) -> CheckReport {
    let rank = |report: &CheckReport| CheckVerdict::ALL.iter().position(|verdict| *verdict == report.verdict);
    let verdicts = (out.verdict, back.verdict);
    let (ok, tries) = (out.ok + back.ok, out.tries + back.tries);
    let (mut report, other) = if rank(&out) <= rank(&back) { (out, back) } else { (back, out) };
    if verdicts.0 == verdicts.1 && verdicts.0 != CheckVerdict::Pass {
        if report.direction.is_some() {
            report.direction = Some(PathDirection::Both);
        }
        if other.summary != report.summary {
            report.evidence.push(other.summary);
        }
        report
            .suspect
            .extend(other.suspect.into_iter().filter(|cause| !report.suspect.contains(cause)).collect::<Vec<_>>());
    }
    for line in other.evidence {
        if !report.evidence.contains(&line) {
            report.evidence.push(line);
        }
    }
    (report.ok, report.tries) = (ok, tries);
    report
}

async fn one_way(end: &PathEnd, direction: PathDirection, bytes: u64, rtt: Duration) -> CheckReport {
    let sizes = sizes(bytes);
    let tries = match direction {
        PathDirection::Out => all(sizes.map(|bytes| try_out(end, bytes, rtt))).await,
        _ => all(sizes.map(|bytes| try_in(end, bytes, rtt))).await,
    };
    let control = if tries.iter().all(|tried| tried.result.is_ok()) {
        Vec::new()
    } else {
        all(sizes.map(|bytes| try_control(end, direction, bytes, rtt))).await
    };
    let report = judged(direction, &tries, &control);
    if direction == PathDirection::In && report.verdict == CheckVerdict::Pass {
        let behind = all(sizes.map(|bytes| try_in_behind_fin(end, bytes, rtt))).await;
        if all_are(&behind, |symptom| matches!(symptom, Symptom::Own(_))) {
            return TriesJudgement { id: CheckId::CloseTail, tries: &behind, control: None }
                .report(|_| report, |_| true, |mine| behind_fin(mine[0]))
                .control("the same without this end's FIN", tries.len(), tries.len());
        }
    }
    let bytes = tries.iter().zip(sizes).rev().find_map(|(tried, bytes)| tried.result.is_err().then_some(bytes));
    match (report.verdict, bytes) {
        // A large tail may be cut where a small one is not, and chance cuts any.
        (CheckVerdict::Flaky, Some(bytes)) if !is_cut_again(end, direction, bytes, rtt).await => {
            // What chance adds is damage of any transfer.
            for symptom in tries.iter().filter_map(TryOutcome::symptom) {
                if let Symptom::Added { direction, wrong, .. } = symptom {
                    end.ledger.moved(Some(&Symptom::Wrong(*direction, *wrong)));
                }
            }
            let summary = format!("not judged, since the same passes at another time: {}", report.summary);
            CheckReport { verdict: CheckVerdict::Unknown, summary, ..report }
        }
        _ => report,
    }
}

/// Whether three more tries fail, and three controls do not.
async fn is_cut_again(end: &PathEnd, direction: PathDirection, bytes: u64, rtt: Duration) -> bool {
    let again = match direction {
        PathDirection::Out => all((0..TRIES).map(|_| try_out(end, bytes, rtt))).await,
        _ => all((0..TRIES).map(|_| try_in(end, bytes, rtt))).await,
    };
    let control = all((0..TRIES).map(|_| try_control(end, direction, bytes, rtt))).await;
    again.iter().all(|tried| tried.result.is_err()) && control.iter().all(|tried| tried.result.is_ok())
}

pub(crate) async fn run(end: &PathEnd, bytes: u64, rtt: Duration) -> CheckReport {
    let (out, back) =
        tokio::join!(one_way(end, PathDirection::Out, bytes, rtt), one_way(end, PathDirection::In, bytes, rtt),);
    merged(out, back)
}

#[cfg(test)]
mod tests;

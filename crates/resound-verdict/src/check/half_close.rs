//! `half-close-out`, `half-close-in`: a FIN ends one direction and leaves the other open (RFC 9293,
//! 3.6).

use std::time::Duration;

use tokio::time::sleep;

use super::CheckId;
use super::integrity::arrived;
use crate::place::{PathEnd, Special};
use crate::probe_connection::StreamEnd;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TriesJudgement, TryOutcome, all, all_are, play_and_end};
use resound_probe::{SessionLog, Step};

/// What is sent before the FIN, in each try.
const BEFORE: [u64; 3] = [0, 1, 64 * 1024];
/// A path's reaction to a FIN arrives within this time: its own FIN, a RST, or the FIN after the
/// end of TLS.
pub(crate) const AFTER_FIN: Duration = Duration::from_millis(100);
/// Bytes after the FIN, if the path is fast enough: more than most proxies buffer.
const MAX_AFTER_FIN: u64 = 256 * 1024;
/// What a box that fails so looks like.
fn box_that_closes(direction: PathDirection) -> String {
    // HAProxy counts the time on the side that it has passed the FIN on to.
    let side = if direction == PathDirection::Out { "server" } else { "client" };
    format!(
        "a proxy that closes both directions on one FIN (nginx without `proxy_half_close on`, HAProxy with a short \
         `timeout {side}-fin`)"
    )
}
const EATS: &str = "a proxy that never passes a FIN on (keploy)";

/// The pause before the answer: the path has seen the FIN by then, and passed on what it makes of
/// it.
pub(crate) fn pause(rtt: Duration) -> Duration {
    2 * rtt + AFTER_FIN
}

/// What came after a FIN, or in its absence. Whether the bytes are right is the matter of another
/// check.
fn counted(received: Result<(), Symptom>) -> Result<(), Symptom> {
    match received {
        Err(Symptom::Wrong(..)) => Ok(()),
        other => other,
    }
}

async fn try_out(end: &PathEnd, before: u64, behind: u64, rtt: Duration, is_control: bool) -> TryOutcome<()> {
    let wait = Step::Wait(u64::try_from(pause(rtt).as_millis()).unwrap_or(0));
    let answer = Step::Send(behind);
    // The last bytes must not leave with the far end's FIN: that may be lost, which is the matter
    // of the other direction.
    let hold = Step::Hold(u64::try_from(end.patience.as_millis()).unwrap_or(u64::MAX));
    let with_fin = [Step::Eof, wait, answer, hold, Step::Finish];
    let without = [Step::Read(before), wait, answer, Step::Eof];
    let steps: &[Step] = if is_control { &without } else { &with_fin };
    let tried = play_and_end(end, Special::default(), steps, async |mut probe| {
        probe.send(before).await?;
        if is_control {
            return counted(probe.receive(behind).await);
        }
        probe.finish().await?;
        let (broken, end) = match counted(probe.receive(behind).await) {
            Ok(()) => {
                // All bytes are here: the far end's answer changes nothing.
                let _ = probe.go().await;
                return Ok(());
            }
            Err(symptom @ Symptom::Reset { .. }) => (symptom, StreamEnd::Reset),
            Err(symptom @ Symptom::Closed { .. }) => (symptom, StreamEnd::Fin),
            Err(symptom @ Symptom::Stalled { .. }) => (symptom, StreamEnd::Open),
            Err(other) => return Err(other),
        };
        match end {
            // It is the answer to the FIN, and nothing that chance brings in a transfer.
            StreamEnd::Fin if probe.received() == 0 => Err(Symptom::Own(closes_both(0, behind))),
            // So is a lost FIN, where all before it has arrived.
            StreamEnd::Open => match probe.asked().await? {
                log if log.fin_at_ms.is_none() && log.closed.is_none() && log.received >= before => {
                    Err(Symptom::Own("the FIN never arrived, and the far end waits for it".into()))
                }
                _ => Err(broken),
            },
            _ => Err(broken),
        }
    })
    .await;
    if tried.result.is_ok() {
        end.ledger.carried(before, behind);
    }
    tried
}

fn closes_both(got: u64, of: u64) -> String {
    format!("the FIN closed both directions: {got} of {of} bytes came after the FIN")
}

async fn try_in(end: &PathEnd, before: u64, behind: u64, is_control: bool) -> TryOutcome<()> {
    let with_fin = [Step::Send(before), Step::Finish, Step::Eof];
    let without = [Step::Send(before), Step::Read(behind), Step::Tell];
    let steps: &[Step] = if is_control { &without } else { &with_fin };
    let tried = play_and_end(end, Special::default(), steps, async |mut probe| {
        let came = counted(probe.receive(before).await);
        // What is cut before the FIN is the matter of another check.
        came.map_err(|symptom| match symptom {
            Symptom::Closed { received, .. } => Symptom::Cut { received, of: before },
            other => other,
        })?;
        if is_control {
            // The same pause, without a FIN before it.
            sleep(AFTER_FIN).await;
            probe.send(behind).await?;
            return counted(arrived(&probe.told().await?, behind));
        }
        match probe.end().await {
            StreamEnd::Fin => {}
            StreamEnd::Reset => return Err(Symptom::Reset { sent: probe.sent, received: probe.received() }),
            StreamEnd::Open => return Err(Symptom::Own("the far end's FIN never arrived".into())),
        }
        sleep(AFTER_FIN).await;
        // This end's own FIN, and what would leave with it, is the matter of another check.
        let sent = probe.send(behind).await;
        let is_over = |far: &SessionLog| far.received >= behind || far.fin_at_ms.is_some() || far.closed.is_some();
        let far = probe.asked_until(is_over).await?;
        let got = far.received;
        match sent {
            _ if got >= behind => Ok(()),
            // A FIN that this end has not sent, or one in the place of all bytes.
            Err(_) if far.fin_at_ms.is_some() => Err(Symptom::Own(closed_by_far(got, behind))),
            Ok(()) if far.fin_at_ms.is_some() && got == 0 => Err(Symptom::Own(closed_by_far(got, behind))),
            Err(symptom) => Err(symptom),
            Ok(()) => Err(Symptom::Closed { sent: behind, received: probe.received() }),
        }
    })
    .await;
    if tried.result.is_ok() {
        end.ledger.carried(behind, before);
    }
    tried
}

fn closed_by_far(got: u64, of: u64) -> String {
    format!("the far end's FIN closed both directions: {got} of {of} bytes arrived after its FIN")
}

/// What the FIN itself may have caused, and chance as well.
fn is_cut(symptom: &Symptom) -> bool {
    matches!(
        symptom,
        Symptom::Reset { .. } | Symptom::FarReset { .. } | Symptom::Closed { .. } | Symptom::Stalled { .. }
    )
}

/// What a cut means where a FIN comes before it each time.
fn in_words(symptom: &Symptom, direction: PathDirection, behind: u64) -> String {
    let whose = if direction == PathDirection::Out { "this end's" } else { "the far end's" };
    match symptom {
        Symptom::Own(what) => what.clone(),
        Symptom::Reset { received, .. } if direction == PathDirection::Out => {
            format!("a RST answered the FIN: {received} of {behind} bytes came after the FIN")
        }
        Symptom::Closed { received, .. } if direction == PathDirection::Out => closes_both(*received, behind),
        other => format!("after {whose} FIN, {other}"),
    }
}

fn judged(direction: PathDirection, tries: &[TryOutcome<()>], control: &[TryOutcome<()>], behind: u64) -> CheckReport {
    let id = if direction == PathDirection::Out { CheckId::HalfCloseOut } else { CheckId::HalfCloseIn };
    let is_own = |symptom: &Symptom| matches!(symptom, Symptom::Own(_));
    let is_before = |symptom: &Symptom| match symptom {
        Symptom::Cut { .. } => true,
        // The end of the far end's first line.
        Symptom::Closed { sent: 0, .. } => direction == PathDirection::In,
        _ => false,
    };
    // A box that closes both directions may lose what came before the FIN as well.
    let is_cut = |symptom: &Symptom| is_cut(symptom) || is_before(symptom);
    let is_all = all_are(tries, |symptom| is_own(symptom) || is_cut(symptom))
        && tries.iter().filter_map(TryOutcome::symptom).any(|symptom| !is_before(symptom));
    TriesJudgement { id, tries, control: Some(("the same bytes without a FIN", control)) }.report(
        |_| {
            let what = match direction {
                PathDirection::Out => "this end's FIN leaves the way back open",
                _ => "the far end's FIN leaves the way there open",
            };
            CheckReport::new(id, CheckVerdict::Pass, what)
        },
        |symptom| is_own(symptom) || (is_all && is_cut(symptom)),
        |mine| {
            let first = mine.iter().find(|symptom| !is_before(symptom)).unwrap_or(&mine[0]);
            let text = in_words(first, direction, behind);
            let cause = if text.contains("never") { EATS.into() } else { box_that_closes(direction) };
            CheckReport::new(id, CheckVerdict::Fail, text).towards(direction).suspects(cause)
        },
    )
}

pub(crate) async fn run_out(end: &PathEnd, bytes: u64, rtt: Duration) -> CheckReport {
    let behind = bytes.min(MAX_AFTER_FIN);
    let tries = all(BEFORE.map(|before| try_out(end, before, behind, rtt, false))).await;
    let is_clean = tries.iter().all(|tried| tried.result.is_ok());
    let control =
        if is_clean { Vec::new() } else { all(BEFORE.map(|before| try_out(end, before, behind, rtt, true))).await };
    judged(PathDirection::Out, &tries, &control, behind)
}

pub(crate) async fn run_in(end: &PathEnd, bytes: u64) -> CheckReport {
    let behind = bytes.min(MAX_AFTER_FIN);
    let tries = all(BEFORE.map(|before| try_in(end, before, behind, false))).await;
    let is_clean = tries.iter().all(|tried| tried.result.is_ok());
    let control = if is_clean { Vec::new() } else { all(BEFORE.map(|before| try_in(end, before, behind, true))).await };
    judged(PathDirection::In, &tries, &control, behind)
}

//! `half-close-out`, `half-close-in`: a FIN ends one direction and leaves the other open (RFC 9293,
//! 3.6).

use std::time::Duration;

use super::CheckId;
use super::integrity::arrived;
use crate::place::{PathEnd, Special};
use crate::played::StreamEnd;
use crate::probe::{SessionLog, Step};
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{Tried, TriesJudgement, all, play};

/// What is sent before the FIN, in each try.
const BEFORE: [u64; 3] = [0, 1, 64 * 1024];
/// What comes behind it: more than the buffers of most proxies.
const BEHIND: u64 = 256 * 1024;
/// Why a box that fails looks like this.
const CLOSES_BOTH: &str =
    "a proxy that closes both directions on one FIN (docker-proxy until 2016, Envoy until 2018, toxiproxy)";
const EATS: &str = "a proxy that never passes a FIN on (keploy)";

/// The pause before the answer: the path has seen the FIN by then, and passed on what it makes of
/// it.
fn pause(rtt: Duration) -> u64 {
    u64::try_from((2 * rtt).as_millis()).unwrap_or(0) + 100
}

async fn try_out(end: &PathEnd, before: u64, rtt: Duration, is_control: bool) -> Tried<()> {
    let (wait, answer) = (Step::Wait(pause(rtt)), Step::Send(BEHIND));
    let with_fin = [Step::Eof, wait, answer, Step::Finish];
    let without = [Step::Read(before), wait, answer, Step::Eof];
    play(end, Special::default(), if is_control { &without } else { &with_fin }, async |played| {
        played.send(before).await?;
        if is_control {
            return played.receive(BEHIND).await;
        }
        played.finish().await?;
        let end = match played.receive(BEHIND).await {
            Ok(()) => return Ok(()),
            Err(wrong @ Symptom::Wrong(..)) => return Err(wrong),
            Err(Symptom::Reset { .. }) => StreamEnd::Reset,
            Err(Symptom::Closed { .. }) => StreamEnd::Fin,
            Err(Symptom::Stalled { .. }) => StreamEnd::Open,
            Err(other) => return Err(other),
        };
        let got = format!("{} of {BEHIND} bytes came behind the FIN", played.received());
        Err(Symptom::Own(match end {
            StreamEnd::Fin => format!("the FIN closed both directions: {got}"),
            StreamEnd::Reset => format!("a RST answered the FIN: {got}"),
            StreamEnd::Open => match played.asked().await?.fin_at_ms {
                None => format!("the FIN never arrived, and the far end waits for it: {got}"),
                Some(_) => format!("the FIN arrived, and the answer did not come back: {got}"),
            },
        }))
    })
    .await
}

async fn try_in(end: &PathEnd, before: u64, is_control: bool) -> Tried<()> {
    let with_fin = [Step::Send(before), Step::Finish, Step::Eof];
    let without = [Step::Send(before), Step::Read(BEHIND), Step::Tell];
    play(end, Special::default(), if is_control { &without } else { &with_fin }, async |played| {
        played.receive(before).await?;
        if is_control {
            played.send(BEHIND).await?;
            return arrived(&played.told().await?, BEHIND);
        }
        match played.end().await {
            StreamEnd::Fin => {}
            StreamEnd::Reset => return Err(Symptom::Own("the far end's FIN arrived as a RST".into())),
            StreamEnd::Open => return Err(Symptom::Own("the far end's FIN never arrived".into())),
        }
        let sent = played.send(BEHIND).await;
        let finished = match sent {
            Ok(()) => played.finish().await,
            broken => broken,
        };
        // Whether this end's own FIN arrives is the matter of another check.
        let is_over = |far: &SessionLog| far.received >= BEHIND || far.fin_at_ms.is_some() || far.closed.is_some();
        let far = played.asked_until(is_over).await?;
        if let Some(wrong) = far.wrong {
            return Err(Symptom::Wrong(PathDirection::Out, wrong));
        }
        let got = format!("{} of {BEHIND} bytes arrived behind its FIN", far.received);
        match (finished, far.received) {
            (_, BEHIND) => Ok(()),
            (Err(symptom), _) => {
                Err(Symptom::Own(format!("the far end's FIN closed both directions: {got}; {symptom}")))
            }
            (Ok(()), _) => Err(Symptom::Own(format!("the far end's FIN closed both directions: {got}"))),
        }
    })
    .await
}

fn judged(id: CheckId, direction: PathDirection, tries: &[Tried<()>], control: &[Tried<()>]) -> CheckReport {
    TriesJudgement { id, tries, control: Some(("the same bytes without a FIN", control)) }.report(
        |_| {
            let what = match direction {
                PathDirection::Out => "this end's FIN leaves the way back open",
                _ => "the far end's FIN leaves the way there open",
            };
            CheckReport::new(id, CheckVerdict::Pass, what)
        },
        |symptom| matches!(symptom, Symptom::Own(_)),
        |mine| {
            let text = mine[0].to_string();
            let cause = if text.contains("never") { EATS } else { CLOSES_BOTH };
            CheckReport::new(id, CheckVerdict::Fail, text).towards(direction).suspects(cause)
        },
    )
}

pub(crate) async fn run_out(end: &PathEnd, rtt: Duration) -> CheckReport {
    let tries = all(BEFORE.map(|before| try_out(end, before, rtt, false))).await;
    let is_clean = tries.iter().all(|tried| tried.result.is_ok());
    let control = if is_clean { Vec::new() } else { all(BEFORE.map(|before| try_out(end, before, rtt, true))).await };
    judged(CheckId::HalfCloseOut, PathDirection::Out, &tries, &control)
}

pub(crate) async fn run_in(end: &PathEnd) -> CheckReport {
    let tries = all(BEFORE.map(|before| try_in(end, before, false))).await;
    let is_clean = tries.iter().all(|tried| tried.result.is_ok());
    let control = if is_clean { Vec::new() } else { all(BEFORE.map(|before| try_in(end, before, true))).await };
    judged(CheckId::HalfCloseIn, PathDirection::In, &tries, &control)
}

//! `slow-reader`: a reader that stops for a while loses nothing. Its window closes, and TCP probes
//! it until it opens again (RFC 9293, 3.8.6.1).

use std::time::Duration;

use tokio::time::sleep;

use super::CheckId;
use super::greet::elapsed;
use super::hold::{Held, own};
use super::integrity::{amount, arrived};
use crate::place::{PathEnd, Special};
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TRIES, TriesJudgement, TryOutcome, all, all_are, play};
use resound_probe::{CREDIT, Step};

/// This end's receive buffer.
const RECEIVE_BUFFER: u32 = 16 * 1024;
/// What is acknowledged in one round trip with it, about.
const PER_TRIP: f64 = 8.0 * 1024.0;
/// Approximate duration of the transfer after the pause, in seconds.
const TRANSFER: f64 = 1.5;
const CAUSE: &str = "a proxy or firewall that gives up on a receiver whose window is closed";

/// Bytes for this end to receive: more than its buffer, and soon over.
fn bytes_in(rtt: Duration) -> u64 {
    let bytes = PER_TRIP * TRANSFER / rtt.as_secs_f64().max(1e-3);
    (bytes as u64).clamp(64 * 1024, CREDIT / 2)
}

async fn try_in(end: &PathEnd, pause: Duration, rtt: Duration) -> TryOutcome<()> {
    let bytes = bytes_in(rtt);
    let special = Special { receive_buffer: Some(RECEIVE_BUFFER), ..Special::default() };
    play(end, special, &[Step::Read(1), Step::Send(bytes)], async |probe| {
        probe.send(1).await?;
        if pause.is_zero() {
            return probe.receive(bytes).await;
        }
        sleep(pause).await;
        let received = probe.receive(bytes).await;
        received.map_err(|symptom| own(symptom, &format!("after {} without reading", elapsed(pause))))
    })
    .await
}

/// The same bytes to a far end that reads.
pub(crate) async fn try_plain_out(end: &PathEnd, bytes: u64) -> TryOutcome<()> {
    play(end, Special::default(), &[Step::Read(bytes), Step::Tell], async |probe| {
        probe.send(bytes).await?;
        arrived(&probe.told().await?, bytes)
    })
    .await
}

/// The same pause, with a window that stays open.
async fn try_pause(end: &PathEnd, pause: Duration) -> TryOutcome<()> {
    play(end, Special::default(), &[Step::Read(1), Step::Send(1), Step::Read(1), Step::Send(1)], async |probe| {
        probe.send(1).await?;
        probe.receive(1).await?;
        sleep(pause).await;
        probe.send(1).await?;
        probe.receive(2).await
    })
    .await
}

/// The tries of both directions, and their controls.
pub(crate) struct SlowReader {
    pub(crate) out: Vec<TryOutcome<()>>,
    pub(crate) back: Vec<TryOutcome<()>>,
    pub(crate) control: Vec<TryOutcome<()>>,
    pub(crate) lasted: Duration,
}

/// This end reads late, and the controls of what went wrong in either direction.
pub(crate) async fn tries_in(end: &PathEnd, pause: Duration, rtt: Duration) -> Vec<TryOutcome<()>> {
    all((0..TRIES).map(|_| try_in(end, pause, rtt))).await
}

pub(crate) async fn run(
    end: &PathEnd,
    held: Vec<(Held, TryOutcome<()>)>,
    back: Vec<TryOutcome<()>>,
    pause: Duration,
    rtt: Duration,
) -> SlowReader {
    let lasted = held.iter().map(|(held, _)| held.lasted).max().unwrap_or_default();
    let sent = held.iter().map(|(held, _)| held.sent).max().unwrap_or(1).max(1);
    let out: Vec<_> = held.into_iter().map(|(_, tried)| tried).collect();
    let is_own = |tries: &[TryOutcome<()>]| tries.iter().any(|tried| matches!(tried.symptom(), Some(Symptom::Own(_))));
    let mut control = Vec::new();
    if is_own(&out) {
        control.extend(all((0..TRIES).map(|_| try_plain_out(end, sent))).await);
        control.extend(all((0..TRIES).map(|_| try_pause(end, lasted))).await);
    }
    if is_own(&back) {
        control.extend(all((0..TRIES).map(|_| try_in(end, Duration::ZERO, rtt))).await);
        control.extend(all((0..TRIES).map(|_| try_pause(end, pause))).await);
    }
    SlowReader { out, back, control, lasted }
}

impl SlowReader {
    pub(crate) fn report(&self) -> CheckReport {
        let [out, back] = [(&self.out, PathDirection::Out), (&self.back, PathDirection::In)]
            .map(|(tries, direction)| (self.judged(tries, direction), direction));
        let rank = |report: &CheckReport| {
            let severe = [CheckVerdict::Pass, CheckVerdict::Error, CheckVerdict::Unknown, CheckVerdict::Flaky];
            severe.iter().position(|verdict| *verdict == report.verdict).unwrap_or(severe.len())
        };
        if out.0.verdict == CheckVerdict::Fail && back.0.verdict == CheckVerdict::Fail {
            let mut report = out.0.towards(PathDirection::Both);
            (report.ok, report.tries) = (report.ok + back.0.ok, report.tries + back.0.tries);
            report.evidence.extend(back.0.evidence);
            return report;
        }
        let (worse, other) = if rank(&back.0) > rank(&out.0) { (back, out) } else { (out, back) };
        let (mut report, direction) = worse;
        if report.verdict == CheckVerdict::Pass {
            (report.ok, report.tries) = (report.ok + other.0.ok, report.tries + other.0.tries);
            return report.measure("pause_ms", self.lasted.as_secs_f64() * 1000.0);
        }
        report.direction = Some(direction);
        report
    }

    fn judged(&self, tries: &[TryOutcome<()>], direction: PathDirection) -> CheckReport {
        let what = "the same bytes without the pause, and the pause without bytes";
        // What breaks by chance breaks some tries of any transfer.
        let is_mine = |symptom: &Symptom| matches!(symptom, Symptom::Own(_));
        let are_mine = all_are(tries, is_mine);
        TriesJudgement { id: CheckId::SlowReader, tries, control: Some((what, &self.control)) }.report(
            |_| {
                let lasted = elapsed(self.lasted);
                let summary = format!("a reader that stops for {lasted} gets all bytes afterwards, each way");
                CheckReport::new(CheckId::SlowReader, CheckVerdict::Pass, summary)
            },
            |symptom| are_mine && is_mine(symptom),
            |mine| {
                CheckReport::new(CheckId::SlowReader, CheckVerdict::Fail, mine[0].to_string())
                    .towards(direction)
                    .suspects(CAUSE)
            },
        )
    }
}

/// What was sent to a far end that reads nothing, as a line of evidence.
pub(crate) fn seen(held: &Held) -> String {
    format!(
        "{} acknowledged and {} arrived, {} after the start of the pause",
        amount(held.acknowledged),
        amount(held.acknowledged.saturating_sub(held.hidden.unwrap_or(0))),
        elapsed(held.lasted)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(results: [Result<(), Symptom>; TRIES]) -> Vec<TryOutcome<()>> {
        results.map(|result| TryOutcome { result, far: None }).into()
    }

    const CLEAN: [Result<(), Symptom>; TRIES] = [Ok(()), Ok(()), Ok(())];

    fn broken() -> Result<(), Symptom> {
        Err(own(Symptom::Reset { sent: 9, received: 0 }, "while the far end read nothing"))
    }

    fn judged(
        out: [Result<(), Symptom>; TRIES],
        back: [Result<(), Symptom>; TRIES],
        control: [Result<(), Symptom>; TRIES],
    ) -> CheckReport {
        let lasted = Duration::from_secs(1);
        SlowReader { out: tries(out), back: tries(back), control: tries(control), lasted }.report()
    }

    #[test]
    fn a_break_behind_the_pause_fails_in_its_direction() {
        assert_eq!(judged(CLEAN, CLEAN, CLEAN).verdict, CheckVerdict::Pass);
        let all = || [broken(), broken(), broken()];
        for (report, direction) in [
            (judged(all(), CLEAN, CLEAN), PathDirection::Out),
            (judged(CLEAN, all(), CLEAN), PathDirection::In),
            (judged(all(), all(), CLEAN), PathDirection::Both),
        ] {
            assert_eq!((report.verdict, report.direction), (CheckVerdict::Fail, Some(direction)));
            assert!(report.control.unwrap().holds());
        }
        let some = judged([broken(), Ok(()), broken()], CLEAN, CLEAN);
        assert_eq!(some.verdict, CheckVerdict::Unknown, "chance explains it");
    }

    #[test]
    fn a_break_without_the_pause_is_not_that_of_the_pause() {
        let report = judged([broken(), broken(), broken()], CLEAN, [Ok(()), broken(), Ok(())]);
        assert_eq!(report.verdict, CheckVerdict::Unknown);
        let foreign = || Err(Symptom::Reset { sent: 0, received: 0 });
        assert_eq!(judged([foreign(), foreign(), foreign()], CLEAN, CLEAN).verdict, CheckVerdict::Unknown);
        let forgotten = || Err(Symptom::Forgotten);
        assert_eq!(judged([forgotten(), forgotten(), forgotten()], CLEAN, CLEAN).verdict, CheckVerdict::Error);
    }

    #[test]
    fn what_this_end_receives_takes_about_as_long_on_any_path() {
        assert_eq!(bytes_in(Duration::ZERO), CREDIT / 2);
        assert_eq!(bytes_in(Duration::from_millis(600)), 64 * 1024);
    }
}

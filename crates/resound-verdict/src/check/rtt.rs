//! `rtt`: the round-trip time of one byte, before other checks load the path.

use std::time::Duration;

use super::CheckId;
use super::greet::elapsed;
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::{CheckReport, CheckVerdict};
use crate::symptom::Symptom;
use crate::tries::{TRIES, TryOutcome, play};
use resound_probe::Step;

/// The most and the fewest round trips.
const ROUND_TRIPS: (u32, u32) = (20, 5);
/// All of them together take about this long at most.
const BUDGET: Duration = Duration::from_millis(1500);

/// Round trips on an idle path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RoundTrips {
    /// In the order in which they were made; never empty.
    pub(crate) times: Vec<Duration>,
    pub(crate) connected_in: Duration,
    /// Of this end and of the far end, where the systems count them.
    pub(crate) retransmits: [Option<u32>; 2],
    /// What this end's system takes for the round-trip time to whatever acknowledges.
    pub(crate) tcp: Option<Duration>,
}

impl RoundTrips {
    pub(crate) fn part(&self, part: f64) -> Duration {
        quantile(&self.times, part)
    }

    /// The round-trip time that waits are measured by.
    pub(crate) fn typical(&self) -> Duration {
        self.part(0.5)
    }

    /// The mean difference of neighbours.
    fn jitter(&self) -> Duration {
        let differences = self.times.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
        differences.sum::<Duration>() / u32::try_from(self.times.len().saturating_sub(1).max(1)).unwrap_or(1)
    }
}

/// The time below which this part of them lies.
pub(crate) fn quantile(times: &[Duration], part: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Measures `count` round trips of one byte each way.
pub(crate) async fn round_trips(probe: &mut ProbeConnection, count: u32) -> Result<Vec<Duration>, Symptom> {
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(probe.round_trip(1, 1).await?);
    }
    Ok(times)
}

async fn try_rtt(end: &PathEnd, count: u32) -> TryOutcome<RoundTrips> {
    let steps = [Step::Answers { count, ask: 1, bytes: 1 }, Step::Tell];
    play(end, Special::default(), &steps, async |probe| {
        let times = round_trips(probe, count).await?;
        let far = probe.told().await?;
        let tcp = probe.tcp();
        Ok(RoundTrips {
            times,
            connected_in: probe.connected_in,
            retransmits: [tcp.as_ref().map(|tcp| tcp.retransmits), far.socket.tcp.map(|tcp| tcp.retransmits)],
            tcp: tcp.map(|tcp| tcp.rtt),
        })
    })
    .await
}

/// Measures, and once more where a connection breaks. `guess` is what the greeting took.
pub(crate) async fn measure(end: &PathEnd, guess: Duration) -> Vec<TryOutcome<RoundTrips>> {
    let fitting = BUDGET.as_secs_f64() / guess.as_secs_f64().max(1e-6);
    let count = (fitting as u32).clamp(ROUND_TRIPS.1, ROUND_TRIPS.0);
    let mut tries = Vec::new();
    while tries.len() < TRIES && tries.iter().all(|tried: &TryOutcome<_>| tried.result.is_err()) {
        tries.push(try_rtt(end, count).await);
    }
    tries
}

/// What was measured, if anything.
pub(crate) fn measured(tries: &[TryOutcome<RoundTrips>]) -> Option<&RoundTrips> {
    tries.iter().find_map(|tried| tried.result.as_ref().ok())
}

pub(crate) fn report(tries: &[TryOutcome<RoundTrips>]) -> CheckReport {
    let symptoms: Vec<_> = tries.iter().filter_map(TryOutcome::symptom).collect();
    let report = match (measured(tries), symptoms.first()) {
        (Some(trips), _) => {
            let [min, p50, max] = [0.0, 0.5, 1.0].map(|part| trips.part(part));
            let jitter = trips.jitter();
            let shown = [p50, min, max, jitter].map(elapsed);
            let summary = format!("{} ({} to {}, jitter {})", shown[0], shown[1], shown[2], shown[3]);
            let mut report = CheckReport::new(CheckId::Rtt, CheckVerdict::Pass, summary)
                .measure("min_ms", millis(min))
                .measure("p50_ms", millis(p50))
                .measure("max_ms", millis(max))
                .measure("jitter_ms", millis(jitter))
                .measure("round_trips", trips.times.len());
            if let Some(tcp) = trips.tcp {
                report = report.measure("tcp_rtt_ms", millis(tcp));
            }
            if let [Some(out), Some(back)] = trips.retransmits {
                report = report.measure("retransmits_out", out).measure("retransmits_in", back);
                if out > 0 || back > 0 {
                    report = report.saw(format!("retransmitted segments: {out} by this end, {back} by the far end"));
                }
            }
            report
        }
        (None, Some(symptom)) if symptom.is_own() => {
            CheckReport::new(CheckId::Rtt, CheckVerdict::Error, symptom.to_string())
        }
        (None, Some(symptom)) => {
            CheckReport::new(CheckId::Rtt, CheckVerdict::Unknown, format!("not measured: {symptom}"))
        }
        (None, None) => CheckReport::new(CheckId::Rtt, CheckVerdict::Error, "it was not tried"),
    };
    let report = report.tried(tries.len() - symptoms.len(), tries.len());
    symptoms.iter().fold(report, |report, symptom| report.saw(symptom.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trips(ms: &[u64], retransmits: [Option<u32>; 2]) -> TryOutcome<RoundTrips> {
        let times = ms.iter().map(|&ms| Duration::from_millis(ms)).collect();
        let trips = RoundTrips { times, connected_in: Duration::ZERO, retransmits, tcp: None };
        TryOutcome { result: Ok(trips), far: None }
    }

    fn broken(symptom: Symptom) -> TryOutcome<RoundTrips> {
        TryOutcome { result: Err(symptom), far: None }
    }

    #[test]
    fn what_is_measured_passes_with_its_numbers() {
        let report = report(&[trips(&[10, 30, 20, 20, 20], [Some(1), Some(0)])]);
        assert_eq!((report.verdict, report.ok, report.tries), (CheckVerdict::Pass, 1, 1));
        assert_eq!(report.summary, "20.0 ms (10.0 ms to 30.0 ms, jitter 7.5 ms)");
        assert_eq!(report.evidence, ["retransmitted segments: 1 by this end, 0 by the far end"]);
    }

    #[test]
    fn a_connection_that_breaks_is_the_matter_of_other_checks() {
        let reset = || broken(Symptom::Reset { sent: 1, received: 0 });
        assert_eq!(report(&[reset(), trips(&[10], [None; 2])]).verdict, CheckVerdict::Pass);
        assert_eq!(report(&[trips(&[10], [Some(1), Some(u32::MAX)])]).verdict, CheckVerdict::Pass);
        assert_eq!(report(&[reset(), reset(), reset()]).verdict, CheckVerdict::Unknown);
        assert_eq!(report(&[broken(Symptom::Forgotten)]).verdict, CheckVerdict::Error);
    }
}

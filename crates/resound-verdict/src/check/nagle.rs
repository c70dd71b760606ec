//! `nagle`: a small write after another one does not wait until the first is acknowledged
//! (Nagle's algorithm, RFC 896). With delayed acknowledgements (RFC 1122, 4.2.3.2) it waits for 40
//! to 200 ms.

use std::time::Duration;

use tokio::time::sleep;

use super::CheckId;
use super::directions::joined;
use super::greet::elapsed;
use super::rtt::{millis, quantile};
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TRIES, TryOutcome, all, are_unmet, play};
use resound_probe::Step;

/// A system acknowledges at once in the beginning, and after some answers no more.
const WARM_UP: u32 = 6;
/// The most and the fewest exchanges of each kind.
const EXCHANGES: (u32, u32) = (10, 5);
/// The exchanges of a connection take about this long at most.
const BUDGET: Duration = Duration::from_millis(1600);
/// Between two small writes: a proxy has passed the first one on by then.
const GAP: Duration = Duration::from_millis(4);
/// An exchange with a longer gap shows nothing, and is repeated; there are at most four times as
/// many in all.
const LONGEST_GAP: Duration = Duration::from_millis(15);
const AGAIN: u32 = 4;
/// A delayed acknowledgement takes longer.
const SHORTEST_PENALTY: Duration = Duration::from_millis(30);
/// Segments in each half of a large message, and their largest size in bytes.
const LARGE_SEGMENTS: u64 = 8;
const LARGEST_SEGMENT: u64 = 4096;

/// Exchanges with one write and with two, in turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NagleTimes {
    one: Vec<Duration>,
    two: Vec<Duration>,
    /// A segment of this end.
    segment: u64,
}

impl NagleTimes {
    /// How much longer two writes take.
    fn penalty(&self) -> Duration {
        quantile(&self.two, 0.5).saturating_sub(quantile(&self.one, 0.5))
    }

    /// Whether most of two writes, and few of one, take longer than chance explains.
    fn is_held(&self) -> bool {
        let usual = quantile(&self.one, 0.5);
        let bar = usual + SHORTEST_PENALTY + usual / 5;
        let slow = |times: &[Duration]| times.iter().filter(|time| **time > bar).count();
        slow(&self.two) * 10 >= self.two.len() * 7 && slow(&self.one) * 10 <= self.one.len() * 2
    }

    fn is_enough(&self) -> bool {
        self.one.len().min(self.two.len()) >= EXCHANGES.1 as usize
    }
}

async fn warm_up(probe: &mut ProbeConnection) -> Result<(), Symptom> {
    for _ in 0..WARM_UP {
        probe.round_trip(1, 1).await?;
    }
    Ok(())
}

/// This end's writes of `half` bytes.
async fn try_out(end: &PathEnd, count: u32, half: u32) -> TryOutcome<NagleTimes> {
    let steps = [
        Step::Answers { count: WARM_UP, ask: 1, bytes: 1 },
        Step::Answers { count: 2 * count * AGAIN, ask: 2 * half, bytes: 1 },
    ];
    play(end, Special::default(), &steps, async |probe| {
        warm_up(probe).await?;
        let mut times = NagleTimes::default();
        for _ in 0..count * AGAIN {
            if times.two.len() >= count as usize {
                break;
            }
            times.one.push(probe.round_trip(2 * u64::from(half), 1).await?);
            let start = std::time::Instant::now();
            probe.send(half.into()).await?;
            let paused = std::time::Instant::now();
            sleep(GAP).await;
            let gap = paused.elapsed();
            probe.send(half.into()).await?;
            probe.receive(probe.received() + 1).await?;
            if gap <= LONGEST_GAP {
                times.two.push(start.elapsed());
            }
        }
        times.segment = probe.tcp().map_or(0, |tcp| tcp.send_mss.into());
        Ok(times)
    })
    .await
}

/// The far end's writes of `half` bytes.
async fn try_in(end: &PathEnd, count: u32, half: u32) -> TryOutcome<NagleTimes> {
    let gap_ms = u64::try_from(GAP.as_millis()).unwrap_or(0);
    let steps = [
        Step::Answers { count: WARM_UP, ask: 1, bytes: 1 },
        Step::Halves { count: 2 * count, ask: 1, bytes: 2 * half, gap_ms },
    ];
    play(end, Special::default(), &steps, async |probe| {
        warm_up(probe).await?;
        let mut times = NagleTimes::default();
        for _ in 0..count {
            times.one.push(probe.round_trip(1, 2 * u64::from(half)).await?);
            times.two.push(probe.round_trip(1, 2 * u64::from(half)).await?);
        }
        times.segment = probe.tcp().map_or(0, |tcp| tcp.send_mss.into());
        Ok(times)
    })
    .await
}

async fn one_try(end: &PathEnd, direction: PathDirection, count: u32, half: u32) -> TryOutcome<NagleTimes> {
    match direction {
        PathDirection::Out => try_out(end, count, half).await,
        _ => try_in(end, count, half).await,
    }
}

/// What the tries mean. `large` is evidence: the same with halves of many segments, which wait for
/// no acknowledgement where the segments of the box that holds them are no larger.
fn judged(
    direction: PathDirection,
    tries: &[TryOutcome<NagleTimes>],
    large: Option<&TryOutcome<NagleTimes>>,
) -> CheckReport {
    let id = CheckId::Nagle;
    let good: Vec<_> = tries.iter().filter_map(|tried| tried.result.as_ref().ok()).collect();
    let symptoms: Vec<_> = tries.iter().filter_map(TryOutcome::symptom).collect();
    let held = good.iter().filter(|times| times.is_enough() && times.is_held()).count();
    let penalty = good.iter().map(|times| times.penalty()).min().unwrap_or_default();
    let writer = if direction == PathDirection::Out { "this end" } else { "the far end" };
    let report = match symptoms.first() {
        Some(symptom) => {
            let verdict = if symptom.is_own() { CheckVerdict::Error } else { CheckVerdict::Unknown };
            let report = CheckReport::new(id, verdict, format!("not judged: {symptom}"));
            CheckReport { never_reached_far_end: are_unmet(tries), ..report }
        }
        None if good.is_empty() => CheckReport::new(id, CheckVerdict::Error, "it was not tried"),
        None if !good.iter().all(|times| times.is_enough()) => {
            CheckReport::new(id, CheckVerdict::Unknown, "not judged: this machine is too busy to write in time")
        }
        None if held == 0 => CheckReport::new(id, CheckVerdict::Pass, "small writes do not wait for acknowledgements"),
        None if held < good.len() => CheckReport::new(
            id,
            CheckVerdict::Unknown,
            format!("not judged: on {held} of {} connections two small writes took longer than one", good.len()),
        ),
        None => CheckReport::new(
            id,
            CheckVerdict::Warn,
            format!("two small writes of {writer} take {:.0} ms longer than one", millis(penalty)),
        )
        .suspects("a proxy without TCP_NODELAY (Nagle's algorithm against delayed acknowledgements)"),
    };
    let name = if direction == PathDirection::Out { "penalty_out_ms" } else { "penalty_in_ms" };
    let mut report = report.measure(name, millis(penalty)).tried(good.len() - held, tries.len()).towards(direction);
    if held > 0 {
        for times in good {
            let [one, two] = [&times.one, &times.two].map(|times| elapsed(quantile(times, 0.5)));
            report = report.saw(format!("{direction}: {two} with two writes, {one} with one (p50)"));
        }
        let steady = symptoms.len() + held;
        report = report.control("the same bytes in one write", steady, steady);
        // Where it is held as well, the segments of the box may be larger: that shows nothing.
        let large = large.and_then(|tried| tried.result.as_ref().ok());
        if let Some(times) = large.filter(|times| !times.is_held()) {
            let penalty = elapsed(times.penalty());
            report = report.saw(format!("{direction}: with {LARGE_SEGMENTS} segments in each write {penalty} longer"));
        }
    }
    report
}

async fn run_one(end: &PathEnd, direction: PathDirection, rtt: Duration) -> CheckReport {
    let fitting = BUDGET.as_secs_f64() / (2.0 * rtt.as_secs_f64()).max(1e-6);
    let count = (fitting as u32).clamp(EXCHANGES.1, EXCHANGES.0);
    let mut tries = vec![one_try(end, direction, count, 1).await];
    let first = tries[0].result.as_ref().ok();
    let segment = first.map_or(0, |times| times.segment);
    let mut large = None;
    if first.is_some_and(|times| times.is_held() || !times.is_enough()) {
        tries.extend(all((1..TRIES).map(|_| one_try(end, direction, count, 1))).await);
        if (1..=LARGEST_SEGMENT).contains(&segment) {
            let half = u32::try_from(LARGE_SEGMENTS * segment).unwrap_or(0);
            large = Some(one_try(end, direction, EXCHANGES.1, half).await);
        }
    }
    judged(direction, &tries, large.as_ref())
}

/// Both directions at once.
pub(crate) async fn run(end: &PathEnd, rtt: Duration) -> CheckReport {
    let (out, back) = tokio::join!(run_one(end, PathDirection::Out, rtt), run_one(end, PathDirection::In, rtt));
    let is_pass = out.verdict == CheckVerdict::Pass && back.verdict == CheckVerdict::Pass;
    let report = joined(out, back);
    CheckReport { direction: if is_pass { None } else { report.direction }, ..report }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(one: &[u64], two: &[u64]) -> TryOutcome<NagleTimes> {
        let [one, two] = [one, two].map(|ms| ms.iter().map(|&ms| Duration::from_millis(ms)).collect());
        TryOutcome { result: Ok(NagleTimes { one, two, segment: 1448 }), far: None }
    }

    fn held() -> TryOutcome<NagleTimes> {
        times(&[1, 1, 2, 1, 1, 1, 1, 1, 1, 90], &[41, 42, 41, 41, 41, 44, 41, 41, 5, 5])
    }

    fn verdict(tries: &[TryOutcome<NagleTimes>], large: Option<&TryOutcome<NagleTimes>>) -> CheckVerdict {
        judged(PathDirection::Out, tries, large).verdict
    }

    #[test]
    fn most_of_two_writes_and_few_of_one_are_held() {
        let report = judged(PathDirection::Out, &[held(), held(), held()], None);
        assert_eq!(report.verdict, CheckVerdict::Warn);
        assert_eq!(report.summary, "two small writes of this end take 40 ms longer than one");
        assert_eq!(report.direction, Some(PathDirection::Out));
    }

    #[test]
    fn jitter_loss_and_a_long_line_are_none() {
        let clean = times(&[1; 10], &[5; 10]);
        let long = times(&[200; 10], &[230; 10]);
        let jitter = times(&[10, 90, 40, 70, 20, 80, 30, 60, 95, 5], &[99, 98, 97, 40, 99, 96, 70, 99, 99, 60]);
        let loss = times(&[1; 10], &[5, 5, 205, 5, 205, 5, 205, 5, 205, 205]);
        for tried in [[clean], [long], [jitter], [loss]] {
            assert_eq!(verdict(&tried, None), CheckVerdict::Pass, "{tried:?}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_unknown() {
        let clean = times(&[1; 10], &[5; 10]);
        assert_eq!(verdict(&[held(), clean.clone(), held()], None), CheckVerdict::Unknown);
        assert_eq!(verdict(&[held(), held(), held()], Some(&held())), CheckVerdict::Warn);
        assert_eq!(verdict(&[held(), held(), held()], Some(&clean)), CheckVerdict::Warn);
        assert_eq!(verdict(&[times(&[1; 10], &[5; 3])], None), CheckVerdict::Unknown);
        let broken = |symptom| TryOutcome { result: Err(symptom), far: None };
        assert_eq!(verdict(&[broken(Symptom::Reset { sent: 0, received: 0 })], None), CheckVerdict::Unknown);
        assert_eq!(verdict(&[broken(Symptom::Forgotten)], None), CheckVerdict::Error);
    }
}

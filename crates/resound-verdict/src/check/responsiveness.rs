//! `responsiveness`: the round-trip time while the path is full, as "RPM (TCP echo)": the formula
//! for TCP of draft-ietf-ippm-responsiveness, with an echo in the place of HTTP.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use super::CheckId;
use super::greet::elapsed;
use super::integrity::amount;
use super::rtt::{RoundTrips, millis, quantile};
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::{CheckReport, CheckVerdict};
use crate::symptom::Symptom;
use crate::tries::{all, play};
use resound_probe::Step;

/// One more connection loads the path after each interval, up to this number.
const INTERVAL: Duration = Duration::from_secs(1);
const MOST_CONNECTIONS: u32 = 16;
/// The load ends after this many intervals, or bytes in both directions together.
const INTERVALS: u32 = 12;
const MOST_BYTES: u64 = 1 << 30;
/// Round trips under load begin this long after each other.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// Bytes that a connection sends and receives between two looks at the clock.
const CHUNK: u64 = 256 * 1024;
/// This many intervals that differ by at most this fraction are stable (MAD and SDT of the draft).
const STABLE: (usize, f64) = (4, 0.05);
/// The slowest of twenty is left out (TMP of the draft).
const TRIMMED: f64 = 0.95;
/// A path under load is slow if a round trip takes ten times as long and 200 ms longer.
const SLOW: (u32, Duration) = (10, Duration::from_millis(200));
/// How often this machine's own delay is looked at.
const LAG_EVERY: Duration = Duration::from_millis(10);

/// Times under load. Those of connections that load the path are their systems' round-trip times:
/// the bytes that wait at this end to be sent are not the path's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LoadedTimes {
    /// Handshakes of new connections.
    connects: Vec<(Duration, Duration)>,
    /// Round trips of one byte on new connections; each with its age since the load began.
    echoes: Vec<(Duration, Duration)>,
    /// Round trips on connections that load the path.
    loaded: Vec<(Duration, Duration)>,
    bytes: u64,
    connections: u32,
    broken: Vec<Symptom>,
    /// How late this machine was.
    lag: Duration,
}

/// The mean without the slowest part.
fn trimmed_mean(times: &[(Duration, Duration)]) -> Option<f64> {
    let mut sorted: Vec<_> = times.iter().map(|(_, time)| millis(*time)).collect();
    sorted.sort_by(f64::total_cmp);
    let kept = ((sorted.len() as f64 * TRIMMED).ceil() as usize).min(sorted.len());
    (kept > 0).then(|| sorted[..kept].iter().sum::<f64>() / kept as f64)
}

fn between(times: &[(Duration, Duration)], from: Duration, to: Duration) -> Vec<(Duration, Duration)> {
    times.iter().copied().filter(|(at, _)| (from..to).contains(at)).collect()
}

impl LoadedTimes {
    /// Round trips per minute between two ages: the mean of new connections and of loaded ones.
    fn rpm(&self, from: Duration, to: Duration) -> Option<f64> {
        let mean = |times| trimmed_mean(&between(times, from, to));
        let foreign = 60_000.0 / (f64::midpoint(mean(&self.connects)?, mean(&self.echoes)?)).max(1e-3);
        let loaded = mean(&self.loaded).map(|time| 60_000.0 / time.max(1e-3));
        Some(loaded.map_or(foreign, |loaded| f64::midpoint(foreign, loaded)))
    }

    /// Of each interval that is over.
    fn rpms(&self) -> Vec<f64> {
        (0..INTERVALS).filter_map(|n| self.rpm(INTERVAL * n, INTERVAL * (n + 1))).collect()
    }

    fn is_stable(&self) -> bool {
        let rpms = self.rpms();
        let Some(last) = rpms.len().checked_sub(STABLE.0).map(|from| &rpms[from..]) else { return false };
        let mean = last.iter().sum::<f64>() / last.len() as f64;
        let variance = last.iter().map(|rpm| (rpm - mean).powi(2)).sum::<f64>() / last.len() as f64;
        variance.sqrt() <= mean * STABLE.1
    }

    fn confidence(&self) -> &'static str {
        match self.rpms().len() {
            n if n < STABLE.0 => "low",
            _ if self.is_stable() => "high",
            _ => "medium",
        }
    }

    /// Round trips of the later half, when the load is there.
    fn late(&self) -> Vec<Duration> {
        let end = self.echoes.iter().map(|(at, _)| *at).max().unwrap_or_default();
        self.echoes.iter().filter(|(at, _)| *at * 2 >= end).map(|(_, time)| *time).collect()
    }
}

/// What the load and its measurements share.
struct LoadRun<'a> {
    end: &'a PathEnd,
    start: Instant,
    times: RefCell<LoadedTimes>,
    is_over: Cell<bool>,
}

impl LoadRun<'_> {
    /// Loads the path in both directions from its interval on.
    async fn load(&self, number: u32) {
        sleep_until((self.start + INTERVAL * number).into()).await;
        let steps = [Step::Both(MOST_BYTES)];
        let loaded = async {
            let mut probe = ProbeConnection::begin(self.end, Special::default(), &steps).await?;
            self.times.borrow_mut().connections += 1;
            while !self.is_over.get() {
                probe.exchange(CHUNK, CHUNK).await?;
                let mut times = self.times.borrow_mut();
                times.bytes += 2 * CHUNK;
                if times.bytes >= MOST_BYTES {
                    self.is_over.set(true);
                }
                if let Some(tcp) = probe.tcp() {
                    times.loaded.push((self.start.elapsed(), tcp.rtt));
                }
            }
            Ok::<_, Symptom>(())
        };
        if let Err(symptom) = loaded.await {
            self.times.borrow_mut().broken.push(symptom);
        }
    }

    /// One round trip on a connection of its own.
    async fn probe(&self, number: u32) {
        sleep_until((self.start + PROBE_EVERY * number).into()).await;
        if self.is_over.get() {
            return;
        }
        let steps = [Step::Answers { count: 1, ask: 1, bytes: 1 }];
        let at = self.start.elapsed();
        let _ = play(self.end, Special::default(), &steps, async |probe| {
            self.times.borrow_mut().connects.push((at, probe.connected_in));
            let at = self.start.elapsed();
            let time = probe.round_trip(1, 1).await?;
            self.times.borrow_mut().echoes.push((at, time));
            Ok(())
        })
        .await;
    }

    /// Ends the load when the time is over or the result is stable, and measures this machine.
    async fn watch(&self) {
        let mut lags = Vec::new();
        while !self.is_over.get() {
            let asleep = Instant::now();
            sleep(LAG_EVERY).await;
            lags.push(asleep.elapsed().saturating_sub(LAG_EVERY));
            let is_late = self.start.elapsed() >= INTERVAL * INTERVALS;
            let is_stable = lags.len() % 100 == 0 && self.times.borrow().is_stable();
            self.is_over.set(self.is_over.get() || is_late || is_stable);
        }
        self.times.borrow_mut().lag = quantile(&lags, 0.5);
    }
}

async fn measure(end: &PathEnd) -> LoadedTimes {
    let run = LoadRun { end, start: Instant::now(), times: RefCell::default(), is_over: Cell::new(false) };
    let probes = INTERVALS * u32::try_from(INTERVAL.as_millis() / PROBE_EVERY.as_millis()).unwrap_or(1);
    let measuring = async {
        // A round trip that does not end with the load ends within its share of time.
        let probing = all((0..probes).map(|number| run.probe(number)));
        let (_, ()) = tokio::join!(tokio::time::timeout(INTERVAL * (INTERVALS + 2), probing), run.watch());
    };
    let loading = async {
        all((0..MOST_CONNECTIONS).map(|number| run.load(number))).await;
        // A load that broke leaves the round trips of an idle path.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = measuring => {}
        () = loading => {}
    }
    run.times.into_inner()
}

fn judged(idle: Option<&RoundTrips>, times: &LoadedTimes) -> CheckReport {
    let id = CheckId::Responsiveness;
    let late = times.late();
    let (Some(idle), false) = (idle, late.is_empty()) else {
        return CheckReport::new(id, CheckVerdict::Unknown, "not measured: no round trip completed under load");
    };
    if times.connections == 0 || times.bytes == 0 {
        let symptom = times.broken.first();
        let verdict = if symptom.is_some_and(Symptom::is_own) { CheckVerdict::Error } else { CheckVerdict::Unknown };
        let why = symptom.map_or("nothing was carried".into(), Symptom::to_string);
        return CheckReport::new(id, verdict, format!("not measured, since the load broke: {why}"));
    }
    let [idle, loaded] = [idle.typical(), quantile(&late, 0.5)];
    let rpms = times.rpms();
    let last = &rpms[rpms.len().saturating_sub(STABLE.0)..];
    let rpm = last.iter().sum::<f64>() / last.len().max(1) as f64;
    let excess = loaded.saturating_sub(idle);
    let is_slow = loaded > idle * SLOW.0 && excess > SLOW.1;
    let what = format!(
        "{} idle, {} under load; RPM (TCP echo) {rpm:.0}, {} confidence",
        elapsed(idle),
        elapsed(loaded),
        times.confidence()
    );
    // A queue delays the segments of the load as well; a busy program delays its answers alone.
    let segments: Vec<_> = times.loaded.iter().map(|(_, time)| *time).collect();
    let is_queue = segments.is_empty() || quantile(&segments, 0.75) * 2 > excess;
    let report = if is_slow && (times.lag * 4 > excess || !is_queue) {
        CheckReport::new(id, CheckVerdict::Unknown, format!("not judged: one of the ends is too busy ({what})"))
    } else if is_slow {
        CheckReport::new(id, CheckVerdict::Warn, what)
            .suspects("a queue that holds far more than the line carries in a round trip (bufferbloat)")
    } else {
        CheckReport::new(id, CheckVerdict::Pass, what)
    };
    let report = report
        .measure("idle_ms", millis(idle))
        .measure("loaded_ms", millis(loaded))
        .measure("rpm", rpm)
        .measure("confidence", times.confidence())
        .measure("load_bytes", times.bytes)
        .saw(format!("{} on {} connections, both directions together", amount(times.bytes), times.connections))
        .tried(late.len(), late.len());
    match times.broken.first() {
        Some(symptom) => {
            let broken = times.broken.len();
            report.saw(format!("{broken} connections of the load broke, so the RPM may be too high: {symptom}"))
        }
        None => report,
    }
}

/// Fills the path for at most 15 s. `idle` was measured before.
pub(crate) async fn run(end: &PathEnd, idle: Option<&RoundTrips>) -> CheckReport {
    match end.permits.lack(CheckId::Responsiveness) {
        Some(lack) => lack,
        None => judged(idle, &measure(end).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn idle() -> RoundTrips {
        RoundTrips { times: vec![ms(2); 20], connected_in: ms(2), retransmits: [None; 2], tcp: None }
    }

    fn times(under_load: u64, lag: u64) -> LoadedTimes {
        let all: Vec<_> = (0..48).map(|n| (PROBE_EVERY * n, ms(under_load))).collect();
        LoadedTimes {
            connects: all.clone(),
            echoes: all.clone(),
            loaded: all,
            bytes: 1 << 20,
            connections: 12,
            broken: Vec::new(),
            lag: ms(lag),
        }
    }

    #[test]
    fn the_formula_is_the_drafts() {
        let times = times(100, 0);
        assert_eq!(times.rpm(Duration::ZERO, INTERVAL), Some(600.0));
        let mut mixed = times.clone();
        mixed.connects.iter_mut().for_each(|(_, time)| *time = ms(200));
        // New connections: 60,000 / ((200 + 100) / 2) = 400; loaded ones: 600.
        assert_eq!(mixed.rpm(Duration::ZERO, INTERVAL), Some(500.0));
        assert_eq!(times.confidence(), "high");
        assert_eq!(trimmed_mean(&[]), None);
        let mut slowest = vec![(Duration::ZERO, ms(10)); 19];
        slowest.push((Duration::ZERO, ms(9000)));
        assert_eq!(trimmed_mean(&slowest), Some(10.0));
    }

    #[test]
    fn a_path_that_becomes_slow_is_a_warning_unless_this_machine_is() {
        let verdict = |times: &LoadedTimes| judged(Some(&idle()), times).verdict;
        assert_eq!(verdict(&times(5, 0)), CheckVerdict::Pass);
        assert_eq!(verdict(&times(150, 0)), CheckVerdict::Pass, "less than 200 ms more");
        assert_eq!(verdict(&times(1500, 5)), CheckVerdict::Warn);
        assert_eq!(verdict(&times(300, 100)), CheckVerdict::Unknown);
        let mut busy = times(1500, 5);
        busy.loaded.iter_mut().for_each(|(_, time)| *time = ms(20));
        assert_eq!(verdict(&busy), CheckVerdict::Unknown, "segments are not delayed");
    }

    #[test]
    fn without_a_load_nothing_is_judged() {
        let none = LoadedTimes { bytes: 0, connections: 0, ..times(1500, 0) };
        assert_eq!(judged(Some(&idle()), &none).verdict, CheckVerdict::Unknown);
        let own = LoadedTimes { broken: vec![Symptom::Local(String::new())], ..none };
        assert_eq!(judged(Some(&idle()), &own).verdict, CheckVerdict::Error);
        assert_eq!(judged(Some(&idle()), &LoadedTimes::default()).verdict, CheckVerdict::Unknown);
        assert_eq!(judged(None, &times(5, 0)).verdict, CheckVerdict::Unknown);
    }
}

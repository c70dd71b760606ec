//! [`LoopWatch`]: whether the workers' loops turn; and what `/healthz` and `/readyz` say.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::StatusCode;
use parking_lot::Mutex;
use resound::inspect::{Inspector, WorkerHeartbeat};
use resound_console::json;
use serde::Serialize;

use crate::http::{HttpAnswer, Replacement};

/// A worker that has left a question without an answer for so many ticks, of a second each, is
/// stuck. They are counted, so that a process that was stopped as a whole is not.
const MOST_MISSED: u32 = 4;
/// Ticks that [`LoopWatch::lags`] looks back on: more than the usual time between two scrapes.
const WINDOW: usize = 15;
/// The upper bounds of the histogram of lags, in seconds.
pub(super) const LAGS: [f64; 8] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

/// Asks the workers once a second whether their loops turn.
pub(super) struct LoopWatch {
    inspector: Inspector,
    state: Mutex<LoopState>,
}

struct LoopState {
    workers: Vec<WatchedLoop>,
    histogram: LagHistogram,
}

#[derive(Default)]
struct WatchedLoop {
    beats: u64,
    missed: u32,
    recent: VecDeque<Duration>,
}

/// The lags of all workers.
#[derive(Clone, Copy, Default)]
pub(super) struct LagHistogram {
    /// By the bounds of [`LAGS`], and the rest.
    pub(super) counts: [u64; LAGS.len() + 1],
    pub(super) sum: Duration,
}

impl LagHistogram {
    fn note(&mut self, lag: Duration) {
        let at = LAGS.iter().position(|most| lag.as_secs_f64() <= *most).unwrap_or(LAGS.len());
        self.counts[at] += 1;
        self.sum += lag;
    }
}

impl LoopState {
    /// What the workers have answered until this tick.
    fn note(&mut self, heartbeats: &[WorkerHeartbeat]) {
        for (worker, heartbeat) in self.workers.iter_mut().zip(heartbeats) {
            if heartbeat.beats > worker.beats {
                worker.beats = heartbeat.beats;
                worker.recent.push_back(heartbeat.lag);
                self.histogram.note(heartbeat.lag);
            }
            while worker.recent.len() > WINDOW {
                worker.recent.pop_front();
            }
            worker.missed = if heartbeat.is_awaited { worker.missed + 1 } else { 0 };
        }
    }

    /// The workers that are stuck. One that has answered since the last tick is not.
    fn stuck(&self, heartbeats: &[WorkerHeartbeat]) -> Vec<usize> {
        let missed = self.workers.iter().map(|worker| worker.missed);
        let stuck = missed.zip(heartbeats).map(|(missed, heartbeat)| missed >= MOST_MISSED && heartbeat.is_awaited);
        stuck.enumerate().filter(|(_, is_stuck)| *is_stuck).map(|(worker, _)| worker).collect()
    }
}

impl LoopWatch {
    pub(super) fn new(inspector: Inspector) -> Self {
        let workers = inspector.heartbeats().iter().map(|_| WatchedLoop::default()).collect();
        Self { inspector, state: Mutex::new(LoopState { workers, histogram: LagHistogram::default() }) }
    }

    /// Notes the answers, and asks again.
    pub(super) fn tick(&self) {
        self.state.lock().note(&self.inspector.heartbeats());
        self.inspector.ask();
    }

    /// The workers that are stuck.
    pub(super) fn stuck(&self) -> Vec<usize> {
        self.state.lock().stuck(&self.inspector.heartbeats())
    }

    /// The longest lag of each worker in the last [`WINDOW`] seconds.
    pub(super) fn lags(&self) -> Vec<Duration> {
        self.state.lock().workers.iter().map(|worker| worker.recent.iter().max().copied().unwrap_or_default()).collect()
    }

    pub(super) fn histogram(&self) -> LagHistogram {
        self.state.lock().histogram
    }
}

/// What is to be said of the program as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgramState {
    /// Not every event loop has responded yet.
    Starting,
    Ready,
    Draining,
    Stuck,
}

impl ProgramState {
    pub(super) fn of(inspector: &Inspector, replacement: &Replacement, loops: &LoopWatch) -> Self {
        if inspector.is_draining() || replacement.is_complete() {
            Self::Draining
        } else if !loops.stuck().is_empty() {
            Self::Stuck
        } else if inspector.heartbeats().iter().any(|heartbeat| heartbeat.beats == 0) {
            Self::Starting
        } else {
            Self::Ready
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stuck => "stuck",
        }
    }
}

#[derive(Serialize)]
struct Health<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stuck_workers: Vec<usize>,
}

/// 200 as long as the loops of all workers turn, also while the program drains.
pub(super) fn healthz(loops: &LoopWatch) -> HttpAnswer {
    let stuck_workers = loops.stuck();
    let (code, status) = match stuck_workers.is_empty() {
        true => (StatusCode::OK, "healthy"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stuck"),
    };
    HttpAnswer::json(code, json::object(&Health { status, stuck_workers }))
}

/// 200 while new connections are welcome.
pub(super) fn readyz(inspector: &Inspector, replacement: &Replacement, loops: &LoopWatch) -> HttpAnswer {
    let readiness = ProgramState::of(inspector, replacement, loops);
    let code = if readiness == ProgramState::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let stuck_workers = if readiness == ProgramState::Stuck { loops.stuck() } else { Vec::new() };
    HttpAnswer::json(code, json::object(&Health { status: readiness.word(), stuck_workers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(beats: u64, lag: u64, is_awaited: bool) -> WorkerHeartbeat {
        let mut heartbeat = WorkerHeartbeat::default();
        (heartbeat.beats, heartbeat.lag, heartbeat.is_awaited) = (beats, Duration::from_millis(lag), is_awaited);
        heartbeat
    }

    fn two_workers() -> LoopState {
        LoopState { workers: vec![WatchedLoop::default(), WatchedLoop::default()], histogram: LagHistogram::default() }
    }

    #[test]
    fn a_worker_that_does_not_answer_for_seconds_is_stuck() {
        let mut state = two_workers();
        state.note(&[heartbeat(0, 0, false), heartbeat(0, 0, false)]);
        for second in 1..=6 {
            let heartbeats = [heartbeat(second, 1, false), heartbeat(1, 1, second > 1)];
            state.note(&heartbeats);
            let want = if second > 4 { vec![1] } else { Vec::new() };
            assert_eq!(state.stuck(&heartbeats), want, "second {second}");
        }
        let answered = [heartbeat(6, 1, true), heartbeat(2, 5000, false)];
        assert_eq!(state.stuck(&answered), [] as [usize; 0], "it has answered since the last tick");
        state.note(&answered);
        assert_eq!(state.workers[1].missed, 0);
    }

    #[test]
    fn the_longest_lag_is_kept_for_a_while_and_counted_for_good() {
        let mut state = two_workers();
        for beats in 1..=20 {
            let lag = if beats == 1 { 700 } else { 2 };
            state.note(&[heartbeat(beats, lag, true), heartbeat(1, 3, true)]);
            let longest = state.workers[0].recent.iter().max().unwrap();
            assert_eq!(longest.as_millis(), if beats <= WINDOW as u64 { 700 } else { 2 }, "{beats}");
        }
        assert_eq!(state.histogram.counts, [0, 0, 20, 0, 0, 0, 0, 1, 0]);
        assert_eq!(state.histogram.sum, Duration::from_millis(700 + 19 * 2 + 3));
    }
}

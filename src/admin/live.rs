//! [`LiveFeed`]: looks once a second at what the workers count, and tells what has changed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use resound::Totals;
use resound_console::json;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::health::{LoopWatch, ProgramState};
use super::process::ProcessUse;
use super::subject::AdminSubject;
use crate::http::Replacement;

/// The time between two events.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Clients that may read events at once.
pub(super) const MOST_READERS: usize = 16;

/// The subject, and the event that describes it once a second.
pub(super) struct LiveFeed {
    pub(super) subject: AdminSubject,
    pub(super) loops: LoopWatch,
    pub(super) replacement: Replacement,
    events: watch::Sender<Bytes>,
    pub(super) readers: Arc<Semaphore>,
    start: Instant,
    last: Mutex<Option<Moment>>,
}

/// What had been counted at some instant.
struct Moment {
    at: Instant,
    refused: u64,
    faults: u64,
    processor: Option<Duration>,
    workers: Vec<WorkerMoment>,
}

#[derive(Clone, Copy, Default)]
struct WorkerMoment {
    accepted: Totals,
    dialled: Totals,
}

/// An event.
#[derive(Serialize)]
struct LiveEvent<'a> {
    time: String,
    uptime_seconds: f64,
    interval_seconds: f64,
    command: &'a str,
    version: &'a str,
    engine: &'a str,
    status: &'a str,
    #[serde(flatten)]
    all: LiveRates,
    refused_per_second: f64,
    faults_per_second: f64,
    loop_lag_seconds: Option<f64>,
    totals: LiveTotals,
    /// The connections that were dialled, of a relay.
    dialled: Option<LiveRates>,
    workers: Vec<WorkerRates>,
    listeners: Vec<ListenerState>,
    process: ProcessState,
}

#[derive(Serialize)]
struct LiveRates {
    open: u64,
    accepted_per_second: f64,
    closed_per_second: f64,
    messages_per_second: f64,
    bytes_in_per_second: f64,
    bytes_out_per_second: f64,
}

#[derive(Serialize)]
struct WorkerRates {
    worker: usize,
    #[serde(flatten)]
    rates: LiveRates,
    loop_lag_seconds: Option<f64>,
    stuck: bool,
}

#[derive(Serialize)]
struct LiveTotals {
    accepted: u64,
    closed: u64,
    refused: u64,
    messages: u64,
    bytes_in: u64,
    bytes_out: u64,
    faults: u64,
    /// Those above zero.
    faults_by_kind: serde_json::Map<String, serde_json::Value>,
    /// Those above zero.
    closed_by_reason: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct ListenerState {
    listener: String,
    open: u64,
    accepted: u64,
    refused: u64,
}

#[derive(Serialize)]
struct ProcessState {
    resident_bytes: Option<u64>,
    open_descriptors: Option<u64>,
    most_descriptors: Option<u64>,
    /// Processors in use: 1 is one core.
    processors: Option<f64>,
}

/// Sends events to a reader, until another process has taken over. A slow reader misses some.
pub(super) async fn send(
    mut events: watch::Receiver<Bytes>,
    mut replacement: Replacement,
    parts: mpsc::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
) {
    loop {
        tokio::select! {
            changed = events.changed() => if changed.is_err() { return },
            () = replacement.completed() => return,
        }
        let event = events.borrow_and_update().clone();
        if !event.is_empty() && parts.send(event).await.is_err() {
            return;
        }
    }
}

impl LiveFeed {
    pub(super) fn new(subject: AdminSubject, replacement: Replacement) -> Self {
        Self {
            loops: LoopWatch::new(subject.inspector.clone()),
            subject,
            replacement,
            events: watch::Sender::new(Bytes::new()),
            readers: Arc::new(Semaphore::new(MOST_READERS)),
            start: Instant::now(),
            last: Mutex::default(),
        }
    }

    /// Looks once a second, for as long as it is polled.
    pub(super) async fn run(&self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        // After a stop of the whole process there is one tick, and not all that were missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.loops.tick();
            let event = self.look();
            if let Some(event) = event {
                self.events.send_replace(event);
            }
        }
    }

    /// The events from now on, the last one included.
    pub(super) fn subscribe(&self) -> watch::Receiver<Bytes> {
        let mut events = self.events.subscribe();
        events.mark_changed();
        events
    }

    /// What has changed since the last call, as an event.
    fn look(&self) -> Option<Bytes> {
        let inspector = &self.subject.inspector;
        let usage = ProcessUse::now();
        let of_listeners: Vec<_> =
            (0..inspector.addresses().len()).map(|at| inspector.totals_of_listener(at)).collect();
        let now = Moment {
            at: Instant::now(),
            refused: of_listeners.iter().map(Totals::refused_in_all).sum(),
            faults: self.subject.faults.as_ref().map_or(0, |faults| faults.in_all()),
            processor: usage.processor,
            workers: (0..inspector.workers()).map(|worker| self.worker(worker)).collect(),
        };
        let mut last = self.last.lock();
        let event = last.as_ref().map(|before| self.event(before, &now, &usage, &of_listeners));
        *last = Some(now);
        event
    }

    fn worker(&self, worker: usize) -> WorkerMoment {
        let inspector = &self.subject.inspector;
        let listeners = 0..inspector.addresses().len();
        WorkerMoment {
            accepted: listeners.map(|listener| inspector.totals_of_worker(worker, Some(listener))).sum(),
            dialled: inspector.totals_of_worker(worker, None),
        }
    }

    fn event(&self, before: &Moment, now: &Moment, usage: &ProcessUse, of_listeners: &[Totals]) -> Bytes {
        let inspector = &self.subject.inspector;
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        // A load has no listeners: what it dials is what it has.
        let dials = self.subject.command == "load";
        let part = |worker: &WorkerMoment| if dials { worker.dialled } else { worker.accepted };
        let sum =
            |moment: &Moment, of: &dyn Fn(&WorkerMoment) -> Totals| -> Totals { moment.workers.iter().map(of).sum() };
        let totals = sum(now, &part);
        let is_relay = self.subject.command == "relay";
        let dialled = |moment| sum(moment, &|worker| worker.dialled);
        let lags = self.loops.lags();
        let stuck = self.loops.stuck();
        let workers = before.workers.iter().zip(&now.workers).enumerate().map(|(worker, (before, now))| WorkerRates {
            worker,
            rates: LiveRates::between(&part(before), &part(now), seconds),
            loop_lag_seconds: lags.get(worker).map(Duration::as_secs_f64),
            stuck: stuck.contains(&worker),
        });
        let listeners = inspector.addresses().iter().zip(of_listeners).map(|(address, totals)| ListenerState {
            listener: address.to_string(),
            open: totals.open(),
            accepted: totals.started,
            refused: totals.refused_in_all(),
        });
        let used = now.processor.zip(before.processor).map(|(now, before)| now.saturating_sub(before).as_secs_f64());
        let event = LiveEvent {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            uptime_seconds: self.start.elapsed().as_secs_f64(),
            interval_seconds: seconds,
            command: self.subject.command,
            version: env!("CARGO_PKG_VERSION"),
            engine: inspector.engine().name(),
            status: ProgramState::of(inspector, &self.replacement, &self.loops).word(),
            all: LiveRates::between(&sum(before, &part), &totals, seconds),
            refused_per_second: per_second(before.refused, now.refused, seconds),
            faults_per_second: per_second(before.faults, now.faults, seconds),
            loop_lag_seconds: lags.iter().max().map(Duration::as_secs_f64),
            totals: LiveTotals {
                accepted: totals.started,
                closed: totals.closed_in_all(),
                refused: now.refused,
                messages: totals.messages,
                bytes_in: totals.bytes_in,
                bytes_out: totals.bytes_out,
                faults: now.faults,
                faults_by_kind: self.subject.faults.iter().flat_map(|faults| above_zero(faults.by_kind())).collect(),
                closed_by_reason: above_zero(totals.closed_by_reason()),
            },
            dialled: is_relay.then(|| LiveRates::between(&dialled(before), &dialled(now), seconds)),
            workers: workers.collect(),
            listeners: listeners.collect(),
            process: ProcessState {
                resident_bytes: usage.resident_bytes,
                open_descriptors: usage.open_descriptors,
                most_descriptors: usage.most_descriptors,
                processors: used.map(|used| used / seconds),
            },
        };
        [&b"data: "[..], &json::object(&event), b"\n"].concat().into()
    }
}

fn above_zero(counts: impl Iterator<Item = (&'static str, u64)>) -> serde_json::Map<String, serde_json::Value> {
    counts.filter(|(_, n)| *n > 0).map(|(name, n)| (name.into(), n.into())).collect()
}

fn per_second(before: u64, now: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds
}

impl LiveRates {
    fn between(before: &Totals, now: &Totals, seconds: f64) -> Self {
        Self {
            open: now.open(),
            accepted_per_second: per_second(before.started, now.started, seconds),
            closed_per_second: per_second(before.closed_in_all(), now.closed_in_all(), seconds),
            messages_per_second: per_second(before.messages, now.messages, seconds),
            bytes_in_per_second: per_second(before.bytes_in, now.bytes_in, seconds),
            bytes_out_per_second: per_second(before.bytes_out, now.bytes_out, seconds),
        }
    }
}

//! The run of a watch: its sockets and its clock.

use std::pin::pin;
use std::time::{Duration, Instant};

use resound::Address;
use resound::client::FailureClass;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, sleep_until};

use super::attempt::{EventSink, TimedEvent, hold, outcome, probe_new_connection};
use super::counts::{ConnectOutcome, LATE};
use super::heartbeat;
use super::record::{WatchRecord, WatchSecond};
use super::settings::{Watch, WatchError};
use super::slot::{Slot, SlotAction, SlotPlan};
use super::tally::{ConnectRow, WatchTally};
use crate::check::greet;
use crate::place::PathEnd;
use crate::report::FarKind;
use crate::symptom::Symptom;

/// The longest time between two wake-ups of the watch.
const TICK: Duration = Duration::from_millis(20);
/// Woken later than this, this machine has stalled.
const TOLERANCE: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);
/// Events that wait to be counted.
const EVENTS: usize = 4096;
/// Events that are counted before the schedule is looked at again.
const AT_ONCE: usize = 1024;
/// New connections that are under way at once.
const NEW_AT_ONCE: usize = 1000;
/// Between attempts to make the first connection.
const PAUSE: Duration = Duration::from_millis(250);

/// What happens in a watch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum WatchProgress<'a> {
    /// The watch waits for the service: why it cannot begin yet. Told again when that changes.
    Waits(&'a WatchError),
    /// The service answers, and the watch begins: what answers, and its name.
    Begins(FarKind, Option<&'a str>),
    /// A second is over.
    Second(&'a WatchSecond),
}

/// The service as it greeted.
struct WatchedService {
    end: PathEnd,
    far: FarKind,
    name: Option<String>,
    rtt: Duration,
    /// Greetings that failed beside one that did not.
    failed: Vec<Symptom>,
}

impl Watch {
    /// Watches until `stop` is ready or the time is over, and tells each second. Then it waits for
    /// the answers that are on their way, a second at most or two round trips.
    ///
    /// # Errors
    ///
    /// If there is no connection, or nothing answers lines on it.
    pub async fn run(
        &self,
        stop: impl Future<Output = ()>,
        tell: &mut dyn FnMut(WatchProgress<'_>),
    ) -> Result<WatchRecord, WatchError> {
        let mut stop = pin!(stop);
        let begun = Instant::now();
        let service = tokio::select! {
            service = self.find(tell) => service?,
            () = &mut stop => return Err(WatchError::NoConnection(None, "stopped without a connection".into())),
        };
        // What the service took to come is part of the time.
        let waited = if self.waits { begun.elapsed() } else { Duration::ZERO };
        let length = self.length.map(|length| length.saturating_sub(waited));
        tell(WatchProgress::Begins(service.far, service.name.as_deref()));
        let (events, mut incoming) = mpsc::channel(EVENTS);
        let mut run = WatchRun::new(self, service, events);
        let mut wake = Duration::ZERO;
        let mut pulled = Vec::with_capacity(AT_ONCE);
        loop {
            let mut is_over = false;
            tokio::select! {
                _ = incoming.recv_many(&mut pulled, AT_ONCE) => {}
                Some(ended) = run.new.join_next() => {
                    run.new_ended.extend(ended);
                }
                () = sleep_until((run.start + wake).into()) => {}
                () = &mut stop, if run.grace_ends.is_none() => is_over = true,
            }
            let now = run.start.elapsed();
            if now > wake + TOLERANCE {
                run.tally.stalled(wake, now);
            }
            run.count(&mut pulled);
            if run.grace_ends.is_none() && (is_over || length.is_some_and(|length| length <= now)) {
                run.stop(now);
            }
            run.advance(now);
            if run.next_second <= now {
                run.next_second = Duration::from_secs(now.as_secs() + 1);
                tell(WatchProgress::Second(&run.second(now)));
            }
            if run.grace_ends.is_some_and(|ends| ends <= now || run.is_done()) {
                return Ok(run.finish(now, tell));
            }
            wake = run.wakes(now);
        }
    }

    /// Makes the first connections, and learns what answers.
    async fn find(&self, tell: &mut dyn FnMut(WatchProgress<'_>)) -> Result<WatchedService, WatchError> {
        let mut told = None;
        let deadline = self.length.filter(|_| self.waits).and_then(|length| Instant::now().checked_add(length));
        let port = match &self.end.address {
            Address::Tcp { port, .. } => Some(*port),
            Address::Unix(_) => None,
        };
        loop {
            let greetings = tokio::select! {
                greetings = greet::greet(&self.end, port) => greetings,
                () = until(deadline) => return Err(told.unwrap_or_else(|| {
                    WatchError::NoConnection(Some(FailureClass::Timeout), "no answer in time".into())
                })),
            };
            let words = greetings.name().unwrap_or_default();
            let first = greetings.tries.iter().find_map(|tried| tried.result.as_ref().err());
            let why = first.map(ToString::to_string).unwrap_or_default();
            let class = match first {
                Some(Symptom::NoConnection { class, .. }) => Some(*class),
                Some(Symptom::NoTls(_)) => Some(FailureClass::Tls),
                _ => None,
            };
            let error = match greetings.kind() {
                far @ (FarKind::Probe | FarKind::Echo | FarKind::Reply) => {
                    let end = self.end.with_segments_of(greetings.max_segment.or(self.end.dial.max_segment));
                    let (name, rtt) = (greetings.name(), greetings.rtt());
                    // A service that is waited for may have begun between two of them.
                    let failed = greetings.tries.into_iter().filter(|_| !self.waits);
                    let failed = failed.filter_map(|tried| tried.result.err()).collect();
                    return Ok(WatchedService { end, far, name, rtt, failed });
                }
                FarKind::None => WatchError::NoConnection(class, why),
                FarKind::Silent | FarKind::Hangs => WatchError::NoAnswer(why),
                far @ (FarKind::SpeaksFirst | FarKind::Answers) => WatchError::NotLines(far, words),
            };
            if !self.waits || !error.may_pass() {
                return Err(error);
            }
            if told.as_ref() != Some(&error) {
                tell(WatchProgress::Waits(&error));
            }
            told = Some(error);
            sleep(PAUSE).await;
        }
    }
}

/// Waits for a time, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A new connection that has ended.
struct NewEnded {
    planned: Duration,
    outcome: ConnectOutcome,
    failure: Option<String>,
    at: Instant,
}

/// A held connection, as its slot sees it.
#[derive(Default)]
struct HeldLink {
    /// Its number within the slot.
    number: u64,
    lines: Option<mpsc::Sender<Vec<u8>>>,
    task: Option<AbortHandle>,
}

/// A watch under way.
struct WatchRun<'a> {
    watch: &'a Watch,
    service: WatchedService,
    start: Instant,
    tally: WatchTally,
    slots: Vec<Slot>,
    links: Vec<HeldLink>,
    /// The tasks of the held connections, which end with the watch.
    tasks: JoinSet<()>,
    events: mpsc::Sender<TimedEvent>,
    new: JoinSet<NewEnded>,
    /// Those that have ended and were not counted yet.
    new_ended: Vec<NewEnded>,
    /// The number of the next new connection.
    next_new: u64,
    next_second: Duration,
    /// The watch is over, and waits until then for answers.
    grace_ends: Option<Duration>,
    actions: Vec<SlotAction>,
}

impl<'a> WatchRun<'a> {
    fn new(watch: &'a Watch, service: WatchedService, events: mpsc::Sender<TimedEvent>) -> Self {
        let slots = (0..watch.held).map(|number| {
            let first = watch.heartbeat.mul_f64(number as f64 / watch.held as f64);
            let (interval, patience, far) = (watch.heartbeat, watch.patience, service.far);
            Slot::new(number, SlotPlan { first, interval, patience, far })
        });
        let mut tally = WatchTally::new(watch.held);
        for symptom in &service.failed {
            tally.tried(ConnectRow::Held, outcome(symptom), Some(symptom.to_string()), Duration::ZERO);
            tally.tries(ConnectRow::Held, false);
        }
        Self {
            watch,
            start: Instant::now(),
            tally,
            slots: slots.collect(),
            links: (0..watch.held).map(|_| HeldLink::default()).collect(),
            tasks: JoinSet::new(),
            events,
            new: JoinSet::new(),
            new_ended: Vec::new(),
            next_new: 0,
            next_second: SECOND,
            grace_ends: None,
            actions: Vec::new(),
            service,
        }
    }

    /// Counts what happened.
    fn count(&mut self, events: &mut Vec<TimedEvent>) {
        for TimedEvent { slot, connection, at, event } in events.drain(..) {
            if self.links[slot].number != connection {
                continue;
            }
            let at = at.saturating_duration_since(self.start);
            self.slots[slot].happens(&event, at, &mut self.tally, &mut self.actions);
            self.act(slot);
        }
        while let Some(Ok(ended)) = self.new.try_join_next() {
            self.new_ended.push(ended);
        }
        for NewEnded { planned, outcome, failure, at } in self.new_ended.drain(..) {
            let at = at.saturating_duration_since(self.start);
            match outcome {
                ConnectOutcome::Served => self.tally.new_connection_served(planned, at),
                _ => self.tally.tried(ConnectRow::New, outcome, failure, at),
            }
        }
    }

    /// Does what is due.
    fn advance(&mut self, now: Duration) {
        for slot in 0..self.slots.len() {
            self.slots[slot].advance(now, &mut self.tally, &mut self.actions);
            self.act(slot);
        }
        while self.grace_ends.is_none() && self.new_planned().is_some_and(|planned| planned <= now) {
            self.probe_new_connection();
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn act(&mut self, slot: usize) {
        for action in std::mem::take(&mut self.actions) {
            match action {
                // A full queue is that of a connection that takes nothing: its patience ends it.
                SlotAction::Send(number) => {
                    let lines = self.links[slot].lines.as_ref();
                    lines.map(|lines| lines.try_send(heartbeat::line(number)));
                }
                SlotAction::Connect => self.connect(slot),
                SlotAction::Disconnect => self.disconnect(slot),
            }
        }
    }

    /// Ends the connection of a slot. What it has told by then does not count any more.
    fn disconnect(&mut self, slot: usize) {
        let link = &mut self.links[slot];
        link.number += 1;
        link.lines = None;
        if let Some(task) = link.task.take() {
            task.abort();
        }
    }

    fn connect(&mut self, slot: usize) {
        self.disconnect(slot);
        let link = &mut self.links[slot];
        let most = self.watch.patience.as_nanos() / self.watch.heartbeat.as_nanos().max(1);
        let (lines, to_send) = mpsc::channel(usize::try_from(most).unwrap_or(EVENTS).clamp(16, EVENTS));
        link.lines = Some(lines);
        let sink = EventSink { slot, connection: link.number, events: self.events.clone() };
        link.task = Some(self.tasks.spawn(hold(self.service.end.clone(), to_send, sink)));
    }

    /// When the next new connection is planned.
    fn new_planned(&self) -> Option<Duration> {
        let per_second = self.watch.new_per_second;
        (per_second > 0).then(|| Duration::from_secs_f64(self.next_new as f64 / f64::from(per_second)))
    }

    fn probe_new_connection(&mut self) {
        let planned = self.new_planned().unwrap_or_default();
        self.next_new += 1;
        let next = self.new_planned().unwrap_or_default();
        let is_slept_through = self.tally.stall_at(planned).is_some_and(|(_, end)| next < end);
        let is_skipped = is_slept_through || self.new.len() >= NEW_AT_ONCE;
        self.tally.tries(ConnectRow::New, is_skipped);
        if is_skipped {
            return;
        }
        let (end, far, patience) = (self.service.end.clone(), self.service.far, self.watch.patience);
        self.new.spawn(async move {
            let (outcome, failure) = probe_new_connection(end, far, patience).await;
            NewEnded { planned, outcome, failure, at: Instant::now() }
        });
    }

    /// No heartbeat and no connection begins any more.
    fn stop(&mut self, now: Duration) {
        self.slots.iter_mut().for_each(Slot::stop);
        self.grace_ends = Some(now + LATE.max(2 * self.service.rtt).min(self.watch.patience.max(LATE)));
    }

    /// Whether nothing is on its way any more.
    fn is_done(&self) -> bool {
        self.new.is_empty() && !self.slots.iter().any(Slot::is_waiting)
    }

    fn wakes(&self, now: Duration) -> Duration {
        let slots = self.slots.iter().filter_map(Slot::wakes).min();
        let new = self.new_planned().filter(|_| self.grace_ends.is_none());
        let ends = self.watch.length.filter(|_| self.grace_ends.is_none());
        let all = [slots, new, ends, Some(self.next_second), Some(now + TICK)];
        all.into_iter().flatten().min().unwrap_or_default().max(now)
    }

    fn second(&mut self, now: Duration) -> WatchSecond {
        let open = self.slots.iter().filter(|slot| slot.is_open()).count();
        self.tally.second(now, open as u64)
    }

    fn finish(mut self, now: Duration, tell: &mut dyn FnMut(WatchProgress<'_>)) -> WatchRecord {
        for slot in &mut self.slots {
            slot.finish(now, &mut self.tally);
        }
        for _ in 0..self.new.len() {
            self.tally.tried(ConnectRow::New, ConnectOutcome::TimedOut, None, now);
        }
        let last = self.second(now);
        if !last.counts.is_clean() || last.to.saturating_sub(last.from) >= SECOND / 2 {
            tell(WatchProgress::Second(&last));
        }
        self.tally.finish(now)
    }
}

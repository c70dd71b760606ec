//! [`LoadDialPlan`]: the connections of one worker. A lost connection is replaced, and the next one
//! continues where it stopped.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::LoadConnection;
use super::nanos::nanos;
use super::run_config::RunConfig;
use super::slot::{ConnectionSlot, ReturnedSlots};
use super::{LoadFailure, RampSteps};
use resound::CloseReason;
use resound::client::{DialPlan, DialRequest, DialTiming, FailureClass, NextDial};
use resound::server::HandshakeFactory;
use resound_proto::{ConnInfo, Endpoint, Handshake, Service};

/// The pause after a failure, so that a server that is down is not flooded.
const REDIAL: Duration = Duration::from_millis(100);

/// Where to connect to, from where, and how fast.
#[derive(Clone)]
pub(super) struct DialRoute {
    pub(super) target: Endpoint,
    pub(super) sources: Vec<IpAddr>,
    pub(super) timeout: Duration,
    /// The time between two connections of the run.
    pub(super) gap: Duration,
    /// When the first is dialled.
    pub(super) from: Instant,
    /// The steps of a ramp of connections, which are dialled with their steps after the warm-up.
    pub(super) ramp: Option<RampSteps>,
    pub(super) warm_up: Duration,
    /// The handshake before the messages.
    pub(super) handshake: Option<Arc<HandshakeFactory>>,
}

impl DialRoute {
    /// When a connection is first dialled.
    fn dial_at(&self, index: u64) -> Instant {
        let step = self.ramp.as_ref().map_or(Duration::ZERO, |ramp| step_start(ramp, self.warm_up, index));
        self.from + scaled(self.gap, index).max(step)
    }

    /// The addresses take turns.
    fn source(&self, index: u64) -> Option<IpAddr> {
        let sources = &self.sources;
        (!sources.is_empty()).then(|| sources[index as usize % sources.len()])
    }
}

/// The dial plan of one worker.
pub(super) struct LoadDialPlan {
    config: Arc<RunConfig>,
    route: DialRoute,
    worker: usize,
    /// Slots to dial, by the time and the slot's index.
    waiting: BTreeMap<(Instant, u64), ConnectionSlot>,
    /// Slots that are being dialled, by index.
    dialling: HashMap<u64, ConnectionSlot>,
    /// The number of slots that are being dialled or connected.
    in_use: usize,
    returned: Rc<ReturnedSlots>,
}

impl LoadDialPlan {
    /// The plan of worker `worker` of `workers`, which share the connections. All connections
    /// together send `messages`.
    pub(super) fn new(
        config: Arc<RunConfig>,
        route: DialRoute,
        worker: usize,
        workers: usize,
        messages: Option<u64>,
    ) -> Self {
        let indices = (0..config.connections).skip(worker).step_by(workers);
        let slot = |index| ((route.dial_at(index), index), ConnectionSlot::new(&config, index, messages));
        let waiting = indices.map(slot).collect();
        Self { config, route, worker, waiting, dialling: HashMap::new(), in_use: 0, returned: Rc::default() }
    }

    /// Records an attempt that failed, and returns its slot.
    fn record_failure(&mut self, request: &DialRequest, class: LoadFailure, what: String, now: Instant) {
        let Some(mut slot) = self.dialling.remove(&request.number) else { return };
        let failure = self.config.failure(class, now, slot.connection(&self.config), None, what);
        let mut tally = self.config.tallies.of(self.worker);
        tally.record_failure(failure);
        slot.dial_failed(&self.config, &mut tally);
        drop(tally);
        self.returned.borrow_mut().push((slot, true));
    }

    /// Schedules the slots of closed connections to be dialled again.
    fn reschedule_returned(&mut self, now: Instant) {
        for (slot, failed) in self.returned.take() {
            self.in_use -= 1;
            if slot.is_done(self.config.end()) {
                continue;
            }
            let pause = if failed { now + REDIAL } else { now };
            // A connect rate is kept slot by slot.
            let turn = slot.dialled.map(|at| at + scaled(self.route.gap, self.config.connections));
            self.waiting.insert((turn.map_or(pause, |turn| turn.max(pause)), slot.index), slot);
        }
    }
}

impl DialPlan for LoadDialPlan {
    fn next(&mut self, now: Instant) -> NextDial {
        self.reschedule_returned(now);
        if self.config.is_over(now) {
            return NextDial::Done;
        }
        let Some(first) = self.waiting.first_entry() else {
            return if self.in_use == 0 { NextDial::Done } else { NextDial::Wait };
        };
        let at = first.key().0;
        if now < at {
            return NextDial::At(at);
        }
        let mut slot = first.remove();
        self.in_use += 1;
        slot.dialled = Some(now);
        let request = DialRequest {
            number: slot.index,
            target: self.route.target.clone(),
            source: self.route.source(slot.index),
            timeout: self.route.timeout,
        };
        self.dialling.insert(slot.index, slot);
        NextDial::Dial(request)
    }

    fn handshake(&mut self, _request: &DialRequest, conn: &ConnInfo) -> Handshake {
        self.route.handshake.as_ref().map_or_else(Handshake::new, |handshake| handshake(conn))
    }

    fn answered(&mut self, request: &DialRequest, timing: DialTiming, conn: &ConnInfo) -> Box<dyn Service> {
        let mut slot = self.dialling.remove(&request.number).expect("the engine answers what it dialled");
        if slot.is_counted(&self.config) {
            let mut tally = self.config.tallies.of(self.worker);
            tally.counts.opened += 1;
            tally.connect.record(nanos(timing.connect));
            if let Some(tls) = &conn.tls {
                tally.handshake.record(nanos(timing.handshake));
                let _ = self.config.negotiated_tls.get_or_init(|| Arc::clone(tls));
            }
        }
        let connection = slot.connection(&self.config);
        slot.generation += 1;
        Box::new(LoadConnection::new(
            Arc::clone(&self.config),
            self.worker,
            connection,
            slot,
            Rc::clone(&self.returned),
        ))
    }

    fn failed(&mut self, request: &DialRequest, error: &io::Error, now: Instant) {
        let class = FailureClass::of(error).map_or(LoadFailure::Unreachable, LoadFailure::from);
        self.record_failure(request, class, explained(error, request), now);
    }

    fn unopened(&mut self, request: &DialRequest, why: CloseReason, now: Instant) {
        let (class, what) = match why {
            // The run is over.
            CloseReason::Drained | CloseReason::Cut => {
                let Some(mut slot) = self.dialling.remove(&request.number) else { return };
                slot.dial_abandoned(&self.config, now, &mut self.config.tallies.of(self.worker));
                return self.returned.borrow_mut().push((slot, false));
            }
            CloseReason::Tls(failure) => (LoadFailure::Tls, format!("no TLS: {failure}")),
            CloseReason::OpeningTimeout => {
                (LoadFailure::Timeout, format!("no TLS handshake for {}", super::figures::latency(self.route.timeout)))
            }
            CloseReason::LeftEarly => {
                (LoadFailure::Eof, "the target closed the connection within the TLS handshake".into())
            }
            why => (why.into(), format!("{why}, within the TLS handshake")),
        };
        self.record_failure(request, class, what, now);
    }
}

impl Drop for LoadDialPlan {
    /// Counts the planned messages of slots without a connection.
    fn drop(&mut self) {
        let now = Instant::now();
        let config = Arc::clone(&self.config);
        let mut tally = config.tallies.of(self.worker);
        for slot in self.dialling.values_mut() {
            slot.dial_abandoned(&config, now, &mut tally);
        }
        let returned = self.returned.take().into_iter().map(|(slot, _)| slot);
        let waiting = std::mem::take(&mut self.waiting).into_values();
        for mut slot in waiting.chain(std::mem::take(&mut self.dialling).into_values()).chain(returned) {
            let blocked = (slot.blocked_since, config.end());
            slot.finish(&config, now, Some(blocked), &mut tally);
        }
    }
}

/// How long after the first connection of a ramp this one is dialled.
fn step_start(ramp: &RampSteps, warm_up: Duration, index: u64) -> Duration {
    match index.checked_sub(ramp.from.round() as u64) {
        None => Duration::ZERO,
        Some(behind) => warm_up + scaled(ramp.every, 1 + behind / (ramp.by.round() as u64).max(1)),
    }
}

/// The text of a failed attempt, with advice if this machine is the cause.
fn explained(error: &io::Error, request: &DialRequest) -> String {
    if resound::system::is_descriptor_shortage(error) {
        return "no file descriptor is left for it: raise the limit on open files, or use fewer connections".into();
    }
    match (error.kind(), request.source) {
        (io::ErrorKind::AddrNotAvailable, Some(source)) => {
            format!("{source} has no port left, or is not an address of this machine")
        }
        (io::ErrorKind::AddrNotAvailable, None) => {
            "no port is left to connect from: use more source addresses, or connect more slowly".into()
        }
        _ => format!("cannot connect: {}", resound::system::plain(error)),
    }
}

/// `by` times as long, and a year at most, which every clock can represent.
fn scaled(time: Duration, by: u64) -> Duration {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let by = u32::try_from(by).unwrap_or(u32::MAX);
    time.checked_mul(by).map_or(YEAR, |time| time.min(YEAR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RampVariable;

    #[test]
    fn a_ramp_begins_with_its_first_step_and_goes_up_step_by_step() {
        let [warm_up, every] = [Duration::from_secs(3), Duration::from_secs(2)];
        let (of, until) = (RampVariable::Connections, Vec::new());
        let ramp = RampSteps { of, from: 10.0, to: 20.0, by: 4.0, every, until };
        let seconds = [0, 9, 10, 13, 14, 18].map(|index| step_start(&ramp, warm_up, index).as_secs());
        assert_eq!(seconds, [0, 0, 5, 5, 7, 9]);
    }
}

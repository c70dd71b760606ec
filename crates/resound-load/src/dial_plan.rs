//! [`LoadDialPlan`]: whom a worker dials. A connection that is lost makes way for another, which goes on where it was.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Fault;
use super::connection::LoadConnection;
use super::run_config::{Pace, RunConfig, nanos};
use super::schedule::Schedule;
use super::tally::Tally;
use resound::CloseReason;
use resound::client::{DialPlan, DialRequest, DialTiming, FailureClass, NextDial};
use resound::server::HandshakeFactory;
use resound_proto::{ConnInfo, Endpoint, Handshake, Service};

/// A pause after a failure, so that a server that is gone is not beaten.
const REDIAL: Duration = Duration::from_millis(100);
/// A call that is not answered after this long when the run is over counts as one that failed.
const LONG: Duration = Duration::from_millis(100);
/// A connection that is lost once, and answered again only after this long, has had an outage.
const SLOW_RETURN: u64 = 500_000_000;

/// A place for one connection at a time: what outlives it.
pub(super) struct ConnectionSlot {
    index: u64,
    /// How many connections it has had.
    generation: u64,
    /// When it was last dialled for.
    dialled: Option<Instant>,
    /// Messages left to send, where they are counted.
    pub(super) left: Option<u64>,
    /// Of an open loop.
    pub(super) schedule: Option<Schedule>,
    /// Since when nothing can be sent, for want of a connection or of room on the last one.
    held_since: Option<u64>,
    /// Something was answered in what is measured, or it is known that nothing was.
    pub(super) has_answered: bool,
    /// The failure behind which nothing has been answered yet.
    lost: Option<LostConnection>,
}

/// A failure, and when what it concerns was last known to be well.
#[derive(Clone, Copy)]
struct LostConnection {
    since: u64,
    /// Is it more than a connection that ended and is made again?
    is_outage: bool,
}

impl ConnectionSlot {
    /// Is the connection that it was last dialled for counted?
    pub(super) fn is_counted(&self, course: &RunConfig) -> bool {
        self.dialled.is_none_or(|dialled| course.is_counted(dialled))
    }

    /// Has it nothing more to send?
    pub(super) fn is_done(&self, until: u64) -> bool {
        self.left == Some(0) || self.schedule.as_ref().is_some_and(|schedule| schedule.due() >= until)
    }

    /// No connection has come of the last attempt.
    fn is_unanswered(&mut self, course: &RunConfig, tally: &mut Tally) {
        tally.counts.unconnected += u64::from(self.is_counted(course));
        self.loses(self.dialled.map_or(0, |dialled| course.time(dialled)), true);
    }

    /// As `is_unanswered`, of an attempt that the end of the run has cut off, if it had taken long
    /// by then.
    fn waits_in_vain(&mut self, course: &RunConfig, now: Instant, tally: &mut Tally) {
        let end = course.time(now).min(course.end());
        if self.dialled.is_some_and(|dialled| end.saturating_sub(course.time(dialled)) >= nanos(LONG)) {
            self.is_unanswered(course, tally);
        }
    }

    /// Since when it can send nothing; since ever where it never could.
    pub(super) fn held_since(&self) -> u64 {
        self.held_since.unwrap_or(0)
    }

    /// It can send nothing since then, and perhaps longer.
    pub(super) fn is_held(&mut self, since: u64) {
        self.held_since = Some(since);
    }

    /// Its connection failed, or none came about. Behind a failure that another follows without an
    /// answer between them something is out of order.
    pub(super) fn loses(&mut self, since: u64, is_outage: bool) {
        let before = self.lost;
        let since = before.map_or(since, |lost| lost.since.min(since));
        self.lost = Some(LostConnection { since, is_outage: is_outage || before.is_some() });
    }

    /// It answers again: for how long of what is measured did it not?
    pub(super) fn recovers(&mut self, course: &RunConfig, now: u64) -> u64 {
        let Some(lost) = self.lost.take() else { return 0 };
        let out = now.min(course.end()).saturating_sub(lost.since.max(course.measure_from));
        if lost.is_outage || out >= SLOW_RETURN { out } else { 0 }
    }

    /// The run is over: what was planned by then and will not be sent is known to have been
    /// planned, and told once. `held` says from when to when nothing could be sent on the target's
    /// account: what did not wait for that half of its time or more was left by the generator
    /// itself.
    pub(super) fn leave(&mut self, course: &RunConfig, now: Instant, held: Option<(u64, u64)>, tally: &mut Tally) {
        tally.outage += self.recovers(course, course.time(now));
        let Some(schedule) = &mut self.schedule else { return };
        let until = course.time(now).min(course.end());
        schedule.take_until(until.min(course.measure_from));
        let (mut left, mut first) = (self.left.unwrap_or(u64::MAX), None);
        schedule.take_each(until, |since, count| {
            let count = count.min(left);
            left -= count;
            let waited = until.saturating_sub(since);
            let held = held.map_or(0, |(from, to)| to.min(until).saturating_sub(from.max(since)));
            if held >= waited.div_ceil(2) && waited > 0 {
                tally.unsettled.unsent.add(since, count);
                first = first.or(Some(since).filter(|_| count > 0));
            } else {
                tally.unsettled.lagged.add(since, count);
            }
        });
        let connection = self.index + course.connections * self.generation;
        first.into_iter().for_each(|since| tally.unsettled.name(connection, since));
    }
}

/// Where connections give their seats back: at once, or after a failure.
#[derive(Default)]
pub(super) struct ReturnedSlots(RefCell<Vec<(ConnectionSlot, bool)>>);

impl ReturnedSlots {
    pub(super) fn give(&self, seat: ConnectionSlot, failed: bool) {
        self.0.borrow_mut().push((seat, failed));
    }
}

/// Where to connect to, from where, and how fast.
#[derive(Clone)]
pub(super) struct DialRoute {
    pub(super) target: Endpoint,
    pub(super) sources: Vec<IpAddr>,
    pub(super) timeout: Duration,
    /// Between two connections, over the whole run.
    pub(super) gap: Duration,
    /// When the first is made.
    pub(super) from: Instant,
    /// Of a ramp of connections.
    pub(super) groups: Option<ConnectionGroups>,
    /// What comes before the messages.
    pub(super) opening: Option<Arc<HandshakeFactory>>,
}

/// Connections that come in groups.
#[derive(Clone, Copy)]
pub(super) struct ConnectionGroups {
    /// How many come at once, first.
    pub(super) first: u64,
    /// How many come with each further step.
    pub(super) each: u64,
    /// How long the first step's warm-up is, and then each step.
    pub(super) warm_up: Duration,
    pub(super) every: Duration,
}

impl ConnectionGroups {
    /// How long after the first connection this one is made.
    fn when(&self, index: u64) -> Duration {
        match index.checked_sub(self.first) {
            None => Duration::ZERO,
            Some(behind) => self.warm_up + scaled(self.every, 1 + behind / self.each.max(1)),
        }
    }
}

/// The plan of one worker.
pub(super) struct LoadDialPlan {
    course: Arc<RunConfig>,
    route: DialRoute,
    worker: usize,
    waiting: BTreeMap<(Instant, u64), ConnectionSlot>,
    calling: HashMap<u64, ConnectionSlot>,
    /// Seats that are called for, or that their connections have.
    taken: usize,
    returned: Rc<ReturnedSlots>,
}

impl LoadDialPlan {
    /// Of worker `worker` of `workers`, who share the connections; `messages` are shared by all of them.
    pub(super) fn new(
        course: Arc<RunConfig>,
        route: DialRoute,
        worker: usize,
        workers: usize,
        messages: Option<u64>,
    ) -> Self {
        let count = course.connections;
        let seat = |index: u64| ConnectionSlot {
            index,
            generation: 0,
            dialled: None,
            left: messages.map(|all| all / count + u64::from(index < all % count)),
            schedule: match course.pace {
                Pace::Open { rate, arrivals, .. } => Some(Schedule::new(rate, arrivals, index, count, course.seed)),
                _ => None,
            },
            held_since: None,
            has_answered: false,
            lost: None,
        };
        let when = |index: u64| {
            let group = route.groups.map_or(Duration::ZERO, |groups| groups.when(index));
            route.from + scaled(route.gap, index).max(group)
        };
        let ours = (0..count).skip(worker).step_by(workers);
        let waiting = ours.map(|index| ((when(index), index), seat(index))).collect();
        Self { course, route, worker, waiting, calling: HashMap::new(), taken: 0, returned: Rc::default() }
    }

    /// No connection has come of this call.
    fn give_up(&mut self, call: &DialRequest, class: Fault, what: String, now: Instant) {
        let Some(mut seat) = self.calling.remove(&call.number) else { return };
        let connection = seat.index + self.course.connections * seat.generation;
        let failure = self.course.failure(class, now, connection, None, what);
        let mut tally = self.course.tallies.of(self.worker);
        tally.failed(failure);
        seat.is_unanswered(&self.course, &mut tally);
        drop(tally);
        self.returned.give(seat, true);
    }

    fn take_back(&mut self, now: Instant) {
        for (seat, failed) in self.returned.0.take() {
            self.taken -= 1;
            if seat.is_done(self.course.end()) {
                continue;
            }
            let pause = if failed { now + REDIAL } else { now };
            // Who keeps a rate of connecting keeps it seat by seat.
            let turn = seat.dialled.map(|at| at + scaled(self.route.gap, self.course.connections));
            self.waiting.insert((turn.map_or(pause, |turn| turn.max(pause)), seat.index), seat);
        }
    }
}

impl DialPlan for LoadDialPlan {
    fn next(&mut self, now: Instant) -> NextDial {
        self.take_back(now);
        if self.course.is_over(now) {
            return NextDial::Done;
        }
        let Some(first) = self.waiting.first_entry() else {
            return if self.taken == 0 { NextDial::Done } else { NextDial::Wait };
        };
        let at = first.key().0;
        if now < at {
            return NextDial::At(at);
        }
        let mut seat = first.remove();
        self.taken += 1;
        seat.dialled = Some(now);
        let sources = &self.route.sources;
        let source = (!sources.is_empty()).then(|| sources[seat.index as usize % sources.len()]);
        let call =
            DialRequest { number: seat.index, target: self.route.target.clone(), source, timeout: self.route.timeout };
        self.calling.insert(seat.index, seat);
        NextDial::Dial(call)
    }

    fn opening(&mut self, _call: &DialRequest, conn: &ConnInfo) -> Handshake {
        self.route.opening.as_ref().map_or_else(Handshake::new, |opening| opening(conn))
    }

    fn answered(&mut self, call: &DialRequest, took: DialTiming, conn: &ConnInfo) -> Box<dyn Service> {
        let mut seat = self.calling.remove(&call.number).expect("whoever is answered was called");
        if seat.is_counted(&self.course) {
            let mut tally = self.course.tallies.of(self.worker);
            tally.counts.opened += 1;
            tally.connected(took.connect);
            if let Some(tls) = &conn.tls {
                tally.shook_hands(took.opening);
                let _ = self.course.agreed.get_or_init(|| Arc::clone(tls));
            }
        }
        let connection = seat.index + self.course.connections * seat.generation;
        seat.generation += 1;
        Box::new(LoadConnection::new(
            Arc::clone(&self.course),
            self.worker,
            connection,
            seat,
            Rc::clone(&self.returned),
        ))
    }

    fn failed(&mut self, call: &DialRequest, error: &io::Error, now: Instant) {
        let class = FailureClass::of(error).map_or(Fault::Unreachable, Fault::from);
        self.give_up(call, class, explained(error, call), now);
    }

    fn unopened(&mut self, call: &DialRequest, why: CloseReason, now: Instant) {
        match why {
            // The run is over.
            CloseReason::Drained | CloseReason::Cut => {
                let Some(mut seat) = self.calling.remove(&call.number) else { return };
                seat.waits_in_vain(&self.course, now, &mut self.course.tallies.of(self.worker));
                self.returned.give(seat, false);
            }
            CloseReason::Tls(failure) => {
                self.give_up(call, Fault::Tls, format!("no TLS: {failure}"), now);
            }
            CloseReason::OpeningTimeout => {
                let what = format!("no TLS handshake for {}", super::figures::latency(self.route.timeout));
                self.give_up(call, Fault::Timeout, what, now);
            }
            CloseReason::LeftEarly => {
                let what = "the far end closed the connection within the TLS handshake".into();
                self.give_up(call, Fault::Eof, what, now);
            }
            why => self.give_up(call, why.into(), format!("{why}, within the TLS handshake"), now),
        }
    }
}

impl Drop for LoadDialPlan {
    /// What was planned and nobody could send is known to have been planned.
    fn drop(&mut self) {
        let now = Instant::now();
        let course = Arc::clone(&self.course);
        let mut tally = course.tallies.of(self.worker);
        for seat in self.calling.values_mut() {
            seat.waits_in_vain(&course, now, &mut tally);
        }
        let returned = self.returned.0.take().into_iter().map(|(seat, _)| seat);
        let waiting = std::mem::take(&mut self.waiting).into_values();
        for mut seat in waiting.chain(std::mem::take(&mut self.calling).into_values()).chain(returned) {
            let held = (seat.held_since(), course.end());
            seat.leave(&course, now, Some(held), &mut tally);
        }
    }
}

/// What a failed call says, with a way out where this machine is the reason.
fn explained(error: &io::Error, call: &DialRequest) -> String {
    if resound::system::is_descriptor_shortage(error) {
        return "no file descriptor is left for it: raise the limit (`ulimit -n`), or use fewer connections".into();
    }
    match (error.kind(), call.source) {
        (io::ErrorKind::AddrNotAvailable, Some(source)) => {
            format!("{source} has no port left, or is not an address of this machine")
        }
        (io::ErrorKind::AddrNotAvailable, None) => {
            "no port is left to connect from: connect from more addresses (`--source`), or more slowly".into()
        }
        _ => format!("cannot connect: {}", resound::system::plain(error)),
    }
}

/// So many times as long; a time beyond all clocks is a year.
fn scaled(time: Duration, by: u64) -> Duration {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let by = u32::try_from(by).unwrap_or(u32::MAX);
    time.checked_mul(by).map_or(YEAR, |time| time.min(YEAR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_begins_with_its_first_step_and_goes_up_step_by_step() {
        let [warm_up, every] = [Duration::from_secs(3), Duration::from_secs(2)];
        let groups = ConnectionGroups { first: 10, each: 4, warm_up, every };
        let seconds = [0, 9, 10, 13, 14, 18].map(|index| groups.when(index).as_secs());
        assert_eq!(seconds, [0, 0, 5, 5, 7, 9]);
    }
}

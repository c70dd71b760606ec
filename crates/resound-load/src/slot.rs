//! [`ConnectionSlot`]: one of the connections that a run keeps open, and what outlives a lost one.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::nanos::nanos;
use super::run_config::{Pace, RunConfig};
use super::schedule::Schedule;
use super::tally::Tally;

/// An attempt that is still pending after this long when the run ends counts as failed.
const PENDING_TOO_LONG: Duration = Duration::from_millis(100);
/// One lost connection is an outage if the next answer takes longer than this.
const SLOW_RETURN: u64 = 500_000_000;

/// One of the connections that a run keeps open. A lost connection is replaced, and the next one
/// continues with the slot's schedule and its remaining messages.
pub(super) struct ConnectionSlot {
    pub(super) index: u64,
    /// How many connections the slot has had.
    pub(super) generation: u64,
    /// When it was last dialled.
    pub(super) dialled: Option<Instant>,
    /// Messages left to send, where their number is limited.
    pub(super) left: Option<u64>,
    /// The plan of an open loop.
    pub(super) schedule: Option<Schedule>,
    /// From when on the slot could not send, for want of a connection or of room on the last one;
    /// zero where it never could.
    pub(super) blocked_since: u64,
    /// An answer arrived while measuring, or the slot has been counted as silent.
    pub(super) has_answered: bool,
    /// The failure after which no answer has arrived yet.
    lost: Option<LostConnection>,
}

/// A failure, and until when the slot worked.
#[derive(Clone, Copy)]
struct LostConnection {
    since: u64,
    /// Is it more than one connection that ended and is replaced?
    is_outage: bool,
}

impl ConnectionSlot {
    /// Slot `index`. It has its share of `messages`, of which all slots together send that many.
    pub(super) fn new(config: &RunConfig, index: u64, messages: Option<u64>) -> Self {
        let count = config.connections;
        let schedule = match config.pace {
            Pace::Open { rate, arrivals, .. } => Some(Schedule::new(rate, arrivals, index, count, config.seed)),
            _ => None,
        };
        Self {
            index,
            generation: 0,
            dialled: None,
            left: messages.map(|all| all / count + u64::from(index < all % count)),
            schedule,
            blocked_since: 0,
            has_answered: false,
            lost: None,
        }
    }

    /// The number of the slot's current connection: each connection of a run has its own.
    pub(super) fn connection(&self, config: &RunConfig) -> u64 {
        self.index + config.connections * self.generation
    }

    /// Is the last dialled connection counted?
    pub(super) fn is_counted(&self, config: &RunConfig) -> bool {
        self.dialled.is_none_or(|dialled| config.is_counted(dialled))
    }

    /// Has the slot nothing left to send before `until`?
    pub(super) fn is_done(&self, until: u64) -> bool {
        self.left == Some(0) || self.schedule.as_ref().is_some_and(|schedule| schedule.due() >= until)
    }

    /// The last attempt to connect has failed.
    pub(super) fn dial_failed(&mut self, config: &RunConfig, tally: &mut Tally) {
        tally.counts.unconnected += u64::from(self.is_counted(config));
        self.lose(self.dialled.map_or(0, |dialled| config.time(dialled)), true);
    }

    /// The run ended during an attempt to connect, which counts as failed if it was pending for
    /// long.
    pub(super) fn dial_abandoned(&mut self, config: &RunConfig, now: Instant, tally: &mut Tally) {
        let end = config.time(now).min(config.end());
        if self.dialled.is_some_and(|at| end.saturating_sub(config.time(at)) >= nanos(PENDING_TOO_LONG)) {
            self.dial_failed(config, tally);
        }
    }

    /// The connection failed, or could not be made. A second failure without an answer in between
    /// is an outage.
    pub(super) fn lose(&mut self, since: u64, is_outage: bool) {
        let before = self.lost;
        let since = before.map_or(since, |lost| lost.since.min(since));
        self.lost = Some(LostConnection { since, is_outage: is_outage || before.is_some() });
    }

    /// An answer arrived. Counts the outage before it, within the measured time, and returns its
    /// length.
    pub(super) fn recover(&mut self, config: &RunConfig, now: u64, tally: &mut Tally) -> u64 {
        let Some(lost) = self.lost.take() else { return 0 };
        let until = now.min(config.end());
        let out = until.saturating_sub(lost.since.max(config.measure_from));
        if !lost.is_outage && out < SLOW_RETURN {
            return 0;
        }
        config.keep_silence(lost.since, until, true, tally);
        tally.outage += out;
        out
    }

    /// The run is over: counts, once, the messages that were planned by then and never sent.
    ///
    /// `blocked` is the time in which the target prevented sending. A message that was blocked for
    /// half of its wait or more is unsent; the generator itself was late for the others.
    pub(super) fn finish(&mut self, config: &RunConfig, now: Instant, blocked: Option<(u64, u64)>, tally: &mut Tally) {
        self.recover(config, config.time(now), tally);
        let connection = self.connection(config);
        let Some(schedule) = &mut self.schedule else { return };
        let until = config.time(now).min(config.end());
        schedule.take_until(until.min(config.measure_from));
        let (mut left, mut first_unsent) = (self.left.unwrap_or(u64::MAX), None);
        schedule.take_each(until, |since, count| {
            let count = count.min(left);
            left -= count;
            let waited = until.saturating_sub(since);
            let blocked_for = blocked.map_or(0, |(from, to)| to.min(until).saturating_sub(from.max(since)));
            if blocked_for >= waited.div_ceil(2) && waited > 0 {
                tally.unfinished.unsent.add(since, count);
                first_unsent = first_unsent.or(Some(since).filter(|_| count > 0));
            } else {
                tally.unfinished.lagged.add(since, count);
            }
        });
        first_unsent.into_iter().for_each(|since| tally.unfinished.name(connection, since));
    }
}

/// The slots of closed connections, and whether each connection failed.
pub(super) type ReturnedSlots = RefCell<Vec<(ConnectionSlot, bool)>>;

//! One connection that suffers from faults: what arrives goes in, what is sent comes out.

mod acts;
mod answers;
mod held;
mod lane;
mod outlet;
mod queue;
mod stamps;
mod terms;
mod timers;

use std::time::{Duration, Instant};

use crate::direction::StreamDirection;
use crate::draws::Draws;
use crate::event::FaultEvent;
use crate::kind::FaultKind;
use crate::rule::FaultRule;
use answers::AnswerFaults;
use lane::{DirectionLane, Intake};
use queue::{Item, Mark, MarkAction};
use terms::OwnRule;
use timers::FaultTimers;

pub use terms::{ClientAdmission, End, MOST_HELD, Polled, QUEUE_BYTES, SocketFaults};

/// One connection and its faults.
///
/// The caller owns both sockets. It reports what it reads, and after each report it polls both
/// directions, and sends what they give. In the same way it polls when a socket has room again, and
/// after [`timed_out`](Self::timed_out). A poll of one direction can end the other:
/// [`needs_poll`](Self::needs_poll) says so.
///
/// ```
/// use std::time::Instant;
/// use resound_faults::{End, FaultSpec, StreamDirection::{Down, Up}};
///
/// let spec: FaultSpec = "down: reset @3B".parse()?;
/// let now = Instant::now();
/// let mut faults = spec.connection(7, 1, None, now).expect("a rule for every connection");
/// let mut out = Vec::new();
/// faults.received(now, Down, b"abcdef");
/// let polled = faults.poll(now, Down, 1024, &mut out);
/// assert_eq!((&out[..], polled.end), (&b"abc"[..], End::Reset));
/// assert!(faults.needs_poll(Up));
/// assert_eq!(faults.poll(now, Up, 1024, &mut out).end, End::ResetNow);
/// assert_eq!(faults.take_events()[0].offset, 3);
/// # Ok::<(), resound_faults::SpecError>(())
/// ```
#[derive(Debug)]
pub struct ConnectionFaults {
    draws: Draws,
    opened: Instant,
    /// The latest time that it was given.
    now: Instant,
    rules: Vec<OwnRule>,
    lanes: [DirectionLane; 2],
    timers: FaultTimers,
    admission: ClientAdmission,
    socket: SocketFaults,
    events: Vec<FaultEvent>,
    answers: AnswerFaults,
    /// A server reads nothing more.
    never_reads: bool,
    /// A server has sent what was not [`received`](Self::received) yet.
    holds_answers: bool,
}

impl ConnectionFaults {
    /// A connection without faults: everything passes as it comes.
    pub fn none(number: u64, now: Instant) -> Self {
        Self::new(Draws { seed: 0, number }, Vec::new(), now)
    }

    pub(crate) fn new(draws: Draws, own: Vec<(usize, FaultRule)>, now: Instant) -> Self {
        let mut faults = Self {
            draws,
            opened: now,
            now,
            rules: own.into_iter().map(|(index, rule)| OwnRule { index, rule }).collect(),
            lanes: StreamDirection::BOTH.map(|direction| DirectionLane::new(direction, draws, now)),
            timers: FaultTimers::default(),
            admission: ClientAdmission::Serve,
            socket: SocketFaults::default(),
            events: Vec::new(),
            answers: AnswerFaults::new(draws),
            never_reads: false,
            holds_answers: false,
        };
        faults.open();
        faults
    }

    fn lane(&self, direction: StreamDirection) -> &DirectionLane {
        &self.lanes[direction as usize]
    }

    fn lane_mut(&mut self, direction: StreamDirection) -> &mut DirectionLane {
        &mut self.lanes[direction as usize]
    }

    /// What becomes of the client.
    pub fn admission(&self) -> ClientAdmission {
        self.admission
    }

    /// How the sockets differ.
    pub fn socket(&self) -> SocketFaults {
        self.socket
    }

    /// The sender of a direction sent these bytes.
    pub fn received(&mut self, now: Instant, direction: StreamDirection, bytes: &[u8]) {
        self.advance(now);
        let is_over = self.is_over();
        let (now, rules) = (self.now, &self.rules);
        let lane = &mut self.lanes[direction as usize];
        if bytes.is_empty() || lane.fin_at.is_some() || lane.is_gone || is_over {
            return;
        }
        lane.last_input = now;
        lane.received(now, bytes, rules);
        // Without `no-backpressure` that is a caller that did not pause.
        let most = if lane.takes_everything { MOST_HELD } else { lane.limit + MOST_HELD };
        if lane.queue.cost() > most {
            self.overflow(direction);
        }
    }

    /// The sender of a direction sent its FIN.
    pub fn received_fin(&mut self, now: Instant, direction: StreamDirection) {
        self.advance(now);
        let (now, rules) = (self.now, &self.rules);
        let lane = &mut self.lanes[direction as usize];
        if lane.fin_at.is_some() || lane.is_gone {
            return;
        }
        lane.received_fin(now, rules);
        if self.admission == ClientAdmission::Liar {
            self.lanes.iter_mut().for_each(|lane| lane.finish(End::Close));
        }
    }

    /// Blocks of a direction that wait to be swapped go on as they are, as if the sender had ended.
    pub fn pass_blocks(&mut self, now: Instant, direction: StreamDirection) {
        self.advance(now);
        let now = self.now;
        self.lane_mut(direction).pass_blocks(now);
    }

    /// The sender of a direction is gone, by RST or because its socket failed. What is on its way
    /// to it is lost.
    pub fn received_reset(&mut self, now: Instant, direction: StreamDirection) {
        self.advance(now);
        let (now, rules) = (self.now, &self.rules);
        let lane = &mut self.lanes[direction as usize];
        if lane.is_gone {
            return;
        }
        lane.received_reset(now, rules);
        let back = self.lane_mut(direction.opposite());
        if !back.end.is_final() {
            back.finish(End::ResetNow);
        }
    }

    /// Should more be read from the sender of this direction? Otherwise the caller pauses, so that
    /// the sender is slowed.
    pub fn wants_input(&self, direction: StreamDirection) -> bool {
        let lane = self.lane(direction);
        if lane.end == End::Silent {
            return true;
        }
        if self.is_over() {
            // What still comes is discarded; after it comes the sender's end.
            return true;
        }
        if self.never_reads && direction == StreamDirection::Up {
            return false;
        }
        if lane.outlet.takes_nothing(self.now) {
            return false;
        }
        lane.intake != Intake::Pass || lane.takes_everything || lane.queue.cost() < lane.limit
    }

    /// Appends at most `room` bytes for the receiver of a direction. Where it has no room, a fault
    /// of a server's own waits with the bytes after it.
    pub fn poll(&mut self, now: Instant, direction: StreamDirection, room: usize, out: &mut Vec<u8>) -> Polled {
        self.advance(now);
        let now = self.now;
        let (before, mut room) = (out.len(), room);
        while let Some((_, item)) = self.lane(direction).queue.front().filter(|(ready, _)| *ready <= now) {
            let waits = matches!(item, Item::Mark(mark) if self.waits(mark, out.len() > before || room == 0));
            let lane = self.lane_mut(direction);
            match item {
                Item::Mark(_) if lane.outlet.stalled_until(now).is_some() => break,
                Item::Mark(_) if waits => break,
                Item::Mark(mark) => {
                    lane.queue.pop_mark();
                    self.act(direction, mark);
                }
                Item::Bytes(length) => {
                    let allowed = lane.outlet.allowed(now).unwrap_or(0).min(room).min(length);
                    if allowed == 0 {
                        break;
                    }
                    lane.queue.take(allowed, out);
                    room -= allowed;
                    // One segment at a time.
                    if lane.outlet.left(allowed, now) {
                        break;
                    }
                }
            }
        }
        let lane = self.lane_mut(direction);
        lane.known_end = lane.end;
        Polled { end: lane.end, more: lane.is_ready(now) }
    }

    /// Would a poll of this direction give bytes or an end that the last one did not?
    pub fn needs_poll(&self, direction: StreamDirection) -> bool {
        self.lane(direction).is_ready(self.now)
    }

    /// Has this direction an end that the last poll did not return? A receiver without room needs
    /// no other poll.
    pub fn has_new_end(&self, direction: StreamDirection) -> bool {
        let lane = self.lane(direction);
        lane.end != lane.known_end
    }

    /// Is there something for the receiver of this direction, now or when its time has come, that
    /// the last poll did not give?
    pub fn holds(&self, direction: StreamDirection) -> bool {
        self.lane(direction).holds()
    }

    /// When to call [`timed_out`](Self::timed_out), if nothing comes before; always later than the
    /// last time that was given.
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let lanes = self.lanes.iter().filter_map(|lane| lane.deadline(self.now));
        lanes.chain(self.next_timer().map(|(at, _)| at)).min()
    }

    /// A deadline has come. Both directions are polled afterwards.
    pub fn timed_out(&mut self, now: Instant) {
        self.advance(now);
    }

    /// Is nothing left to do? Both receivers have their end, or both senders are gone.
    pub fn is_over(&self) -> bool {
        let is_ended = |lane: &DirectionLane| !matches!(lane.end, End::Open | End::Silent);
        self.lanes.iter().all(is_ended) || self.lanes.iter().all(|lane| lane.is_gone)
    }

    /// Does a fault keep one of the receivers from its end for good, while nothing is on its way to
    /// the other one?
    pub fn never_finishes(&self) -> bool {
        let is_empty = |direction: StreamDirection| self.lane(direction).queue.front().is_none();
        StreamDirection::BOTH.into_iter().any(|kept| self.never_ends(kept) && is_empty(kept.opposite()))
    }

    /// Does a fault keep the receiver of a direction from its end for good? Nothing more is sent to
    /// it, or the sender has sent its last and the receiver never learns of it.
    pub fn never_ends(&self, direction: StreamDirection) -> bool {
        let lane = self.lane(direction);
        let has_ended = lane.fin_at.is_some() || lane.is_gone;
        lane.end == End::Silent || (has_ended && lane.end == End::Open && lane.queue.front().is_none())
    }

    /// Does a server leave what its client sends unread for good?
    pub fn leaves_unread(&self) -> bool {
        self.never_reads
    }

    /// The events since the last call.
    pub fn take_events(&mut self) -> Vec<FaultEvent> {
        std::mem::take(&mut self.events)
    }

    /// Has the connection faults that only a server has? It then takes what [`poll`](Self::poll)
    /// gave it line by line, and polls again once it has answered all of it, so that a fault hits
    /// the answer to its own line. It passes each answer through [`answer`](Self::answer).
    pub fn takes_lines(&self) -> bool {
        self.rules.iter().any(|own| own.kind().is_of_server())
    }

    /// Does the next answer of a server suffer from a fault?
    pub fn changes_answer(&self) -> bool {
        self.answers.is_due()
    }

    /// A server answers with these bytes. They change here, before they are
    /// [`received`](Self::received) as those of `Down`. Returns how much later they come; later
    /// answers wait behind them.
    pub fn answer(&mut self, answer: &mut Vec<u8>) -> Duration {
        let mut late = Duration::ZERO;
        for due in if answer.is_empty() { Vec::new() } else { self.answers.take() } {
            self.event(due.own, due.direction, due.offset, None);
            late = late.max(self.answers.change(&due, answer));
        }
        late
    }

    /// Notes whether a server has answers that were not [`received`](Self::received) yet. A fault
    /// that ends its direction waits for them.
    pub fn holds_answers(&mut self, holds: bool) {
        self.holds_answers = holds;
    }

    /// A server answers what came before its own fault first.
    fn waits(&self, mark: Mark, is_taking: bool) -> bool {
        match mark.action {
            MarkAction::Act(own) if self.rules[own].kind().is_of_server() => {
                is_taking || (self.holds_answers && self.rules[own].kind() == FaultKind::HalfCloseFirst)
            }
            _ => false,
        }
    }
}

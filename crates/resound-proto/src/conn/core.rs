//! [`Core`]: a connection above its handshake and TLS.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::action::{Action, Then};
use crate::delivery::Delivery;
use crate::error::{CloseReason, TlsFailure};
use crate::guard::{GuardedService, guarded};
use crate::input_queue::InputQueue;
use crate::limits::Limits;
use crate::observer::{Closed, Observer};
use crate::ordered::OrderedEvent;
use crate::service::{
    ConnInfo, Cx, DeliveredMessage, Framing, KernelTimestamps, RareRequests, Service, ServiceRequests, SocketReport,
    SocketRequests,
};
use crate::silence::Silence;
use crate::state::State;

/// What is sent before a reset waits this long for a peer that takes none of it.
const FINAL_DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// The service of a connection, what it has received and sent in plain text, and the limits.
// In this order in memory: what each message touches first, so that a busy server with many
// connections waits for fewer cache lines.
#[repr(C)]
pub(super) struct Core {
    pub(super) state: State,
    pub(super) peer_eof: OrderedEvent,
    pub(super) drain: OrderedEvent,
    /// The peer's FIN came without TLS's close_notify: the end of its input may have been cut off.
    pub(super) truncated: bool,
    /// The length of the last message, if it was longer than half the high-water mark: the next one
    /// may be as long. Otherwise 0.
    pub(super) long: u32,
    pub(super) asked: ServiceRequests,
    /// Handed to the engine and not yet reported as sent.
    pub(super) unsent: usize,
    pub(super) service: GuardedService,
    pub(super) limits: Arc<Limits>,
    pub(super) held: InputQueue,
    /// Of a peer that has not sent a newline yet.
    pub(super) silence: Option<Box<Silence>>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) messages: u64,
    /// When a message was last completed or a byte last sent: the clock of idleness and of the
    /// linger.
    pub(super) progress: Option<Instant>,
    /// The clock of a stalled write. Input does not move it.
    pub(super) delivery: Delivery,
    /// Where the engine has them.
    pub(super) times: Option<Box<KernelTimestamps>>,
    pub(super) linger_until: Option<Instant>,
    /// When the service was opened.
    pub(super) opened: Option<Instant>,
    pub(super) info: ConnInfo,
}

impl Core {
    pub(super) fn new(info: ConnInfo, service: GuardedService, framing: Framing, limits: Arc<Limits>) -> Self {
        Self {
            state: State::Handshake,
            peer_eof: OrderedEvent::NotYet,
            drain: OrderedEvent::NotYet,
            truncated: false,
            long: 0,
            asked: ServiceRequests::new(framing),
            unsent: 0,
            service,
            limits,
            held: InputQueue::default(),
            silence: None,
            bytes_in: 0,
            bytes_out: 0,
            messages: 0,
            progress: None,
            delivery: Delivery::default(),
            times: None,
            linger_until: None,
            opened: None,
            info,
        }
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Opens the service: nothing stands before it any more.
    pub(super) fn open(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        if self.state != State::Handshake {
            return;
        }
        self.state = if self.asked.is_reset_by_peer { State::HalfClosed } else { State::Open };
        self.opened = Some(now);
        self.progress = Some(now);
        self.observe(now, |info| observer.opened(info));
        self.notify(now, out, observer, |service, cx| service.open(cx));
    }

    /// Calls the service outside a message.
    pub(super) fn notify(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
        event: fn(&mut dyn Service, &mut Cx<'_>),
    ) {
        if self.state.is_open() {
            self.call(now, out, observer, event);
        }
    }

    #[inline]
    pub(super) fn take_socket_requests(&mut self) -> Option<SocketRequests> {
        let requests = self.asked.rare.take_of_socket()?;
        Some(SocketRequests { report: requests.report && self.state.is_open(), ..requests })
    }

    /// Gives the service the report for which it has asked.
    pub(super) fn report(
        &mut self,
        now: Instant,
        report: &SocketReport,
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) {
        self.asked.rare.begin_report();
        if self.state.is_open() {
            let event = |service: &mut dyn Service, cx: &mut Cx<'_>| service.socket(report, cx);
            self.call(now, out, observer, event);
        }
        self.asked.rare.end_report();
    }

    /// Delivers one message to the observer and the service, or bytes that are no message
    /// ([`Framing::Stream`]) to the service alone. The caller catches their panics.
    // Inlined, it passes the parts of `data` in registers: to read them back from where they have
    // just been written, two at once, would stall the processor for each message.
    #[inline(always)]
    pub(super) fn data(
        &mut self,
        now: Instant,
        data: DeliveredMessage<'_>,
        is_message: bool,
        out: &mut Vec<u8>,
        echo: &mut Range<usize>,
        observer: &mut dyn Observer,
    ) {
        if is_message {
            self.messages += 1;
            let len = data.bytes.len();
            self.long = if len > self.limits.high_water / 2 { u32::try_from(len).unwrap_or(u32::MAX) } else { 0 };
        }
        self.progress = Some(now);
        let (service, mut cx) = self.parts(now, data, out, echo, observer);
        if is_message {
            cx.observer.message(cx.conn, data.bytes);
        }
        service.within_guard().data(data.bytes, &mut cx);
        if let Some(times) = &mut self.times {
            times.clear_departures();
        }
    }

    fn call(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
        event: impl FnOnce(&mut dyn Service, &mut Cx<'_>),
    ) {
        let echo = &mut (0..0);
        let (service, mut cx) = self.parts(now, DeliveredMessage::NONE, out, echo, observer);
        if service.call(|service| event(service, &mut cx)).is_none() {
            self.panicked(now);
        }
    }

    /// The service, and what it is called with.
    #[inline(always)]
    fn parts<'a>(
        &'a mut self,
        now: Instant,
        message: DeliveredMessage<'a>,
        out: &'a mut Vec<u8>,
        echo: &'a mut Range<usize>,
        observer: &'a mut dyn Observer,
    ) -> (&'a mut GuardedService, Cx<'a>) {
        let times = self.times.as_deref().filter(|_| !message.bytes.is_empty());
        let (conn, state, asked, unsent) = (&self.info, &mut self.state, &mut self.asked, self.unsent);
        let (truncated, messages) = (self.truncated, &mut self.messages);
        let cx = Cx { now, conn, state, asked, out, echo, message, unsent, truncated, observer, messages, times };
        (&mut self.service, cx)
    }

    /// Calls an observer.
    pub(super) fn observe(&mut self, now: Instant, call: impl FnOnce(&ConnInfo)) {
        if guarded(|| call(&self.info)).is_none() {
            self.panicked(now);
        }
    }

    /// Discards what waits, and ends the connection once what was sent before is delivered. This
    /// overrides an orderly end that the service asked for in the same call.
    pub(super) fn panicked(&mut self, now: Instant) {
        self.state = State::Aborting(CloseReason::Panicked);
        self.held.clear();
        self.delivery.limit(now);
    }

    /// Ends a connection whose handshake, or TLS after it, has failed.
    pub(super) fn refuse(&mut self, reason: CloseReason) {
        match reason {
            // A drain refuses no connection, and a peer that has refused this end needs no reset.
            CloseReason::Drained | CloseReason::Tls(TlsFailure::Refused(_)) => self.state.close(reason),
            _ => self.state.refuse(reason),
        }
    }

    /// Why the connection ends, where that is decided.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        match self.state.reason() {
            // It came first, unless the service has panicked since.
            reason if self.truncated && reason != Some(CloseReason::Panicked) => Some(CloseReason::Truncated),
            reason => reason,
        }
    }

    /// What the observers learn at the end of a connection that began at `since`.
    pub(super) fn summary(&self, reason: CloseReason, since: Instant, now: Instant) -> Closed {
        Closed {
            reason,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            messages: self.messages,
            lasted: now.saturating_duration_since(since),
        }
    }

    /// Counts what this call sends, and decides what the engine does then.
    pub(super) fn settle(&mut self, now: Instant, echo: Range<usize>, out: &[u8]) -> Action {
        let fresh = echo.len() + out.len() + self.asked.shares.len();
        if self.unsent == 0 && fresh > 0 {
            self.progress = Some(now);
            self.delivery.begins(now, &self.limits);
        }
        self.unsent += fresh;
        if self.asked.rare.has(RareRequests::LIMIT_DELIVERY) && (fresh > 0 || !self.delivery.is_limited()) {
            self.delivery.limit(now);
        }
        if let State::Refused(reason) = self.state {
            self.state = if fresh == 0 { State::Reset(reason) } else { State::Closing(reason) };
        }
        Action { echo, then: self.then(now) }
    }

    fn then(&mut self, now: Instant) -> Then {
        match self.state {
            State::Handshake | State::Open => Then::Go,
            State::HalfClosed if self.unsent == 0 && self.peer_eof == OrderedEvent::Done => Then::Close,
            State::HalfClosed => Then::HalfClose,
            State::Refused(reason) | State::Closing(reason) => self.linger(now, reason),
            State::Aborting(_) => {
                self.held.clear();
                if !self.delivery.is_limited() {
                    self.delivery.limit(now);
                }
                if self.is_delivered(now) { Then::Reset } else { Then::Go }
            }
            State::Reset(_) | State::Closed => Then::Reset,
        }
    }

    /// An orderly end waits until all bytes are sent, and then for the peer's FIN until the linger
    /// is over.
    fn linger(&mut self, now: Instant, reason: CloseReason) -> Then {
        if self.unsent > 0 {
            return Then::HalfClose;
        }
        if self.peer_eof != OrderedEvent::NotYet {
            return Then::Close;
        }
        // A close could destroy what the peer's system has not acknowledged: late input would turn
        // it into a reset. (Not after the idle timeout: the peer had that time to read. Not before
        // the service was opened: the bytes of a handshake are not an answer.)
        let had_its_time = reason == CloseReason::IdleTimeout || self.opened.is_none();
        let waits = self.linger_until.is_none() && !had_its_time;
        if waits && self.delivery.is_reported() && self.delivery.is_open(0) {
            if !self.delivery.is_limited() {
                self.delivery.limit(now);
            }
            return Then::HalfClose;
        }
        // A connection that has been quiet for as long as the linger has nothing on its way that a
        // close could destroy.
        if self.linger_until().is_some_and(|until| until <= now) { Then::Close } else { Then::HalfClose }
    }

    /// When the linger is over. It begins with the last byte that moved.
    pub(super) fn linger_until(&mut self) -> Option<Instant> {
        if self.linger_until.is_none() {
            self.linger_until = self.progress.and_then(|last| last.checked_add(self.limits.linger));
        }
        self.linger_until
    }

    pub(super) fn stalled_at(&self) -> Option<Instant> {
        let limit = self.limits.write_timeout;
        let limit = match (self.delivery.is_limited(), self.state) {
            (true, State::Aborting(CloseReason::Aborted)) => Some(last_bytes(limit)),
            (true, _) if self.asked.rare.has(RareRequests::LIMIT_DELIVERY) => Some(last_bytes(limit)),
            // A connection that has ended must not stay for ever, even if its peer takes nothing.
            (true, _) => limit.or(Limits::default().write_timeout),
            (false, _) => limit,
        };
        self.delivery.stalled_at(self.unsent, limit)
    }

    pub(super) fn idle_at(&self) -> Option<Instant> {
        let limit = self.limits.idle_timeout?;
        // A full-duplex service that has paused waits for another connection, as unsent bytes do.
        let waits = self.asked.full_duplex && self.asked.paused;
        if self.unsent > 0 || waits || self.asked.rare.has(RareRequests::NEVER_IDLE) || !self.state.is_open() {
            return None;
        }
        let since = self.silence.as_ref().and_then(|silence| silence.idle_since()).or(self.progress);
        since?.checked_add(limit)
    }
}

/// The time of the last bytes of a peer that has this write timeout.
fn last_bytes(limit: Option<Duration>) -> Duration {
    limit.map_or(FINAL_DELIVERY_TIMEOUT, |most| most.min(FINAL_DELIVERY_TIMEOUT))
}

//! [`Conn`]: one end of one connection, without I/O.

mod deliver;
mod ending;
mod handshake;
mod room;
mod silence;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use self::ending::guarded;
use super::delivery::Delivery;
use super::handshake::{Handshake, Layers, NoService};
use super::input_queue::InputQueue;
use super::limits::Limits;
use super::observer::{Closed, Observer};
use super::ordered::OrderedEvent;
use super::silence::Silence;
use super::verdict::{Then, Verdict};
use crate::error::CloseReason;
use crate::service::{
    ConnInfo, Cx, DeliveredMessage, Framing, KernelTimestamps, Service, ServiceRequests, SharedBytes,
};

/// One end of one connection: framing, limits and a [`Service`], as a state machine.
///
/// An engine tells it what happened ([`open`](Conn::open), [`received`](Conn::received), [`received_eof`](Conn::received_eof),
/// [`sent`](Conn::sent), [`timed_out`](Conn::timed_out), [`woken`](Conn::woken), [`drain`](Conn::drain)) and obeys the [`Verdict`]. The rules:
///
/// - `out` is empty on entry. **After each call send `wire[echo]`, then `out`, then obey `then`.** Bytes leave in call order: an engine
///   with unsent bytes queues behind them.
/// - Each byte that the transport took is reported with [`sent`](Conn::sent), which may produce more.
/// - Call [`timed_out`](Conn::timed_out) at [`deadline`](Conn::deadline), or later; it mostly moves later, so re-arm lazily.
/// - Look at the transport right before, where [`is_silence_due`](Conn::is_silence_due): what has arrived comes first. And say what it still holds
///   of what it took, where that is [wanted](Conn::wants_unacknowledged) and known.
/// - Read only while [`wants_read`](Conn::wants_read), and at most [`read_limit`](Conn::read_limit) at once. A read that was under way
///   may still be delivered.
/// - The end is [`closed`](Conn::closed) after `Close` or `Reset`, or [`lost`](Conn::lost) where the transport failed first; nothing is called
///   after it.
///
/// That loop, over a transport that takes everything at once:
///
/// ```
/// use std::time::Instant;
/// use resound_proto::{Conn, ConnId, ConnInfo, Endpoint, Limits, Reply, Then};
///
/// let info = ConnInfo::new(ConnId(1), Endpoint::Unix(None), Endpoint::Unix(None));
/// let mut conn = Conn::new(info, Box::new(Reply::default()), Limits::default());
/// let (mut out, mut sent) = (Vec::new(), Vec::new());
/// let mut input: Vec<&[u8]> = vec![b"Hel", b"lo\nla", b"st"];
/// input.reverse();
///
/// let mut wire = Vec::new();
/// let mut verdict = conn.open(Instant::now(), &mut out, &mut ());
/// loop {
///     // Send what the verdict says, in this order, and report it.
///     let before = sent.len();
///     sent.extend_from_slice(&wire[verdict.echo.clone()]);
///     sent.append(&mut out);
///     if sent.len() > before {
///         verdict = conn.sent(Instant::now(), sent.len() - before, &mut out, &mut ());
///         continue;
///     }
///     // Then obey.
///     match verdict.then {
///         Then::Close | Then::Reset => break,
///         Then::HalfClose | Then::Go => {}
///     }
///     // Then wait for the peer (or for `conn.deadline()`, which this transport never reaches).
///     wire.clear();
///     verdict = match input.pop() {
///         Some(bytes) => {
///             wire.extend_from_slice(bytes);
///             conn.received(Instant::now(), &mut wire, &mut out, &mut ())
///         }
///         None => conn.received_eof(Instant::now(), &mut out, &mut ()),
///     };
/// }
/// conn.closed(Instant::now(), &mut ());
/// assert_eq!(sent, b"Server received: Hello\nServer received: last");
/// ```
// In this order in memory: what each message touches first, so that a busy server with many connections waits for fewer cache lines.
#[repr(C)]
pub struct Conn {
    peer_eof: OrderedEvent,
    drain: OrderedEvent,
    /// Once all that was sent is delivered, a reset: the service has failed.
    aborts: bool,
    /// Refused just now: what is said of it, if anything, comes with this call.
    refused: bool,
    /// The first reason wins. Here it takes no room of its own.
    reason: Option<CloseReason>,
    asked: ServiceRequests,
    /// Handed to the engine and not yet reported as sent.
    unsent: usize,
    service: Box<dyn Service>,
    limits: Arc<Limits>,
    held: InputQueue,
    /// Of a peer that has not sent a newline yet.
    silence: Option<Box<Silence>>,
    layers: Option<Box<Layers>>,
    bytes_in: u64,
    bytes_out: u64,
    messages: u64,
    /// When a message was last completed or a byte last sent: the clock of idleness and of the linger.
    progress: Option<Instant>,
    /// The clock of a stalled write. What the peer says does not move it.
    delivery: Delivery,
    linger_until: Option<Instant>,
    /// When the connection was opened; `None` before, and again once it has ended.
    opened: Option<Instant>,
    /// Where the engine knows them.
    times: Option<Box<KernelTimestamps>>,
    info: ConnInfo,
}

impl Conn {
    /// A connection that is about to be opened. Connections may share their limits.
    #[must_use]
    pub fn new(info: ConnInfo, service: Box<dyn Service>, limits: impl Into<Arc<Limits>>) -> Self {
        let framing = guarded(|| service.framing());
        let mut asked = ServiceRequests::new(framing.unwrap_or(Framing::Chunk));
        asked.reset = framing.is_none();
        Self {
            service,
            limits: limits.into(),
            asked,
            held: InputQueue::default(),
            silence: None,
            layers: None,
            unsent: 0,
            progress: None,
            delivery: Delivery::default(),
            linger_until: None,
            bytes_in: 0,
            bytes_out: 0,
            messages: 0,
            peer_eof: OrderedEvent::NotYet,
            drain: OrderedEvent::NotYet,
            aborts: false,
            refused: false,
            reason: framing.is_none().then_some(CloseReason::Panicked),
            opened: None,
            times: None,
            info,
        }
    }

    /// As [`Conn::new`], where something has to happen before the service is open. `service` is called then, when it is known who the peer
    /// is; and only then the observer hears that the connection was opened. One that ends before is [`Observer::unopened`].
    #[must_use]
    pub fn opening(
        info: ConnInfo,
        opening: Handshake,
        service: impl FnOnce(&ConnInfo) -> Box<dyn Service> + 'static,
        limits: impl Into<Arc<Limits>>,
    ) -> Self {
        let mut conn = Self::new(info, Box::new(NoService), limits);
        conn.layers = Some(Box::new(Layers::new(opening, Box::new(service))));
        conn
    }

    /// Who is at the two ends.
    #[must_use]
    pub fn info(&self) -> &ConnInfo {
        &self.info
    }

    /// The transport is up. The first call.
    pub fn open(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Verdict {
        match self.layers {
            None => self.begin(now, out, observer),
            Some(_) => {
                let header = self.announcement(now);
                self.start_opening(now, out, observer);
                let verdict = self.settle(now, 0..0, out);
                out.splice(0..0, header);
                return verdict;
            }
        }
        self.settle(now, 0..0, out)
    }

    /// `wire` has arrived. It is the engine's memory; `Conn` may change it in place, and keeps a copy of what it cannot deliver yet.
    pub fn received(
        &mut self,
        now: Instant,
        wire: &mut [u8],
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Verdict {
        self.bytes_in += wire.len() as u64;
        observer.received(&self.info, wire.len());
        let echo = match self.layers {
            None => self.deliver(now, wire, out, observer),
            Some(_) => self.receive_below(now, wire, out, observer),
        };
        self.break_silence(now);
        self.settle(now, echo, out)
    }

    /// Do the bytes of the service go onto the wire as they are, and nothing else?
    pub fn is_bare(&self) -> bool {
        self.layers.is_none()
    }

    /// For an engine that can send from where bytes stand: what the service sends so is to be asked
    /// for after each call then, and goes between the bytes of `out`. Elsewhere it is in `out`, as
    /// where something below the service changes the bytes on their way.
    pub fn allow_shares(&mut self) {
        self.asked.may_share = self.is_bare();
    }

    /// Of the call before.
    pub fn take_shares(&mut self) -> SharedBytes {
        self.asked.shares.take()
    }

    /// For an engine that knows when the kernel saw bytes pass: to be told before [`Conn::received`].
    pub fn times(&mut self) -> &mut KernelTimestamps {
        self.times.get_or_insert_default()
    }

    /// Is it known when the kernel saw bytes pass?
    #[cfg(target_os = "linux")]
    pub fn has_times(&self) -> bool {
        self.times.is_some()
    }

    /// The peer sent its FIN. An unterminated last line is delivered first.
    pub fn received_eof(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Verdict {
        if self.layers.is_some() {
            self.fin_below();
        }
        if self.peer_eof == OrderedEvent::NotYet {
            self.peer_eof = OrderedEvent::Waiting;
        }
        self.deliver(now, &[], out, observer);
        self.settle(now, 0..0, out)
    }

    /// The transport took `n` of the bytes that earlier verdicts wanted sent.
    pub fn sent(&mut self, now: Instant, n: usize, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Verdict {
        debug_assert!(n <= self.unsent, "{n} bytes sent of {}", self.unsent);
        self.unsent = self.unsent.saturating_sub(n);
        self.bytes_out += n as u64;
        self.progress = Some(now);
        self.delivery.sent(now);
        if self.aborts && self.unsent == 0 {
            self.delivery.hurry(now);
        }
        if let Some(silence) = &mut self.silence {
            silence.sent(n);
        }
        observer.sent(&self.info, n);
        self.deliver_waiting(now, out, observer);
        if self.unsent == 0 && out.is_empty() && self.asked.shares.is_empty() && !self.asked.finished {
            self.tell(now, out, |service, cx| service.drained(cx));
            // It may have resumed a paused delivery.
            self.deliver_waiting(now, out, observer);
        }
        self.settle(now, 0..0, out)
    }

    /// The time has come that [`Conn::deadline`] named. Harmless when called too early or for nothing.
    pub fn timed_out(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Verdict {
        if self.asked.wake_at.is_some_and(|at| at <= now) {
            self.asked.wake_at = None;
            self.tell(now, out, |service, cx| service.wake(cx));
            self.deliver(now, &[], out, observer);
        }
        if self.waits_until().is_some_and(|at| at <= now) {
            self.receive_below(now, &mut [], out, observer);
            self.break_silence(now);
        }
        let unsent = self.unsent;
        let silent = self.is_silence_due(now);
        if silent {
            self.deliver_silent(now, out, observer);
        }
        if self.stalled_at().is_some_and(|at| at <= now) {
            self.end(CloseReason::WriteTimeout);
            self.asked.reset = true;
        } else if self.opening_until().is_some_and(|at| at <= now) {
            self.refuse(CloseReason::OpeningTimeout);
        } else if out.is_empty() && self.asked.shares.is_empty() && self.idle_at().is_some_and(|at| at <= now) {
            self.end(CloseReason::IdleTimeout);
            self.asked.finished = true;
            self.asked.closing = true;
        }
        if self.delivery.is_in_a_hurry() {
            self.delivery.looked_in_a_hurry(now);
        } else {
            self.delivery.looked(now, &self.limits);
        }
        let verdict = self.settle(now, 0..0, out);
        if let Some(silence) = self.silence.as_mut().filter(|_| silent) {
            silence.answers(self.unsent - unsent);
        }
        verdict
    }

    /// Somebody outside asked for [`Service::wake`] now.
    pub fn woken(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Verdict {
        self.tell(now, out, |service, cx| service.wake(cx));
        self.deliver(now, &[], out, observer);
        self.settle(now, 0..0, out)
    }

    /// The server is shutting down, and the engine has delivered all that had arrived by then. The service is told once it has seen
    /// it (or at once, where it has paused and nothing is held); if it then finishes, as by default, the connection closes as soon as its answers have left.
    /// A connection that is not open yet ends.
    pub fn drain(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Verdict {
        if self.is_opening() {
            // It can have asked nothing yet.
            self.refuse(CloseReason::Drained);
        } else if self.drain == OrderedEvent::NotYet {
            self.drain = OrderedEvent::Waiting;
        }
        self.deliver(now, &[], out, observer);
        self.settle(now, 0..0, out)
    }

    /// The transport is gone before its time: it failed, or the engine cut it.
    pub fn lost(&mut self, now: Instant, reason: CloseReason, observer: &mut dyn Observer) {
        // An end that was to be orderly is not, if bytes were still to be sent.
        if self.unsent > 0 && self.reason.is_some_and(CloseReason::is_orderly) {
            self.reason = None;
        }
        self.end(reason);
        self.closed(now, observer);
    }

    /// The engine closes the descriptor, as the last verdict wanted.
    pub fn closed(&mut self, now: Instant, observer: &mut dyn Observer) {
        self.held.clear();
        self.asked.reset = true;
        let pending = self.layers.take().and_then(|layers| layers.opening);
        let reason = self.reason.unwrap_or(CloseReason::Finished);
        let how = |since| Closed {
            reason,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            messages: self.messages,
            lasted: now.saturating_duration_since(since),
        };
        if let Some(opened) = self.opened {
            observer.closed(&self.info, &how(opened));
            let _ = guarded(|| self.service.closed(&reason));
            // Here, where its panic is caught.
            let service = std::mem::replace(&mut self.service, Box::new(NoService));
            let _ = guarded(|| drop(service));
        } else if let Some(pending) = pending {
            if let Some(since) = pending.since {
                observer.unopened(&self.info, &how(since));
            }
            if let Some(otherwise) = pending.otherwise {
                otherwise(reason);
            }
        }
        self.opened = None;
    }

    /// When [`Conn::timed_out`] is to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let service = if self.asked.closing { None } else { self.asked.wake_at };
        let delivery = self.delivery.deadline(self.unsent, self.limits.write_timeout);
        let limits = earlier(delivery, earlier(self.idle_at(), self.opening_until()));
        let first = earlier(earlier(service, self.waits_until()), earlier(self.linger_until, limits));
        if self.silence.is_some() { earlier(first, self.silent_at()) } else { first }
    }

    /// Should the engine read? Not behind the peer's FIN, and not while unsent bytes or a paused service hold the input up.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        let has_room = || self.may_deliver(0, 0) && self.read_limit() > 0 && self.waits_until().is_none();
        self.peer_eof == OrderedEvent::NotYet && (self.asked.closing || has_room())
    }

    /// Has the service stopped delivery with [`Cx::pause`]? Unlike input that waits behind unsent bytes, this may have no end.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.asked.paused && !self.asked.closing
    }

    fn stalled_at(&self) -> Option<Instant> {
        let limit = match self.delivery.is_in_a_hurry() {
            // A connection that has ended must not stay for ever, whatever a peer does that takes nothing.
            true => self.limits.write_timeout.or(Limits::default().write_timeout),
            false => self.limits.write_timeout,
        };
        self.delivery.stalled_at(self.unsent, limit)
    }

    fn idle_at(&self) -> Option<Instant> {
        let limit = self.limits.idle_timeout?;
        if self.unsent > 0 || self.asked.closing || self.opened.is_none() {
            return None;
        }
        let since = self.silence.as_ref().and_then(|silence| silence.idle_since()).or(self.progress);
        since?.checked_add(limit)
    }

    /// The service is there, and nothing stands before it.
    fn begin(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        self.opened = Some(now);
        self.progress = Some(now);
        observer.opened(&self.info);
        self.tell(now, out, |service, cx| service.open(cx));
    }

    /// Calls the service outside a message.
    fn tell(&mut self, now: Instant, out: &mut Vec<u8>, event: fn(&mut dyn Service, &mut Cx<'_>)) {
        if self.asked.closing || self.asked.reset || self.opened.is_none() {
            return;
        }
        let (asked, unsent) = (&mut self.asked, self.unsent);
        let (echo, message) = (&mut (0..0), DeliveredMessage::NONE);
        let mut cx = Cx { now, conn: &self.info, asked, out, echo, message, unsent, times: None };
        match guarded(|| event(self.service.as_mut(), &mut cx)) {
            Some(()) => self.asked_to_end(),
            None => self.panicked(now),
        }
    }

    fn settle(&mut self, now: Instant, echo: Range<usize>, out: &mut Vec<u8>) -> Verdict {
        if self.layers.is_some() {
            self.seal(out);
        }
        let fresh = echo.len() + out.len() + self.asked.shares.len();
        if self.unsent == 0 && fresh > 0 {
            self.progress = Some(now);
            self.delivery.begins(now, &self.limits);
        }
        self.unsent += fresh;
        if std::mem::take(&mut self.refused) && fresh == 0 {
            self.asked.reset = true;
        }
        Verdict { echo, then: self.then(now) }
    }

    fn then(&mut self, now: Instant) -> Then {
        if self.asked.reset {
            return Then::Reset;
        }
        if self.aborts {
            return if self.is_delivered(now) { Then::Reset } else { Then::Go };
        }
        if !self.asked.finished {
            return Then::Go;
        }
        if self.unsent > 0 {
            return Then::HalfClose;
        }
        if self.peer_eof != OrderedEvent::NotYet && (self.asked.closing || self.peer_eof == OrderedEvent::Done) {
            return Then::Close;
        }
        if self.asked.closing {
            // What the peer's system has not taken a close could destroy: late input would turn it into a reset.
            // (A peer that has let its idle time pass without taking it has had its time; and what a handshake said is no answer.)
            let had_its_time = self.reason == Some(CloseReason::IdleTimeout) || self.opened.is_none();
            let waits = self.linger_until.is_none() && !had_its_time;
            if waits && self.delivery.is_told() && self.delivery.is_open(0) {
                if !self.delivery.is_in_a_hurry() {
                    self.delivery.hurry(now);
                }
                return Then::HalfClose;
            }
            // A line that has been quiet for as long as the linger has nothing on its way that a close could destroy.
            if self.linger_until.is_none() {
                self.linger_until = self.progress.and_then(|last| last.checked_add(self.limits.linger));
            }
            if self.linger_until.is_some_and(|until| until <= now) {
                return Then::Close;
            }
        }
        Then::HalfClose
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    // Each message asks for a deadline: this is written out for speed.
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("info", &self.info)
            .field("unsent", &self.unsent)
            .field("held", &self.held.len())
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

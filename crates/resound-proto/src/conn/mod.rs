//! [`Conn`]: one end of one connection, without I/O.

mod core;
mod deliver;
mod ending;
mod handshake;
mod room;
mod silence;
mod status;
mod unanswered;

pub use self::status::ConnStatus;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use self::core::Core;
use super::action::Action;
use super::guard::{GuardedService, guarded};
use super::handshake::{Handshake, Layers, ServiceSource};
use super::limits::Limits;
use super::observer::Observer;
use super::ordered::OrderedEvent;
use super::state::State;
use crate::error::CloseReason;
use crate::service::{ConnInfo, Framing, KernelTimestamps, Service, SharedBytes, SocketReport, SocketRequests};

/// One end of one connection: framing, limits and a [`Service`], as a state machine.
///
/// An engine reports what happened ([`open`](Conn::open), [`received`](Conn::received),
/// [`received_eof`](Conn::received_eof), [`sent`](Conn::sent), [`timed_out`](Conn::timed_out),
/// [`woken`](Conn::woken), [`drain`](Conn::drain)) and obeys the [`Action`]. The rules:
///
/// - `out` is empty on entry. **After each call send `wire[echo]`, then `out`, then do `then`.**
///   Bytes leave in call order: an engine with unsent bytes queues behind them.
/// - Each byte that the transport took is reported with [`sent`](Conn::sent), which may produce
///   more.
/// - Call [`timed_out`](Conn::timed_out) at [`deadline`](Conn::deadline), or later; it mostly moves
///   later, so re-arm lazily.
/// - Where [`is_silence_due`](Conn::is_silence_due), read from the transport immediately before
///   that call, so that received bytes come first. Where
///   [`wants_unacknowledged`](Conn::wants_unacknowledged), report how many sent bytes the transport
///   still holds, if that is known.
/// - Read only while [`wants_read`](Conn::wants_read), and at most [`read_limit`](Conn::read_limit)
///   at once. A read that was under way may still be delivered.
/// - While you do not read, watch for a reset by the peer: then the connection is
///   [`lost`](Conn::lost), or [`reset_by_peer`](Conn::reset_by_peer) where the transport has more
///   to read.
/// - The end is [`closed`](Conn::closed) after `Close` or `Reset`, or [`lost`](Conn::lost) where
///   the transport failed first; no call follows.
///
/// A panic of the service, of the code that makes it or of an observer ends this connection and
/// does not leave `Conn`.
///
/// That loop, over a transport that takes everything at once:
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
/// let mut action = conn.open(Instant::now(), &mut out, &mut ());
/// loop {
///     // Send what the action says, in this order, and report it.
///     let before = sent.len();
///     sent.extend_from_slice(&wire[action.echo.clone()]);
///     sent.append(&mut out);
///     if sent.len() > before {
///         action = conn.sent(Instant::now(), sent.len() - before, &mut out, &mut ());
///         continue;
///     }
///     // Then obey.
///     match action.then {
///         Then::Close | Then::Reset => break,
///         Then::HalfClose | Then::Go => {}
///     }
///     // Then wait for the peer (or for `conn.deadline()`, which this transport never reaches).
///     wire.clear();
///     action = match input.pop() {
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
// The layers first, then the core: what each message touches.
#[repr(C)]
pub struct Conn {
    /// Below the service; a plain connection has none.
    layers: Option<Box<Layers>>,
    core: Core,
}

impl Conn {
    /// A connection whose service opens at once. Connections may share their limits.
    #[must_use]
    pub fn new(info: ConnInfo, service: Box<dyn Service>, limits: impl Into<Arc<Limits>>) -> Self {
        Self::start(info, limits, |_| ServiceSource::Ready(service))
    }

    /// A connection with a handshake before its service. `service` is called after it, when the
    /// peer is known; only then the observer sees the connection as opened. A connection that ends
    /// before is [`Observer::unopened`].
    #[must_use]
    pub fn with_handshake(
        info: ConnInfo,
        handshake: Handshake,
        service: impl FnOnce(&ConnInfo) -> Box<dyn Service> + 'static,
        limits: impl Into<Arc<Limits>>,
    ) -> Self {
        Self::start(info, limits, |_| ServiceSource::After(handshake, Box::new(|info, _| service(info))))
    }

    /// A connection that `source` decides about, called at once. Where `source` panics, the
    /// connection ends before it is opened.
    #[must_use]
    pub fn start(
        info: ConnInfo,
        limits: impl Into<Arc<Limits>>,
        source: impl FnOnce(&ConnInfo) -> ServiceSource,
    ) -> Self {
        let started = guarded(|| match source(&info) {
            ServiceSource::Ready(service) => {
                let mut service = GuardedService::new(service);
                Some((service.call(|service| service.framing())?, service, None))
            }
            ServiceSource::After(handshake, make) => {
                let layers = Layers::new(handshake, Some(make));
                Some((Framing::Chunk, GuardedService::none(), Some(Box::new(layers))))
            }
        });
        let is_made = matches!(started, Some(Some(_)));
        let unmade = || (Framing::Chunk, GuardedService::none(), Some(Box::new(Layers::new(Handshake::new(), None))));
        let (framing, service, layers) = started.flatten().unwrap_or_else(unmade);
        let mut core = Core::new(info, service, framing, limits.into());
        if !is_made {
            core.state.reset(CloseReason::Panicked);
        }
        Self { layers, core }
    }

    /// The addresses of the two ends, and what else is known of the connection.
    #[must_use]
    pub fn info(&self) -> &ConnInfo {
        &self.core.info
    }

    /// The transport is up. The first call.
    pub fn open(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Action {
        let Some(layers) = &mut self.layers else {
            self.core.open(now, out, observer);
            return self.settle(now, 0..0, out, 0);
        };
        // This end's PROXY header is sent first, and TLS does not encrypt it.
        out.append(&mut layers.header);
        let header = out.len();
        self.start_handshake(now, out, observer);
        self.settle(now, 0..0, out, header)
    }

    /// `wire` has arrived. It is the engine's memory; `Conn` may change it in place, and keeps a
    /// copy of what it cannot deliver yet.
    pub fn received(
        &mut self,
        now: Instant,
        wire: &mut [u8],
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Action {
        self.core.bytes_in += wire.len() as u64;
        self.core.observe(now, |info| observer.received(info, wire.len()));
        let echo = match self.layers {
            None => self.core.deliver(now, wire, Some(0), out, observer),
            Some(_) => self.receive_below(now, wire, out, observer),
        };
        self.core.break_silence(now);
        self.settle(now, echo, out, 0)
    }

    /// Why the connection ends, once that is decided; `None` where both ends finish.
    #[must_use]
    pub fn reason(&self) -> Option<CloseReason> {
        self.core.reason()
    }

    /// Whether the bytes of the service go onto the wire as they are, and nothing else.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.layers.is_none()
    }

    /// For an engine that can send bytes from where they are stored: it calls [`Conn::take_shares`]
    /// after each call, and sends them between the bytes of `out`. Otherwise, and where a layer
    /// changes the bytes, they are in `out`.
    pub fn allow_shares(&mut self) {
        self.core.asked.may_share = self.is_bare();
    }

    /// The shared bytes of the call before.
    pub fn take_shares(&mut self) -> SharedBytes {
        self.core.asked.shares.take()
    }

    /// The socket requests that the service has made since the previous call, if any. A requested
    /// report stays pending until [`Conn::socket`].
    #[inline]
    pub fn take_socket_requests(&mut self) -> Option<SocketRequests> {
        self.core.take_socket_requests()
    }

    /// The report that the service has asked for ([`SocketRequests::report`]).
    pub fn socket(
        &mut self,
        now: Instant,
        report: &SocketReport,
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Action {
        self.core.report(now, report, out, observer);
        self.deliver_and_settle(now, out, observer)
    }

    /// For an engine that can send what one connection has received on another: it asks for
    /// [`Conn::take_lent`] after each [`Conn::received`] while lending is allowed.
    pub fn allow_lending(&mut self, allowed: bool) {
        self.core.asked.may_lend = allowed && self.is_bare();
    }

    /// Whether the service has [lent](crate::Cx::lend) `wire` of the call before, all of it.
    pub fn take_lent(&mut self) -> bool {
        std::mem::take(&mut self.core.asked.lent)
    }

    /// The engine has `n` bytes that another connection lends to this one, which
    /// [is bare](Conn::is_bare). The action's `echo` is the part of them to send.
    pub fn forward(&mut self, now: Instant, n: usize) -> Action {
        let n = if self.core.state.may_send() { n } else { 0 };
        self.core.settle(now, 0..n, &[])
    }

    /// For an engine that knows when the kernel saw bytes pass: filled in before
    /// [`Conn::received`].
    pub fn times(&mut self) -> &mut KernelTimestamps {
        self.core.times.get_or_insert_default()
    }

    /// Whether the engine has reported when the kernel saw bytes pass.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn has_times(&self) -> bool {
        self.core.times.is_some()
    }

    /// The peer sent its FIN. An unterminated last line is delivered first.
    pub fn received_eof(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Action {
        self.core.observe(now, |info| observer.received_fin(info));
        self.receive_fin();
        if self.core.peer_eof == OrderedEvent::NotYet {
            self.core.peer_eof = OrderedEvent::Waiting;
        }
        self.deliver_and_settle(now, out, observer)
    }

    /// The transport took `n` of the bytes that earlier actions wanted sent.
    pub fn sent(&mut self, now: Instant, n: usize, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Action {
        let core = &mut self.core;
        debug_assert!(n <= core.unsent, "{n} bytes sent of {}", core.unsent);
        core.unsent = core.unsent.saturating_sub(n);
        core.bytes_out += n as u64;
        core.progress = Some(now);
        core.delivery.sent(now);
        if core.unsent == 0 && matches!(core.state, State::Aborting(_)) {
            core.delivery.limit(now);
        }
        if let Some(silence) = &mut core.silence {
            silence.sent(n);
        }
        core.observe(now, |info| observer.sent(info, n));
        core.deliver_waiting(now, out, observer);
        if core.unsent == 0 && core.state.may_send() && out.is_empty() && core.asked.shares.is_empty() {
            core.notify(now, out, observer, |service, cx| service.drained(cx));
            // The service may have resumed a paused delivery.
            core.deliver_waiting(now, out, observer);
        }
        self.settle(now, 0..0, out, 0)
    }

    /// The time has come that [`Conn::deadline`] named. A call too early does no harm.
    pub fn timed_out(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Action {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.core.asked.wake_at) {
            self.core.asked.wake_at = None;
            self.core.notify(now, out, observer, |service, cx| service.wake(cx));
            self.core.deliver_held(now, out, observer);
        }
        if is_due(self.waits_until()) {
            self.receive_below(now, &mut [], out, observer);
            self.core.break_silence(now);
        }
        let unsent = self.core.unsent;
        let is_silent = self.is_silent(now);
        if is_silent {
            self.core.deliver_silent(now, out, observer);
        }
        let handshake_until = self.handshake_until();
        let core = &mut self.core;
        if is_due(core.stalled_at()) {
            core.state.reset(CloseReason::WriteTimeout);
        } else if is_due(handshake_until) {
            core.refuse(CloseReason::OpeningTimeout);
        } else if out.is_empty() && core.asked.shares.is_empty() && is_due(core.idle_at()) {
            match core.asked.full_duplex {
                true => core.state.reset(CloseReason::IdleTimeout),
                false => core.state.close(CloseReason::IdleTimeout),
            }
        }
        if core.delivery.is_limited() {
            core.delivery.looked_while_limited(now);
        } else {
            core.delivery.polled(now, &core.limits);
        }
        let action = self.settle(now, 0..0, out, 0);
        if is_silent && let Some(silence) = &mut self.core.silence {
            silence.add_answer(self.core.unsent - unsent);
        }
        action
    }

    /// [`Service::wake`] was asked for from outside.
    pub fn woken(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Action {
        self.core.notify(now, out, observer, |service, cx| service.wake(cx));
        self.deliver_and_settle(now, out, observer)
    }

    /// The server is shutting down, and the engine has delivered all that had arrived by then. The
    /// service is notified once it has received it (or at once, where it has paused and nothing is
    /// held); if it then finishes, as by default, the connection closes as soon as its answers have
    /// left. A connection that is not open yet ends.
    pub fn drain(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Action {
        if self.core.state == State::Handshake {
            // The peer can have asked nothing yet.
            self.core.refuse(CloseReason::Drained);
        } else if self.core.drain == OrderedEvent::NotYet {
            self.core.drain = OrderedEvent::Waiting;
        }
        self.deliver_and_settle(now, out, observer)
    }

    /// What every call ends with: `out[from..]` is the plain text that it sends.
    fn settle(&mut self, now: Instant, echo: Range<usize>, out: &mut Vec<u8>, from: usize) -> Action {
        if self.layers.is_some() {
            self.seal(out, from);
            if self.core.asked.is_reset_by_peer {
                out.clear();
            }
        }
        self.core.settle(now, echo, out)
    }

    fn deliver_and_settle(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Action {
        self.core.deliver_held(now, out, observer);
        self.settle(now, 0..0, out, 0)
    }

    /// The transport is gone before its time: it failed, or the engine cut it.
    pub fn lost(&mut self, now: Instant, reason: CloseReason, observer: &mut dyn Observer) {
        // An end with unsent bytes is not orderly.
        let first = self.core.reason().filter(|first| self.core.unsent == 0 || !first.is_orderly());
        self.end(now, first.unwrap_or(reason), observer);
    }

    /// The engine closes the descriptor, as the last action said.
    pub fn closed(&mut self, now: Instant, observer: &mut dyn Observer) {
        self.end(now, self.core.reason().unwrap_or(CloseReason::Finished), observer);
    }

    fn end(&mut self, now: Instant, reason: CloseReason, observer: &mut dyn Observer) {
        let core = &mut self.core;
        if core.state == State::Closed {
            return;
        }
        core.held.clear();
        core.state = State::Closed;
        let pending = self.layers.take().and_then(|layers| layers.pending);
        if let Some(opened) = core.opened {
            let _ = guarded(|| observer.closed(&core.info, &core.summary(reason, opened, now)));
            let _ = core.service.call(|service| service.closed(&reason));
            core.service = GuardedService::none();
        } else if let Some(pending) = pending {
            if let Some(since) = pending.since {
                let _ = guarded(|| observer.unopened(&core.info, &core.summary(reason, since, now)));
            }
            if let Some(on_failure) = pending.on_failure {
                let _ = guarded(|| on_failure(reason, now));
            }
        }
    }

    /// When [`Conn::timed_out`] is to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let core = &self.core;
        let wake = if core.state.is_open() { core.asked.wake_at } else { None };
        let delivery = core.delivery.deadline(core.unsent, core.limits.write_timeout);
        let mut first = earlier(earlier(wake, delivery), earlier(core.idle_at(), core.linger_until));
        if self.layers.is_some() {
            first = earlier(first, earlier(self.handshake_until(), self.waits_until()));
        }
        if core.silence.is_some() { earlier(first, self.silent_at()) } else { first }
    }

    /// Whether the engine should read. Not after the peer's FIN, and not while unsent bytes or a
    /// paused service hold the input up.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        let core = &self.core;
        if core.peer_eof != OrderedEvent::NotYet {
            return false;
        }
        match core.state {
            State::Handshake | State::Open | State::HalfClosed => {
                core.has_room(0, 0) && core.read_limit() > 0 && self.waits_until().is_none()
            }
            State::Refused(_) | State::Closing(_) | State::Aborting(_) => true,
            State::Reset(_) | State::Closed => false,
        }
    }

    /// Whether the service has stopped delivery with [`Cx::pause`](crate::Cx::pause). Unlike input
    /// that waits behind unsent bytes, this may have no end.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.core.asked.paused && self.core.state.is_open()
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
            .field("info", &self.core.info)
            .field("state", &self.core.state)
            .field("unsent", &self.core.unsent)
            .field("held", &self.core.held.len())
            .field("asked", &self.core.asked)
            .finish_non_exhaustive()
    }
}

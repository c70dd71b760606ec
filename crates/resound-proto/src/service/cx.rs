//! [`Cx`]: a service's view of its connection.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{ConnInfo, Framing, KernelTimestamps, SendTimestamp};
use crate::error::CloseReason;
use crate::observer::Observer;
use crate::state::State;

/// What a service has requested so far. It belongs to the connection and outlives each call.
#[derive(Debug)]
#[repr(C)] // what each message touches first
pub(crate) struct ServiceRequests {
    pub(crate) paused: bool,
    pub(crate) full_duplex: bool,
    /// The engine can send from where bytes stand.
    pub(crate) may_share: bool,
    /// The engine can send from where it received, on another connection.
    pub(crate) may_lend: bool,
    pub(crate) rare: RareRequests,
    /// Another connection sends what the engine's buffer holds.
    pub(crate) lent: bool,
    /// The transport takes nothing more.
    pub(crate) is_reset_by_peer: bool,
    pub(crate) framing: Framing,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) shares: SharedBytes,
}

/// What a service has asked for of its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketRequests {
    /// It waits for acknowledgements before it sends a small segment ([`Cx::nagle`]).
    pub nagle: bool,
    /// It sends no keepalive probes ([`Cx::no_keepalive`]).
    pub no_keepalive: bool,
    /// It acknowledges nothing more ([`Cx::drop_input`]).
    pub drop_input: bool,
    /// It is described in a report ([`Cx::report_socket`]), until
    /// [`Conn::socket`](crate::Conn::socket) has given one.
    pub report: bool,
}

/// What few services ask for, in two bytes, so that the connections of the others stay small.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RareRequests(u16);

impl RareRequests {
    const NAGLE: Self = Self(1);
    const NO_KEEPALIVE: Self = Self(2);
    const DROP_INPUT: Self = Self(4);
    /// The transport is read before the service is woken by its clock.
    pub(crate) const READ_BEFORE_WAKE: Self = Self(8);
    /// What comes is left unread for good.
    pub(crate) const LEAVE_UNREAD: Self = Self(16);
    const REPORT: Self = Self(32);
    /// The next report: it was asked for in the last one.
    const REPORT_AGAIN: Self = Self(64);
    /// Output has a deadline ([`Cx::limit_delivery`]).
    pub(crate) const LIMIT_DELIVERY: Self = Self(128);
    /// The service has an idle timeout of its own.
    pub(crate) const NEVER_IDLE: Self = Self(256);
    /// Messages get no answers.
    pub(crate) const NO_ANSWERS: Self = Self(512);
    const OF_SOCKET: Self = Self(1 | 2 | 4 | 32 | 64);

    pub(crate) fn has(self, request: Self) -> bool {
        self.0 & request.0 != 0
    }

    fn set(&mut self, request: Self, wanted: bool) {
        self.0 = if wanted { self.0 | request.0 } else { self.0 & !request.0 };
    }

    /// Those of the socket, once; a report until it is given.
    #[inline]
    pub(crate) fn take_of_socket(&mut self) -> Option<SocketRequests> {
        if self.has(Self::OF_SOCKET) { Some(self.take_some_of_socket()) } else { None }
    }

    #[cold]
    fn take_some_of_socket(&mut self) -> SocketRequests {
        let of_socket = [Self::NAGLE, Self::NO_KEEPALIVE, Self::DROP_INPUT, Self::REPORT];
        let [nagle, no_keepalive, drop_input, report] = of_socket.map(|request| self.has(request));
        let again = self.has(Self::REPORT_AGAIN);
        self.set(Self::OF_SOCKET, false);
        self.set(Self::REPORT, report || again);
        SocketRequests { nagle, no_keepalive, drop_input, report }
    }

    /// A report is about to be given.
    pub(crate) fn begin_report(&mut self) {
        self.set(Self::REPORT, false);
    }

    /// The service has had its report. One that it asked for meanwhile is delivered later.
    pub(crate) fn end_report(&mut self) {
        if self.has(Self::REPORT) {
            self.set(Self::REPORT, false);
            self.set(Self::REPORT_AGAIN, true);
        }
    }
}

/// Shared bytes below this are copied: that costs less than keeping them apart.
const WORTH_SHARING: usize = 1024;

/// Bytes of this call that are sent from where they stand, each with how much of `out` goes before
/// it, in order. Nearly always there are none.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "so an idle connection stays small")]
pub struct SharedBytes(Option<Box<Vec<(usize, Bytes)>>>);

impl SharedBytes {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.iter().map(|(_, bytes)| bytes.len()).sum())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes them out.
    pub fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Each with how many bytes of `out` go before it, in order.
    pub fn into_parts(self) -> impl Iterator<Item = (usize, Bytes)> {
        self.0.into_iter().flat_map(|list| *list)
    }

    /// These, each with how many bytes of `out` go before it, in order.
    #[must_use]
    pub fn of(list: Vec<(usize, Bytes)>) -> Self {
        Self(Some(Box::new(list)))
    }
}

impl ServiceRequests {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            wake_at: None,
            paused: false,
            full_duplex: false,
            may_share: false,
            may_lend: false,
            rare: RareRequests::default(),
            lent: false,
            is_reset_by_peer: false,
            shares: SharedBytes::default(),
        }
    }
}

/// The message under delivery, and where it stands in the engine's buffer, if it stands there.
#[derive(Clone, Copy)]
pub(crate) struct DeliveredMessage<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: Option<usize>,
}

impl DeliveredMessage<'_> {
    /// Between messages.
    pub(crate) const NONE: DeliveredMessage<'static> = DeliveredMessage { bytes: &[], at: None };
}

/// A service's view of its connection during one call: what is known, and what it may request.
pub struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) conn: &'a ConnInfo,
    pub(crate) state: &'a mut State,
    pub(crate) asked: &'a mut ServiceRequests,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) echo: &'a mut Range<usize>,
    pub(crate) message: DeliveredMessage<'a>,
    /// Bytes of earlier calls that are unsent.
    pub(crate) unsent: usize,
    pub(crate) truncated: bool,
    pub(crate) observer: &'a mut dyn Observer,
    /// Messages that were delivered so far.
    pub(crate) messages: &'a mut u64,
    /// Of the message, where the engine knows them.
    pub(crate) times: Option<&'a KernelTimestamps>,
}

impl Cx<'_> {
    /// The time of this call. Services read no clock of their own, so that tests can run them on a
    /// virtual one.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When the message of this call arrived at this machine, by the kernel's clock. `None` unless
    /// the engine was set to ask for that (`resound::Dialer::kernel_times`), and can.
    #[must_use]
    pub fn arrived(&self) -> Option<Instant> {
        self.times.and_then(KernelTimestamps::arrival)
    }

    /// The sends that have left this machine since the message before this one was delivered, where
    /// [`Cx::arrived`] is known.
    #[must_use]
    pub fn departures(&self) -> &[SendTimestamp] {
        self.times.map_or(&[], KernelTimestamps::departures)
    }

    /// The addresses of the two ends, and what else is known of the connection.
    #[must_use]
    pub fn conn(&self) -> &ConnInfo {
        self.conn
    }

    /// Sends `bytes` after all earlier output. After [`Cx::finish`] this does nothing.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) {
        if self.state.may_send() {
            self.out.extend_from_slice(bytes);
        }
    }

    /// Sends `bytes` as [`Cx::send`] does, but without a copy where the engine can send from where
    /// they stand: for large contents that are kept in memory once.
    pub fn send_shared(&mut self, bytes: Bytes) {
        if !self.asked.may_share || bytes.len() < WORTH_SHARING {
            return self.send(&bytes);
        }
        if self.state.may_send() {
            self.asked.shares.0.get_or_insert_default().push((self.out.len(), bytes));
        }
    }

    /// Sends the message of this call back: the same as sending its bytes, but without a copy where
    /// the engine can send from the buffer it received into. Does nothing outside
    /// [`Service::data`](super::Service::data).
    pub fn echo(&mut self) {
        if !self.state.may_send() || self.message.bytes.is_empty() {
            return;
        }
        let is_first = Range::is_empty(self.echo);
        let sends_nothing_else = self.out.is_empty() && self.asked.shares.is_empty();
        match self.message.at {
            // The echo range leaves before `out`, so it can only grow while `out` is empty, and in
            // one piece.
            Some(at) if sends_nothing_else && (is_first || self.echo.end == at) => {
                if is_first {
                    self.echo.start = at;
                }
                self.echo.end = at + self.message.bytes.len();
            }
            _ => self.out.extend_from_slice(self.message.bytes),
        }
    }

    /// Whether [`Cx::lend`] can work on this connection.
    #[must_use]
    pub fn can_lend(&self) -> bool {
        self.asked.may_lend
    }

    /// Leaves the chunk of this call in the engine's buffer, for another connection of the same
    /// worker to send from there ([`Conn::take_lent`](crate::Conn::take_lent)). Returns `false`
    /// where that is not possible: the service copies it then.
    pub fn lend(&mut self) -> bool {
        self.asked.lent = self.asked.may_lend && self.message.at == Some(0) && self.asked.framing == Framing::Chunk;
        self.asked.lent
    }

    /// Bytes that were sent and that the transport has not taken. A service that sends much checks
    /// this, and continues in [`Service::drained`](super::Service::drained).
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent + self.out.len() + self.echo.len() + self.asked.shares.len()
    }

    /// Asks for [`Service::wake`](super::Service::wake) at `at`. There is one such deadline; asking
    /// again moves it.
    pub fn wake_at(&mut self, at: Instant) {
        self.asked.wake_at = Some(at);
    }

    /// The time for which [`Cx::wake_at`] has asked, until it has come. A service that has asked
    /// and finds a time here in [`Service::wake`](super::Service::wake) is woken from outside.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Instant> {
        self.asked.wake_at
    }

    /// With `true` an engine reads what has arrived before it wakes the service at the time of
    /// [`Cx::wake_at`], as long as the service has not paused. For a service that waits for a pause
    /// of its peer.
    pub fn read_before_wake(&mut self, wanted: bool) {
        self.asked.rare.set(RareRequests::READ_BEFORE_WAKE, wanted);
    }

    /// Stops delivery and reading for good. A drain does not wait for what is left unread.
    pub fn leave_unread(&mut self) {
        self.asked.paused = true;
        self.asked.rare.set(RareRequests::LEAVE_UNREAD, true);
    }

    /// `true` stops delivery (and, soon after, reading: TCP's window holds the peer back); `false`
    /// resumes it. A paused service is notified of a drain as well, unless input waits for it: that
    /// comes first. A reset of the peer ends the connection without what was not delivered.
    pub fn pause(&mut self, pause: bool) {
        self.asked.paused = pause;
    }

    /// With `true` the two directions are independent of each other: input is delivered however
    /// much is unsent, and only [`Cx::pause`] holds it up. For a service such as a relay, whose
    /// answers are another connection's input: it bounds what it keeps by itself. Such a connection
    /// ends in order only where both directions do: a drain, the idle timeout or a cut leaves it
    /// open or resets it.
    pub fn full_duplex(&mut self, wanted: bool) {
        self.asked.full_duplex = wanted;
    }

    /// In [`Service::open`](super::Service::open): the socket waits for acknowledgements before it
    /// sends a small segment (RFC 896). Otherwise engines turn that off.
    pub fn nagle(&mut self, wanted: bool) {
        self.asked.rare.set(RareRequests::NAGLE, wanted);
    }

    /// In [`Service::open`](super::Service::open): the socket sends no keepalive probes (RFC 9293,
    /// 3.8.4). Otherwise those of a server and a relay do.
    pub fn no_keepalive(&mut self, wanted: bool) {
        self.asked.rare.set(RareRequests::NO_KEEPALIVE, wanted);
    }

    /// In [`Service::open`](super::Service::open): what the peer sends gets no answers, so nothing
    /// counts as unanswered ([`Observer::unanswered`]).
    pub fn no_answers(&mut self) {
        self.asked.rare.set(RareRequests::NO_ANSWERS, true);
    }

    /// From now on the system drops what data and FIN the peer sends, so that it acknowledges none
    /// of them, where it can: TCP on Linux. Elsewhere it goes on acknowledging, and the service
    /// pauses. Acknowledgements and RSTs still arrive.
    pub fn drop_input(&mut self) {
        self.asked.rare.set(RareRequests::DROP_INPUT, true);
    }

    /// Asks what the system knows of the socket: [`Service::socket`](super::Service::socket)
    /// follows, after all that was sent or read until then. If asked for within that call, the next
    /// report comes with the connection's next event. A report that waits when the peer resets the
    /// connection is the last one: it counts what was left unread, and [`Cx::is_reset_by_peer`] is
    /// true. A connection that the service [closes](Cx::close) or resets has no more reports; in a
    /// drain a [`Cx::finish`] closes it. Each report costs a few system calls.
    pub fn report_socket(&mut self) {
        self.asked.rare.set(RareRequests::REPORT, true);
    }

    /// Changes how the input after this message is cut.
    pub fn framing(&mut self, framing: Framing) {
        self.asked.framing = framing;
    }

    /// With `true` the idle timeout does not concern this connection: the service ends it by a
    /// clock of its own.
    pub fn never_idle(&mut self, wanted: bool) {
        self.asked.rare.set(RareRequests::NEVER_IDLE, wanted);
    }

    /// Reports a message to the observers, and counts it. For a service that cuts its input by
    /// itself ([`Framing::Stream`]).
    pub fn report_message(&mut self, message: &[u8]) {
        *self.messages += 1;
        self.observer.message(self.conn, message);
    }

    /// Reports that a pause has ended the message before, where a service cuts its input by itself
    /// ([`Observer::unterminated`]).
    pub fn report_unterminated(&mut self, pause: Duration) {
        self.observer.unterminated(self.conn, pause);
    }

    /// Half-close: a FIN follows what was sent. The peer may go on sending, and its input is still
    /// delivered.
    pub fn finish(&mut self) {
        self.state.finish();
    }

    /// Ends the connection in order: what was sent is flushed, a FIN follows, and later input is
    /// discarded.
    pub fn close(&mut self) {
        self.state.close(CloseReason::ServiceClosed);
    }

    /// As [`Cx::close`], for a service that wraps another: with the reason why the inner one ended.
    pub fn close_because(&mut self, reason: CloseReason) {
        self.state.close(reason);
    }

    /// Ends the connection with a reset (RST) once the peer's system has acknowledged what was
    /// sent, or has taken none of it for 10 s (or the write timeout, if that is shorter). Later
    /// input is discarded.
    pub fn reset_after_delivery(&mut self) {
        self.state.abort(CloseReason::Aborted);
    }

    /// As [`Cx::reset_after_delivery`], for a service that wraps another: with the reason why the
    /// inner one ended.
    pub fn reset_because(&mut self, reason: CloseReason) {
        self.state.abort(reason);
    }

    /// From now on resets the connection once its peer's system has taken none of what was sent for
    /// 10 s (or the write timeout, if that is shorter). For a service that passes on the last bytes
    /// of another connection, and sends more of them as the peer takes some.
    pub fn limit_delivery(&mut self) {
        self.asked.rare.set(RareRequests::LIMIT_DELIVERY, true);
    }

    /// Whether the peer takes nothing more: it has reset the connection, and what it sent before is
    /// still delivered. What is sent now goes nowhere.
    #[must_use]
    pub fn is_reset_by_peer(&self) -> bool {
        self.asked.is_reset_by_peer
    }

    /// Whether the input ended with a FIN but without TLS's close_notify (RFC 8446, 6.1): its last
    /// bytes may have been cut off on the way.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Ends the connection at once with a reset (RST). What was not yet sent is lost.
    pub fn reset(&mut self) {
        *self.state = State::Reset(CloseReason::Aborted);
    }
}

//! [`FaultedService`]: the service of a connection that suffers from faults.

use std::sync::Arc;
use std::time::{Duration, Instant};

use resound_faults::{ClientAdmission, ConnectionFaults, End, FaultEvent, StreamDirection};
use resound_proto::{CloseReason, ConnInfo, Cx, Framing, Limits, Service, SocketReport};

use super::inner::InnerConnection;
use super::live::ClientFaults;
use super::permit::ClientPermit;
use super::report::{FaultObserver, ReportedFaults};

/// Bytes that wait for the client's socket, at most.
const HIGH: usize = 64 * 1024;
/// A connection whose service is over, and whose client never learns of it, stays this long where
/// it has no idle timeout.
const LINGER: Duration = Duration::from_secs(10);

/// Stands between a connection and its service, as a relay would: what the client sends goes up
/// through the faults to the service, and what that sends comes down through them.
pub(super) struct FaultedService {
    faults: ReportedFaults,
    inner: InnerConnection,
    admission: ClientAdmission,
    /// Events of the admission.
    events: Vec<FaultEvent>,
    /// It has asked for a time.
    has_alarm: bool,
    /// Until then the service is not opened.
    late_until: Option<Instant>,
    /// The faults have more, once what they gave has left.
    more: bool,
    /// The client's FIN has come.
    at_eof: bool,
    is_draining: bool,
    idle_timeout: Option<Duration>,
    /// When a connection that nothing else ends is reset.
    reset_at: Option<Instant>,
    _permit: ClientPermit,
}

impl FaultedService {
    pub(super) fn new(
        client: ClientFaults,
        service: Box<dyn Service>,
        conn: &ConnInfo,
        limits: Limits,
        observer: Arc<FaultObserver>,
        permit: ClientPermit,
    ) -> Self {
        let faults = client.faults.unwrap_or_else(|| Box::new(ConnectionFaults::none(conn.id.0, Instant::now())));
        Self {
            faults: ReportedFaults::new(faults, conn, observer),
            inner: InnerConnection::new(conn, service, limits),
            admission: client.admission,
            events: client.events,
            has_alarm: false,
            late_until: None,
            more: false,
            at_eof: false,
            is_draining: false,
            idle_timeout: limits.idle_timeout,
            reset_at: None,
            _permit: permit,
        }
    }

    /// Passes all bytes that may pass now, in both directions, and schedules the next turn.
    fn advance(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if self.faults.deadline().is_some_and(|at| at <= now) {
            self.faults.timed_out(now);
        }
        if self.late_until.is_some_and(|at| at <= now) {
            self.late_until = None;
            self.inner.open(&mut self.faults, cx);
        }
        if self.late_until.is_none() {
            self.inner.advance(&mut self.faults, cx);
            self.drain_inner(cx);
        }
        self.send(cx);
        self.end_kept(cx);
        cx.pause(!self.faults.wants_input(StreamDirection::Up) || self.late_until.is_some());
        if self.faults.leaves_unread() {
            cx.leave_unread();
        }
        cx.read_before_wake(self.inner.waits_for_silence());
        if self.inner.wants_report() {
            cx.report_socket();
        }
        let of_inner = self.inner.deadline().filter(|_| self.late_until.is_none());
        let times = [self.faults.deadline(), of_inner, self.late_until, self.reset_at];
        if let Some(at) = times.into_iter().flatten().min() {
            self.has_alarm = true;
            cx.wake_at(at);
        }
        self.faults.report();
    }

    /// Resets a connection that a fault keeps from its end for good: in a drain, or some time after
    /// both ends have finished.
    fn end_kept(&mut self, cx: &mut Cx<'_>) {
        let is_kept = self.faults.never_ends(StreamDirection::Down);
        if self.is_draining && (is_kept || self.faults.leaves_unread()) {
            return cx.reset();
        }
        if !is_kept || !(self.inner.is_over() || self.at_eof) {
            return;
        }
        // The service may have waited for the idle timeout already.
        let is_idle = self.inner.is_over() && self.inner.reason() == Some(CloseReason::IdleTimeout);
        let time = if is_idle { Duration::ZERO } else { self.idle_timeout.unwrap_or(LINGER) };
        let at = *self.reset_at.get_or_insert(cx.now() + time);
        if at <= cx.now() {
            cx.reset_because(if self.idle_timeout.is_some() { CloseReason::IdleTimeout } else { CloseReason::Aborted });
        }
    }

    /// The service learns of a drain after all that was received before it.
    fn drain_inner(&mut self, cx: &mut Cx<'_>) {
        let is_next = !self.faults.holds(StreamDirection::Up) || self.inner.is_paused();
        if self.is_draining && is_next && self.inner.has_taken_all() {
            self.inner.drain(&mut self.faults, cx);
            self.inner.advance(&mut self.faults, cx);
        }
    }

    /// Sends what the faults have for the client, as far as its socket takes it, and obeys how they
    /// end it.
    fn send(&mut self, cx: &mut Cx<'_>) {
        let mut out = Vec::new();
        loop {
            let unsent = cx.unsent();
            // Segments leave one at a time. An end comes even where no byte has room.
            let room = if self.more && unsent > 0 { 0 } else { HIGH.saturating_sub(unsent) };
            let polled = self.faults.poll(cx.now(), StreamDirection::Down, room, &mut out);
            self.more = polled.more;
            cx.send(&out);
            match polled.end {
                End::Open | End::Silent => {}
                End::HalfClose => match self.inner.reason() {
                    // The service is gone: what still comes has no reader.
                    Some(reason) if reason != CloseReason::Finished || !self.at_eof => cx.close_because(reason),
                    _ => cx.finish(),
                },
                End::Close => cx.close(),
                End::Reset => cx.reset_because(self.inner.reason().unwrap_or(CloseReason::Aborted)),
                End::ResetNow => cx.reset(),
            }
            if out.is_empty() || !self.faults.needs_poll(StreamDirection::Down) {
                return;
            }
            out.clear();
        }
    }
}

impl Service for FaultedService {
    fn framing(&self) -> Framing {
        Framing::Stream
    }

    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.full_duplex(true);
        // The service behind has one of its own.
        cx.never_idle(true);
        let socket = self.faults.socket();
        cx.nagle(socket.nagle);
        cx.no_keepalive(socket.no_keepalive);
        self.faults.report_all(&std::mem::take(&mut self.events));
        self.faults.report();
        match self.admission {
            ClientAdmission::Serve | ClientAdmission::Liar => self.inner.open(&mut self.faults, cx),
            ClientAdmission::Late(time) => self.late_until = cx.now().checked_add(time),
            ClientAdmission::Close => {
                return cx.close();
            }
            ClientAdmission::Reset => {
                return cx.reset();
            }
        }
        self.advance(cx);
    }

    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        self.faults.received(cx.now(), StreamDirection::Up, bytes);
        self.advance(cx);
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx);
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        if self.has_alarm && cx.wakes_at().is_none() {
            self.has_alarm = false;
        } else if self.late_until.is_none() {
            // From outside: it is for the service.
            self.inner.woken(&mut self.faults, cx);
        }
        self.advance(cx);
    }

    fn eof(&mut self, cx: &mut Cx<'_>) {
        self.at_eof = true;
        if cx.is_truncated() {
            self.inner.truncate();
        }
        self.faults.received_fin(cx.now(), StreamDirection::Up);
        self.advance(cx);
    }

    fn drain(&mut self, cx: &mut Cx<'_>) {
        self.is_draining = true;
        if self.late_until.is_some() {
            // Nothing was read, and nothing is to be answered.
            return cx.reset();
        }
        // What has come is answered, also where `swap` waits for more.
        self.faults.pass_blocks(cx.now(), StreamDirection::Up);
        self.advance(cx);
    }

    /// The report is that of the client's own socket: the faults stand above it.
    fn socket(&mut self, report: &SocketReport, cx: &mut Cx<'_>) {
        if cx.is_reset_by_peer() {
            return self.inner.last_report(cx.now(), report);
        }
        self.inner.socket(report, &mut self.faults, cx);
        self.advance(cx);
    }

    fn closed(&mut self, why: &CloseReason) {
        // What would be due by now has not happened.
        self.faults.report();
        self.inner.lost(Instant::now(), *why);
    }
}

//! [`Bench`]: a `Conn` on a virtual clock, with a transport that its test plays.

use std::time::{Duration, Instant};

use resound::conn::{Action, Conn, Then};
use resound::{CloseReason, Closed, ConnId, ConnInfo, Endpoint, Limits, Observer, Service};

/// A connection whose transport takes as many bytes as the test allows.
pub(crate) struct Bench {
    pub(crate) conn: Conn,
    pub(crate) now: Instant,
    pub(crate) observer: Seen,
    /// Handed over and not yet taken by the transport.
    pub(crate) queue: Vec<u8>,
    /// Taken by the transport and not yet by the peer's system, where the transport reports that.
    pub(crate) held: usize,
    pub(crate) then: Then,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) messages: Vec<Vec<u8>>,
    /// The pauses that ended a message.
    pub(crate) pauses: Vec<Duration>,
    pub(crate) closed: Vec<Closed>,
    pub(crate) opened: usize,
    pub(crate) unopened: Vec<Closed>,
}

impl Observer for Seen {
    fn message(&mut self, _: &ConnInfo, message: &[u8]) {
        self.messages.push(message.to_vec());
    }
    fn unterminated(&mut self, _: &ConnInfo, pause: Duration) {
        self.pauses.push(pause);
    }
    fn closed(&mut self, _: &ConnInfo, how: &Closed) {
        self.closed.push(*how);
    }
    fn opened(&mut self, _: &ConnInfo) {
        self.opened += 1;
    }
    fn unopened(&mut self, _: &ConnInfo, how: &Closed) {
        self.unopened.push(*how);
    }
}

impl Bench {
    pub(crate) fn new(service: impl Service + 'static, limits: Limits) -> Self {
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        Self::of(Conn::new(info, Box::new(service), limits))
    }

    /// Its transport reports the bytes that it still holds.
    pub(crate) fn telling(service: impl Service + 'static, limits: Limits) -> Self {
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        Self::of(Conn::new(info, Box::new(service), limits).reporting_unacknowledged())
    }

    pub(crate) fn of(conn: Conn) -> Self {
        let mut bench =
            Self { conn, now: Instant::now(), observer: Seen::default(), queue: Vec::new(), held: 0, then: Then::Go };
        bench.call(&mut [], |conn, now, _, out, observer| conn.open(now, out, observer));
        bench
    }

    pub(crate) fn call(
        &mut self,
        wire: &mut [u8],
        call: impl FnOnce(&mut Conn, Instant, &mut [u8], &mut Vec<u8>, &mut dyn Observer) -> Action,
    ) {
        let mut out = Vec::new();
        let action = call(&mut self.conn, self.now, wire, &mut out, &mut self.observer);
        self.queue.extend_from_slice(&wire[action.echo]);
        self.queue.append(&mut out);
        self.then = action.then;
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.call(&mut bytes.to_vec(), |conn, now, wire, out, observer| conn.received(now, wire, out, observer));
    }

    pub(crate) fn eof(&mut self) {
        self.call(&mut [], |conn, now, _, out, observer| conn.received_eof(now, out, observer));
    }

    pub(crate) fn drain(&mut self) {
        self.call(&mut [], |conn, now, _, out, observer| conn.drain(now, out, observer));
    }

    pub(crate) fn wake(&mut self) {
        self.call(&mut [], |conn, now, _, out, observer| conn.woken(now, out, observer));
    }

    /// The peer has reset the connection, and the transport still holds what came before.
    pub(crate) fn handle_peer_reset(&mut self) {
        self.call(&mut [], |conn, now, _, out, observer| conn.reset_by_peer(now, out, observer));
        self.queue.clear();
    }

    /// The transport takes up to `n` bytes.
    pub(crate) fn take(&mut self, n: usize) -> Vec<u8> {
        let taken: Vec<u8> = self.queue.drain(..n.min(self.queue.len())).collect();
        if !taken.is_empty() {
            let n = taken.len();
            self.held += n;
            self.call(&mut [], |conn, now, _, out, observer| conn.sent(now, n, out, observer));
        }
        taken
    }

    /// The transport takes everything there is, and what comes because of it.
    pub(crate) fn take_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while !self.queue.is_empty() {
            all.extend(self.take(usize::MAX));
        }
        all
    }

    /// The deadline that the connection asked for passes. The bytes in the transport are reported
    /// first, where the connection wants that; returns whether it did.
    fn time_out(&mut self) -> bool {
        let wants = self.conn.wants_unacknowledged(self.now);
        if wants {
            self.conn.unacknowledged(self.now, self.held);
        }
        self.call(&mut [], |conn, now, _, out, observer| conn.timed_out(now, out, observer));
        wants
    }

    /// Lets time pass as an engine does, with a report of the transport whenever the connection
    /// wants one, until the connection ends or the time is over. Returns how long that was, and the
    /// number of reports.
    pub(crate) fn run(&mut self, most: Duration) -> (Duration, usize) {
        let (start, mut looks) = (self.now, 0);
        while !matches!(self.then, Then::Close | Then::Reset) {
            let Some(deadline) = self.conn.deadline().filter(|at| *at <= start + most) else {
                self.now = start + most;
                break;
            };
            self.now = self.now.max(deadline);
            looks += usize::from(self.time_out());
            assert!(looks < 10_000, "it looks on and on");
        }
        (self.now - start, looks)
    }

    /// Lets the connection's next deadline pass.
    pub(crate) fn reach_deadline(&mut self) -> Duration {
        let deadline = self.conn.deadline().expect("a deadline");
        let passed = deadline.saturating_duration_since(self.now);
        self.now = self.now.max(deadline);
        self.time_out();
        passed
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.time_out();
    }

    /// The engine closes as the action said: the reason.
    pub(crate) fn close(mut self) -> CloseReason {
        assert!(matches!(self.then, Then::Close | Then::Reset), "{:?}", self.then);
        self.conn.closed(self.now, &mut self.observer);
        assert_eq!(self.observer.closed.len(), 1);
        self.observer.closed[0].reason
    }
}

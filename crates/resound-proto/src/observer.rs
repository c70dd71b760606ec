//! [`Observer`]: what a worker reports about its connections.

use std::time::Duration;

use crate::error::CloseReason;
use crate::service::{ConnInfo, SocketReport};

/// Sees what happens on the connections of one worker: the console, a log and the counters.
///
/// `Conn` calls it on the data path, so an observer must not block. A method that is not
/// implemented does nothing; one that panics ends the connection ([`CloseReason::Panicked`]).
pub trait Observer {
    /// A connection is up, and its service is about to be opened.
    fn opened(&mut self, conn: &ConnInfo) {
        let _ = conn;
    }
    /// The handshake before the service has completed, this long after the transport was up.
    /// [`opened`](Observer::opened) follows.
    fn handshaken(&mut self, conn: &ConnInfo, took: Duration) {
        let _ = (conn, took);
    }
    /// `bytes` bytes arrived from the peer.
    fn received(&mut self, conn: &ConnInfo, bytes: usize) {
        let _ = (conn, bytes);
    }
    /// The peer's FIN has arrived: a read has returned no bytes.
    fn received_fin(&mut self, conn: &ConnInfo) {
        let _ = conn;
    }
    /// A message is about to be delivered to the service.
    fn message(&mut self, conn: &ConnInfo, message: &[u8]) {
        let _ = (conn, message);
    }
    /// The last message was the first of its connection that ended with a pause of this length, not
    /// with a newline ([`Framing::Auto`](crate::Framing::Auto)).
    fn unterminated(&mut self, conn: &ConnInfo, pause: Duration) {
        let _ = (conn, pause);
    }
    /// `bytes` bytes were handed to the transport.
    fn sent(&mut self, conn: &ConnInfo, bytes: usize) {
        let _ = (conn, bytes);
    }
    /// `messages` messages were received, and the peer does not get the answers: they came after
    /// the drain of a server began, or the connection ends too early. Some of them have been
    /// delivered.
    fn unanswered(&mut self, conn: &ConnInfo, messages: u64) {
        let _ = (conn, messages);
    }
    /// The connection is over. Exactly once for each that was opened.
    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        let _ = (conn, how);
    }
    /// A connection is over before its service was opened. Called instead of
    /// [`opened`](Observer::opened) and [`closed`](Observer::closed).
    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        let _ = (conn, how);
    }
    /// Whether this observer wants [`Observer::step`]. An engine asks once.
    fn wants_steps(&self) -> bool {
        false
    }
    /// What an engine has done with the socket of a connection, or does next. `report` describes
    /// the socket now, without its SYN, and costs a few system calls.
    fn step(&mut self, conn: &ConnInfo, step: SocketStep, report: &dyn Fn() -> SocketReport) {
        let _ = (conn, step, report);
    }
}

/// A step of an engine with the socket of one connection ([`Observer::step`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketStep {
    /// The engine has handled an event: received bytes are delivered, and output is sent or queued.
    /// The other steps of the same event follow. The first one of a connection comes right after
    /// its acceptance.
    Event,
    /// The sending direction is shut down next (shutdown(2), `SHUT_WR`).
    HalfClosing,
    /// It was shut down.
    HalfClosed,
    /// The socket is closed next (close(2)).
    Closing {
        /// Why the connection ends, where its socket has failed or its engine gives it up.
        failure: Option<CloseReason>,
        /// The close is a reset (socket(7), `SO_LINGER` with a time of zero).
        resets: bool,
    },
}

/// An observer that does nothing.
impl Observer for () {}

/// How a connection ended, and what it had carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub reason: CloseReason,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes handed to the transport.
    pub bytes_out: u64,
    /// Messages delivered to the service.
    pub messages: u64,
    /// Between opening and end; of a connection that never opened, between the transport's start
    /// and its end.
    pub lasted: Duration,
}

//! [`Observer`]: what a worker reports about its connections.

use std::time::Duration;

use crate::error::CloseReason;
use crate::service::ConnInfo;

/// Sees what happens on the connections of one worker: the console, a log and the counters.
///
/// `Conn` calls it on the data path, so an observer must not block. A method that is not
/// implemented does nothing; one that panics ends the connection ([`CloseReason::Panicked`]).
pub trait Observer {
    /// A connection is up, and its service is about to be opened.
    fn opened(&mut self, conn: &ConnInfo) {
        let _ = conn;
    }
    /// `bytes` bytes arrived from the peer.
    fn received(&mut self, conn: &ConnInfo, bytes: usize) {
        let _ = (conn, bytes);
    }
    /// A message is about to be delivered to the service.
    fn message(&mut self, conn: &ConnInfo, message: &[u8]) {
        let _ = (conn, message);
    }
    /// The message before was the first of its connection that a pause of this length has ended,
    /// and no newline ([`Framing::Auto`](crate::Framing::Auto)).
    fn unterminated(&mut self, conn: &ConnInfo, pause: Duration) {
        let _ = (conn, pause);
    }
    /// `bytes` bytes were handed to the transport.
    fn sent(&mut self, conn: &ConnInfo, bytes: usize) {
        let _ = (conn, bytes);
    }
    /// The connection is over. Exactly once for each that was opened.
    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        let _ = (conn, how);
    }
    /// A connection is over before its service was opened. Called instead of the other two.
    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        let _ = (conn, how);
    }
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

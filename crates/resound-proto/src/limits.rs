//! [`Limits`]: what one connection may cost.

use std::time::Duration;

/// What one connection may cost. All of it is enforced by [`Conn`](super::Conn), so every engine
/// has the same limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may wait in one connection: unsent answers, and the input after them. At this
    /// mark the service gets no more messages, and the engine reads no more: TCP's window holds
    /// back a peer that does not read its answers. One message's answer, or one read, may exceed
    /// the mark. At least 1; by default 24 KiB.
    pub high_water: usize,
    /// Ends a connection whose handshake (a PROXY header, TLS) is not complete after this long. By
    /// default 10 s.
    pub opening_timeout: Option<Duration>,
    /// Ends a connection on which no message was completed and no byte was sent for this long; by
    /// default there is no limit.
    /// Bytes of an unfinished line do not count, so a peer that drips them gains nothing; nor do
    /// messages that only a pause has ended ([`Framing::Auto`](crate::Framing::Auto)), and their
    /// answers. While bytes wait to be sent, the write timeout applies instead.
    pub idle_timeout: Option<Duration>,
    /// Resets a connection whose peer's system acknowledges none of the waiting bytes for this
    /// long, or an eighth longer at most. With an engine that does not report what the transport
    /// holds ([`Conn::reporting_unacknowledged`](crate::Conn::reporting_unacknowledged)), the bytes
    /// that the transport takes count instead. A receiver announces room only once it has a
    /// segment's worth of it (RFC 9293, 3.8.6.2.2), and loopback's segments are 64 KiB: a receiver
    /// that takes 1 KiB/s there looks stalled for one or two minutes at a time. The default is
    /// twice that: 5 minutes.
    pub write_timeout: Option<Duration>,
    /// After its last byte a closing connection waits this long for the peer's FIN. Closing sooner,
    /// while the peer still sends, would make the system answer with a reset, and that can destroy
    /// what the peer has not read yet. By default 1 s.
    pub linger: Duration,
}

impl Default for Limits {
    /// 24 KiB of waiting bytes, 10 s for the handshake, no idle timeout, 5 minutes without progress
    /// in writing, 1 s of linger.
    fn default() -> Self {
        Self {
            high_water: 24 * 1024,
            opening_timeout: Some(Duration::from_secs(10)),
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(300)),
            linger: Duration::from_secs(1),
        }
    }
}

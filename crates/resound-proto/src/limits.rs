use std::time::Duration;

/// What one connection may cost. All of it is enforced by [`Conn`](super::Conn), so every engine has the same limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may wait in one connection: those to be sent, and input behind them. From here on nothing more is delivered to
    /// the service, and nothing more is read: a peer that does not read its answers is held back by TCP's window. One message's
    /// answer may stand above the mark, or what one read has brought. At least 1.
    pub high_water: usize,
    /// Ends a connection that is not open after this long: what comes first, such as a PROXY header, has not come.
    pub opening_timeout: Option<Duration>,
    /// Ends a connection on which no message was completed and no byte was sent for this long. Bytes of an unfinished line do not
    /// count, so a peer that drips them gains nothing; nor do messages that only a pause has ended
    /// ([`Framing::Auto`](crate::Framing::Auto)), and their answers. While bytes wait to be sent it is the write timeout that counts.
    pub idle_timeout: Option<Duration>,
    /// Resets a connection whose peer's system takes not one of the waiting bytes for this long, or an eighth of it longer at most; without an engine
    /// that says what the transport holds ([`Conn::reporting_unacknowledged`](crate::Conn::reporting_unacknowledged)), the transport. A receiver tells of the room that it has only once
    /// there is a segment's worth of it (RFC 9293, 3.8.6.2.2), and loopback's segments are 64 KiB: one that takes 1 KiB/s there looks
    /// stalled for one or two minutes at a time. The default leaves it twice that.
    pub write_timeout: Option<Duration>,
    /// After its last byte a closing connection waits this long for the peer's FIN. Closing sooner, while the peer still sends, would
    /// make the system answer with a reset, and that can destroy what the peer has not read yet.
    pub linger: Duration,
}

impl Default for Limits {
    /// 24 KiB that wait, 10 s for the opening, no idle timeout, 5 minutes without progress in writing, 1 s of linger.
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

//! The [`Service`] trait, and the services that come with it.
//!
//! A service never sees a socket, a clock or a thread. Its methods are called with what happened,
//! and it acts through its [`Cx`].

mod chargen;
mod cx;
mod discard;
mod echo;
mod endpoint;
mod info;
mod proxied;
mod reply;
mod socket_report;
mod timestamps;

pub use chargen::{CHARGEN_LINE, Chargen, chargen_pattern, chargen_pattern_without_space};
pub use cx::{Cx, SharedBytes, SocketRequests};
pub(crate) use cx::{DeliveredMessage, RareRequests, ServiceRequests};
pub use discard::Discard;
pub use echo::Echo;
pub use endpoint::{Endpoint, canonical, unmapped};
pub use info::{ConnId, ConnInfo, PeerCertificate, TlsInfo};
pub use proxied::{ProxiedAddresses, ProxiedTls};
pub use reply::Reply;
pub use socket_report::{SocketReport, TcpInfo, TcpOptions};
pub use timestamps::{KernelTimestamps, SendTimestamp};

use crate::error::CloseReason;

/// How the bytes of a connection are cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Whatever one read returned. TCP is a stream of bytes and keeps no boundaries, so a chunk is
    /// **not** what the peer sent with one call: two sends may arrive as one chunk, one send as
    /// many.
    Chunk,
    /// As `Chunk`, but what one read returned is no message: it is neither counted nor shown to
    /// observers. For a service that cuts its input by itself and reports what it finds
    /// ([`Cx::report_message`]).
    Stream,
    /// Up to and including each newline (`\n`, with or without `\r` before it). The last line may
    /// lack its newline.
    Line {
        /// The most bytes before the newline. A longer line ends its connection, after one line
        /// that reports it.
        max: usize,
    },
    /// As `Line`, but also for a peer that sends no newlines, and waits for an answer: as long as
    /// no newline has come, bytes are a message once the peer has been silent for a while. That is
    /// 300 ms after the last byte, and 20 ms from the second such message of a connection on. After
    /// its first newline each message of a connection is a line, and the bytes after a newline wait
    /// for the next one.
    ///
    /// Such a message does not postpone the idle timeout. A drain delivers the rest at once, as the
    /// peer's FIN does. Bytes that begin with `resound-probe/1 ` are a line in any case, and bytes
    /// that may become that wait for 10 s.
    Auto {
        /// As of `Line`.
        max: usize,
    },
}

impl Framing {
    /// The longest line that [`Framing::line`] accepts: 64 KiB.
    pub const DEFAULT_MAX_LINE: usize = 64 * 1024;

    /// Lines of at most [`Framing::DEFAULT_MAX_LINE`] bytes.
    #[must_use]
    pub const fn line() -> Self {
        Self::Line { max: Self::DEFAULT_MAX_LINE }
    }

    /// As [`Framing::line`], for peers that may send no newlines ([`Framing::Auto`]).
    #[must_use]
    pub const fn auto() -> Self {
        Self::Auto { max: Self::DEFAULT_MAX_LINE }
    }
}

/// The application at one end of one connection: what it answers to its input.
///
/// One value per connection, made by the factory that `resound::Server::serve` gets. It lives on
/// one thread and need not be `Send`. All methods are called in the order in which the events
/// happened on the wire; none may block.
///
/// A panic in one of them ends this connection and no other ([`CloseReason::Panicked`]): what was
/// sent by then is delivered, and then the connection is reset. After it only [`Service::closed`]
/// is called.
///
/// ```
/// use resound_proto::{Cx, Framing, Service};
///
/// /// Answers each line with the line in capitals.
/// struct Shout;
///
/// impl Service for Shout {
///     fn framing(&self) -> Framing {
///         Framing::line()
///     }
///     fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
///         cx.send(&line.to_ascii_uppercase());
///     }
/// }
/// ```
#[expect(unused_variables, reason = "by default most calls do nothing")]
pub trait Service {
    /// How the input is cut; asked once, before [`Service::open`]. By default each read is one
    /// chunk. [`Cx::framing`] changes it later.
    fn framing(&self) -> Framing {
        Framing::Chunk
    }

    /// The connection is up. A service that sends first does so here.
    fn open(&mut self, cx: &mut Cx<'_>) {}

    /// A chunk, or one line with its ending (the last line may lack it).
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>);

    /// All that was sent has been handed to the transport: generators continue here.
    fn drained(&mut self, cx: &mut Cx<'_>) {}

    /// A deadline set with [`Cx::wake_at`] has passed, or `resound::Handle::wake` was called.
    fn wake(&mut self, cx: &mut Cx<'_>) {}

    /// The peer has sent its last byte (FIN). It may still read. By default what was sent is
    /// flushed and the connection ends (RFC 9293, 3.6).
    fn eof(&mut self, cx: &mut Cx<'_>) {
        cx.finish();
    }

    /// The server is shutting down, and all received input has been delivered. By default the
    /// connection ends as for [`Service::eof`].
    fn drain(&mut self, cx: &mut Cx<'_>) {
        cx.finish();
    }

    /// The report requested with [`Cx::report_socket`]. If [`Cx::is_reset_by_peer`], the peer has
    /// reset the connection, and further requests have no effect.
    fn socket(&mut self, report: &SocketReport, cx: &mut Cx<'_>) {}

    /// The id of the client's connection of a relayed pair, the same at both of its ends. A program
    /// reads it in [`Conn::status`](crate::Conn::status).
    fn pair(&self) -> Option<ConnId> {
        None
    }

    /// The connection is over. The last call, made exactly once.
    fn closed(&mut self, why: &CloseReason) {}
}

impl<S: Service + ?Sized> Service for Box<S> {
    fn framing(&self) -> Framing {
        (**self).framing()
    }
    fn open(&mut self, cx: &mut Cx<'_>) {
        (**self).open(cx);
    }
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        (**self).data(bytes, cx);
    }
    fn drained(&mut self, cx: &mut Cx<'_>) {
        (**self).drained(cx);
    }
    fn wake(&mut self, cx: &mut Cx<'_>) {
        (**self).wake(cx);
    }
    fn eof(&mut self, cx: &mut Cx<'_>) {
        (**self).eof(cx);
    }
    fn drain(&mut self, cx: &mut Cx<'_>) {
        (**self).drain(cx);
    }
    fn socket(&mut self, report: &SocketReport, cx: &mut Cx<'_>) {
        (**self).socket(report, cx);
    }
    fn pair(&self) -> Option<ConnId> {
        (**self).pair()
    }
    fn closed(&mut self, why: &CloseReason) {
        (**self).closed(why);
    }
}

//! [`Cx`]: how a service says what to do.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use super::{ConnInfo, Framing, KernelTimestamps, SendTimestamp};
use crate::error::CloseReason;
use crate::state::State;

/// What a service has asked for so far. It belongs to the connection and outlives each call.
#[derive(Debug)]
#[repr(C)] // what each message touches first
pub(crate) struct ServiceRequests {
    pub(crate) paused: bool,
    /// The engine can send from where bytes stand.
    pub(crate) may_share: bool,
    pub(crate) framing: Framing,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) shares: SharedBytes,
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
        Self { framing, wake_at: None, paused: false, may_share: false, shares: SharedBytes::default() }
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

/// A service's view of its connection during one call: what it may know, and what it may ask for.
pub struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) conn: &'a ConnInfo,
    pub(crate) state: &'a mut State,
    pub(crate) asked: &'a mut ServiceRequests,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) echo: &'a mut Range<usize>,
    pub(crate) message: DeliveredMessage<'a>,
    /// Of what earlier calls sent.
    pub(crate) unsent: usize,
    /// Of a message, where the engine knows them.
    pub(crate) times: Option<&'a KernelTimestamps>,
}

impl Cx<'_> {
    /// The time of this call. Services read no clock of their own, so that tests can run them on a virtual one.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When the message of this call arrived at this machine, by the kernel's clock where the engine was told to ask for that
    /// (`resound::Dialer::kernel_times`), and can; `None` elsewhere.
    #[must_use]
    pub fn arrived(&self) -> Option<Instant> {
        self.times.and_then(KernelTimestamps::arrival)
    }

    /// What is known to have left this machine since the message before this one was delivered, where [`Cx::arrived`] is known.
    #[must_use]
    pub fn departures(&self) -> &[SendTimestamp] {
        self.times.map_or(&[], KernelTimestamps::departures)
    }

    /// Who is at the two ends.
    #[must_use]
    pub fn conn(&self) -> &ConnInfo {
        self.conn
    }

    /// Sends `bytes` behind all that was sent before. After [`Cx::finish`] nothing is sent any more.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.may_send() {
            self.out.extend_from_slice(bytes);
        }
    }

    /// Sends `bytes` as [`Cx::send`] does, but without a copy where the engine can send from where
    /// they stand: for much, out of memory that is made once.
    pub fn send_shared(&mut self, bytes: Bytes) {
        if !self.asked.may_share || bytes.len() < WORTH_SHARING {
            return self.send(&bytes);
        }
        if self.may_send() {
            self.asked.shares.0.get_or_insert_default().push((self.out.len(), bytes));
        }
    }

    /// Sends the message of this call back as it is: the same as sending its bytes, but without a copy where the engine can send
    /// from the buffer it received into. Does nothing outside [`Service::data`](super::Service::data).
    pub fn echo(&mut self) {
        if !self.may_send() || self.message.bytes.is_empty() {
            return;
        }
        let nothing_lent = Range::is_empty(self.echo);
        match self.message.at {
            // Lent bytes leave before `out`, so they can only be lent while `out` is empty, and in one piece.
            Some(at) if self.sends_nothing() && (nothing_lent || self.echo.end == at) => {
                if nothing_lent {
                    self.echo.start = at;
                }
                self.echo.end = at + self.message.bytes.len();
            }
            _ => self.out.extend_from_slice(self.message.bytes),
        }
    }

    /// Bytes that were sent and have not left for the transport: who sends much looks here, and goes on in
    /// [`Service::drained`](super::Service::drained).
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent + self.out.len() + self.echo.len() + self.asked.shares.len()
    }

    fn may_send(&self) -> bool {
        *self.state == State::Open
    }

    /// Whether this call has sent nothing, except what is echoed from the engine's buffer.
    fn sends_nothing(&self) -> bool {
        self.out.is_empty() && self.asked.shares.is_empty()
    }

    /// Asks for [`Service::wake`](super::Service::wake) at `at`. There is one such deadline; asking again moves it.
    pub fn wake_at(&mut self, at: Instant) {
        self.asked.wake_at = Some(at);
    }

    /// `true` stops delivery (and, soon after, reading: the peer is held back by TCP's window); `false` resumes it.
    /// A drain is told to a paused service as well, unless input waits for it: that comes first.
    pub fn pause(&mut self, pause: bool) {
        self.asked.paused = pause;
    }

    /// Changes how the input behind this message is cut.
    pub fn framing(&mut self, framing: Framing) {
        self.asked.framing = framing;
    }

    /// Half-close: a FIN follows what was sent. The peer may go on talking, and is still listened to.
    pub fn finish(&mut self) {
        self.state.finish();
    }

    /// Ends the connection in order: what was sent is flushed, a FIN follows, and what still arrives is thrown away.
    pub fn close(&mut self) {
        self.state.close(CloseReason::ServiceClosed);
    }

    /// Ends the connection at once with a reset (RST). What was not yet sent is lost.
    pub fn reset(&mut self) {
        *self.state = State::Reset(CloseReason::Aborted);
    }
}

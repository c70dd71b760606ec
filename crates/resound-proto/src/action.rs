//! [`Action`]: what a call on a [`Conn`](super::Conn) wants from its engine.

use std::ops::Range;

/// What an engine does once its bytes are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Go on.
    Go,
    /// Send a FIN once every byte has left (`shutdown(SHUT_WR)`), and go on reading. Each later
    /// call repeats it; the FIN is sent once.
    HalfClose,
    /// Everything is sent: close the descriptor now, then call
    /// [`Conn::closed`](super::Conn::closed). Never returned while bytes are unsent.
    Close,
    /// Reset the connection now (`SO_LINGER` 0 and close), whatever is unsent, then call
    /// [`Conn::closed`](super::Conn::closed).
    Reset,
}

/// What a call on a [`Conn`](super::Conn) wants: send `wire[echo]`, then `out`, then do `then`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the bytes must be sent and `then` done"]
pub struct Action {
    /// The part of the received buffer to send back, before `out`. Empty after every call but
    /// [`Conn::received`](super::Conn::received).
    pub echo: Range<usize>,
    /// What to do then.
    pub then: Then,
}

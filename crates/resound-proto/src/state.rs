//! [`State`]: what a connection may still do.

use crate::error::CloseReason;

/// The state of one connection. It moves down this list only; ARCHITECTURE.md draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The service is not open: the transport is not up yet, or a handshake is under way.
    Handshake,
    /// The service is open: it receives input, and may send.
    Open,
    /// This end sends nothing more, and a FIN follows what is unsent. The service still receives
    /// input.
    HalfClosed,
    /// The handshake has failed in this call, for this reason. The end of the call decides: where
    /// it sends an answer (TLS's alert), the connection closes in order; where it does not, it is
    /// reset.
    Refused(CloseReason),
    /// As `HalfClosed`, but input is discarded. The descriptor is closed after the peer's FIN, or
    /// when the linger is over.
    Closing(CloseReason),
    /// Input is discarded; what the service sent before is delivered, and then the connection is
    /// reset: a FIN would tell the peer that this was all. The service has panicked, or has asked
    /// for it.
    Aborting(CloseReason),
    /// The connection is reset now.
    Reset(CloseReason),
    /// The descriptor is closed.
    Closed,
}

impl State {
    /// Whether the service receives input and events.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::HalfClosed)
    }

    /// Whether the service may send.
    pub(super) fn may_send(self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether input is discarded while this end still has bytes to send or to deliver.
    pub(super) fn discards(self) -> bool {
        matches!(self, Self::Refused(_) | Self::Closing(_) | Self::Aborting(_))
    }

    /// Whether a FIN (and TLS's close_notify) follows what was sent.
    pub(super) fn is_finished(self) -> bool {
        matches!(self, Self::HalfClosed | Self::Refused(_) | Self::Closing(_))
    }

    /// Why the connection ends, once that is decided.
    pub(super) fn reason(self) -> Option<CloseReason> {
        match self {
            Self::Refused(reason) | Self::Closing(reason) | Self::Aborting(reason) | Self::Reset(reason) => {
                Some(reason)
            }
            Self::Handshake | Self::Open | Self::HalfClosed | Self::Closed => None,
        }
    }

    /// This end sends nothing more.
    pub(super) fn finish(&mut self) {
        if *self == Self::Open {
            *self = Self::HalfClosed;
        }
    }

    /// The connection ends in order. The first reason wins.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if matches!(self, Self::Handshake | Self::Open | Self::HalfClosed) {
            *self = Self::Closing(reason);
        }
    }

    /// The connection is reset once earlier output is delivered. The first reason wins.
    pub(super) fn abort(&mut self, reason: CloseReason) {
        if self.is_open() {
            *self = Self::Aborting(reason);
        }
    }

    /// The handshake has failed.
    pub(super) fn refuse(&mut self, reason: CloseReason) {
        match self {
            Self::Handshake => *self = Self::Refused(reason),
            _ => self.close(reason),
        }
    }

    /// The connection is reset. A reason from before wins.
    pub(super) fn reset(&mut self, reason: CloseReason) {
        *self = Self::Reset(self.reason().unwrap_or(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CloseReason::{Aborted, Drained, IdleTimeout, LeftEarly, Panicked, WriteTimeout};

    #[test]
    fn each_event_leads_to_one_state() {
        use State::*;
        type Event = fn(&mut State);
        let events: [Event; 4] = [State::finish, |s| s.close(Drained), |s| s.refuse(LeftEarly), |s| s.reset(Aborted)];
        let cases = [
            (Handshake, [Handshake, Closing(Drained), Refused(LeftEarly), Reset(Aborted)]),
            (Open, [HalfClosed, Closing(Drained), Closing(LeftEarly), Reset(Aborted)]),
            (HalfClosed, [HalfClosed, Closing(Drained), Closing(LeftEarly), Reset(Aborted)]),
            (
                Closing(IdleTimeout),
                [Closing(IdleTimeout), Closing(IdleTimeout), Closing(IdleTimeout), Reset(IdleTimeout)],
            ),
            (
                Refused(IdleTimeout),
                [Refused(IdleTimeout), Refused(IdleTimeout), Refused(IdleTimeout), Reset(IdleTimeout)],
            ),
            (Aborting(Panicked), [Aborting(Panicked), Aborting(Panicked), Aborting(Panicked), Reset(Panicked)]),
            (Reset(WriteTimeout), [Reset(WriteTimeout); 4]),
        ];
        for (before, want) in cases {
            let after = events.map(|event| {
                let mut state = before;
                event(&mut state);
                state
            });
            assert_eq!(after, want, "from {before:?}");
        }
    }
}

//! [`OrderedEvent`]: the peer's FIN and the drain, in order after the input.

/// An event that is delivered after the input that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderedEvent {
    NotYet,
    Waiting,
    Done,
}

//! [`OrderedEvent`]: the peer's FIN and the drain, in order behind the input.

/// An event that is delivered behind the input that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderedEvent {
    NotYet,
    Waiting,
    Done,
}

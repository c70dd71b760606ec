/// An event that stands in line behind the input that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderedEvent {
    NotYet,
    Waiting,
    Done,
}

//! [`DrainBarrier`]: what a drain delivers to a connection before it reports the drain.

/// Everything that had arrived when the drain began, a FIN included, is read and answered first.
#[derive(Debug, Default)]
pub(crate) struct DrainBarrier {
    /// Bytes that are still to be read. There is one of these for each connection, so it is small;
    /// no socket's buffer holds more.
    unread: u32,
    state: BarrierState,
    /// The peer's FIN has been read.
    eof: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BarrierState {
    #[default]
    NoDrain,
    Waiting,
    /// The drain was reported to the service.
    Passed,
}

impl DrainBarrier {
    pub(crate) fn has_begun(&self) -> bool {
        self.state != BarrierState::NoDrain
    }

    /// The drain begins, with `unread` bytes to be read first. Only the first call counts.
    pub(crate) fn begin(&mut self, unread: usize) {
        if !self.has_begun() {
            (self.state, self.unread) = (BarrierState::Waiting, small(unread));
        }
    }

    /// `n` bytes were read; none at the peer's FIN.
    #[inline]
    pub(crate) fn read(&mut self, n: usize) {
        self.eof |= n == 0;
        self.unread = self.unread.saturating_sub(small(n));
    }

    /// Returns whether bytes that had arrived are still to be read, as far as is known.
    #[inline]
    pub(crate) fn waits_for_input(&self) -> bool {
        self.state == BarrierState::Waiting && self.unread > 0
    }

    /// All has been read, although it was less than the system had counted.
    pub(crate) fn input_is_complete(&mut self) {
        self.unread = 0;
    }

    /// Returns whether it is time for [`Conn::drain`](crate::conn::Conn::drain), once. `at_eof`
    /// checks whether only a FIN is left to read, and a `paused` connection reads nothing more.
    #[inline]
    pub(crate) fn is_due(&mut self, paused: bool, at_eof: impl FnOnce() -> bool) -> bool {
        let is_due = self.state == BarrierState::Waiting && (paused || (self.unread == 0 && (self.eof || !at_eof())));
        if is_due {
            self.state = BarrierState::Passed;
        }
        is_due
    }
}

#[inline]
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_waits_for_what_had_arrived_and_passes_once() {
        let mut barrier = DrainBarrier::default();
        barrier.read(10);
        assert!(!barrier.is_due(false, || false), "there is no drain");
        barrier.begin(5);
        barrier.begin(50);
        barrier.read(3);
        assert!(!barrier.is_due(false, || false));
        barrier.read(9);
        assert!(!barrier.is_due(false, || true), "a FIN is still to be read");
        barrier.read(0);
        assert!(barrier.is_due(false, || true));
        assert!(!barrier.is_due(false, || true));

        let mut counted = DrainBarrier::default();
        assert!(!counted.waits_for_input());
        counted.begin(5);
        counted.read(4);
        assert!(counted.waits_for_input(), "an urgent byte is counted, and not read");
        counted.input_is_complete();
        assert!(!counted.waits_for_input() && counted.is_due(false, || false));

        let mut paused = DrainBarrier::default();
        paused.begin(5);
        assert!(paused.is_due(true, || false));
    }
}

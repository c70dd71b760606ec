//! [`Silence`]: the clock of [`Framing::Auto`](crate::Framing::Auto), by which bytes without a
//! newline are a message.

use std::time::{Duration, Instant};

/// The pause that ends a connection's first message without a newline: longer than the shortest
/// time after which Linux sends a lost segment again (200 ms), so that a message whose second
/// segment was lost is not cut.
const FIRST: Duration = Duration::from_millis(300);
/// The pause after each further one: by then the connection has shown that it sends no newlines.
const NEXT: Duration = Duration::from_millis(20);
/// The pause after bytes that may become a line of our own protocol. Its programs send the line in
/// one piece: even one whose segments are lost several times has arrived by then.
const OWN: Duration = Duration::from_secs(10);
/// How a line of our own protocol begins.
const OWN_LINE: &[u8] = b"resound-probe/1 ";

/// The state of a connection that has sent bytes and, so far, no newline. A connection of lines has
/// none of it.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When the last byte came.
    since: Option<Instant>,
    /// A pause has ended a message already.
    has_answered: bool,
    /// When idleness began, if only such messages and their answers have moved since: a peer that
    /// drips bytes is idle, even if each of them is answered.
    idle_since: Option<Instant>,
    /// Bytes of such answers that have not left.
    uncounted: usize,
}

impl Silence {
    /// Bytes have arrived.
    pub(super) fn restart(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// When the pause is long enough to make a message of `tail`. A line of our own protocol waits
    /// for its newline.
    pub(super) fn until(&self, tail: &[u8]) -> Option<Instant> {
        self.since?.checked_add(self.pause(tail)?)
    }

    pub(super) fn pause(&self, tail: &[u8]) -> Option<Duration> {
        match (tail.starts_with(OWN_LINE), may_be_own_line(tail)) {
            (true, _) => None,
            (false, true) => Some(OWN),
            (false, false) if self.has_answered => Some(NEXT),
            (false, false) => Some(FIRST),
        }
    }

    /// A pause has ended a message, on a connection on which something last moved at `progress`.
    /// Returns whether this was the first.
    pub(super) fn end_message(&mut self, progress: Option<Instant>) -> bool {
        self.idle_since = self.idle_since.or(progress);
        !std::mem::replace(&mut self.has_answered, true)
    }

    /// The number of bytes that answer such a message.
    pub(super) fn add_answer(&mut self, bytes: usize) {
        self.uncounted += bytes;
    }

    /// Bytes have left. Only bytes of other answers are progress.
    pub(super) fn sent(&mut self, bytes: usize) {
        if self.uncounted == 0 {
            self.idle_since = None;
        }
        self.uncounted = self.uncounted.saturating_sub(bytes);
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }
}

/// Whether a line of our own protocol may begin like this.
pub(super) fn may_be_own_line(tail: &[u8]) -> bool {
    tail.iter().zip(OWN_LINE).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_our_own_protocol_waits_longer() {
        let mut silence = Silence::default();
        for (answered, usual) in [(false, FIRST), (true, NEXT)] {
            silence.has_answered = answered;
            let cases: [(&[u8], Option<Duration>); 7] = [
                (b"r", Some(OWN)),
                (b"resound-probe/1", Some(OWN)),
                (b"resound-probe/1 ", None),
                (b"resound-probe/1 name", None),
                (b"resound-probe/2", Some(usual)),
                (b"R", Some(usual)),
                (b"Hello", Some(usual)),
            ];
            for (tail, want) in cases {
                assert_eq!(silence.pause(tail), want, "{}", tail.escape_ascii());
            }
        }
    }

    #[test]
    fn answers_to_dripped_bytes_are_no_progress_and_other_bytes_are() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        assert!(silence.end_message(Some(start)));
        silence.add_answer(10);
        assert!(!silence.end_message(Some(start + NEXT)));
        silence.add_answer(5);
        silence.sent(12);
        silence.sent(3);
        assert_eq!(silence.idle_since(), Some(start));
        silence.sent(1);
        assert_eq!(silence.idle_since(), None, "the service sent on its own");
    }
}

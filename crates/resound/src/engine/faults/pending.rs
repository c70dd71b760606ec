//! [`PendingAnswers`]: what a service has sent, and its faults have not taken.

use std::collections::VecDeque;
use std::time::Instant;

/// Bytes on their way from a service to its faults, some of them not before a time.
#[derive(Debug, Default)]
pub(super) struct PendingAnswers {
    bytes: Vec<u8>,
    /// How many of `bytes` were taken.
    gone: usize,
    /// How many bytes were taken since the beginning.
    passed: u64,
    /// From this offset on, which counts as `passed` does, bytes wait until this instant. In order.
    waits: VecDeque<(u64, Instant)>,
}

impl PendingAnswers {
    /// What has gone stays in memory up to this size, or up to half of all.
    const KEPT: usize = 64 * 1024;

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.gone
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An answer, which may wait until a time; those after it wait with it.
    pub(super) fn push(&mut self, mut answer: Vec<u8>, until: Option<Instant>) {
        if let Some(until) = until {
            self.waits.push_back((self.passed + self.len() as u64, until));
        }
        match self.is_empty() {
            true => (self.bytes, self.gone) = (answer, 0),
            false => self.bytes.append(&mut answer),
        }
    }

    /// The next bytes that may go by now, at most `most`.
    pub(super) fn ready(&mut self, now: Instant, most: usize) -> &[u8] {
        while self.waits.front().is_some_and(|(_, until)| *until <= now) {
            self.waits.pop_front();
        }
        let free = self.waits.front().map_or(u64::MAX, |(place, _)| place - self.passed);
        let length = usize::try_from(free).unwrap_or(usize::MAX).min(most).min(self.len());
        &self.bytes[self.gone..self.gone + length]
    }

    /// The next `n` bytes go.
    pub(super) fn pass(&mut self, n: usize) {
        self.gone += n;
        self.passed += n as u64;
        if self.is_empty() {
            (self.bytes, self.gone) = (Vec::new(), 0);
        } else if self.gone > Self::KEPT.max(self.bytes.len() / 2) {
            // Seldom enough that each byte moves about once.
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When more may go.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waits.front().map(|(_, until)| *until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_stands_before_a_late_answer_goes_at_once() {
        let (mut pending, now) = (PendingAnswers::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        pending.push(b"one".to_vec(), None);
        pending.push(b"two".to_vec(), Some(later(2)));
        pending.push(b"three".to_vec(), Some(later(1)));
        assert_eq!(pending.ready(now, 2), b"on");
        pending.pass(2);
        assert_eq!(pending.ready(now, 99), b"e");
        pending.pass(1);
        assert_eq!(pending.ready(later(1), 99), b"");
        assert_eq!((pending.len(), pending.deadline()), (8, Some(later(2))));
        assert_eq!(pending.ready(later(2), 99), b"twothree");
        pending.pass(8);
        assert!(pending.is_empty() && pending.deadline().is_none());
    }

    #[test]
    fn bytes_that_have_gone_move_no_others_and_leave_memory() {
        let (mut pending, now) = (PendingAnswers::default(), Instant::now());
        let all: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        pending.push(all.clone(), None);
        let (mut got, mut moved) = (Vec::new(), 0);
        while !pending.is_empty() {
            let size = pending.bytes.len();
            let part = pending.ready(now, 1000).to_vec();
            pending.pass(part.len());
            got.extend(part);
            moved += if pending.bytes.len() < size { pending.len() } else { 0 };
        }
        assert_eq!((got == all, pending.bytes.capacity()), (true, 0));
        assert!(moved <= all.len(), "{moved} bytes were moved");
    }
}

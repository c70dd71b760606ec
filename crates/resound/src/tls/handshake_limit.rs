//! [`HandshakeLimit`]: how many handshakes may be under way at once, and the queue behind them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use resound_proto::HandshakePermit;

/// Counts the handshakes of one server. Handshakes above the limit wait in the order of their
/// arrival.
#[derive(Debug)]
pub(crate) struct HandshakeLimit {
    most: usize,
    state: Mutex<HandshakeQueue>,
}

#[derive(Debug, Default)]
struct HandshakeQueue {
    under_way: usize,
    next: u64,
    waiting: BTreeSet<u64>,
}

impl HandshakeLimit {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), state: Mutex::default() })
    }

    /// Joins at the end of the queue.
    pub(crate) fn join(self: &Arc<Self>) -> QueuedHandshake {
        let mut state = self.state.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.insert(ticket);
        QueuedHandshake { all: Arc::clone(self), ticket: Some(ticket) }
    }
}

/// A handshake under way, or in the queue for its place. Dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct QueuedHandshake {
    all: Arc<HandshakeLimit>,
    /// `None`: the handshake has its place.
    ticket: Option<u64>,
}

impl HandshakePermit for QueuedHandshake {
    /// A handshake near the head of the queue is asked to come back sooner.
    fn is_granted(&mut self) -> Result<(), Duration> {
        let Some(ticket) = self.ticket else { return Ok(()) };
        let mut state = self.all.state.lock();
        let free = self.all.most.saturating_sub(state.under_way);
        if state.waiting.iter().take(free).any(|&first| first == ticket) {
            state.waiting.remove(&ticket);
            state.under_way += 1;
            self.ticket = None;
            return Ok(());
        }
        // A place comes free at most as fast as handshakes end, so the rear of the queue polls less
        // often.
        let before = ticket.saturating_sub(state.waiting.first().copied().unwrap_or(ticket));
        Err(Duration::from_millis((1 + before / 16).min(100)))
    }
}

impl Drop for QueuedHandshake {
    fn drop(&mut self) {
        let mut state = self.all.state.lock();
        match self.ticket {
            None => state.under_way -= 1,
            Some(ticket) => drop(state.waiting.remove(&ticket)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_in_order_and_a_handshake_that_leaves_the_queue_takes_none() {
        let all = HandshakeLimit::new(2);
        let mut permits: Vec<_> = (0..6).map(|_| all.join()).collect();
        let granted = |permits: &mut Vec<QueuedHandshake>| {
            permits.iter_mut().map(|permit| permit.is_granted().is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(granted(&mut permits), [true, true, false, false, false, false]);
        drop(permits.remove(2)); // gave up
        assert_eq!(granted(&mut permits), [true, true, false, false, false]);
        drop(permits.remove(0));
        permits.reverse();
        assert_eq!(
            granted(&mut permits),
            [false, false, true, true],
            "the longest wait ends first, in any order of polls"
        );
        drop(permits);
        assert!(all.join().is_granted().is_ok());
        assert_eq!(all.state.lock().waiting.len(), 0);
    }
}

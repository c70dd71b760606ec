//! [`KernelTimestamps`]: when bytes passed between this machine and the network, by the kernel's
//! clock.

use std::time::Instant;

/// When bytes of a connection arrived at this machine, and when they left it, as the kernel saw
/// them pass: without the time in which a message waited for its reader, or a send for its turn.
/// Engines fill it in; a service reads it from its [`Cx`](super::Cx).
#[derive(Clone, Debug, Default)]
pub struct KernelTimestamps {
    arrived: Option<Instant>,
    departures: Vec<SendTimestamp>,
    /// Bytes that have left.
    left: u64,
}

/// Bytes of a connection have left this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTimestamp {
    /// All bytes up to this many, counted from the connection's first.
    pub bytes: u64,
    /// When the last of them was handed to the network device.
    pub at: Instant,
}

impl KernelTimestamps {
    /// The most departures that are recorded between two messages.
    pub const DEPARTURES: usize = 1024;

    /// The bytes that are received next arrived at `at`.
    pub fn arrived(&mut self, at: Option<Instant>) {
        self.arrived = at;
    }

    /// A send left at `at` whose last byte has the number `last`, counted from 0 and modulo 2^32 as
    /// the kernel counts. The same byte may leave again: the first time counts.
    pub fn departed(&mut self, last: u32, at: Instant) {
        let more = last.wrapping_add(1).wrapping_sub(self.left as u32);
        if more == 0 || more > u32::MAX / 2 {
            return;
        }
        self.left += u64::from(more);
        if self.departures.len() < Self::DEPARTURES {
            self.departures.push(SendTimestamp { bytes: self.left, at });
        }
    }

    /// When the bytes under delivery arrived.
    #[must_use]
    pub fn arrival(&self) -> Option<Instant> {
        self.arrived
    }

    /// What has left since the message before.
    #[must_use]
    pub fn departures(&self) -> &[SendTimestamp] {
        &self.departures
    }

    /// The service has seen the departures.
    pub(crate) fn clear_departures(&mut self) {
        self.departures.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_beyond_what_the_kernel_counts_to() {
        let (mut times, at) = (KernelTimestamps::default(), Instant::now());
        times.departed(63, at);
        times.departed(63, at); // sent again
        times.departed(10, at); // and something older
        let rounds = [u32::MAX / 2, u32::MAX - 1, 63];
        rounds.into_iter().for_each(|last| times.departed(last, at));
        let bytes: Vec<_> = times.departures().iter().map(|departure| departure.bytes).collect();
        assert_eq!(bytes, [64, 1 << 31, (1 << 32) - 1, (1 << 32) + 64]);
    }

    #[test]
    fn departures_that_no_service_reads_are_bounded() {
        let (mut times, at) = (KernelTimestamps::default(), Instant::now());
        (0..10_000).for_each(|last| times.departed(last, at));
        assert_eq!(times.departures().len(), KernelTimestamps::DEPARTURES);
        times.clear_departures();
        times.departed(10_000, at);
        assert_eq!(times.departures(), [SendTimestamp { bytes: 10_001, at }]);
    }
}

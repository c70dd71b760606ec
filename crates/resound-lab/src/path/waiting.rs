//! Packets that leave later, in their order.

use std::collections::BTreeMap;
use std::time::Duration;

use resound_faults::StreamDirection;

/// The bytes that wait in the router at most; beyond, packets are dropped.
pub(super) const MOST_WAITING: usize = 128 * 1024 * 1024;

/// A packet on its way out.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) direction: StreamDirection,
    pub(super) bytes: Vec<u8>,
    /// How often it leaves.
    pub(super) copies: u32,
    /// It leaves in fragments of at most this many bytes.
    pub(super) split: Option<u16>,
}

/// What each packet costs beside its bytes.
const OVERHEAD: usize = 128;

#[derive(Debug, Default)]
pub(super) struct WaitingPackets {
    waiting: BTreeMap<(Duration, u64), Leaving>,
    count: u64,
    bytes: usize,
}

impl WaitingPackets {
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes + OVERHEAD <= MOST_WAITING
    }

    /// Returns its place.
    pub(super) fn add(&mut self, time: Duration, leaving: Leaving) -> (Duration, u64) {
        self.count += 1;
        self.bytes += leaving.bytes.len() + OVERHEAD;
        self.waiting.insert((time, self.count), leaving);
        (time, self.count)
    }

    pub(super) fn take(&mut self, place: (Duration, u64)) -> Option<Leaving> {
        let leaving = self.waiting.remove(&place)?;
        self.bytes -= leaving.bytes.len() + OVERHEAD;
        Some(leaving)
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((time, _), _)| *time)
    }

    /// The next packet whose time has come.
    pub(super) fn due(&mut self, now: Duration) -> Option<Leaving> {
        let place = *self.waiting.first_key_value()?.0;
        if place.0 <= now { self.take(place) } else { None }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

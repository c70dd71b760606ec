//! The router.

use std::time::Duration;

use resound_faults::StreamDirection;

use super::decision::{Decision, PathOutput};
use super::defects::Defects;
use super::summary::Summary;

/// The router between the near end and the far end, with its defects.
#[derive(Debug)]
pub struct Path {
    summary: Summary,
}

impl Path {
    /// With these defects, and draws from this seed.
    pub fn new(_defects: &Defects, _seed: u64) -> Self {
        Self { summary: Summary::default() }
    }

    /// An IP packet arrives, without a link header and after segmentation offload was undone (see
    /// [`segments`](super::offload::segments)). `Up` is from the near end to the far end; `now`
    /// counts from the beginning of the lab and never decreases.
    pub fn receive(&mut self, direction: StreamDirection, packet: &[u8], now: Duration, output: &mut impl PathOutput) {
        output.note(&Decision { at: now, direction, is_own: false, flow: 1, index: 1, touches: &[], packet });
        output.send(direction, packet);
    }

    /// When [`run_due`](Self::run_due) is to be called.
    pub fn next_due(&self) -> Option<Duration> {
        None
    }

    /// Sends what is due.
    pub fn run_due(&mut self, _now: Duration, _output: &mut impl PathOutput) {}

    /// What passed so far.
    pub fn summary(&self) -> Summary {
        self.summary.clone()
    }
}

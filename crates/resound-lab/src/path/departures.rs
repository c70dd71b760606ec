//! Where packets leave, now or later.

use std::collections::VecDeque;
use std::time::Duration;

use resound_faults::StreamDirection;

use super::decision::{Decision, PathOutput, Touch};
use super::flows::{Flow, HeldBack};
use super::fragments;
use super::passing::Passing;
use super::split_tcp::SplitTcp;
use super::summary::Summary;
use super::waiting::{Leaving, WaitingPackets};

/// The packets of one flow and direction that wait at once until others have overtaken them.
const MOST_HELD_BACK: usize = 1024;
/// The longest that a packet waits for others to overtake it.
const LONGEST_HOLD: Duration = Duration::from_millis(100);

/// Where packets leave, now or later.
#[derive(Debug, Default)]
pub(super) struct Departures {
    pub(super) waiting: WaitingPackets,
    pub(super) summary: Summary,
    /// Of the next packet that is fragmented and has no number of its own.
    identification: u16,
    /// A proxying box at the near end.
    pub(super) split: Option<SplitTcp>,
    /// Packets for the near end that the box takes.
    pub(super) to_split: VecDeque<Vec<u8>>,
}

impl Departures {
    pub(super) fn new(split: Option<SplitTcp>) -> Self {
        Self { split, ..Self::default() }
    }

    /// A packet of no flow is dropped.
    pub(super) fn refuse(
        &mut self,
        direction: StreamDirection,
        packet: &[u8],
        now: Duration,
        touches: &[Touch],
        output: &mut impl PathOutput,
    ) {
        self.summary.touched(direction, touches);
        self.summary.lane(direction).dropped += 1;
        output.note(&Decision { at: now, direction, is_own: false, flow: None, index: 0, touches, packet });
    }

    /// A packet leaves when its time has come, and the packets that waited for it leave after it.
    pub(super) fn leave(
        &mut self,
        passing: &Passing<'_>,
        flow: &mut Flow,
        now: Duration,
        output: &mut impl PathOutput,
    ) {
        let Passing { direction, release, copies, split, behind, .. } = *passing;
        let held = &mut flow.held[direction as usize];
        let leaving = || Leaving { direction, bytes: passing.bytes.clone(), copies, split };
        if behind > 0 && held.len() < MOST_HELD_BACK {
            let place = self.wait(release.saturating_add(LONGEST_HOLD), leaving());
            held.push(HeldBack { place, release, behind });
            return;
        }
        let lane = &mut flow.lanes[direction as usize];
        lane.release = lane.release.max(release);
        if release <= now {
            self.emit(direction, passing.bytes, (copies, split), output);
        } else {
            self.wait(release, leaving());
        }
        held.iter_mut().for_each(|each| each.behind -= 1);
        while let Some(index) = held.iter().position(|each| each.behind == 0) {
            let each = held.remove(index);
            // Its longest wait may be over.
            if let Some(leaving) = self.waiting.take(each.place) {
                self.leave_at(each.release.max(release), leaving, now, output);
            }
        }
    }

    pub(super) fn leave_at(&mut self, time: Duration, leaving: Leaving, now: Duration, output: &mut impl PathOutput) {
        if time <= now {
            self.send(&leaving, output);
        } else {
            self.wait(time, leaving);
        }
    }

    fn wait(&mut self, time: Duration, leaving: Leaving) -> (Duration, u64) {
        let place = self.waiting.add(time, leaving);
        self.summary.most_waiting = self.summary.most_waiting.max(self.waiting.bytes());
        place
    }

    /// A packet of the proxying box leaves for the near end.
    pub(super) fn send_from_split(&mut self, bytes: &[u8], output: &mut impl PathOutput) {
        let totals = self.summary.lane(StreamDirection::Down);
        totals.left += 1;
        totals.left_bytes += bytes.len() as u64;
        output.send(StreamDirection::Down, bytes);
    }

    pub(super) fn send(&mut self, leaving: &Leaving, output: &mut impl PathOutput) {
        self.emit(leaving.direction, &leaving.bytes, (leaving.copies, leaving.split), output);
    }

    fn emit(
        &mut self,
        direction: StreamDirection,
        bytes: &[u8],
        (copies, split): (u32, Option<u16>),
        output: &mut impl PathOutput,
    ) {
        for _ in 0..copies {
            // The box puts fragments together.
            if direction == StreamDirection::Down && self.split.as_ref().is_some_and(|split| split.takes(bytes)) {
                self.to_split.push_back(bytes.to_vec());
                continue;
            }
            let totals = self.summary.lane(direction);
            let mut each = |part: &[u8]| {
                totals.left += 1;
                totals.left_bytes += part.len() as u64;
                output.send(direction, part);
            };
            match split {
                Some(most) => {
                    self.identification = self.identification.wrapping_add(1);
                    fragments::split(bytes, most, self.identification, &mut each);
                }
                None => each(bytes),
            }
        }
    }
}

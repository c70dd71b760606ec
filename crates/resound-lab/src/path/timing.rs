//! When packets leave: delays, and links with a rate and a queue.

use std::time::Duration;

use resound_faults::DelayShape;
use resound_faults::draws::{below, sequel};

use super::decision::PacketAction;
use super::kind::DefectKind;
use super::passing::Passing;

/// What a rule remembers of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkTimes {
    /// When its last packet leaves.
    until: Duration,
}

/// Packets keep their order, as on a link.
pub(super) fn delay(
    passing: &mut Passing<'_>,
    link: &mut LinkTimes,
    bits: u64,
    (middle, by, shape): (Duration, Duration, DelayShape),
) {
    let before = passing.release;
    let ready = before.saturating_add(shape.drawn(middle, by, sequel(bits, 2)));
    link.until = link.until.max(ready);
    passing.release = link.until;
    passing.touch(DefectKind::Delay, PacketAction::Delayed(passing.release - before));
}

/// Each packet for itself.
pub(super) fn jitter(passing: &mut Passing<'_>, bits: u64, most: Duration) {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
    let by = Duration::from_nanos(below(sequel(bits, 2), nanos + 1));
    passing.release = passing.release.saturating_add(by);
    passing.touch(DefectKind::Jitter, PacketAction::Delayed(by));
}

/// A link sends one packet after the other, and drops what finds no room in its queue.
pub(super) fn rate(passing: &mut Passing<'_>, link: &mut LinkTimes, bytes_per_second: u64, queue: u64) {
    let before = passing.release;
    let time =
        |bytes: u64| Duration::from_nanos((u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second)) as u64);
    let length = passing.view.length as u64;
    // Of the packet that is on the link as well: a packet's length is little beside a queue's.
    let wait = link.until.saturating_sub(before);
    let waiting = (wait.as_nanos() * u128::from(bytes_per_second) / 1_000_000_000) as u64;
    if waiting > 0 && waiting + length > queue {
        passing.drop_for(DefectKind::Rate);
        return;
    }
    link.until = link.until.max(before).saturating_add(time(length));
    passing.release = link.until;
    passing.touch(DefectKind::Rate, PacketAction::Delayed(passing.release - before));
}

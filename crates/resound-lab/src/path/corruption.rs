//! Packets that arrive with wrong bytes.

use resound_faults::draws::{below, sequel};

use super::decision::PacketAction;
use super::kind::DefectKind;
use super::packet::UDP;
use super::passing::Passing;

/// Inverts one bit of the checksum.
pub(super) fn checksum(passing: &mut Passing<'_>, kind: DefectKind, bits: u64) {
    let Some(at) = passing.view.checksum() else { return };
    let right = u16::from_be_bytes([passing.bytes[at], passing.bytes[at + 1]]);
    let first = below(sequel(bits, 2), 16) as u32;
    // A UDP checksum of 0 would be none, and one that is 0 already is none.
    let is_udp = passing.view.protocol == UDP;
    if is_udp && right == 0 {
        return;
    }
    let wrong = (0..16).map(|step| right ^ 1 << ((first + step) % 16)).find(|wrong| !is_udp || *wrong != 0);
    let Some(wrong) = wrong else { return };
    passing.bytes[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
    passing.touch(kind, PacketAction::Changed(format!("checksum {right:#06x} is {wrong:#06x}").into()));
}

/// Inverts one bit of the payload, and mends the checksum.
pub(super) fn payload(passing: &mut Passing<'_>, kind: DefectKind, bits: u64) {
    let length = passing.view.payload_length();
    if length == 0 || passing.view.is_later_fragment {
        return;
    }
    let at = below(sequel(bits, 2), length);
    let bit = below(sequel(bits, 3), 8);
    let place = passing.view.payload + at as usize;
    passing.change(kind, format!("bit {bit} of the payload's byte {at} is inverted"), |bytes| bytes[place] ^= 1 << bit);
}

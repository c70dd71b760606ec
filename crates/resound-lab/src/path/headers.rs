//! Boxes that look at headers: MTU, MSS, options, DSCP.

use super::decision::PacketAction;
use super::fragments::may_be_split;
use super::kind::DefectKind;
use super::made::too_big;
use super::packet::{ACK, FIN, SYN, u16_at};
use super::passing::{MadePacket, Passing};
use super::tcp_options::{MSS, StrippedOptions, entries, option_name};

const ECE_CWR: u8 = 0xc0;

pub(super) fn mtu(passing: &mut Passing<'_>, most: u16, is_silent: bool) {
    let length = passing.split.map_or(passing.view.length, |split| passing.view.length.min(split.into()));
    if length <= usize::from(most) {
        return;
    }
    if may_be_split(passing.bytes, &passing.view) {
        fragment(passing, DefectKind::Mtu, most);
        return;
    }
    passing.drop_for(DefectKind::Mtu);
    let message = if is_silent { None } else { too_big(passing.original, &passing.view, most) };
    if let Some(bytes) = message {
        passing.made.push(MadePacket {
            defect: DefectKind::Mtu,
            what: format!("ICMP: the MTU is {most}").into(),
            direction: passing.direction.opposite(),
            bytes,
            flow: None,
            release: passing.release,
            is_translated: true,
        });
    }
}

pub(super) fn fragment(passing: &mut Passing<'_>, kind: DefectKind, most: u16) {
    if passing.view.length > usize::from(most) {
        passing.split = Some(passing.split.map_or(most, |split| split.min(most)));
        passing.touch(kind, PacketAction::Changed(format!("in fragments of at most {most} bytes").into()));
    }
}

pub(super) fn clamp_mss(passing: &mut Passing<'_>, most: u16) {
    if !passing.view.tcp.is_some_and(|tcp| tcp.has(SYN)) {
        return;
    }
    let start = passing.view.transport + 20;
    let options = &passing.bytes[start..passing.view.payload];
    let Some((_, range)) = entries(options).find(|(kind, range)| *kind == MSS && range.len() == 4) else { return };
    let at = start + range.start + 2;
    let Some(own) = u16_at(passing.bytes, at).filter(|own| *own > most) else { return };
    passing.change(DefectKind::MssClamp, format!("the MSS {own} is {most}"), |bytes| {
        bytes[at..at + 2].copy_from_slice(&most.to_be_bytes());
    });
}

pub(super) fn strip(passing: &mut Passing<'_>, kind: DefectKind, stripped: StrippedOptions) {
    let tcp = passing.view.tcp;
    if kind == DefectKind::OneSidedStrip && !tcp.is_some_and(|tcp| tcp.has(SYN | ACK)) {
        return;
    }
    let mut gone = Vec::new();
    let mut found = Vec::new();
    let flags_at = passing.view.transport + 13;
    if tcp.is_some() {
        let start = passing.view.transport + 20;
        found = stripped.found(&passing.bytes[start..passing.view.payload]);
        for (option, range) in &mut found {
            (range.start, range.end) = (range.start + start, range.end + start);
            gone.push(option_name(*option));
        }
    }
    // The last two bits of the traffic class (RFC 3168), and in a SYN the flags that ask for it.
    let (ecn_at, ecn_bits) = if passing.view.is_v6 { (1, 0x30) } else { (1, 0x03) };
    let has_ecn = stripped.has_ecn() && passing.bytes[ecn_at] & ecn_bits != 0;
    let has_flags = stripped.has_ecn() && tcp.is_some_and(|tcp| tcp.has(SYN) && tcp.flags & ECE_CWR != 0);
    if has_ecn || has_flags {
        gone.push("ECN".into());
    }
    if gone.is_empty() {
        return;
    }
    passing.change(kind, format!("without {}", gone.join(", ")), |bytes| {
        found.into_iter().for_each(|(_, range)| bytes[range].fill(1));
        if has_ecn {
            bytes[ecn_at] &= !ecn_bits;
        }
        if has_flags {
            bytes[flags_at] &= !ECE_CWR;
        }
    });
}

pub(super) fn bleach_dscp(passing: &mut Passing<'_>) {
    let [first, second] = [passing.bytes[0], passing.bytes[1]];
    let dscp = if passing.view.is_v6 { (first & 0xf) << 2 | second >> 6 } else { second >> 2 };
    if dscp == 0 {
        return;
    }
    let is_v6 = passing.view.is_v6;
    passing.change(DefectKind::DscpBleach, format!("the DSCP {dscp} is 0"), |bytes| {
        if is_v6 {
            bytes[0] &= 0xf0;
            bytes[1] &= 0x3f;
        } else {
            bytes[1] &= 0x03;
        }
    });
}

pub(super) fn eat_fin(passing: &mut Passing<'_>) {
    if passing.view.tcp.is_some_and(|tcp| tcp.has(FIN)) {
        let at = passing.view.transport + 13;
        passing.change(DefectKind::EatFin, "without FIN", |bytes| bytes[at] &= !FIN);
    }
}

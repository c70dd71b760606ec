//! Splits packets into fragments (RFC 791, RFC 8200).

use super::checksum::{complete_header, put};
use super::packet::{PacketView, V6_HEADER, u16_at};
use super::tcp_options::entries;

const DF: u16 = 0x4000;
const MF: u16 = 0x2000;
const FRAGMENT_HEADER: usize = 8;
const FRAGMENT: u8 = 44;

/// May a router split it?
pub(super) fn may_be_split(bytes: &[u8], view: &PacketView) -> bool {
    !view.is_v6 && u16_at(bytes, 6).unwrap_or(DF) & DF == 0
}

/// Gives the fragments of at most `most` bytes, and how many they were: 1 where the packet is short
/// enough, or cannot be split. `identification` is that of fragments whose packet has none.
pub(super) fn split(bytes: &[u8], most: u16, identification: u16, mut each: impl FnMut(&[u8])) -> u32 {
    let view = PacketView::of(bytes).filter(|view| view.length > usize::from(most));
    let parts = view.and_then(|view| match view.is_v6 {
        true => split_v6(bytes, &view, most, identification, &mut each),
        false => split_v4(bytes, &view, most, identification, &mut each),
    });
    parts.unwrap_or_else(|| {
        each(bytes);
        1
    })
}

fn split_v4(
    bytes: &[u8],
    view: &PacketView,
    most: u16,
    identification: u16,
    each: &mut impl FnMut(&[u8]),
) -> Option<u32> {
    let header = view.transport;
    let room = usize::from(most).checked_sub(header)? & !7;
    let field = u16_at(bytes, 6)?;
    if room == 0 {
        return None;
    }
    let mut part = Vec::with_capacity(usize::from(most));
    let data = &bytes[header..view.length];
    let parts = data.len().div_ceil(room);
    for (index, chunk) in data.chunks(room).enumerate() {
        part.clear();
        part.extend_from_slice(&bytes[..header]);
        if index > 0 {
            hide_first_options(&mut part[20..]);
        }
        part.extend_from_slice(chunk);
        let length = part.len() as u16;
        put(&mut part, 2, length);
        if field & DF != 0 {
            put(&mut part, 4, identification);
        }
        let more = if index + 1 < parts { MF } else { field & MF };
        put(&mut part, 6, (field & 0x1fff).wrapping_add((index * room / 8) as u16) & 0x1fff | more);
        complete_header(&mut part);
        each(&part);
    }
    Some(parts as u32)
}

/// Options without the copied bit are in the first fragment alone; NOPs keep the length.
fn hide_first_options(options: &mut [u8]) {
    let hidden: Vec<_> = entries(options).filter(|(kind, _)| kind & 0x80 == 0).map(|(_, range)| range).collect();
    hidden.into_iter().for_each(|range| options[range].fill(1));
}

fn split_v6(
    bytes: &[u8],
    view: &PacketView,
    most: u16,
    identification: u16,
    each: &mut impl FnMut(&[u8]),
) -> Option<u32> {
    let header = view.transport;
    let room = usize::from(most).checked_sub(header + FRAGMENT_HEADER)? & !7;
    // A fragment is not split again.
    if room == 0 || view.is_fragment {
        return None;
    }
    let mut part = Vec::with_capacity(usize::from(most));
    let data = &bytes[header..view.length];
    let parts = data.len().div_ceil(room);
    for (index, chunk) in data.chunks(room).enumerate() {
        part.clear();
        part.extend_from_slice(&bytes[..header]);
        part[view.next_header] = FRAGMENT;
        let offset = (index * room) as u16 | u16::from(index + 1 < parts);
        part.extend([view.protocol, 0]);
        part.extend(offset.to_be_bytes());
        part.extend(u32::from(identification).to_be_bytes());
        part.extend_from_slice(chunk);
        let length = (part.len() - V6_HEADER) as u16;
        put(&mut part, 4, length);
        each(&part);
    }
    Some(parts as u32)
}

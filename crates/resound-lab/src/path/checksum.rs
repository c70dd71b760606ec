//! The checksums of IP, TCP, UDP and ICMP (RFC 1071), and their repair after a change (RFC 1624).

use super::packet::{ICMP, PacketView, UDP};

/// The sum of 16-bit words, folded; an odd byte at the end counts as one with a zero.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let total: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    fold(total + rest.first().map_or(0, |byte| u64::from(*byte) << 8))
}

fn fold(mut total: u64) -> u32 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u32
}

/// What the checksum of the transport header covers, its own field included.
fn transport_sum(bytes: &[u8], view: &PacketView) -> u32 {
    let own = &bytes[view.transport..view.length];
    let mut total = u64::from(sum(own));
    // ICMP for IPv4 is without a pseudo-header.
    if view.protocol != ICMP {
        let (source, destination, length) = view.addresses();
        total += u64::from(sum(&bytes[source..source + length])) + u64::from(sum(&bytes[destination..][..length]));
        total += u64::from(view.protocol) + own.len() as u64;
    }
    fold(total)
}

fn get(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Makes the checksum of the transport header anew. A fragment's covers bytes of others, and stays.
pub(super) fn complete_transport(bytes: &mut [u8], view: &PacketView) {
    let Some(at) = view.checksum().filter(|_| !view.is_fragment) else { return };
    put(bytes, at, 0);
    let checksum = !(transport_sum(bytes, view) as u16);
    // UDP has 0 for none.
    put(bytes, at, if checksum == 0 && view.protocol == UDP { 0xffff } else { checksum });
}

/// Makes the checksum of an IPv4 header anew.
pub(super) fn complete_header(bytes: &mut [u8]) {
    if bytes.first().is_some_and(|first| first >> 4 == 4) {
        let header = (usize::from(bytes[0] & 0xf) * 4).min(bytes.len());
        if header >= 20 {
            put(bytes, 10, 0);
            let checksum = !(sum(&bytes[..header]) as u16);
            put(bytes, 10, checksum);
        }
    }
}

/// Changes bytes of a packet, and mends its checksums by the difference: what was wrong before
/// stays wrong, and the first of several fragments stays right.
pub(super) fn change(bytes: &mut [u8], view: &PacketView, change: impl FnOnce(&mut [u8])) {
    let header = if view.is_v6 { 0 } else { usize::from(bytes[0] & 0xf) * 4 };
    let own = view.checksum().filter(|&at| view.protocol != UDP || get(bytes, at) != 0);
    let before = (sum(&bytes[..header]), transport_sum(bytes, view));
    let field = own.map(|at| get(bytes, at));
    let header_field = get(bytes, 10);
    change(bytes);
    if header > 0 {
        // The field is a part of both sums, and the change leaves it alone.
        put(bytes, 10, mended(header_field, before.0, sum(&bytes[..header])));
    }
    if let (Some(at), Some(field)) = (own, field) {
        let checksum = mended(field, before.1, transport_sum(bytes, view));
        put(bytes, at, if checksum == 0 && view.protocol == UDP { 0xffff } else { checksum });
    }
}

/// A checksum after what it covers has changed from one sum to another.
fn mended(checksum: u16, before: u32, after: u32) -> u16 {
    !(fold(u64::from(!checksum) + u64::from(!(before as u16)) + u64::from(after)) as u16)
}

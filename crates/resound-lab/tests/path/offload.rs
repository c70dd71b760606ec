//! Super-packets become the packets that a network card would send.

use resound_lab::{OffloadHeader, segments};

use crate::bench::{Segment, UP, data, is_right, pattern, payload, tcp, udp, v4};

fn split(header: OffloadHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    segments(header, &mut packet.to_vec(), |segment| found.push(segment.to_vec()));
    found
}

const WHOLE: OffloadHeader = OffloadHeader { needs_checksum: true, segment_size: 0 };

#[test]
fn the_header_is_that_of_linux() {
    let size = 1448_u16.to_ne_bytes();
    let parse = |flags, kind| OffloadHeader::parse([flags, kind, 54, 0, size[0], size[1], 34, 0, 16, 0]);
    assert_eq!(parse(1, 1), OffloadHeader { needs_checksum: true, segment_size: 1448 });
    assert_eq!(parse(1, 0x81), OffloadHeader { needs_checksum: true, segment_size: 1448 });
    assert_eq!(parse(1, 4), parse(1, 5));
    assert_eq!(parse(2, 0), OffloadHeader::default());
}

#[test]
fn a_super_packet_becomes_segments() {
    for is_v6 in [false, true] {
        let options = &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let whole = Segment {
            is_v6,
            options,
            seq: u32::MAX - 99,
            flags: "FPCE",
            payload: pattern(10_001),
            ..Segment::default()
        };
        let mut packet = whole.bytes();
        // A partial checksum, as the kernel leaves it.
        let checksum = if is_v6 { 56 } else { 36 };
        packet[checksum..checksum + 2].copy_from_slice(&[0x12, 0x34]);
        packet.extend([0; 4]);
        let found = split(OffloadHeader { segment_size: 1000, ..WHOLE }, &packet);
        assert_eq!(found.len(), 11);
        let mut joined = Vec::new();
        for (index, segment) in found.iter().enumerate() {
            let header = tcp(segment);
            assert!(is_right(segment), "{index}");
            assert_eq!(header.sequence_number, (u32::MAX - 99).wrapping_add(index as u32 * 1000));
            assert_eq!((header.fin, header.psh), (index == 10, index == 10), "{index}");
            assert_eq!((header.cwr, header.ece, header.ack), (index == 0, true, true), "{index}");
            assert_eq!(header.options.as_slice(), options);
            if !is_v6 {
                assert_eq!(v4(segment).identification, index as u16);
            }
            joined.extend(payload(segment));
        }
        assert_eq!(joined, pattern(10_001));
    }
}

#[test]
fn a_datagram_of_segments_becomes_datagrams() {
    let found = split(OffloadHeader { segment_size: 500, ..WHOLE }, &udp(UP, 9, &pattern(1200)));
    assert_eq!(found.iter().map(|each| payload(each).len()).collect::<Vec<_>>(), [500, 500, 200]);
    assert!(found.iter().all(|each| is_right(each)));
}

#[test]
fn a_checksum_is_completed_and_nothing_else() {
    let packet = data(1, 100);
    let mut partial = packet.clone();
    partial[36..38].copy_from_slice(&[1, 2]);
    assert_eq!(split(WHOLE, &partial), std::slice::from_ref(&packet));
    assert_eq!(split(OffloadHeader { segment_size: 100, ..WHOLE }, &partial), [packet]);
    assert_eq!(split(OffloadHeader::default(), &partial), [partial]);
    assert_eq!(split(WHOLE, b"no packet"), [b"no packet".to_vec()]);
}

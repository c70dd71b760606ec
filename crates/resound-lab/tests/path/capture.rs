//! The file of packets, read as its format says.

use std::time::Duration;

use resound_lab::{Capture, Side};

/// The type and the body of each block.
fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let mut found = Vec::new();
    while !file.is_empty() {
        let length = number(&file[4..]) as usize;
        assert!(length.is_multiple_of(4) && number(&file[length - 4..]) as usize == length);
        found.push((number(file), file[8..length - 4].to_vec()));
        file = &file[length..];
    }
    found
}

#[test]
fn a_capture_has_two_interfaces_and_comments() {
    let mut file = Vec::new();
    let start = Duration::from_secs(1_700_000_000);
    let mut capture = Capture::new(&mut file, start).unwrap();
    capture.packet(Side::Near, Duration::from_nanos(5), b"E2345", Some("tcp 1, up 1: loss: dropped")).unwrap();
    capture.packet(Side::Far, Duration::from_nanos(6), b"`234", None).unwrap();
    capture.packet(Side::Far, Duration::from_nanos(7), b"", Some(&"ä".repeat(40_000))).unwrap();
    capture.flush().unwrap();
    let found = blocks(&file);
    assert_eq!(found.iter().map(|block| block.0).collect::<Vec<_>>(), [0x0a0d_0d0a, 1, 1, 6, 6, 6]);
    assert_eq!(found[0].1[..8], [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]);
    // Ethernet, the name, and nanoseconds.
    assert_eq!(found[1].1, [b"\x01\0\0\0\0\0\0\0\x02\0\x04\0near\x09\0\x01\0\x09\0\0\0", &[0; 4][..]].concat());
    assert_eq!(found[2].1[8..15], *b"\x02\0\x03\0far");
    let nanos = 1_700_000_000_000_000_005_u64;
    let time = [((nanos >> 32) as u32).to_le_bytes(), (nanos as u32).to_le_bytes()].concat();
    let packet = &found[3].1;
    assert_eq!(packet[..4], [0; 4]);
    assert_eq!(packet[4..12], time);
    // 14 bytes of Ethernet and 5 of IP, filled up to words.
    assert_eq!(packet[12..20], *b"\x13\0\0\0\x13\0\0\0");
    assert_eq!(packet[20..40], [&[0; 12], &b"\x08\x00E2345"[..], &[0]].concat());
    assert_eq!(packet[40..70], *b"\x01\0\x1a\0tcp 1, up 1: loss: dropped");
    assert_eq!((&found[4].1[..4], &found[4].1[32..34], found[4].1.len()), (&[1, 0, 0, 0][..], &[0x86, 0xdd][..], 40));
    assert_eq!(found[5].1[36..40], [1, 0, 0, 16]);
}

//! A file of packets, in the format pcapng (draft-ietf-opsawg-pcapng).

use std::io::{self, Write};
use std::time::Duration;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;

/// Packets with an Ethernet header, as on a loopback device: without addresses. LINKTYPE_RAW would
/// need none, but libpcap 1.10 refuses a file with two interfaces of it, because its own number for
/// that type is another.
const ETHERNET: u16 = 1;
const NO_ADDRESSES: [u8; 12] = [0; 12];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const APPLICATION: u16 = 4;

/// A longer comment is cut: an option has a 16-bit length.
const MOST_COMMENT: usize = 4096;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Between the near end and the router.
    Near,
    /// Between the router and the far end.
    Far,
}

/// Writes packets as a pcapng file with the interfaces `near` and `far`, to the nanosecond.
#[derive(Debug)]
pub struct Capture<W> {
    writer: W,
    start: Duration,
    block: Vec<u8>,
}

impl<W: Write> Capture<W> {
    /// Begins a file; `start` is the beginning of the lab, since 1970.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn new(writer: W, start: Duration) -> io::Result<Self> {
        let mut capture = Self { writer, start, block: Vec::new() };
        capture.begin(SECTION);
        // The order of bytes, version 1.0, and a length that is not known before.
        capture.put(&0x1a2b_3c4d_u32.to_le_bytes());
        capture.put(&[1, 0, 0, 0]);
        capture.put(&u64::MAX.to_le_bytes());
        capture.option(APPLICATION, b"resound lab");
        capture.option(END_OF_OPTIONS, &[]);
        capture.end()?;
        for name in ["near", "far"] {
            capture.begin(INTERFACE);
            capture.put(&ETHERNET.to_le_bytes());
            capture.put(&[0; 6]);
            capture.option(NAME, name.as_bytes());
            capture.option(RESOLUTION, &[9]);
            capture.option(END_OF_OPTIONS, &[]);
            capture.end()?;
        }
        Ok(capture)
    }

    /// Adds a packet that was seen `at`, since the beginning of the lab.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn packet(&mut self, side: Side, at: Duration, packet: &[u8], comment: Option<&str>) -> io::Result<()> {
        let nanos = u64::try_from((self.start + at).as_nanos()).unwrap_or(u64::MAX);
        let kind = if packet.first().is_some_and(|first| first >> 4 == 6) { IPV6 } else { IPV4 };
        let length = u32::try_from(NO_ADDRESSES.len() + kind.len() + packet.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.begin(PACKET);
        self.put(&(side as u32).to_le_bytes());
        self.put(&((nanos >> 32) as u32).to_le_bytes());
        self.put(&(nanos as u32).to_le_bytes());
        self.put(&length.to_le_bytes());
        self.put(&length.to_le_bytes());
        self.put(&NO_ADDRESSES);
        self.put(&kind);
        self.put(packet);
        self.pad();
        if let Some(comment) = comment {
            let end = comment.floor_char_boundary(MOST_COMMENT);
            self.option(COMMENT, &comment.as_bytes()[..end]);
            self.option(END_OF_OPTIONS, &[]);
        }
        self.end()
    }

    /// Writes what the writer holds back.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.put(&kind.to_le_bytes());
        self.put(&[0; 4]);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }

    /// A block consists of 32-bit words.
    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.put(&code.to_le_bytes());
        self.put(&(value.len() as u16).to_le_bytes());
        self.put(value);
        self.pad();
    }

    /// Its length stands before and after it.
    fn end(&mut self) -> io::Result<()> {
        let length = (self.block.len() as u32 + 4).to_le_bytes();
        self.block[4..8].copy_from_slice(&length);
        self.put(&length);
        self.writer.write_all(&self.block)
    }
}

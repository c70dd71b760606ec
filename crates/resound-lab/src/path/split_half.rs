//! One end of a TCP connection, as a proxying box has it: without options but the MSS, with
//! go-back-N and a fixed buffer. It has no congestion control.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::packet::{ACK, FIN, RST, SYN};

/// What waits for one end at most. A window without scaling is not larger.
pub(super) const SPLIT_BUFFER: usize = 65_535;

const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
const LEAST_TIMEOUT: Duration = Duration::from_millis(200);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The segments that wait behind a gap at most.
const MOST_AHEAD: usize = 512;
/// How often a segment is sent in vain before the connection ends.
const MOST_TRIES: u32 = 10;
const PSH: u8 = 8;

/// What an end sent to the box.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentIn<'a> {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) mss: Option<u16>,
    pub(super) payload: &'a [u8],
}

/// What the box sends to an end.
#[derive(Clone, Debug)]
pub(super) struct SegmentOut {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) payload: Vec<u8>,
}

/// What a segment brought.
#[derive(Debug, Default)]
pub(super) struct SegmentContents {
    pub(super) data: Vec<u8>,
    pub(super) has_reset: bool,
    pub(super) needs_ack: bool,
}

#[derive(Debug)]
pub(super) struct SplitHalf {
    /// The oldest sequence number that is not acknowledged; after it come the buffer's bytes.
    una: u32,
    /// The next that is sent.
    next: u32,
    /// After the last that was ever sent.
    most: u32,
    is_syn_acked: bool,
    buffer: VecDeque<u8>,
    /// A FIN comes after the buffer.
    pub(super) fin: bool,
    pub(super) is_fin_acked: bool,
    /// The next that the peer sends; `None` before its SYN.
    expected: Option<u32>,
    /// Segments behind a gap, by how many bytes have come in order before them.
    ahead: BTreeMap<u64, Vec<u8>>,
    /// The bytes that have come in order.
    taken: u64,
    pub(super) has_peer_fin: bool,
    window: u32,
    pub(super) mss: usize,
    duplicates: u32,
    /// No second retransmission before this is acknowledged.
    recover: u32,
    pub(super) deadline: Option<Duration>,
    timeout: Duration,
    tries: u32,
    /// A sequence number whose acknowledgement is timed, and since when.
    timed: Option<(u32, Duration)>,
}

/// Is one sequence number after another?
fn is_after(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) > 0
}

impl SplitHalf {
    /// `expected` is behind the peer's SYN, where that has come already.
    pub(super) fn new(initial: u32, expected: Option<u32>, window: u16, mss: usize) -> Self {
        Self {
            una: initial,
            next: initial,
            most: initial,
            is_syn_acked: false,
            buffer: VecDeque::new(),
            fin: false,
            is_fin_acked: false,
            expected,
            ahead: BTreeMap::new(),
            taken: 0,
            has_peer_fin: false,
            window: window.into(),
            mss,
            duplicates: 0,
            recover: initial,
            deadline: None,
            timeout: FIRST_TIMEOUT,
            tries: 0,
            timed: None,
        }
    }

    pub(super) fn room(&self) -> usize {
        SPLIT_BUFFER - self.buffer.len().min(SPLIT_BUFFER)
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        self.buffer.extend(data);
    }

    /// Were its FIN and that of the peer exchanged?
    pub(super) fn is_finished(&self) -> bool {
        self.has_peer_fin && self.is_fin_acked
    }

    /// Takes a segment of the peer; `room` is what the other half can take.
    pub(super) fn receive(&mut self, segment: SegmentIn<'_>, room: usize, now: Duration) -> SegmentContents {
        let mut received = SegmentContents::default();
        if segment.flags & RST != 0 {
            received.has_reset = match self.expected {
                Some(expected) => segment.seq.wrapping_sub(expected) < SPLIT_BUFFER as u32,
                None => segment.flags & ACK != 0 && segment.ack == self.most,
            };
            return received;
        }
        if segment.flags & SYN != 0 {
            if self.expected.is_none() {
                self.expected = Some(segment.seq.wrapping_add(1));
                self.mss = self.mss.min(segment.mss.unwrap_or(536).into());
            } else if !self.is_syn_acked {
                self.next = self.una;
            }
            received.needs_ack = segment.flags & ACK != 0 || self.is_syn_acked;
        }
        if segment.flags & ACK != 0 {
            self.acknowledged(segment, now);
        }
        self.window = segment.window.into();
        let Some(expected) = self.expected.filter(|_| segment.flags & SYN == 0) else { return received };
        let length = segment.payload.len();
        let has_fin = segment.flags & FIN != 0;
        let old = expected.wrapping_sub(segment.seq) as usize;
        if old > length {
            // Before what is expected, such as a keepalive probe, or behind a gap.
            let gap = segment.seq.wrapping_sub(expected) as usize;
            if length > 0 && gap + length <= SPLIT_BUFFER && self.ahead.len() < MOST_AHEAD {
                self.ahead.insert(self.taken + gap as u64, segment.payload.to_vec());
            }
            received.needs_ack = true;
            return received;
        }
        self.take(&segment.payload[old..], room, &mut received.data);
        let is_whole = received.data.len() >= length - old;
        self.take_ahead(room, &mut received.data);
        let mut behind = expected.wrapping_add(received.data.len() as u32);
        // Nothing comes after a FIN.
        if has_fin && is_whole && !self.has_peer_fin {
            self.has_peer_fin = true;
            behind = behind.wrapping_add(1);
        }
        self.expected = Some(behind);
        received.needs_ack |= length > 0 || has_fin;
        received
    }

    /// Bytes in order, as far as there is room.
    fn take(&mut self, bytes: &[u8], room: usize, data: &mut Vec<u8>) {
        let count = bytes.len().min(room - data.len().min(room));
        data.extend_from_slice(&bytes[..count]);
        self.taken += count as u64;
    }

    /// What had come behind a gap that is filled.
    fn take_ahead(&mut self, room: usize, data: &mut Vec<u8>) {
        while let Some(entry) = self.ahead.first_entry().filter(|entry| *entry.key() <= self.taken) {
            let (start, bytes) = entry.remove_entry();
            let old = (self.taken - start) as usize;
            if let Some(fresh) = bytes.get(old..) {
                self.take(fresh, room, data);
            }
        }
    }

    fn acknowledged(&mut self, segment: SegmentIn<'_>, now: Duration) {
        let mut count = segment.ack.wrapping_sub(self.una) as usize;
        if count > self.most.wrapping_sub(self.una) as usize {
            return;
        }
        if count == 0 {
            // A closed window may stay closed for long.
            self.tries = if segment.window == 0 { 0 } else { self.tries };
            let is_duplicate = segment.payload.is_empty()
                && self.next != self.una
                && self.window == u32::from(segment.window)
                && segment.flags & (SYN | FIN) == 0;
            self.duplicates = if is_duplicate { self.duplicates + 1 } else { 0 };
            if self.duplicates == 3 && !is_after(self.recover, self.una) {
                (self.recover, self.next, self.timed) = (self.most, self.una, None);
            }
            return;
        }
        if !self.is_syn_acked {
            self.is_syn_acked = true;
            count -= 1;
        }
        let bytes = count.min(self.buffer.len());
        self.buffer.drain(..bytes);
        self.is_fin_acked |= self.fin && count > bytes;
        self.una = segment.ack;
        if is_after(self.una, self.next) {
            self.next = self.una;
        }
        if let Some((_, since)) = self.timed.filter(|(seq, _)| !is_after(*seq, self.una)) {
            self.timeout = (now.saturating_sub(since) * 2 + LEAST_TIMEOUT / 2).clamp(LEAST_TIMEOUT, LONGEST_TIMEOUT);
            self.timed = None;
        }
        (self.duplicates, self.tries, self.deadline) = (0, 0, None);
    }

    /// What it sends now. `acks` asks for an ACK, if nothing else carries one.
    pub(super) fn transmit(&mut self, acks: bool, now: Duration) -> Vec<SegmentOut> {
        let mut out = Vec::new();
        if !self.is_syn_acked {
            if self.next == self.una {
                out.push(self.segment(self.una, SYN, Vec::new()));
                self.next = self.una.wrapping_add(1);
            }
        } else {
            while let Some(segment) = self.next_segment() {
                out.push(segment);
            }
        }
        if is_after(self.next, self.most) {
            self.timed.get_or_insert((self.next, now));
            self.most = self.next;
        }
        let waits = self.next != self.una || !self.buffer.is_empty();
        self.deadline = if waits { self.deadline.or(Some(now + self.timeout)) } else { None };
        if acks && out.is_empty() && self.expected.is_some() {
            // Not `next`: that may be old after a loss, and a peer may ignore what is old.
            out.push(self.segment(self.most, 0, Vec::new()));
        }
        out
    }

    /// A segment that the window and the buffer allow.
    fn next_segment(&mut self) -> Option<SegmentOut> {
        let in_flight = self.next.wrapping_sub(self.una) as usize;
        let left = self.buffer.len().saturating_sub(in_flight);
        if left > 0 {
            let allowed = (self.window as usize).saturating_sub(in_flight);
            let length = left.min(self.mss).min(allowed);
            if length == 0 {
                return None;
            }
            let payload: Vec<u8> = self.buffer.range(in_flight..in_flight + length).copied().collect();
            let segment = self.segment(self.next, if length == left { PSH } else { 0 }, payload);
            self.next = self.next.wrapping_add(length as u32);
            return Some(segment);
        }
        if self.fin && !self.is_fin_acked && in_flight == self.buffer.len() {
            let segment = self.segment(self.next, FIN, Vec::new());
            self.next = self.next.wrapping_add(1);
            return Some(segment);
        }
        None
    }

    fn segment(&self, seq: u32, flags: u8, payload: Vec<u8>) -> SegmentOut {
        let flags = flags | if self.expected.is_some() { ACK } else { 0 };
        SegmentOut { seq, ack: self.expected.unwrap_or_default(), flags, payload }
    }

    /// A RST that the peer takes.
    pub(super) fn reset(&self) -> SegmentOut {
        self.segment(self.most, RST, Vec::new())
    }

    /// Sends anew from the oldest byte on.
    pub(super) fn go_back(&mut self) {
        (self.next, self.timed) = (self.una, None);
    }

    /// Its deadline has come; false if it gives up.
    pub(super) fn timed_out(&mut self) -> bool {
        self.tries += 1;
        self.timeout = (self.timeout * 2).min(LONGEST_TIMEOUT);
        self.deadline = None;
        self.go_back();
        // A byte beyond a closed window asks whether it has opened.
        self.window = self.window.max(1);
        self.tries <= MOST_TRIES
    }
}

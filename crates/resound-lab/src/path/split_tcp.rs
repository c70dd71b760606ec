//! A proxying box at the near end of the path: it answers the near end in the far end's name, opens
//! a second connection in the near end's name, and relays the bytes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use resound_faults::StreamDirection;
use resound_faults::draws::Draws;

use super::filter::PacketFilter;
use super::flows::FlowKey;
use super::made::MadeSegment;
use super::packet::{PacketView, SYN, TCP, u16_at, u32_at};
use super::split_half::{SegmentIn, SegmentOut, SplitHalf};
use super::tcp_options::{MSS, entries};

/// The connections that the box has at once; it drops the SYNs of further ones.
const MOST_SPLIT: usize = 1024;
/// How long a connection that is over answers a repeated FIN.
const LINGER: Duration = Duration::from_secs(5);
/// Of an Ethernet.
const MTU: usize = 1500;
const LEAST_MSS: usize = 48;

/// What becomes of a packet that came from the near end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SplitIntake {
    Taken,
    /// It is of no connection of the box.
    PassesBy,
    /// It is dropped: the box has no room.
    Full,
}

#[derive(Debug)]
struct SplitConnection {
    near: SplitHalf,
    far: SplitHalf,
    over: Option<Duration>,
    /// When its timer fires; earlier timers of it are void.
    armed: Option<(Duration, u64)>,
}

#[derive(Debug)]
pub(super) struct SplitTcp {
    filter: PacketFilter,
    seed: u64,
    index: usize,
    connections: HashMap<FlowKey, SplitConnection>,
    timers: BTreeMap<(Duration, u64), FlowKey>,
    made: u64,
    /// What it sent, and where to.
    out: Vec<(StreamDirection, Vec<u8>)>,
}

impl SplitTcp {
    pub(super) fn new(filter: PacketFilter, index: usize, seed: u64) -> Self {
        let (connections, timers) = (HashMap::new(), BTreeMap::new());
        Self { filter, seed, index, connections, timers, made: 0, out: Vec::new() }
    }

    /// A packet came from the near end.
    pub(super) fn near_packet(&mut self, bytes: &[u8], view: &PacketView, now: Duration) -> SplitIntake {
        let (Some(tcp), false) = (view.tcp, view.is_fragment) else { return SplitIntake::PassesBy };
        let key = FlowKey::of(view, bytes, StreamDirection::Up);
        if tcp.opens() && self.connections.get(&key).is_none_or(|known| known.over.is_some()) {
            if !self.filter.fits(view) {
                return SplitIntake::PassesBy;
            }
            if self.connections.len() >= MOST_SPLIT {
                return SplitIntake::Full;
            }
            self.open(key, bytes, view);
        }
        match self.step(&key, StreamDirection::Up, bytes, view, now) {
            true => SplitIntake::Taken,
            false => SplitIntake::PassesBy,
        }
    }

    fn open(&mut self, key: FlowKey, bytes: &[u8], view: &PacketView) {
        self.made += 1;
        let bits = Draws { seed: self.seed, number: self.made }.bits(None, self.index, 0);
        let segment = segment_of(bytes, view);
        let own = MTU - if view.is_v6 { 60 } else { 40 };
        let mss = own.min(segment.mss.unwrap_or(536).into());
        let near = SplitHalf::new((bits >> 32) as u32, Some(segment.seq.wrapping_add(1)), segment.window, mss);
        let far = SplitHalf::new(bits as u32, None, 0, own);
        self.connections.insert(key, SplitConnection { near, far, over: None, armed: None });
    }

    /// Is a packet for the near end one that the box takes?
    pub(super) fn takes(&self, bytes: &[u8]) -> bool {
        let Some(view) = PacketView::of(bytes).filter(|view| !view.is_fragment) else { return false };
        let key = match view.quotes(bytes) {
            true => quoted_key(bytes, &view),
            false => Some(FlowKey::of(&view, bytes, StreamDirection::Down)),
        };
        key.is_some_and(|key| self.connections.contains_key(&key))
    }

    /// A packet that it [takes](Self::takes) came from the far end.
    pub(super) fn far_packet(&mut self, bytes: &[u8], now: Duration) {
        let Some(view) = PacketView::of(bytes) else { return };
        if view.quotes(bytes) {
            self.heard_error(bytes, &view, now);
        } else {
            let key = FlowKey::of(&view, bytes, StreamDirection::Down);
            self.step(&key, StreamDirection::Down, bytes, &view, now);
        }
    }

    /// An ICMP error about a segment of the box: of those about its length it takes the MTU.
    fn heard_error(&mut self, bytes: &[u8], view: &PacketView, now: Duration) {
        let Some(key) = quoted_key(bytes, view) else { return };
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let kind = (bytes[view.transport], bytes[view.transport + 1]);
        let mtu = match (view.is_v6, kind) {
            (false, (3, 4)) => u16_at(bytes, view.transport + 6).map(usize::from),
            (true, (2, _)) => u32_at(bytes, view.transport + 4).map(|mtu| mtu as usize),
            _ => None,
        };
        if let Some(mtu) = mtu {
            let most = mtu.saturating_sub(if view.is_v6 { 60 } else { 40 }).max(LEAST_MSS);
            if most < connection.far.mss {
                connection.far.mss = most;
                connection.far.go_back();
            }
            self.transmit(&key, (false, false), now);
        }
    }

    /// One segment of one end; false if it is of no connection of the box.
    fn step(
        &mut self,
        key: &FlowKey,
        direction: StreamDirection,
        bytes: &[u8],
        view: &PacketView,
        now: Duration,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let (own, other) = match direction {
            StreamDirection::Up => (&mut connection.near, &mut connection.far),
            StreamDirection::Down => (&mut connection.far, &mut connection.near),
        };
        let was_full = own.room() < own.mss;
        let received = own.receive(segment_of(bytes, view), other.room(), now);
        if received.has_reset {
            self.end(key, direction);
            return true;
        }
        other.push(&received.data);
        other.fin |= own.has_peer_fin;
        // The other end learns that there is room again.
        let has_opened = was_full && own.room() >= own.mss;
        let acks = match direction {
            StreamDirection::Up => (received.needs_ack, has_opened),
            StreamDirection::Down => (has_opened, received.needs_ack),
        };
        self.transmit(key, acks, now);
        true
    }

    /// Both halves send what they may: to the near end and to the far end.
    fn transmit(&mut self, key: &FlowKey, (near_acks, far_acks): (bool, bool), now: Duration) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let near = connection.near.transmit(near_acks, now);
        let far = connection.far.transmit(far_acks, now);
        let windows = (connection.far.room(), connection.near.room());
        for (direction, segments, window) in
            [(StreamDirection::Down, near, windows.0), (StreamDirection::Up, far, windows.1)]
        {
            self.out.extend(segments.into_iter().map(|segment| (direction, packet(key, direction, segment, window))));
        }
        if connection.near.is_finished() && connection.far.is_finished() {
            connection.over.get_or_insert(now + LINGER);
        }
        self.arm(key);
    }

    fn arm(&mut self, key: &FlowKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let deadlines = [connection.near.deadline, connection.far.deadline, connection.over];
        let Some(deadline) = deadlines.into_iter().flatten().min() else { return };
        if connection.armed.is_none_or(|(time, _)| deadline < time) {
            self.made += 1;
            connection.armed = Some((deadline, self.made));
            self.timers.insert((deadline, self.made), *key);
        }
    }

    /// One end is gone, or gives no answer: a RST goes to the end that the segment would have gone
    /// to.
    fn end(&mut self, key: &FlowKey, to: StreamDirection) {
        let Some(connection) = self.connections.remove(key) else { return };
        let half = if to == StreamDirection::Up { &connection.far } else { &connection.near };
        if connection.over.is_none() {
            self.out.push((to, packet(key, to, half.reset(), 0)));
        }
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.timers.first_key_value().map(|((time, _), _)| *time)
    }

    pub(super) fn run_due(&mut self, now: Duration) {
        while let Some((place, key)) = self.timers.first_key_value().map(|(place, key)| (*place, *key)) {
            if place.0 > now {
                return;
            }
            self.timers.pop_first();
            let Some(connection) = self.connections.get_mut(&key).filter(|known| known.armed == Some(place)) else {
                continue;
            };
            connection.armed = None;
            let is_due = |deadline: Option<Duration>| deadline.is_some_and(|deadline| deadline <= now);
            if is_due(connection.over) {
                self.connections.remove(&key);
                continue;
            }
            let near = is_due(connection.near.deadline).then(|| connection.near.timed_out());
            let far = is_due(connection.far.deadline).then(|| connection.far.timed_out());
            match (near, far) {
                (Some(false), _) => self.end(&key, StreamDirection::Up),
                (_, Some(false)) => self.end(&key, StreamDirection::Down),
                _ => self.transmit(&key, (false, false), now),
            }
        }
    }

    /// What it sent since the last call.
    pub(super) fn take_sent(&mut self) -> Vec<(StreamDirection, Vec<u8>)> {
        std::mem::take(&mut self.out)
    }
}

/// The connection of a segment to the far end that an ICMP error quotes.
fn quoted_key(bytes: &[u8], view: &PacketView) -> Option<FlowKey> {
    let quoted = bytes.get(view.transport + 8..view.length)?;
    let inner = PacketView::of_quoted(quoted).filter(|inner| inner.protocol == TCP)?;
    let (near_port, far_port) = (u16_at(quoted, inner.transport)?, u16_at(quoted, inner.transport + 2)?);
    let addresses = Some((inner.source(quoted), inner.destination(quoted)));
    Some(FlowKey { protocol: TCP, addresses, near_port, far_port })
}

fn segment_of<'a>(bytes: &'a [u8], view: &PacketView) -> SegmentIn<'a> {
    let start = view.transport + 20;
    let options = bytes.get(start..view.payload).unwrap_or_default();
    let mss = entries(options).find(|(kind, range)| *kind == MSS && range.len() == 4);
    let (seq, ack, flags) = view.tcp.map_or((0, 0, 0), |tcp| (tcp.seq, tcp.ack, tcp.flags));
    SegmentIn {
        seq,
        ack,
        flags,
        window: u16_at(bytes, view.transport + 14).unwrap_or_default(),
        mss: mss.and_then(|(_, range)| u16_at(options, range.start + 2)),
        payload: &bytes[view.payload..view.length],
    }
}

fn packet(key: &FlowKey, direction: StreamDirection, segment: SegmentOut, window: usize) -> Vec<u8> {
    let unspecified = IpAddr::from([0, 0, 0, 0]);
    let (near, far) = key.addresses.unwrap_or((unspecified, unspecified));
    let (near, far) = ((near, key.near_port), (far, key.far_port));
    let (from, to) = if direction == StreamDirection::Up { (near, far) } else { (far, near) };
    let mss = (MTU - if near.0.is_ipv6() { 60 } else { 40 }) as u16;
    let options = [MSS, 4, (mss >> 8) as u8, mss as u8];
    MadeSegment {
        from,
        to,
        seq: segment.seq,
        ack: segment.ack,
        flags: segment.flags,
        window: u16::try_from(window).unwrap_or(u16::MAX),
        options: if segment.flags & SYN != 0 { &options } else { &[] },
        payload: &segment.payload,
    }
    .packet()
}

//! The flows that pass: 5-tuples, echoes by their identifier, and everything else by its protocol.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use resound_faults::StreamDirection;

use super::flow_id::FlowId;
use super::packet::{ACK, FIN, PacketView, RST, SYN};

/// The flows that are remembered; beyond, the one that was silent for about the longest is
/// forgotten. A later packet of it begins a new flow.
pub(super) const MOST_FLOWS: usize = 65_536;

/// A 5-tuple, as seen from the near end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlowKey {
    pub(super) protocol: u8,
    /// Absent where all of the protocol is one flow.
    pub(super) addresses: Option<(IpAddr, IpAddr)>,
    pub(super) near_port: u16,
    pub(super) far_port: u16,
}

impl FlowKey {
    pub(super) fn of(view: &PacketView, bytes: &[u8], direction: StreamDirection) -> Self {
        let ports = view.ports.or(view.echo.map(|echo| (echo, echo)));
        let (source, destination) = (view.source(bytes), view.destination(bytes));
        let is_up = direction == StreamDirection::Up;
        match ports {
            Some((from, to)) => Self {
                protocol: view.protocol,
                addresses: Some(if is_up { (source, destination) } else { (destination, source) }),
                near_port: if is_up { from } else { to },
                far_port: if is_up { to } else { from },
            },
            None => Self { protocol: view.protocol, addresses: None, near_port: 0, far_port: 0 },
        }
    }
}

/// What one end of a TCP connection has sent, as the router saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TcpEnd {
    pub(super) has_sent: bool,
    /// After the last of its bytes, SYN and FIN.
    pub(super) next: u32,
    pub(super) initial: u32,
    pub(super) has_fin: bool,
}

/// What passed of a flow in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FlowLane {
    pub(super) packets: u64,
    /// Of payload, before the last packet.
    pub(super) offset: u64,
    /// Of payload, with the last packet.
    pub(super) bytes: u64,
    pub(super) tcp: TcpEnd,
    /// When the last of its packets leaves.
    pub(super) release: Duration,
}

/// A packet that waits until others of its flow have passed: its place in the schedule, its time,
/// and how many are to pass yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldBack {
    pub(super) place: (Duration, u64),
    pub(super) release: Duration,
    pub(super) behind: u32,
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) id: FlowId,
    pub(super) key: FlowKey,
    pub(super) lanes: [FlowLane; 2],
    pub(super) first: Duration,
    pub(super) last: Duration,
    /// The time without a packet before the last one.
    pub(super) gap: Duration,
    pub(super) is_reset: bool,
    /// For each rule: does it concern the flow?
    pub(super) chosen: Box<[bool]>,
    /// For each rule: has its moment come?
    pub(super) begun: Box<[bool]>,
    /// For each rule and direction: is the flow in the bad state of bursts?
    pub(super) bad: Box<[[bool; 2]]>,
    /// Rules that act once, and have.
    pub(super) done: Vec<usize>,
    /// The caps that let it in, and whether it counts yet.
    pub(super) caps: Vec<(usize, bool)>,
    pub(super) held: [Vec<HeldBack>; 2],
    used: u64,
}

impl Flow {
    /// Takes note of a packet.
    fn arrived(&mut self, view: &PacketView, direction: StreamDirection, now: Duration) {
        self.gap = now.saturating_sub(self.last);
        self.last = now;
        let lane = &mut self.lanes[direction as usize];
        lane.packets += 1;
        lane.offset = lane.bytes;
        lane.bytes += view.payload_length();
        let Some(tcp) = view.tcp else { return };
        self.is_reset |= tcp.has(RST);
        let end = tcp.seq.wrapping_add(view.sequence_length());
        let own = &mut lane.tcp;
        own.has_fin |= tcp.has(FIN);
        if !own.has_sent || tcp.has(SYN) {
            *own = TcpEnd { has_sent: true, next: end, initial: tcp.seq, has_fin: own.has_fin };
        } else if (end.wrapping_sub(own.next) as i32) > 0 && !tcp.has(RST) {
            own.next = end;
        }
        // An ACK says what the other end has sent, if nothing of it was seen.
        let other = &mut self.lanes[direction.opposite() as usize].tcp;
        if tcp.has(ACK) && !other.has_sent {
            *other = TcpEnd { has_sent: true, next: tcp.ack, initial: tcp.ack, has_fin: false };
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_reset || self.lanes.iter().all(|lane| lane.tcp.has_fin)
    }

    /// Does this segment begin another connection on the same ports?
    fn is_succeeded_by(&self, view: &PacketView, direction: StreamDirection) -> bool {
        let end = &self.lanes[direction as usize].tcp;
        view.tcp.is_some_and(|tcp| tcp.opens() && self.is_closed() && (!end.has_sent || tcp.seq != end.initial))
    }
}

#[derive(Debug, Default)]
pub(super) struct Flows {
    all: HashMap<FlowKey, Flow>,
    /// By their last use, which may have been later since.
    old: VecDeque<(FlowKey, u64)>,
    numbers: HashMap<u8, u64>,
    uses: u64,
}

impl Flows {
    /// The flow of a packet, which is counted in; `start` chooses the rules of a new one. With it a
    /// flow that was forgotten for it.
    pub(super) fn of(
        &mut self,
        key: FlowKey,
        view: &PacketView,
        direction: StreamDirection,
        now: Duration,
        start: impl FnOnce(FlowId) -> Box<[bool]>,
    ) -> (&mut Flow, Option<Flow>) {
        self.uses += 1;
        let mut gone = None;
        let is_known = self.all.contains_key(&key);
        if self.all.get(&key).is_some_and(|flow| flow.is_succeeded_by(view, direction)) {
            gone = self.all.remove(&key);
        }
        if !is_known && self.all.len() >= MOST_FLOWS {
            gone = self.forget();
        }
        let (uses, numbers, old) = (self.uses, &mut self.numbers, &mut self.old);
        let flow = self.all.entry(key).or_insert_with(|| {
            let number = numbers.entry(key.protocol).or_default();
            *number += 1;
            // Else its place in the queue is that of the flow before it.
            if !is_known {
                old.push_back((key, uses));
            }
            let id = FlowId { protocol: key.protocol, number: *number };
            let chosen = start(id);
            let rules = chosen.len();
            Flow {
                id,
                key,
                lanes: Default::default(),
                first: now,
                last: now,
                gap: Duration::ZERO,
                is_reset: false,
                chosen,
                begun: vec![false; rules].into(),
                bad: vec![[false; 2]; rules].into(),
                done: Vec::new(),
                caps: Vec::new(),
                held: Default::default(),
                used: uses,
            }
        });
        flow.used = uses;
        flow.arrived(view, direction, now);
        (flow, gone)
    }

    pub(super) fn get(&self, key: &FlowKey) -> Option<&Flow> {
        self.all.get(key)
    }

    /// All that were seen, of all protocols.
    pub(super) fn seen(&self) -> u64 {
        self.numbers.values().sum()
    }

    /// The flow that was silent for about the longest.
    fn forget(&mut self) -> Option<Flow> {
        while let Some((key, used)) = self.old.pop_front() {
            match self.all.get(&key) {
                Some(flow) if flow.used != used => self.old.push_back((key, flow.used)),
                Some(_) => return self.all.remove(&key),
                None => {}
            }
        }
        None
    }
}

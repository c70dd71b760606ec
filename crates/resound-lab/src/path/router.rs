//! The router.

use std::time::Duration;

use resound_faults::StreamDirection;
use resound_faults::draws::{Draws, below};

use super::apply::{self, RuleMemory};
use super::connections::{leave_caps, reset};
use super::decision::{Decision, PacketAction, PathOutput, Touch};
use super::defects::Defects;
use super::departures::Departures;
use super::flows::{FlowKey, Flows};
use super::kind::DefectKind;
use super::nat::{Nat, Translation};
use super::packet::PacketView;
use super::passing::{MadePacket, Passing};
use super::rule::{DefectRule, DefectValue};
use super::split_tcp::{SplitIntake, SplitTcp};
use super::summary::Summary;
use super::waiting::Leaving;

/// The router between the near end and the far end, with its defects.
///
/// A defect acts on a packet when the packet comes, in the order of the specification; what makes
/// it late adds up. A NAT stands between all other defects and the far end; a box that splits
/// connections stands between them and the near end.
#[derive(Debug)]
pub struct LabPath {
    rules: Vec<DefectRule>,
    seed: u64,
    memory: Vec<RuleMemory>,
    /// The open connections of each cap.
    open: Vec<u32>,
    flows: Flows,
    nat: Option<Nat>,
    departures: Departures,
    made: Vec<MadePacket>,
    scratch: Vec<u8>,
}

/// A packet that comes to the rules.
struct ArrivedPacket<'a> {
    direction: StreamDirection,
    /// As it came, before any NAT.
    original: &'a [u8],
    view: PacketView,
    touches: Vec<Touch>,
    is_own: bool,
}

impl LabPath {
    /// With these defects, and draws from this seed.
    pub fn new(defects: &Defects, seed: u64) -> Self {
        let rules = defects.rules().to_vec();
        let nat = rules.iter().enumerate().find_map(|(index, rule)| match rule.value {
            DefectValue::Nat(terms) => Some(Nat::new(terms, index, seed)),
            _ => None,
        });
        let split = rules.iter().enumerate().find(|(_, rule)| rule.kind == DefectKind::SplitTcp);
        let split = split.map(|(index, rule)| SplitTcp::new(rule.filter.clone(), index, seed));
        Self {
            memory: vec![RuleMemory::default(); rules.len()],
            open: vec![0; rules.len()],
            rules,
            seed,
            flows: Flows::default(),
            nat,
            departures: Departures::new(split),
            made: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// An IP packet arrives, without a link header and after segmentation offload was undone (see
    /// [`segments`](super::offload::segments)). `Up` is from the near end to the far end; `now`
    /// counts from the beginning of the lab and never decreases.
    pub fn receive(&mut self, direction: StreamDirection, packet: &[u8], now: Duration, output: &mut impl PathOutput) {
        self.run_due(now, output);
        let totals = self.departures.summary.lane(direction);
        totals.arrived += 1;
        totals.arrived_bytes += packet.len() as u64;
        let Some(view) = PacketView::of(packet) else {
            let touches = [Touch { defect: "unreadable", action: PacketAction::Dropped }];
            self.departures.refuse(direction, packet, now, &touches, output);
            return;
        };
        let packet = &packet[..view.length];
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        bytes.extend_from_slice(packet);
        if direction == StreamDirection::Down || !self.split(packet, &view, now, output) {
            self.translate_and_pass(direction, packet, &mut bytes, now, output);
        }
        self.scratch = bytes;
        self.serve_split(now, output);
    }

    /// When [`run_due`](Self::run_due) is to be called.
    pub fn next_due(&self) -> Option<Duration> {
        let nat = self.nat.as_ref().and_then(Nat::next_due);
        let split = self.departures.split.as_ref().and_then(SplitTcp::next_due);
        self.departures.waiting.next().into_iter().chain(nat).chain(split).min()
    }

    /// Sends what is due.
    pub fn run_due(&mut self, now: Duration, output: &mut impl PathOutput) {
        while let Some(leaving) = self.departures.waiting.due(now) {
            self.departures.send(&leaving, output);
        }
        while let Some(expired) = self.nat.as_mut().and_then(|nat| nat.expired(now)) {
            if let Some(flow) = self.flows.get(&expired.key).filter(|_| expired.resets) {
                let ends = StreamDirection::BOTH.into_iter();
                self.made
                    .extend(ends.filter_map(|end| reset(flow, end, DefectKind::Nat, "RST: the connection is idle")));
            }
            self.send_made(now, output);
            if let Some(nat) = &mut self.nat {
                nat.remove(&expired.key);
            }
        }
        if let Some(split) = &mut self.departures.split {
            split.run_due(now);
        }
        self.serve_split(now, output);
    }

    /// What passed so far.
    pub fn summary(&self) -> Summary {
        Summary { flows: self.flows.seen(), ..self.departures.summary.clone() }
    }

    fn translate_and_pass(
        &mut self,
        direction: StreamDirection,
        packet: &[u8],
        bytes: &mut Vec<u8>,
        now: Duration,
        output: &mut impl PathOutput,
    ) {
        let Some(view) = PacketView::of(bytes) else { return };
        let mut touches = Vec::new();
        if let Some(nat) = self.nat.as_mut().filter(|_| direction == StreamDirection::Down) {
            let translation = nat.inbound(bytes, &view, now);
            let is_refused = matches!(translation, Translation::Refused(_));
            touches.extend(nat_touches(&translation));
            if is_refused {
                self.departures.refuse(direction, packet, now, &touches, output);
                return;
            }
        }
        let Some(view) = PacketView::of(bytes) else { return };
        self.pass(ArrivedPacket { direction, original: packet, view, touches, is_own: false }, bytes, now, output);
    }

    /// A packet of the near end comes to the proxying box, if there is one; does that take it?
    fn split(&mut self, packet: &[u8], view: &PacketView, now: Duration, output: &mut impl PathOutput) -> bool {
        let Some(split) = &mut self.departures.split else { return false };
        let (defect, direction) = (DefectKind::SplitTcp.word(), StreamDirection::Up);
        match split.near_packet(packet, view, now) {
            SplitIntake::PassesBy => return false,
            SplitIntake::Full => {
                let touches = [Touch { defect, action: PacketAction::Dropped }];
                self.departures.refuse(direction, packet, now, &touches, output);
            }
            SplitIntake::Taken => {
                let touches = [Touch { defect, action: PacketAction::Changed("the box takes it".into()) }];
                let flow = self.flows.get(&FlowKey::of(view, packet, direction)).map(|flow| flow.id);
                self.departures.summary.touched(direction, &touches);
                let touches = &touches;
                output.note(&Decision { at: now, direction, is_own: false, flow, index: 0, touches, packet });
            }
        }
        true
    }

    /// What the box sends leaves for the near end, or goes through the rules to the far end.
    fn serve_split(&mut self, now: Duration, output: &mut impl PathOutput) {
        while let Some(split) = &mut self.departures.split {
            while let Some(bytes) = self.departures.to_split.pop_front() {
                split.far_packet(&bytes, now);
            }
            let sent = split.take_sent();
            if sent.is_empty() {
                return;
            }
            for (direction, mut bytes) in sent {
                let Some(view) = PacketView::of(&bytes) else { continue };
                self.departures.summary.lane(direction).made += 1;
                let action = PacketAction::Made("a segment of the box".into());
                let touches = vec![Touch { defect: DefectKind::SplitTcp.word(), action }];
                if direction == StreamDirection::Up {
                    let packet = bytes.clone();
                    let arrived = ArrivedPacket { direction, original: &packet, view, touches, is_own: true };
                    self.pass(arrived, &mut bytes, now, output);
                    continue;
                }
                let flow = self.flows.get(&FlowKey::of(&view, &bytes, direction)).map(|flow| flow.id);
                self.departures.summary.touched(direction, &touches);
                let (packet, touches) = (&bytes[..], &touches[..]);
                output.note(&Decision { at: now, direction, is_own: true, flow, index: 0, touches, packet });
                self.departures.send_from_split(packet, output);
            }
        }
    }

    fn pass(&mut self, arrived: ArrivedPacket<'_>, bytes: &mut Vec<u8>, now: Duration, output: &mut impl PathOutput) {
        let ArrivedPacket { direction, original, view, touches, is_own } = arrived;
        let Self { rules, seed, memory, open, flows, nat, departures, made, .. } = self;
        let key = FlowKey::of(&view, bytes, direction);
        let peer = view.source(bytes);
        let (flow, gone) = flows.of(key, &view, direction, now, |id| {
            let draws = Draws { seed: *seed, number: id.draw_number() };
            let is_chosen = |(index, rule): (usize, &DefectRule)| {
                let is_likely = |chance: u32| below(draws.bits(None, index, 0), 1_000_000) < u64::from(chance);
                rule.which.contain(id.number, Some(peer))
                    && rule.chance.is_none_or(|chance| is_likely(chance.millionths()))
            };
            rules.iter().enumerate().map(is_chosen).collect()
        });
        if let Some(mut gone) = gone {
            leave_caps(&mut gone, open);
        }
        let mut passing = Passing {
            direction,
            view,
            bytes,
            original,
            release: now,
            is_dropped: false,
            copies: 1,
            split: None,
            behind: 0,
            touches,
            made,
        };
        for (index, rule) in rules.iter().enumerate() {
            apply::rule(rule, index, &mut passing, flow, &mut memory[index], open, *seed);
            if passing.is_dropped {
                break;
            }
        }
        if flow.is_closed() {
            leave_caps(flow, open);
        }
        if let Some(nat) = nat.as_mut().filter(|_| direction == StreamDirection::Up && !passing.is_dropped) {
            let translation = nat.outbound(passing.bytes, &passing.view, &key, now);
            passing.touches.extend(nat_touches(&translation));
            passing.is_dropped = matches!(translation, Translation::Refused(_));
        }
        let waits = passing.release > now || passing.behind > 0;
        if !passing.is_dropped && waits && !departures.waiting.has_room(passing.bytes.len()) {
            passing.is_dropped = true;
            passing.touches.push(Touch { defect: "full", action: PacketAction::Dropped });
        }
        let index = flow.lanes[direction as usize].packets;
        let flow_id = Some(flow.id);
        let touches = &passing.touches;
        output.note(&Decision { at: now, direction, is_own, flow: flow_id, index, touches, packet: original });
        departures.summary.touched(direction, touches);
        match passing.is_dropped {
            true => departures.summary.lane(direction).dropped += 1,
            false => departures.leave(&passing, flow, now, output),
        }
        let releases = flow.lanes.map(|lane| lane.release);
        for each in made.iter_mut() {
            each.flow = flow_id;
            if !each.is_translated {
                each.release = each.release.max(releases[each.direction as usize]);
            }
        }
        self.send_made(now, output);
    }

    /// Sends the packets that the router made.
    fn send_made(&mut self, now: Duration, output: &mut impl PathOutput) {
        for mut each in std::mem::take(&mut self.made) {
            let view = PacketView::of(&each.bytes);
            if let (Some(nat), Some(view)) = (&mut self.nat, view)
                && each.direction == StreamDirection::Up
                && !each.is_translated
            {
                let key = FlowKey::of(&view, &each.bytes, StreamDirection::Up);
                if matches!(nat.outbound(&mut each.bytes, &view, &key, now), Translation::Refused(_)) {
                    continue;
                }
            }
            let (direction, packet) = (each.direction, &each.bytes[..]);
            let touches = [Touch { defect: each.defect.word(), action: PacketAction::Made(each.what) }];
            let flow = each.flow;
            output.note(&Decision { at: now, direction, is_own: true, flow, index: 0, touches: &touches, packet });
            self.departures.summary.touched(direction, &touches);
            self.departures.summary.lane(direction).made += 1;
            let leaving = Leaving { direction, bytes: each.bytes, copies: 1, split: None };
            self.departures.leave_at(each.release, leaving, now, output);
        }
    }
}

fn nat_touches(translation: &Translation) -> Option<Touch> {
    let defect = DefectKind::Nat.word();
    match translation {
        Translation::Done(None) => None,
        Translation::Done(Some((from, to))) => {
            Some(Touch { defect, action: PacketAction::Changed(format!("port {from} is {to}").into()) })
        }
        Translation::Refused(_) => Some(Touch { defect, action: PacketAction::Dropped }),
    }
}

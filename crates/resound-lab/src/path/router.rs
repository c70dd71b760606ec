//! The router.

use std::time::Duration;

use resound_faults::StreamDirection;
use resound_faults::draws::{Draws, below};

use super::apply::{self, LONGEST_HOLD, RuleMemory};
use super::connections::{leave_caps, reset};
use super::decision::{Decision, PacketAction, PathOutput, Touch};
use super::defects::Defects;
use super::flows::{Flow, FlowKey, Flows, HeldBack};
use super::fragments;
use super::kind::DefectKind;
use super::nat::{Nat, Translation};
use super::packet::PacketView;
use super::passing::{MadePacket, Passing};
use super::rule::{DefectRule, DefectValue};
use super::summary::Summary;
use super::waiting::{Leaving, WaitingPackets};

/// The packets of one flow and direction that wait at once until others have overtaken them.
const MOST_HELD_BACK: usize = 1024;

/// The router between the near end and the far end, with its defects.
///
/// A defect acts on a packet when the packet comes, in the order of the specification; what makes
/// it late adds up. A NAT stands between all other defects and the far end.
#[derive(Debug)]
pub struct Path {
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

/// Where packets leave, now or later.
#[derive(Debug, Default)]
struct Departures {
    waiting: WaitingPackets,
    summary: Summary,
    /// Of the next packet that is fragmented and has no number of its own.
    identification: u16,
}

impl Path {
    /// With these defects, and draws from this seed.
    pub fn new(defects: &Defects, seed: u64) -> Self {
        let rules = defects.rules().to_vec();
        let nat = rules.iter().enumerate().find_map(|(index, rule)| match rule.value {
            DefectValue::Nat(terms) => Some(Nat::new(terms, index, seed)),
            _ => None,
        });
        Self {
            memory: vec![RuleMemory::default(); rules.len()],
            open: vec![0; rules.len()],
            rules,
            seed,
            flows: Flows::default(),
            nat,
            departures: Departures::default(),
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
        self.translate_and_pass(direction, packet, &mut bytes, now, output);
        self.scratch = bytes;
    }

    /// When [`run_due`](Self::run_due) is to be called.
    pub fn next_due(&self) -> Option<Duration> {
        let nat = self.nat.as_ref().and_then(Nat::next_due);
        self.departures.waiting.next().into_iter().chain(nat).min()
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
        self.pass(direction, (packet, bytes, view), touches, now, output);
    }

    fn pass(
        &mut self,
        direction: StreamDirection,
        (original, bytes, view): (&[u8], &mut Vec<u8>, PacketView),
        touches: Vec<Touch>,
        now: Duration,
        output: &mut impl PathOutput,
    ) {
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
        output.note(&Decision { at: now, direction, is_own: false, flow: flow_id, index, touches, packet: original });
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

impl Departures {
    /// A packet of no flow is dropped.
    fn refuse(
        &mut self,
        direction: StreamDirection,
        packet: &[u8],
        now: Duration,
        touches: &[Touch],
        output: &mut impl PathOutput,
    ) {
        self.summary.touched(direction, touches);
        self.summary.lane(direction).dropped += 1;
        output.note(&Decision { at: now, direction, is_own: false, flow: None, index: 0, touches, packet });
    }

    /// A packet leaves when its time has come, and those that waited for it leave behind it.
    fn leave(&mut self, passing: &Passing<'_>, flow: &mut Flow, now: Duration, output: &mut impl PathOutput) {
        let Passing { direction, release, copies, split, behind, .. } = *passing;
        let held = &mut flow.held[direction as usize];
        let leaving = || Leaving { direction, bytes: passing.bytes.clone(), copies, split };
        if behind > 0 && held.len() < MOST_HELD_BACK {
            let place = self.wait(release.saturating_add(LONGEST_HOLD), leaving());
            held.push(HeldBack { place, release, behind });
            return;
        }
        let lane = &mut flow.lanes[direction as usize];
        lane.release = lane.release.max(release);
        if release <= now {
            self.emit(direction, passing.bytes, (copies, split), output);
        } else {
            self.wait(release, leaving());
        }
        held.iter_mut().for_each(|each| each.behind -= 1);
        while let Some(index) = held.iter().position(|each| each.behind == 0) {
            let each = held.remove(index);
            // Its longest wait may be over.
            if let Some(leaving) = self.waiting.take(each.place) {
                self.leave_at(each.release.max(release), leaving, now, output);
            }
        }
    }

    fn leave_at(&mut self, time: Duration, leaving: Leaving, now: Duration, output: &mut impl PathOutput) {
        if time <= now {
            self.send(&leaving, output);
        } else {
            self.wait(time, leaving);
        }
    }

    fn wait(&mut self, time: Duration, leaving: Leaving) -> (Duration, u64) {
        let place = self.waiting.add(time, leaving);
        self.summary.most_waiting = self.summary.most_waiting.max(self.waiting.bytes());
        place
    }

    fn send(&mut self, leaving: &Leaving, output: &mut impl PathOutput) {
        self.emit(leaving.direction, &leaving.bytes, (leaving.copies, leaving.split), output);
    }

    fn emit(
        &mut self,
        direction: StreamDirection,
        bytes: &[u8],
        (copies, split): (u32, Option<u16>),
        output: &mut impl PathOutput,
    ) {
        for _ in 0..copies {
            let totals = self.summary.lane(direction);
            let mut each = |part: &[u8]| {
                totals.left += 1;
                totals.left_bytes += part.len() as u64;
                output.send(direction, part);
            };
            match split {
                Some(most) => {
                    self.identification = self.identification.wrapping_add(1);
                    fragments::split(bytes, most, self.identification, &mut each);
                }
                None => each(bytes),
            }
        }
    }
}

//! Does a rule hit a packet, and what does it do then?

use resound_faults::draws::Draws;
use resound_faults::{StreamDirection, Trigger};

use super::connections;
use super::corruption;
use super::decision::PacketAction;
use super::flows::Flow;
use super::headers;
use super::kind::DefectKind;
use super::packet::SYN;
use super::passing::Passing;
use super::rule::{DefectRule, DefectValue};
use super::timing::{self, LinkTimes};

/// What a rule remembers beyond flows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuleMemory {
    pub(super) links: [LinkTimes; 2],
}

/// Has the moment of a rule come with this packet?
fn has_begun(trigger: Trigger, flow: &Flow, direction: StreamDirection) -> bool {
    let lane = &flow.lanes[direction as usize];
    match trigger {
        Trigger::Offset(offset) => {
            // A FIN in the place of the byte counts as one.
            lane.bytes > offset || (lane.bytes == offset && lane.tcp.has_fin)
        }
        Trigger::Packet(number) => lane.packets >= number,
        Trigger::Time(time) => flow.last.saturating_sub(flow.first) >= time,
        Trigger::Idle(time) => flow.gap >= time,
        Trigger::Connect | Trigger::Message(_) => true,
    }
}

/// Applies one rule to a packet.
pub(super) fn rule(
    rule: &DefectRule,
    index: usize,
    passing: &mut Passing<'_>,
    flow: &mut Flow,
    memory: &mut RuleMemory,
    open: &mut [u32],
    seed: u64,
) {
    let direction = passing.direction;
    if !rule.concerns(direction) || !flow.chosen[index] {
        return;
    }
    if let Some(when) = rule.when
        && !flow.begun[index]
    {
        flow.begun[index] = has_begun(when, flow, direction);
        if !flow.begun[index] {
            return;
        }
    }
    let is_for_syns = rule.kind == DefectKind::SynLoss;
    if !rule.filter.fits(&passing.view) || is_for_syns && !passing.view.tcp.is_some_and(|tcp| tcp.has(SYN)) {
        return;
    }
    let draws = Draws { seed, number: flow.id.draw_number() };
    let bits = draws.bits(Some(direction), index, flow.lanes[direction as usize].packets);
    if let Some(odds) = rule.odds
        && !odds.hits(&mut flow.bad[index][direction as usize], bits)
    {
        return;
    }
    let link = &mut memory.links[direction as usize];
    act(rule, index, passing, flow, (link, open), bits);
}

fn act(
    rule: &DefectRule,
    index: usize,
    passing: &mut Passing<'_>,
    flow: &mut Flow,
    (link, open): (&mut LinkTimes, &mut [u32]),
    bits: u64,
) {
    let kind = rule.kind;
    match (kind, rule.value) {
        (DefectKind::Loss | DefectKind::SynLoss | DefectKind::Blackhole, _) => passing.drop_for(kind),
        (DefectKind::Duplicate, _) => {
            passing.copies += 1;
            passing.touch(kind, PacketAction::Copied(1));
        }
        (DefectKind::Reorder, DefectValue::Behind(count)) => {
            passing.behind = passing.behind.max(count);
            passing.touch(kind, PacketAction::Overtaken(count));
        }
        (DefectKind::CorruptChecksum, _) => corruption::checksum(passing, kind, bits),
        (DefectKind::CorruptPayload, _) => corruption::payload(passing, kind, bits),
        (DefectKind::Delay, DefectValue::Varied { middle, by, shape }) => {
            timing::delay(passing, link, bits, (middle, by, shape));
        }
        (DefectKind::Jitter, DefectValue::Time(most)) => timing::jitter(passing, bits, most),
        (DefectKind::Rate, DefectValue::Rate { bytes, queue }) => timing::rate(passing, link, bytes, queue),
        (DefectKind::Mtu, DefectValue::Bytes { most, is_silent }) => headers::mtu(passing, most, is_silent),
        (DefectKind::Fragment, DefectValue::Bytes { most, .. }) => headers::fragment(passing, kind, most),
        (DefectKind::MssClamp, DefectValue::Bytes { most, .. }) => headers::clamp_mss(passing, most),
        (DefectKind::Strip | DefectKind::OneSidedStrip, DefectValue::TcpOptions(options)) => {
            headers::strip(passing, kind, options);
        }
        (DefectKind::DscpBleach, _) => headers::bleach_dscp(passing),
        (DefectKind::Cap, DefectValue::Cap { count, resets }) => {
            connections::cap(passing, flow, index, &mut open[index], count, resets);
        }
        (DefectKind::AsymmetricConntrack, _) => connections::one_direction(passing),
        (DefectKind::RstInject, DefectValue::ResetTo(only)) => {
            connections::inject_reset(passing, flow, index, only);
        }
        (DefectKind::EatFin, _) => headers::eat_fin(passing),
        // The router keeps them, because they are before and after all rules.
        (DefectKind::Nat | DefectKind::SplitTcp, _) => {}
        _ => {}
    }
}

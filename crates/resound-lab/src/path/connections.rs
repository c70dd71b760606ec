//! Boxes that know connections: caps, firewalls, forged resets.

use std::borrow::Cow;

use resound_faults::StreamDirection;

use super::flows::Flow;
use super::kind::DefectKind;
use super::made::MadeSegment;
use super::packet::{ACK, RST};
use super::passing::{MadePacket, Passing};

/// A RST to one end of a connection, as the other end would send it now.
pub(super) fn reset(
    flow: &Flow,
    to: StreamDirection,
    defect: DefectKind,
    what: impl Into<Cow<'static, str>>,
) -> Option<MadePacket> {
    let (near, far) = flow.key.addresses?;
    let (near, far) = ((near, flow.key.near_port), (far, flow.key.far_port));
    let (from, target) = if to == StreamDirection::Up { (near, far) } else { (far, near) };
    let (own, other) = (&flow.lanes[to as usize].tcp, &flow.lanes[to.opposite() as usize].tcp);
    // An end that has sent nothing yet answers a SYN: with the sequence number 0 (RFC 9293).
    let segment = MadeSegment {
        from,
        to: target,
        seq: if own.has_sent { own.next } else { 0 },
        ack: other.next,
        flags: RST | ACK,
        window: 0,
        options: &[],
        payload: &[],
    };
    Some(MadePacket {
        defect,
        what: what.into(),
        direction: to,
        bytes: segment.packet(),
        flow: Some(flow.id),
        release: flow.lanes[to as usize].release,
        is_translated: false,
    })
}

/// Once in a connection, a RST to each end or to one.
pub(super) fn inject_reset(passing: &mut Passing<'_>, flow: &mut Flow, index: usize, only: Option<StreamDirection>) {
    if passing.view.tcp.is_none() || flow.done.contains(&index) {
        return;
    }
    flow.done.push(index);
    let ends = StreamDirection::BOTH.into_iter().filter(|end| only.is_none_or(|only| only == *end));
    for end in ends {
        let name =
            if end == StreamDirection::Up { "a forged RST to the far end" } else { "a forged RST to the near end" };
        passing.made.extend(reset(flow, end, DefectKind::RstInject, name));
    }
}

/// Sees SYNs in its direction and none of the answers, so that all else belongs to no connection.
pub(super) fn one_direction(passing: &mut Passing<'_>) {
    if passing.view.tcp.is_some_and(|tcp| !tcp.opens()) {
        passing.drop_for(DefectKind::AsymmetricConntrack);
    }
}

/// Lets in connections up to a number.
pub(super) fn cap(passing: &mut Passing<'_>, flow: &mut Flow, index: usize, open: &mut u32, most: u32, resets: bool) {
    let Some(tcp) = passing.view.tcp else { return };
    if flow.caps.iter().any(|(cap, _)| *cap == index) {
        return;
    }
    if tcp.opens() && *open < most {
        *open += 1;
        flow.caps.push((index, true));
        return;
    }
    passing.drop_for(DefectKind::Cap);
    if tcp.opens() && resets {
        let to = passing.direction.opposite();
        passing.made.extend(reset(flow, to, DefectKind::Cap, "RST: too many connections"));
    }
}

/// A connection counts for its caps no more.
pub(super) fn leave_caps(flow: &mut Flow, open: &mut [u32]) {
    for (index, counts) in &mut flow.caps {
        if std::mem::take(counts) {
            open[*index] = open[*index].saturating_sub(1);
        }
    }
}

//! A packet on its way through the rules.

use std::borrow::Cow;
use std::time::Duration;

use resound_faults::StreamDirection;

use super::checksum;
use super::decision::{PacketAction, Touch};
use super::flow_id::FlowId;
use super::kind::DefectKind;
use super::packet::PacketView;

/// A packet that the router made, and that leaves behind those of its flow.
#[derive(Debug)]
pub(super) struct MadePacket {
    pub(super) defect: DefectKind,
    pub(super) what: Cow<'static, str>,
    pub(super) direction: StreamDirection,
    pub(super) bytes: Vec<u8>,
    pub(super) flow: Option<FlowId>,
    /// When it leaves at the earliest.
    pub(super) release: Duration,
    /// Are its addresses those of the far side of a NAT already?
    pub(super) is_translated: bool,
}

#[derive(Debug)]
pub(super) struct Passing<'a> {
    pub(super) direction: StreamDirection,
    pub(super) view: PacketView,
    pub(super) bytes: &'a mut Vec<u8>,
    /// As it came, before any NAT.
    pub(super) original: &'a [u8],
    /// When it leaves.
    pub(super) release: Duration,
    pub(super) is_dropped: bool,
    /// How often it leaves.
    pub(super) copies: u32,
    /// In fragments of at most this many bytes.
    pub(super) split: Option<u16>,
    /// It leaves after this many later packets of its flow.
    pub(super) behind: u32,
    pub(super) touches: Vec<Touch>,
    pub(super) made: &'a mut Vec<MadePacket>,
}

impl Passing<'_> {
    pub(super) fn touch(&mut self, kind: DefectKind, action: PacketAction) {
        self.touches.push(Touch { defect: kind.word(), action });
    }

    pub(super) fn drop_for(&mut self, kind: DefectKind) {
        self.is_dropped = true;
        self.touch(kind, PacketAction::Dropped);
    }

    /// Changes bytes, mends the checksums, and reads the headers anew.
    pub(super) fn change(
        &mut self,
        kind: DefectKind,
        what: impl Into<Cow<'static, str>>,
        change: impl FnOnce(&mut [u8]),
    ) {
        checksum::change(self.bytes, &self.view, change);
        self.view = PacketView::of(self.bytes).unwrap_or(self.view);
        self.touch(kind, PacketAction::Changed(what.into()));
    }
}

//! One direction: what its sender sent, changed by the faults of its bytes, waiting to leave.
//!
//! Everything that an offset decides is decided here, in the order of the bytes: so it does not
//! matter how they arrived, or when they are polled.

mod changes;

use std::time::Instant;

use crate::connection::held::{Exchange, Repetition, bytes_of};
use crate::connection::outlet::Outlet;
use crate::connection::queue::{Item, Mark, MarkAction, TimedQueue};
use crate::connection::stamps::Stamps;
use crate::connection::terms::{End, OwnRule, QUEUE_BYTES};
use crate::direction::StreamDirection;
use crate::draws::{Draws, below, sequel};
use crate::kind::FaultKind;
use crate::rule::Trigger;

/// The bytes of which one may be corrupted by chance.
const CORRUPTED_BLOCK: u64 = 1024;
/// The longest ClientHello that one segment can carry.
pub(super) const HELLO_SEGMENT: u64 = 1400;
/// The bytes that show a ClientHello and its length: the record's header, and the message's type.
const HELLO_START: usize = 6;

/// What becomes of the sender's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Intake {
    /// They are passed on.
    Pass,
    /// They are discarded; a FIN and a RST are passed on.
    Drop,
    /// They are discarded, and so is a FIN; a RST is passed on.
    Ended,
    /// Nothing is passed on any more.
    Void,
}

/// What happens at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// The rule begins.
    Begin,
    /// Chance decides whether a byte of the next block is corrupted.
    Block,
    /// The byte here is corrupted.
    Flip,
}

#[derive(Debug)]
pub(super) struct DirectionLane {
    pub(super) direction: StreamDirection,
    draws: Draws,
    /// The sender's bytes.
    pub(super) offset: u64,
    /// The number of the line that the next byte belongs to, from 1.
    message: u64,
    /// What happens at offsets, in their order.
    at_offsets: Vec<(u64, usize, Happening)>,
    /// What happens with the first byte of a line.
    at_messages: Vec<(u64, usize)>,
    /// Rules that wait for a FIN or a RST.
    pub(super) at_end: Vec<usize>,
    /// The rule about a ClientHello, and the bytes that show one.
    hello: Option<(usize, Vec<u8>)>,
    pub(super) intake: Intake,
    /// An ending waits in the queue: what comes after it does not count.
    is_ending: bool,
    pub(super) fin_at: Option<Instant>,
    /// The sender is gone by RST.
    pub(super) is_gone: bool,
    pub(super) last_input: Instant,
    exchange: Option<Exchange>,
    repetition: Option<Repetition>,
    pub(super) stamps: Stamps,
    pub(super) queue: TimedQueue,
    pub(super) outlet: Outlet,
    pub(super) limit: usize,
    pub(super) takes_everything: bool,
    pub(super) end: End,
    /// The end that the last poll returned.
    pub(super) known_end: End,
}

impl DirectionLane {
    pub(super) fn new(direction: StreamDirection, draws: Draws, now: Instant) -> Self {
        Self {
            direction,
            draws,
            offset: 0,
            message: 1,
            at_offsets: Vec::new(),
            at_messages: Vec::new(),
            at_end: Vec::new(),
            hello: None,
            intake: Intake::Pass,
            is_ending: false,
            fin_at: None,
            is_gone: false,
            last_input: now,
            exchange: None,
            repetition: None,
            stamps: Stamps::new(draws, direction),
            queue: TimedQueue::default(),
            outlet: Outlet::new(draws, direction),
            limit: QUEUE_BYTES,
            takes_everything: false,
            end: End::Open,
            known_end: End::Open,
        }
    }

    /// The rule begins at an offset or a line that is still to come.
    pub(super) fn schedule(&mut self, own: usize, trigger: Trigger) {
        match trigger {
            Trigger::Offset(offset) => self.insert(offset, own, Happening::Begin),
            Trigger::Message(number) => self.at_messages.push((number, own)),
            Trigger::Connect | Trigger::Packet(_) | Trigger::Time(_) | Trigger::Idle(_) => {}
        }
    }

    /// The rule begins with the next byte.
    pub(super) fn schedule_next(&mut self, own: usize) {
        self.insert(self.offset, own, Happening::Begin);
    }

    pub(super) fn schedule_blocks(&mut self, own: usize) {
        self.insert(0, own, Happening::Block);
    }

    pub(super) fn watch_hello(&mut self, own: usize) {
        self.hello = Some((own, Vec::with_capacity(HELLO_START)));
    }

    fn insert(&mut self, offset: u64, own: usize, happening: Happening) {
        let entry = (offset, own, happening);
        let at = self.at_offsets.partition_point(|each| *each <= entry);
        self.at_offsets.insert(at, entry);
    }

    /// No byte of this direction is passed on any more.
    pub(super) fn finish(&mut self, end: End) {
        self.end = end;
        self.intake = Intake::Void;
        self.is_ending = true;
        self.queue.clear();
        self.exchange = None;
        self.repetition = None;
    }

    /// The receiver gets a FIN after what waits for it.
    pub(super) fn close_behind(&mut self, now: Instant) {
        if self.end.is_final() {
            return;
        }
        self.flush(now);
        self.intake = Intake::Void;
        self.is_ending = true;
        self.queue.push_mark(Mark { action: MarkAction::Close, offset: self.offset }, now);
    }

    /// From here on nothing is passed on.
    pub(super) fn take_all(&mut self, own: usize, now: Instant) {
        self.flush(now);
        self.note(own, now);
        self.intake = Intake::Void;
    }

    /// The receiver gets a FIN after what waits for it.
    pub(super) fn half_close(&mut self, own: usize, now: Instant) {
        if self.intake < Intake::Ended {
            self.act(own, now);
            self.intake = Intake::Ended;
        }
    }

    /// The receiver gets a FIN after what its sender has sent by now.
    pub(super) fn finish_first(&mut self, now: Instant) {
        if self.intake < Intake::Ended {
            self.flush(now);
            self.intake = Intake::Ended;
            self.push_end(MarkAction::Fin, now);
        }
    }

    /// The receiver takes nothing more, and learns of no end.
    pub(super) fn leave_unread(&mut self) {
        if !self.end.is_final() {
            self.finish(self.end);
        }
    }

    fn note(&mut self, own: usize, now: Instant) {
        self.mark(MarkAction::Note(own), now);
    }

    fn act(&mut self, own: usize, now: Instant) {
        self.mark(MarkAction::Act(own), now);
    }

    fn mark(&mut self, action: MarkAction, now: Instant) {
        let mark = Mark { action, offset: self.offset };
        match &mut self.exchange {
            Some(exchange) if matches!(action, MarkAction::Note(_)) => exchange.notes.push(mark),
            _ => {
                self.flush(now);
                self.queue.push_mark(mark, now);
            }
        }
    }

    /// The sender's bytes.
    pub(super) fn received(&mut self, now: Instant, mut bytes: &[u8], rules: &[OwnRule]) {
        while !bytes.is_empty() && !self.is_ending {
            let flipped = self.begin_due(now, rules, true);
            if self.is_ending {
                break;
            }
            let run = if flipped == 0 { self.run(bytes) } else { 1 };
            let (run, rest) = bytes.split_at(run);
            self.watch_for_hello(run);
            match flipped {
                0 => self.pass(now, run),
                mask => self.pass(now, &[run[0] ^ mask]),
            }
            self.advance(run);
            bytes = rest;
        }
    }

    /// How many bytes come before the next thing that happens; at least one.
    fn run(&self, bytes: &[u8]) -> usize {
        let due = self.at_offsets.first().map_or(u64::MAX, |(offset, ..)| offset - self.offset);
        // What a ClientHello's start decides comes after that start.
        let hello = if self.hello.is_some() { HELLO_START as u64 } else { u64::MAX };
        let line = match self.at_messages.is_empty() {
            true => None,
            false => bytes.iter().position(|byte| *byte == b'\n'),
        };
        let run = usize::try_from(due.min(hello)).unwrap_or(usize::MAX);
        run.min(line.map_or(usize::MAX, |at| at + 1)).clamp(1, bytes.len())
    }

    fn advance(&mut self, bytes: &[u8]) {
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        if !self.at_messages.is_empty() && bytes.last() == Some(&b'\n') {
            self.message = self.message.saturating_add(1);
        }
    }

    /// What begins with the next byte, or with the FIN in its place; and the bits of that byte that
    /// are inverted.
    fn begin_due(&mut self, now: Instant, rules: &[OwnRule], is_byte: bool) -> u8 {
        let mut due = Vec::new();
        while let Some((_, own, happening)) = self.at_offsets.first().copied().filter(|due| due.0 <= self.offset) {
            self.at_offsets.remove(0);
            match happening {
                Happening::Block => self.draw_block(own, rules),
                _ => due.push((own, happening)),
            }
        }
        let message = self.message;
        if is_byte {
            due.extend(
                self.at_messages
                    .extract_if(.., |(number, _)| *number <= message)
                    .map(|(_, own)| (own, Happening::Begin)),
            );
        }
        due.sort_unstable();
        let mut flipped = 0;
        for (own, happening) in due {
            let is_flip = happening == Happening::Flip || rules[own].kind() == FaultKind::Corrupt;
            if self.is_ending {
                break;
            }
            if !is_flip {
                self.begin(own, now, rules, is_byte);
            } else if is_byte && self.intake == Intake::Pass {
                flipped ^= 1_u8 << (self.draws.bits(Some(self.direction), rules[own].index, self.offset) % 8);
                self.note(own, now);
            }
        }
        flipped
    }

    /// Draws for the block that begins here, and comes back for the next.
    fn draw_block(&mut self, own: usize, rules: &[OwnRule]) {
        let chance = rules[own].rule.chance.map_or(0, |chance| u64::from(chance.millionths()));
        let bits = self.draws.bits(Some(self.direction), rules[own].index, self.offset);
        if below(bits, 1_000_000) < chance {
            self.insert(self.offset + below(sequel(bits, 0), CORRUPTED_BLOCK), own, Happening::Flip);
        }
        self.insert(self.offset.saturating_add(CORRUPTED_BLOCK), own, Happening::Block);
    }

    /// A rule begins in front of the next byte.
    fn begin(&mut self, own: usize, now: Instant, rules: &[OwnRule], is_byte: bool) {
        use FaultKind as K;
        let OwnRule { index, rule } = rules[own];
        let passes = self.intake == Intake::Pass;
        match rule.effect.kind {
            K::Delay | K::Coalesce => {
                self.note(own, now);
                self.stamps.begin(index, rule.effect);
            }
            K::EatFin | K::CloseOnEof | K::FinToRst | K::RstToFin | K::RstEatsTail => self.at_end.push(own),
            K::Truncate if passes && is_byte => {
                self.flush(now);
                self.note(own, now);
                self.intake = Intake::Drop;
            }
            K::Duplicate if passes && is_byte => {
                self.repeat_if(now, |_| true);
                self.note(own, now);
                self.repetition = Some(Repetition { left: bytes_of(rule.effect.size()), bytes: Vec::new() });
            }
            K::Swap if passes && is_byte && self.exchange.is_none() => {
                let block = bytes_of(rule.effect.size());
                let mark = Mark { action: MarkAction::Note(own), offset: self.offset };
                self.exchange = Some(Exchange { block, bytes: Vec::new(), mark, notes: Vec::new() });
            }
            K::Truncate | K::Duplicate | K::Swap => {}
            K::OneWay => self.take_all(own, now),
            // In the place of the sender's own FIN it would change nothing.
            K::HalfClose if is_byte => self.half_close(own, now),
            K::HalfClose => {}
            K::Reset | K::ResetOneSide | K::Close | K::Silent | K::SplitHelloDrop => {
                self.act(own, now);
                self.is_ending = true;
            }
            _ => self.act(own, now),
        }
    }

    fn watch_for_hello(&mut self, bytes: &[u8]) {
        let Some((own, start)) = &mut self.hello else { return };
        start.extend(bytes.iter().take(HELLO_START - start.len()));
        if start.len() < HELLO_START {
            return;
        }
        let length = u64::from(u16::from_be_bytes([start[3], start[4]])) + 5;
        let is_hello = start[0] == 22 && start[1] == 3 && start[5] == 1;
        let own = *own;
        self.hello = None;
        if is_hello && length > HELLO_SEGMENT {
            self.insert(HELLO_SEGMENT, own, Happening::Begin);
        }
    }

    /// The sender's FIN. What begins at its offset has begun.
    pub(super) fn received_fin(&mut self, now: Instant, rules: &[OwnRule]) {
        self.fin_at = Some(now);
        self.begin_due(now, rules, false);
        if self.is_ending || matches!(self.intake, Intake::Ended | Intake::Void) {
            return;
        }
        self.flush(now);
        let fin_rules = [FaultKind::EatFin, FaultKind::CloseOnEof, FaultKind::FinToRst];
        let action = match self.end_rule(rules, &fin_rules) {
            Some(own) => MarkAction::Act(own),
            None => MarkAction::Fin,
        };
        self.intake = Intake::Ended;
        self.push_end(action, now);
    }

    /// The sender's RST, or its failure.
    pub(super) fn received_reset(&mut self, now: Instant, rules: &[OwnRule]) {
        self.is_gone = true;
        if self.is_ending || self.intake == Intake::Void {
            return;
        }
        let action = match self.end_rule(rules, &[FaultKind::RstToFin, FaultKind::RstEatsTail]) {
            Some(own) if rules[own].kind() == FaultKind::RstEatsTail => {
                self.queue.clear();
                self.exchange = None;
                self.repetition = None;
                MarkAction::Act(own)
            }
            Some(own) => MarkAction::Act(own),
            None => MarkAction::Rst,
        };
        self.flush(now);
        self.intake = Intake::Void;
        self.is_ending = true;
        self.push_end(action, now);
    }

    /// The first rule of these kinds that waits.
    fn end_rule(&self, rules: &[OwnRule], kinds: &[FaultKind]) -> Option<usize> {
        self.at_end.iter().copied().filter(|own| kinds.contains(&rules[*own].kind())).min()
    }

    fn push_end(&mut self, action: MarkAction, now: Instant) {
        let ready = self.stamps.delayed(now, self.offset);
        self.queue.push_mark(Mark { action, offset: self.offset }, ready);
    }

    /// Could the next poll give something, or a new end?
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        if self.end != self.known_end {
            return true;
        }
        match self.queue.front() {
            Some((ready, item)) if ready <= now => match item {
                Item::Mark(_) => self.outlet.stalled_until(now).is_none(),
                Item::Bytes(_) => self.outlet.allowed(now).is_ok(),
            },
            _ => false,
        }
    }

    /// Could a later poll give something, or a new end, if nothing more came?
    pub(super) fn holds(&self) -> bool {
        self.end != self.known_end || self.queue.front().is_some()
    }

    /// When the next poll could give something that a poll `now` could not.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.outlet.stalled_until(now) {
            return Some(until);
        }
        match self.queue.front()? {
            (ready, _) if ready > now => Some(ready),
            (_, Item::Bytes(_)) => self.outlet.allowed(now).err(),
            _ => None,
        }
    }
}

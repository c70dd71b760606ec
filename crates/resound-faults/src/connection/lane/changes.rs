//! Bytes that are sent twice or change places, and how bytes get into the queue.

use std::time::Instant;

use super::{DirectionLane, Intake};
use crate::connection::held::{Repetition, bytes_of};

impl DirectionLane {
    /// Bytes that no fault of an offset stands between.
    pub(super) fn pass(&mut self, now: Instant, bytes: &[u8]) {
        if self.intake != Intake::Pass {
            return;
        }
        let Some(exchange) = &mut self.exchange else {
            self.pass_on(now, self.offset, bytes);
            return;
        };
        let (own, rest) = bytes.split_at(bytes.len().min(2 * exchange.block - exchange.bytes.len()));
        exchange.bytes.extend(own);
        if exchange.bytes.len() < 2 * exchange.block {
            return;
        }
        let Some(exchange) = self.exchange.take() else { return };
        self.queue.push_mark(exchange.mark, now);
        let (first, second) = exchange.bytes.split_at(exchange.block);
        self.pass_on(now, exchange.mark.offset, second);
        self.pass_on(now, exchange.mark.offset, first);
        exchange.notes.into_iter().for_each(|mark| self.queue.push_mark(mark, now));
        self.pass_on(now, self.offset + own.len() as u64, rest);
    }

    /// Bytes in the order in which they leave; `offset` is that of the first.
    fn pass_on(&mut self, now: Instant, offset: u64, bytes: &[u8]) {
        let mut rest = bytes;
        if let Some(repetition) = &mut self.repetition {
            let (own, behind) = rest.split_at(rest.len().min(repetition.left));
            repetition.bytes.extend(own);
            repetition.left -= own.len();
            self.enqueue(now, offset, own);
            rest = behind;
            self.repeat_if(now, |repetition| repetition.left == 0);
        }
        self.enqueue(now, offset + (bytes.len() - rest.len()) as u64, rest);
    }

    pub(super) fn repeat_if(&mut self, now: Instant, is_due: impl Fn(&Repetition) -> bool) {
        if let Some(repetition) = self.repetition.take_if(|repetition| is_due(repetition)) {
            self.enqueue(now, self.offset, &repetition.bytes);
        }
    }

    fn enqueue(&mut self, now: Instant, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let run = bytes_of(self.stamps.run(offset)).min(bytes.len());
            let ready = self.stamps.ready(now, offset);
            self.queue.push(&bytes[..run], ready, now);
            offset += run as u64;
            bytes = &bytes[run..];
        }
    }

    /// Bytes that wait for more go on as they are; of bytes that are sent twice, those that came.
    pub(crate) fn flush(&mut self, now: Instant) {
        self.pass_blocks(now);
        self.repeat_if(now, |_| true);
    }

    /// Blocks to swap that are not whole go on as they are.
    pub(crate) fn pass_blocks(&mut self, now: Instant) {
        if let Some(exchange) = self.exchange.take() {
            self.pass_on(now, exchange.mark.offset, &exchange.bytes);
            exchange.notes.into_iter().for_each(|mark| self.queue.push_mark(mark, now));
        }
    }
}

//! What the rules do: where a connection opens, where a mark is reached, and where a time has come.

use std::time::Instant;

use super::ConnectionFaults;
use super::answers::DueFault;
use super::lane::{DirectionLane, Intake};
use super::queue::{Mark, MarkAction};
use super::stamps::later;
use super::terms::{ClientAdmission, End, MOST_HELD};
use super::timers::TimerKind;
use crate::amounts::size_text;
use crate::direction::StreamDirection;
use crate::event::FaultEvent;
use crate::kind::{Begins, FaultKind};
use crate::rule::Trigger;

impl ConnectionFaults {
    /// Schedules the rules, and begins those that begin with the connection.
    pub(super) fn open(&mut self) {
        let admitting = self.admitting();
        for own in 0..self.rules.len() {
            let rule = self.rules[own].rule;
            let facts = rule.effect.kind.facts();
            match rule.effect.kind {
                kind if kind.is_of_admission() && Some(own) != admitting => continue,
                FaultKind::IdleClose | FaultKind::IdleReset | FaultKind::IdleSilent => {
                    self.timers.0.push((own, TimerKind::Idle(rule.effect.time())));
                    continue;
                }
                FaultKind::HalfClosedIdle => {
                    self.timers.0.push((own, TimerKind::HalfClosed(rule.effect.time())));
                    continue;
                }
                FaultKind::SplitHelloDrop => {
                    self.lane_mut(StreamDirection::Up).watch_hello(own);
                    continue;
                }
                _ => {}
            }
            let default = match facts.begins {
                Begins::OnlyConnect | Begins::Connect => Trigger::Connect,
                Begins::FirstByte | Begins::OnBytes => Trigger::Offset(0),
            };
            match rule.when.unwrap_or(default) {
                Trigger::Connect => self.begin_now(own),
                Trigger::Time(time) => self.timers.0.push((own, TimerKind::Until(later(self.opened, time)))),
                Trigger::Idle(time) => self.timers.0.push((own, TimerKind::Idle(time))),
                trigger => self.schedule(own, trigger),
            }
        }
    }

    /// The one rule that decides what becomes of the client: the first that does not serve it, or
    /// else the first that serves it late.
    fn admitting(&self) -> Option<usize> {
        let kind = |own: &usize| self.rules[*own].rule.effect.kind;
        let mut all = (0..self.rules.len()).filter(|own| kind(own).is_of_admission());
        let first = all.next()?;
        let refuses = |own: &usize| kind(own) != FaultKind::AcceptLate;
        std::iter::once(first).chain(all).find(refuses).or(Some(first))
    }

    fn schedule(&mut self, own: usize, trigger: Trigger) {
        let rule = self.rules[own].rule;
        let is_of_server = rule.effect.kind.is_of_server();
        for lane in self.lanes.iter_mut().filter(|lane| rule.concerns(lane.direction)) {
            // A server counts what its client sends.
            if is_of_server && lane.direction == StreamDirection::Down {
                continue;
            }
            match rule.corrupts_blocks() {
                true => lane.schedule_blocks(own),
                false => lane.schedule(own, trigger),
            }
        }
    }

    /// Brings the state to this time: what was due before it happens first.
    pub(super) fn advance(&mut self, now: Instant) {
        let now = self.now.max(now);
        while let Some((at, index)) = self.next_timer().filter(|(at, _)| *at <= now) {
            self.now = self.now.max(at);
            let (own, _) = self.timers.0.remove(index);
            self.begin_now(own);
        }
        self.now = now;
    }

    /// The timer that is due first, and its index.
    pub(super) fn next_timer(&self) -> Option<(Instant, usize)> {
        if self.timers.0.is_empty() || self.is_over() || self.lanes.iter().all(|lane| lane.end == End::Silent) {
            return None;
        }
        let fin = self.lanes.iter().filter_map(|lane| lane.fin_at).min();
        let due = |(index, (own, wait)): (usize, &(usize, TimerKind))| {
            let rule = self.rules[*own].rule;
            let inputs = self.lanes.iter().filter(|lane| rule.concerns(lane.direction)).map(|lane| lane.last_input);
            Some((wait.due(inputs.max()?, fin)?, index))
        };
        self.timers.0.iter().enumerate().filter_map(due).min()
    }

    /// A rule begins with the connection, or because its time has come.
    fn begin_now(&mut self, own: usize) {
        use FaultKind as K;
        let rule = self.rules[own].rule;
        let (index, effect, now) = (self.rules[own].index, rule.effect, self.now);
        let kind = effect.kind;
        match kind {
            K::EatFin | K::CloseOnEof | K::FinToRst | K::RstToFin | K::RstEatsTail => {
                return self.for_lanes(own, |lane| lane.at_end.push(own));
            }
            K::Corrupt | K::Truncate | K::Duplicate | K::Swap => {
                return self.for_lanes(own, |lane| lane.schedule_next(own));
            }
            K::OneWay => return self.for_lanes(own, |lane| lane.take_all(own, now)),
            K::HalfClose => return self.for_lanes(own, |lane| lane.half_close(own, now)),
            K::ResetOneSide => {
                let direction = rule.direction.unwrap_or(StreamDirection::Up);
                self.event(own, Some(direction), self.lane(direction).offset, None);
                return self.end(kind, direction, true);
            }
            _ => {}
        }
        if kind.is_of_answers() {
            return self.begin_of_server(own, None, self.lane(StreamDirection::Up).offset);
        }
        let offset = rule.direction.map_or(0, |direction| self.lane(direction).offset);
        self.event(own, rule.direction, offset, None);
        match kind {
            K::Delay | K::Coalesce => self.for_lanes(own, |lane| lane.stamps.begin(index, effect)),
            K::Rate | K::Drip | K::Slice | K::Stall | K::StallThenBurst => {
                self.for_lanes(own, |lane| lane.outlet.begin(index, effect, now));
            }
            K::Hold => {
                let limit = usize::try_from(effect.size()).unwrap_or(usize::MAX).min(MOST_HELD);
                self.for_lanes(own, |lane| lane.limit = limit);
            }
            K::NoBackpressure => self.for_lanes(own, |lane| lane.takes_everything = true),
            K::Nagle => self.socket.nagle = true,
            K::NoKeepalive => self.socket.no_keepalive = true,
            K::AcceptThenClose => self.admission = ClientAdmission::Close,
            K::AcceptThenReset => self.admission = ClientAdmission::Reset,
            K::AcceptLate => self.admission = ClientAdmission::Late(effect.time()),
            K::AcceptLiar => {
                self.admission = ClientAdmission::Liar;
                self.lane_mut(StreamDirection::Up).intake = Intake::Void;
            }
            _ if kind.is_of_server() => self.begin_of_server(own, None, 0),
            _ => self.end(kind, rule.direction.unwrap_or(StreamDirection::Up), true),
        }
    }

    fn for_lanes(&mut self, own: usize, each: impl FnMut(&mut DirectionLane)) {
        let rule = self.rules[own].rule;
        self.lanes.iter_mut().filter(|lane| rule.concerns(lane.direction) && !lane.end.is_final()).for_each(each);
    }

    /// A mark has come to the front of its direction.
    pub(super) fn act(&mut self, direction: StreamDirection, mark: Mark) {
        let now = self.now;
        match mark.action {
            MarkAction::Note(own) => self.event(own, Some(direction), mark.offset, None),
            MarkAction::Fin => self.lane_mut(direction).end = End::HalfClose,
            MarkAction::Rst => self.lane_mut(direction).finish(End::Reset),
            MarkAction::Close => self.lane_mut(direction).finish(End::Close),
            MarkAction::Act(own) => {
                let (index, effect) = (self.rules[own].index, self.rules[own].rule.effect);
                if !effect.kind.is_of_answers() {
                    self.event(own, Some(direction), mark.offset, None);
                }
                match effect.kind {
                    FaultKind::Rate
                    | FaultKind::Drip
                    | FaultKind::Slice
                    | FaultKind::Stall
                    | FaultKind::StallThenBurst => self.lane_mut(direction).outlet.begin(index, effect, now),
                    kind if kind.is_of_server() => self.begin_of_server(own, Some(direction), mark.offset),
                    kind => self.end(kind, direction, false),
                }
            }
        }
    }

    /// Begins a fault that only a server has, after this many bytes of its client. A fault of an
    /// answer is reported with that answer.
    fn begin_of_server(&mut self, own: usize, direction: Option<StreamDirection>, drawn_at: u64) {
        let (rule, effect, now) = (self.rules[own].index, self.rules[own].rule.effect, self.now);
        match effect.kind {
            FaultKind::NeverRead => {
                self.never_reads = true;
                self.lane_mut(StreamDirection::Up).leave_unread();
            }
            FaultKind::HalfCloseFirst => self.lane_mut(StreamDirection::Down).finish_first(now),
            _ => {
                let offset = if direction.is_some() { drawn_at } else { 0 };
                self.answers.push(DueFault { own, rule, effect, direction, offset, drawn_at });
            }
        }
    }

    /// An ending, or what becomes of a FIN or a RST. At a time what has not left is lost, at an
    /// offset the bytes before it are delivered.
    fn end(&mut self, kind: FaultKind, direction: StreamDirection, is_at_time: bool) {
        use FaultKind as K;
        let now = self.now;
        let back = direction.opposite();
        let reset = if is_at_time { End::ResetNow } else { End::Reset };
        let both = |faults: &mut Self, end| faults.lanes.iter_mut().for_each(|lane| lane.finish(end));
        match kind {
            K::Reset | K::IdleReset | K::HalfClosedIdle => {
                both(self, End::ResetNow);
                self.lane_mut(direction).end = reset;
            }
            K::ResetOneSide | K::FinToRst => {
                self.lane_mut(direction).finish(reset);
                self.lane_mut(back).close_behind(now);
            }
            K::Close | K::IdleClose | K::CloseOnEof => both(self, End::Close),
            K::Silent | K::IdleSilent | K::SplitHelloDrop => both(self, End::Silent),
            K::HalfClose => {
                let lane = self.lane_mut(direction);
                lane.end = End::HalfClose;
            }
            K::RstToFin => self.lane_mut(direction).finish(End::Close),
            K::RstEatsTail => self.lane_mut(direction).finish(End::ResetNow),
            _ => {}
        }
    }

    /// More waits than may.
    pub(super) fn overflow(&mut self, direction: StreamDirection) {
        let detail = format!("more than {} wait, and each peer receives a RST", size_text(MOST_HELD as u64));
        let rule = self.rules.iter().position(|own| own.kind() == FaultKind::NoBackpressure);
        if let Some(own) = rule {
            self.event(own, Some(direction), self.lane(direction).offset, Some(detail));
        }
        self.lanes.iter_mut().for_each(|lane| lane.finish(End::ResetNow));
    }

    pub(super) fn event(
        &mut self,
        own: usize,
        direction: Option<StreamDirection>,
        offset: u64,
        detail: Option<String>,
    ) {
        let effect = self.rules[own].rule.effect;
        self.events.push(FaultEvent {
            connection: self.draws.number,
            direction,
            offset,
            at: self.now.saturating_duration_since(self.opened),
            kind: effect.kind,
            detail: detail.unwrap_or_else(|| effect.sentence()),
        });
    }
}

//! [`Pair`]: a client's connection and the one that was dialled for it.

use std::cell::RefCell;
use std::time::Instant;

use resound_faults::{ConnectionFaults, StreamDirection};
use resound_proto::{CloseReason, ConnId, ConnInfo, Endpoint};

use super::report::{DirectionReport, RelayEnd, RelayReport};
use super::table::PairRow;
use crate::engine::address_race::AddressRace;

/// Waiting bytes of one direction at which the relay pauses the sender. One read under way may add
/// its own 64 KiB.
pub(super) const HIGH: usize = 64 * 1024;
/// With this or less the sender goes on.
const LOW: usize = HIGH / 2;

/// The two connections, and what passes between them. Both live on one worker.
pub(super) struct Pair {
    pub(super) client: ConnInfo,
    /// The position of the route.
    pub(super) route: usize,
    pub(super) since: Instant,
    pub(super) state: RefCell<PairState>,
    /// Its row in the table of open pairs, if the relay keeps one.
    pub(super) row: Option<Box<PairRow>>,
}

#[derive(Default)]
pub(super) struct PairState {
    /// From the client to the target.
    pub(super) up: RelayDirection,
    /// From the target to the client.
    pub(super) down: RelayDirection,
    /// What a pair without faults has not.
    pub(super) faults: Option<Box<ConnectionFaults>>,
    /// Until then the client waits before the target is dialled.
    pub(super) late_until: Option<Instant>,
    /// Each connection can send from the buffer that the other one received into.
    pub(super) can_lend: bool,
    /// Until the target has answered.
    pub(super) race: Option<Box<AddressRace>>,
    pub(super) target: Option<(ConnId, Endpoint)>,
    client_closed: bool,
    target_closed: bool,
    /// The faults count the client.
    pub(super) is_admitted: bool,
    /// The relay drains.
    pub(super) is_draining: bool,
    /// No address of the target has answered, and that is reported.
    pub(super) failed: bool,
    /// What ended the pair early.
    pub(super) ended: Option<(RelayEnd, CloseReason)>,
}

/// One direction: what its sender has sent and its receiver's connection has not taken yet.
#[derive(Default)]
pub(super) struct RelayDirection {
    /// Owns memory only while it holds something.
    pub(super) queue: Vec<u8>,
    /// Bytes that the receiver's connection has taken and its socket has not.
    pub(super) in_flight: usize,
    pub(super) report: DirectionReport,
    /// The sender has sent its FIN.
    pub(super) fin: bool,
    /// The sender is paused.
    pub(super) paused: bool,
    /// The receiver's engine has bytes for it that were lent; others wait behind them.
    pub(super) lent: bool,
    /// The receiver's socket is full, and it goes on by itself once that has room.
    pub(super) full: bool,
    /// Its faults have more, once what they gave has left.
    pub(super) more: bool,
    /// The receiver is on the worker's list.
    pub(super) woken: bool,
    /// The receiver takes nothing more: its peer has reset the connection. Later bytes for it are
    /// dropped, as after the end of a connection.
    pub(super) was_reset: bool,
}

impl RelayDirection {
    /// The sender has sent these bytes. Returns whether it is to be paused.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        self.queue.extend_from_slice(bytes);
        self.paused = self.queue.len() + self.in_flight >= HIGH;
        self.paused
    }

    /// The sender has lent `n` bytes to the receiver. Returns whether it is to be paused.
    pub(super) fn lend(&mut self, n: usize) -> bool {
        self.report.bytes += n as u64;
        (self.lent, self.in_flight) = (true, n);
        self.paused = n >= HIGH;
        self.paused
    }

    /// The receiver takes nothing more, so the sender does not wait for it.
    pub(super) fn handle_peer_reset(&mut self) {
        (self.was_reset, self.paused, self.in_flight) = (true, false, 0);
        self.queue = Vec::new();
    }

    /// Whether nothing waits for the receiver.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.in_flight == 0 && !self.lent
    }

    /// Returns whether the sender may go on, having been paused.
    pub(super) fn resumes(&mut self) -> bool {
        self.paused && self.queue.len() + self.in_flight <= LOW && std::mem::take(&mut self.paused)
    }
}

impl Pair {
    pub(super) fn new(client: ConnInfo, route: usize, since: Instant, row: Option<Box<PairRow>>) -> Self {
        Self { client, route, since, state: RefCell::default(), row }
    }

    /// Shows how many bytes have passed.
    pub(super) fn counted(&self, state: &PairState) {
        if let Some(row) = &self.row {
            row.counted(state.up.report.bytes, state.down.report.bytes);
        }
    }
}

impl PairState {
    /// The direction towards this end.
    pub(super) fn towards(&mut self, end: RelayEnd) -> &mut RelayDirection {
        match end {
            RelayEnd::Client => &mut self.down,
            RelayEnd::Target => &mut self.up,
        }
    }

    /// The direction from this end.
    pub(super) fn from(&mut self, end: RelayEnd) -> &mut RelayDirection {
        match end {
            RelayEnd::Client => &mut self.up,
            RelayEnd::Target => &mut self.down,
        }
    }

    /// The connection of an end, if it is there.
    pub(super) fn connection(&self, end: RelayEnd, client: ConnId) -> Option<ConnId> {
        match end {
            RelayEnd::Client => (!self.client_closed).then_some(client),
            RelayEnd::Target => self.target.as_ref().filter(|_| !self.target_closed).map(|(id, _)| *id),
        }
    }

    /// Whether a connection to the target is still wanted. What a client has sent arrives even if
    /// it has left since.
    pub(super) fn wants_target(&self) -> bool {
        let holds = |faults: &ConnectionFaults| faults.holds(StreamDirection::Up);
        let waits = || !self.up.queue.is_empty() || self.faults.as_deref().is_some_and(holds);
        self.race.is_some() && (!self.client_closed || waits())
    }

    pub(super) fn is_client_closed(&self) -> bool {
        self.client_closed
    }

    /// The connection of an end is over. Returns whether both are.
    pub(super) fn closed(&mut self, end: RelayEnd, why: CloseReason) -> bool {
        match end {
            RelayEnd::Client => self.client_closed = true,
            RelayEnd::Target => self.target_closed = true,
        }
        let was_reset = self.towards(end).was_reset;
        if self.from(end).was_reset && !was_reset {
            // The reset of the other end came first.
            self.ended.get_or_insert((end.other(), CloseReason::Reset));
        } else if why != CloseReason::Finished {
            self.ended.get_or_insert((end, why));
        }
        self.towards(end).queue = Vec::new();
        self.is_over()
    }

    /// Whether no connection is left, and none will come.
    pub(super) fn is_over(&self) -> bool {
        self.client_closed && (self.target_closed || (self.target.is_none() && !self.wants_target()))
    }

    pub(super) fn report(&self, since: Instant, now: Instant) -> RelayReport {
        RelayReport {
            target: self.target.as_ref().map(|(_, address)| address.clone()),
            up: self.up.report,
            down: self.down.report,
            ended: self.ended,
            lasted: now.saturating_duration_since(since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_paused_at_the_mark_and_goes_on_below_its_half() {
        let mut direction = RelayDirection::default();
        assert!(!direction.push(&[0; HIGH - 1]) && !direction.resumes(), "it was never paused");
        assert!(direction.push(&[0]));
        direction.in_flight = std::mem::take(&mut direction.queue).len();
        assert!(!direction.resumes(), "what the socket has not taken counts");
        direction.in_flight = LOW + 1;
        assert!(!direction.resumes());
        direction.in_flight = LOW;
        assert!(direction.resumes() && !direction.resumes(), "once");
    }
}

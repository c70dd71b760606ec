//! [`WatchCounts`]: what happened in some time.

use std::time::Duration;

/// An answer that takes longer is late, and a gap that lasts longer is an outage.
pub(super) const LATE: Duration = Duration::from_secs(1);

/// The heartbeats of some time. All of them are due; those that were sent are answered or lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatCounts {
    /// Their time came.
    pub due: u64,
    /// Sent.
    pub sent: u64,
    /// Answered, each once.
    pub answered: u64,
    /// Of those, answered more than a second after they were planned.
    pub late: u64,
    /// Sent and not answered: their connection ended before, or the time for an answer was over.
    pub lost: u64,
    /// Not sent, because there was no connection.
    pub unsent: u64,
    /// Not sent, because this machine stalled.
    pub skipped: u64,
    /// Answers to heartbeats that were answered before.
    pub duplicated: u64,
    /// Answers after the answer to a later heartbeat.
    pub reordered: u64,
    /// Answers that answer no heartbeat of their connection.
    pub wrong: u64,
    /// The longest time between the plan of a heartbeat and its answer, or the time at which it was
    /// lost.
    pub slowest: Duration,
}

/// The held connections of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldCounts {
    /// Connections that had answered, and were reset.
    pub reset: u64,
    /// The same, closed by the far end.
    pub closed: u64,
    /// The same, given up since nothing came any more.
    pub silent: u64,
    /// Connections that were replaced: the new one has answered.
    pub reconnects: u64,
    /// The longest time between the end of a connection and the first answer on its replacement, or
    /// the end of the watch.
    pub slowest_reconnect: Duration,
}

/// Attempts to connect and to get one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectCounts {
    /// Attempts.
    pub tried: u64,
    /// A heartbeat was answered.
    pub served: u64,
    /// The connection was refused.
    pub refused: u64,
    /// It was reset, before an answer.
    pub reset: u64,
    /// It was closed, before an answer.
    pub closed: u64,
    /// No connection, or no answer, in time.
    pub timed_out: u64,
    /// It failed otherwise: no route, no address, a failed handshake, a wrong answer.
    pub failed: u64,
    /// This machine could not do its part: no descriptor, no permission.
    pub own_failures: u64,
    /// Not tried: this machine stalled, or too many attempts were under way.
    pub skipped: u64,
}

/// How an attempt to connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectOutcome {
    Served,
    Refused,
    Reset,
    Closed,
    TimedOut,
    Failed,
    OwnFailure,
}

/// How a held connection ended that had answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldEnd {
    Reset,
    Closed,
    Silent,
}

/// What happened in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// The heartbeats of the held connections.
    pub heartbeats: HeartbeatCounts,
    /// The held connections that ended, and were replaced.
    pub held: HeldCounts,
    /// The attempts to make held connections: at the start, and after each end.
    pub reconnecting: ConnectCounts,
    /// The row of new connections.
    pub new: ConnectCounts,
    /// New connections that were served more than a second after they were planned.
    pub late_new: u64,
    /// The longest time between the plan of a new connection and its answer.
    pub slowest_new: Duration,
    /// The longest time in which no heartbeat at all was answered though one was due, on a held
    /// connection or a new one.
    pub gap: Duration,
    /// The longest such time of one held connection, its replacements included.
    pub connection_gap: Duration,
    /// The time in which this machine itself stalled.
    pub stalled: Duration,
}

impl HeartbeatCounts {
    fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.sent += other.sent;
        self.answered += other.answered;
        self.late += other.late;
        self.lost += other.lost;
        self.unsent += other.unsent;
        self.skipped += other.skipped;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.wrong += other.wrong;
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl ConnectCounts {
    fn add(&mut self, other: &Self) {
        self.tried += other.tried;
        self.served += other.served;
        self.refused += other.refused;
        self.reset += other.reset;
        self.closed += other.closed;
        self.timed_out += other.timed_out;
        self.failed += other.failed;
        self.own_failures += other.own_failures;
        self.skipped += other.skipped;
    }

    /// An attempt ended.
    pub(super) fn ended(&mut self, outcome: ConnectOutcome) {
        let count = match outcome {
            ConnectOutcome::Served => &mut self.served,
            ConnectOutcome::Refused => &mut self.refused,
            ConnectOutcome::Reset => &mut self.reset,
            ConnectOutcome::Closed => &mut self.closed,
            ConnectOutcome::TimedOut => &mut self.timed_out,
            ConnectOutcome::Failed => &mut self.failed,
            ConnectOutcome::OwnFailure => &mut self.own_failures,
        };
        *count += 1;
    }

    /// The attempts that the service or the path failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.refused + self.reset + self.closed + self.timed_out + self.failed
    }
}

impl WatchCounts {
    /// Adds what happened in another time.
    pub fn add(&mut self, other: &Self) {
        self.heartbeats.add(&other.heartbeats);
        self.held.reset += other.held.reset;
        self.held.closed += other.held.closed;
        self.held.silent += other.held.silent;
        self.held.reconnects += other.held.reconnects;
        self.held.slowest_reconnect = self.held.slowest_reconnect.max(other.held.slowest_reconnect);
        self.reconnecting.add(&other.reconnecting);
        self.new.add(&other.new);
        self.late_new += other.late_new;
        self.slowest_new = self.slowest_new.max(other.slowest_new);
        self.gap = self.gap.max(other.gap);
        self.connection_gap = self.connection_gap.max(other.connection_gap);
        self.stalled += other.stalled;
    }

    /// Whether no heartbeat was lost, no answer came late, twice, out of order or wrong, no
    /// connection ended, each attempt to connect was served, and in time, and no gap is longer than
    /// a second.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let beats = &self.heartbeats;
        let of_beats = beats.lost + beats.unsent + beats.late + beats.duplicated + beats.reordered + beats.wrong;
        let of_held = self.held.reset + self.held.closed + self.held.silent;
        let of_attempts = self.reconnecting.failures() + self.new.failures() + self.late_new;
        of_beats + of_held + of_attempts == 0 && self.gap <= LATE
    }

    /// Whether something was answered: otherwise nothing is known of the service.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.heartbeats.answered + self.new.served > 0
    }

    /// What this machine could not do.
    #[must_use]
    pub fn own_failures(&self) -> u64 {
        self.reconnecting.own_failures + self.new.own_failures
    }
}

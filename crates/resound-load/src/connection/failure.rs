//! How a connection of a run fails: the target takes too long, or ends it.

use std::time::{Duration, Instant};

use super::super::connection_state::ConnectionFailure;
use super::super::figures;
use super::super::run_config::TrafficPattern;
use super::super::tally::Tally;
use super::{LoadConnection, LoadFailure};
use resound_proto::Cx;

impl LoadConnection {
    /// Resets the connection after a failure; another replaces it.
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>) {
        if !self.has_failed() {
            self.failure = ConnectionFailure::Reported;
        }
        self.finishing = true;
        cx.reset();
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.failure, ConnectionFailure::Reported | ConnectionFailure::TimedOut)
    }

    /// From when on the connection waits for the target: since its oldest message was sent, or
    /// since the last bytes of a generated pattern came.
    pub(super) fn waits_since(&self) -> Option<u64> {
        match self.config.traffic {
            TrafficPattern::Pattern => Some(self.last_answer),
            _ => self.answers.oldest().map(|(_, oldest)| oldest.sent),
        }
    }

    /// When the target will have taken too long.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.waits_since().filter(|_| self.has_begun).map(|since| since.saturating_add(self.config.timeout))
    }

    /// Fails the connection if the target took too long. Returns whether it did.
    pub(super) fn fail_if_timed_out(&mut self, now: u64, cx: &mut Cx<'_>, tally: &mut Tally) -> bool {
        let Some(since) = self.waits_since().filter(|_| self.deadline().is_some_and(|at| at <= now)) else {
            return false;
        };
        let waited = figures::latency(Duration::from_nanos(now - since));
        let (class, what) = match self.config.traffic {
            TrafficPattern::Pattern => (LoadFailure::Timeout, format!("no byte came for {waited}")),
            _ if self.answers.is_partial() => {
                (LoadFailure::Truncated, format!("the rest of its answer has not come for {waited}"))
            }
            _ => (LoadFailure::Timeout, format!("no answer for {waited}")),
        };
        let sequence = self.answers.oldest().map(|(sequence, _)| sequence);
        self.fail(class, sequence, what, cx.now(), tally);
        self.failure = ConnectionFailure::TimedOut;
        self.give_up(cx);
        true
    }

    pub(super) fn fail(
        &mut self,
        class: LoadFailure,
        sequence: Option<u64>,
        what: String,
        at: Instant,
        tally: &mut Tally,
    ) {
        self.failure = ConnectionFailure::Reported;
        tally.record_failure(self.config.failure(class, at, self.answers.connection, sequence, what));
    }

    /// The target closed the connection before the end of the run.
    pub(super) fn fail_at_eof(&mut self, at: Instant, tally: &mut Tally) {
        let oldest = self.answers.oldest().map(|(sequence, _)| sequence);
        let is_partial = oldest.is_some() && self.answers.is_partial();
        let class = if is_partial { LoadFailure::Truncated } else { LoadFailure::Eof };
        let what = format!("the target closed the connection; {}", self.answers.describe_in_flight());
        self.fail(class, oldest, what, at, tally);
    }
}

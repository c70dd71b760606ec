//! [`Race`]: the addresses of a target, of which the first that answers is taken.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use resound_proto::Endpoint;

use crate::engine::dial::{HEAD_START, telling_class};
use crate::error::{Attempt, DialError, FailureClass};

/// A race between the addresses of a target. It ends with the first connection, or when all have
/// failed.
pub(super) struct Race {
    waiting: VecDeque<Endpoint>,
    running: usize,
    failures: Vec<Attempt>,
    /// The resolver has failed, or is late.
    before: Option<io::Error>,
    /// The resolver has not answered.
    pub(super) resolving: bool,
    /// When it is late; `None` if that is beyond the clock.
    pub(super) resolves_until: Option<Instant>,
    /// When the next address has its turn.
    pub(super) next_at: Option<Instant>,
}

impl Race {
    /// A race whose addresses are not known yet.
    pub(super) fn new(now: Instant, patience: Duration) -> Self {
        Self {
            waiting: VecDeque::new(),
            running: 0,
            failures: Vec::new(),
            before: None,
            resolving: true,
            resolves_until: now.checked_add(patience),
            next_at: None,
        }
    }

    /// The resolver has answered.
    pub(super) fn resolved(&mut self, now: Instant, addresses: Vec<Endpoint>) {
        (self.resolving, self.resolves_until) = (false, None);
        self.waiting = addresses.into();
        self.next_at = Some(now);
    }

    /// The resolver has not.
    pub(super) fn unresolved(&mut self, error: io::Error) {
        (self.resolving, self.resolves_until) = (false, None);
        self.before = Some(error);
    }

    /// The address to dial now, if one has its turn.
    pub(super) fn next(&mut self, now: Instant) -> Option<Endpoint> {
        self.next_at.filter(|at| *at <= now)?;
        let address = self.waiting.pop_front()?;
        self.running += 1;
        self.next_at = if self.waiting.is_empty() { None } else { now.checked_add(HEAD_START) };
        Some(address)
    }

    /// An attempt has failed; the next address has its turn at once.
    pub(super) fn failed(&mut self, now: Instant, address: &Endpoint, error: io::Error, took: Duration) {
        self.running = self.running.saturating_sub(1);
        self.failures.push(Attempt { address: address.to_string(), error, took });
        self.next_at = (!self.waiting.is_empty()).then_some(now);
    }

    /// Whether an address is being dialled.
    pub(super) fn is_running(&self) -> bool {
        self.running > 0
    }

    /// Whether no address is left that could answer.
    pub(super) fn is_lost(&self) -> bool {
        let is_done = self.running == 0 && self.waiting.is_empty() && !self.resolving;
        self.before.is_some() || is_done
    }

    /// Why it was lost.
    pub(super) fn into_error(self, target: String) -> DialError {
        let class = match &self.before {
            // Not the network's failure.
            Some(error) if error.kind() == io::ErrorKind::InvalidInput => None,
            Some(_) => Some(FailureClass::Dns),
            None => telling_class(&self.failures),
        };
        DialError { target, class, attempts: self.failures, before: self.before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(n: u16) -> Vec<Endpoint> {
        (1..=n).map(|port| Endpoint::Tcp(([127, 0, 0, 1], port).into())).collect()
    }

    #[test]
    fn each_address_has_a_head_start_over_the_next() {
        let start = Instant::now();
        let (all, mut race) = (endpoints(3), Race::new(start, Duration::from_secs(10)));
        assert_eq!(race.next(start), None, "nothing is known yet");
        race.resolved(start, all.clone());
        assert_eq!(race.next(start).as_ref(), Some(&all[0]));
        assert_eq!(race.next(start), None);
        assert_eq!(race.next_at, Some(start + HEAD_START));
        assert_eq!(race.next(start + HEAD_START).as_ref(), Some(&all[1]));
        race.failed(start + HEAD_START, &all[1], io::ErrorKind::ConnectionRefused.into(), Duration::ZERO);
        assert_eq!(race.next(start + HEAD_START).as_ref(), Some(&all[2]), "a failure lets the next one start");
        assert!(race.next_at.is_none() && !race.is_lost());
    }

    #[test]
    fn a_race_is_lost_when_each_attempt_has_failed() {
        let start = Instant::now();
        let (all, mut race) = (endpoints(2), Race::new(start, Duration::from_secs(10)));
        assert!(!race.is_lost(), "the resolver may still answer");
        race.resolved(start, all.clone());
        for (address, kind) in all.iter().zip([io::ErrorKind::TimedOut, io::ErrorKind::ConnectionRefused]) {
            assert!(!race.is_lost());
            assert_eq!(race.next(start).as_ref(), Some(address));
            race.failed(start, address, kind.into(), Duration::ZERO);
        }
        assert!(race.is_lost());
        let error = race.into_error("db:1".into());
        assert_eq!((error.class, error.attempts.len()), (Some(FailureClass::Refused), 2));
    }

    #[test]
    fn a_name_without_addresses_loses_at_once() {
        let mut race = Race::new(Instant::now(), Duration::from_secs(10));
        race.unresolved(io::Error::other("no such host"));
        assert!(race.is_lost());
        assert_eq!(race.into_error("db:1".into()).to_string(), "cannot connect to db:1: dns: no such host");
    }
}

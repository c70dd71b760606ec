//! [`AddressRace`]: the addresses of a target are dialled, the first that answers is taken
//! (RFC 8305).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use resound_proto::Endpoint;

use crate::error::{Attempt, DialError, FailureClass};

/// Head start of each address over the next (RFC 8305, 5).
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// A race between the addresses of a target. It ends with the first connection, or when all have
/// failed. Its user dials, and tells it the time and each failure.
pub(super) struct AddressRace {
    waiting: VecDeque<Endpoint>,
    /// The addresses being dialled, and since when.
    running: Vec<(Endpoint, Instant)>,
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

impl AddressRace {
    /// A race whose addresses are not known yet.
    pub(super) fn new(now: Instant, patience: Duration) -> Self {
        Self {
            waiting: VecDeque::new(),
            running: Vec::new(),
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

    /// The resolver has failed, or is late.
    pub(super) fn unresolved(&mut self, error: io::Error) {
        (self.resolving, self.resolves_until) = (false, None);
        self.before = Some(error);
    }

    /// The address to dial now, if one has its turn.
    pub(super) fn next(&mut self, now: Instant) -> Option<Endpoint> {
        self.next_at.filter(|at| *at <= now)?;
        let address = self.waiting.pop_front()?;
        self.running.push((address.clone(), now));
        self.next_at = if self.waiting.is_empty() { None } else { now.checked_add(HEAD_START) };
        Some(address)
    }

    /// An attempt has failed; the next address has its turn at once.
    pub(super) fn failed(&mut self, now: Instant, address: &Endpoint, error: io::Error) {
        let Some(place) = self.running.iter().position(|(running, _)| running == address) else { return };
        let (_, start) = self.running.remove(place);
        let took = now.saturating_duration_since(start);
        self.failures.push(Attempt { address: address.to_string(), error, took });
        self.next_at = (!self.waiting.is_empty()).then_some(now);
    }

    /// Whether an address is being dialled.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether no address is left that could answer.
    pub(super) fn is_lost(&self) -> bool {
        let is_done = self.running.is_empty() && self.waiting.is_empty() && !self.resolving;
        self.before.is_some() || is_done
    }

    /// The failures, where each attempt that is under way counts as late at `now`. Addresses that
    /// had no turn have not been tried.
    pub(super) fn into_attempts(mut self, now: Instant) -> Vec<Attempt> {
        for (address, _) in self.running.clone() {
            self.failed(now, &address, late());
        }
        self.failures
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

/// An attempt that has used its time up.
pub(super) fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// The resolver's order, but with the families alternating, so that one broken family costs one
/// head start.
pub(super) fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let count = addresses.len();
    let (ours, theirs): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut ours, mut theirs) = (ours.into_iter(), theirs.into_iter());
    let mut turns = Vec::with_capacity(count);
    while turns.len() < count {
        turns.extend(ours.next());
        turns.extend(theirs.next());
    }
    turns
}

/// The most telling of several failures: an answer tells more than silence, and silence more than a
/// missing route.
pub(super) fn telling_class(attempts: &[Attempt]) -> Option<FailureClass> {
    let classes: Vec<_> = attempts.iter().filter_map(|attempt| FailureClass::of(&attempt.error)).collect();
    [FailureClass::Refused, FailureClass::Reset, FailureClass::Timeout, FailureClass::Unreachable]
        .into_iter()
        .find(|class| classes.contains(class))
        .or(classes.first().copied())
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
        let (all, mut race) = (endpoints(3), AddressRace::new(start, Duration::from_secs(10)));
        assert_eq!(race.next(start), None, "nothing is known yet");
        race.resolved(start, all.clone());
        assert_eq!(race.next(start).as_ref(), Some(&all[0]));
        assert_eq!(race.next(start), None);
        assert_eq!(race.next_at, Some(start + HEAD_START));
        assert_eq!(race.next(start + HEAD_START).as_ref(), Some(&all[1]));
        race.failed(start + HEAD_START, &all[1], io::ErrorKind::ConnectionRefused.into());
        assert_eq!(race.next(start + HEAD_START).as_ref(), Some(&all[2]), "a failure lets the next one start");
        assert!(race.next_at.is_none() && !race.is_lost());
    }

    #[test]
    fn a_race_is_lost_when_each_attempt_has_failed() {
        let start = Instant::now();
        let (all, mut race) = (endpoints(2), AddressRace::new(start, Duration::from_secs(10)));
        assert!(!race.is_lost(), "the resolver may still answer");
        race.resolved(start, all.clone());
        for (address, kind) in all.iter().zip([io::ErrorKind::TimedOut, io::ErrorKind::ConnectionRefused]) {
            assert!(!race.is_lost());
            assert_eq!(race.next(start).as_ref(), Some(address));
            race.failed(start, address, kind.into());
        }
        assert!(race.is_lost());
        let error = race.into_error("db:1".into());
        assert_eq!((error.class, error.attempts.len()), (Some(FailureClass::Refused), 2));
    }

    #[test]
    fn a_name_without_addresses_loses_at_once() {
        let mut race = AddressRace::new(Instant::now(), Duration::from_secs(10));
        race.unresolved(io::Error::other("no such host"));
        assert!(race.is_lost());
        assert_eq!(race.into_error("db:1".into()).to_string(), "cannot connect to db:1: dns: no such host");
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let want = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(take_turns(found), want);
        assert!(take_turns(vec![]).is_empty());
    }
}

//! [`LiveFaults`]: the faults of a relay or a server, which may change while it runs.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use resound_faults::{ClientAdmission, ConnectionFaults, Effect, EffectValue, FaultEvent, FaultKind, FaultSpec, Role};
use resound_proto::{ConnInfo, Endpoint};

use crate::engine::shared::Shared;
use crate::error::Error;

/// How many earlier settings are kept, for clients that were accepted before a change and are
/// served after it.
const KEPT: usize = 256;

/// The faults of a relay or a server. Clones share one state, and the program need not run yet.
#[derive(Clone)]
pub struct LiveFaults(Arc<FaultTable>);

struct FaultTable {
    role: Role,
    /// In the order of their first connections; the last one holds.
    settings: Mutex<Vec<FaultSetting>>,
    /// The one that was started last.
    running: Mutex<Weak<Shared>>,
    /// Clients at once, for `cap`.
    live: AtomicUsize,
    /// When the next client has its turn, for `connect-rate`.
    turn: Mutex<Option<Instant>>,
}

/// Faults, and the connections that they concern.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultSetting {
    /// The number of the first connection that it concerns.
    pub from: u64,
    /// The seed of every random choice.
    pub seed: u64,
    /// The faults; without a rule there are none.
    pub spec: Arc<FaultSpec>,
}

/// How the current faults treat a client.
pub(crate) struct ClientFaults {
    pub(crate) faults: Option<Box<ConnectionFaults>>,
    pub(crate) admission: ClientAdmission,
    pub(crate) events: Vec<FaultEvent>,
}

impl ClientFaults {
    /// Whether any fault affects the client.
    pub(super) fn is_concerned(&self) -> bool {
        self.faults.is_some() || self.admission != ClientAdmission::Serve
    }
}

impl LiveFaults {
    /// Those of a relay; at first there are none.
    #[must_use]
    pub fn of_relay() -> Self {
        Self::new(Role::Relay)
    }

    /// Those of a server; at first there are none.
    #[must_use]
    pub fn of_server() -> Self {
        Self::new(Role::Server)
    }

    fn new(role: Role) -> Self {
        let (settings, running, live, turn) = Default::default();
        Self(Arc::new(FaultTable { role, settings, running, live, turn }))
    }

    /// Sets the faults of all connections that are accepted from now on, at once, and returns the
    /// number of the first of them. A seed repeats a run: all that is drawn comes from it, the
    /// connection's number and the byte's offset.
    ///
    /// # Errors
    /// [`Error::Faults`] for a fault that this program cannot cause. [`Error::ListenerFaults`] for
    /// `refuse` and `never-accept` while it runs: they are decided when it starts.
    pub fn set(&self, spec: FaultSpec, seed: u64) -> Result<u64, Error> {
        self.put(spec, seed, 0)
    }

    /// Sets faults from the connection with this number on, after the ones set before: to repeat a
    /// run in which the faults changed.
    ///
    /// # Errors
    /// As [`LiveFaults::set`].
    pub fn set_from(&self, from: u64, spec: FaultSpec, seed: u64) -> Result<(), Error> {
        self.put(spec, seed, from).map(drop)
    }

    fn put(&self, spec: FaultSpec, seed: u64, least: u64) -> Result<u64, Error> {
        spec.check_for(self.0.role).map_err(Error::Faults)?;
        let mut settings = self.0.settings.lock();
        let running = self.0.running.lock().upgrade();
        let closed = settings.last().map_or((false, false), |last| closed_listeners(&last.spec));
        if running.is_some() && closed_listeners(&spec) != closed {
            return Err(Error::ListenerFaults);
        }
        // Clients look up their setting under the same lock.
        let from = running.map_or(1, |shared| shared.next.load(Relaxed));
        // The current setting and future ones stay, and of the earlier ones the last few.
        let earlier = settings.iter().skip(1).filter(|next| next.from <= from).count();
        settings.drain(..earlier.saturating_sub(KEPT));
        let from = from.max(least);
        settings.push(FaultSetting { from, seed, spec: Arc::new(spec) });
        // Clients that are delayed already keep their time; the new rate applies from the next on.
        *self.0.turn.lock() = None;
        Ok(from)
    }

    /// What holds for the next connection.
    #[must_use]
    pub fn get(&self) -> FaultSetting {
        let settings = self.0.settings.lock();
        let next = self.0.running.lock().upgrade().map_or(1, |shared| shared.next.load(Relaxed));
        let holds = settings.iter().rev().find(|setting| setting.from <= next).cloned();
        holds.unwrap_or_else(|| FaultSetting { from: 1, seed: 0, spec: Arc::default() })
    }

    /// A relay or a server has started with these faults. One after the other may: each counts its
    /// connections from 1.
    pub(crate) fn run(&self, shared: &Arc<Shared>) {
        *self.0.running.lock() = Arc::downgrade(shared);
    }

    /// What becomes of a client, counted as served until [`LiveFaults::leave`].
    pub(crate) fn admit(&self, client: &ConnInfo, now: Instant) -> Option<ClientFaults> {
        let live = self.0.live.fetch_add(1, Relaxed);
        let number = client.id.0;
        let FaultSetting { seed, spec, .. } = {
            let settings = self.0.settings.lock();
            settings.iter().rev().find(|setting| setting.from <= number).cloned()?
        };
        if spec.is_empty() {
            return None;
        }
        let peer: Option<IpAddr> = match &client.peer {
            Endpoint::Tcp(address) => Some(address.ip()),
            _ => None,
        };
        let mut faults = spec.connection(seed, number, peer, now).map(Box::new);
        let mut admission = faults.as_ref().map_or(ClientAdmission::Serve, |faults| faults.admission());
        let mut events = Vec::new();
        let listener = spec.listener();
        let event = |kind, value| FaultEvent {
            connection: number,
            direction: None,
            offset: 0,
            at: Duration::ZERO,
            kind,
            detail: Effect { kind, value }.sentence(),
        };
        if let Some(cap) = listener.cap.filter(|cap| live >= *cap) {
            admission = ClientAdmission::Reset;
            // Nothing else happens to it.
            faults = None;
            events.push(event(FaultKind::Cap, EffectValue::Count(u32::try_from(cap).unwrap_or(u32::MAX))));
        } else if let Some(rate) = listener.connect_rate {
            let late = self.0.wait_for_turn(rate, now);
            if late > Duration::ZERO && admission == ClientAdmission::Serve {
                admission = ClientAdmission::Late(late);
                events.push(event(
                    FaultKind::ConnectRate,
                    EffectValue::Pace { bytes: u64::from(rate), each: Duration::from_secs(1) },
                ));
            }
        }
        Some(ClientFaults { faults, admission, events })
    }

    /// A client has left.
    pub(crate) fn leave(&self) {
        self.0.live.fetch_sub(1, Relaxed);
    }

    /// Can this program cause all of the faults?
    pub(crate) fn check_for(&self, role: Role) -> Result<(), Error> {
        self.0.settings.lock().iter().try_for_each(|setting| setting.spec.check_for(role)).map_err(Error::Faults)
    }

    /// Whether the faults close listeners when the server starts: clients are refused, or left in
    /// the backlog.
    #[must_use]
    pub fn closes_listeners(&self) -> bool {
        self.listener() != (false, false)
    }

    /// Whether clients are to be refused, or left in the backlog.
    pub(crate) fn listener(&self) -> (bool, bool) {
        self.0.settings.lock().last().map_or((false, false), |last| closed_listeners(&last.spec))
    }
}

impl FaultTable {
    /// How long a client waits for its turn, at `rate` clients a second.
    fn wait_for_turn(&self, rate: u32, now: Instant) -> Duration {
        let mut turn = self.turn.lock();
        let at = turn.map_or(now, |turn| turn.max(now));
        *turn = at.checked_add(Duration::from_secs(1) / rate.max(1));
        at.saturating_duration_since(now)
    }
}

/// Whether clients are refused, and whether they are left in the backlog.
fn closed_listeners(spec: &FaultSpec) -> (bool, bool) {
    let listener = spec.listener();
    (listener.refuse, listener.never_accept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_to_hold_later_are_all_kept() {
        let faults = LiveFaults::of_relay();
        for number in 1..=1000 {
            faults.set_from(number, FaultSpec::default(), number).unwrap();
        }
        assert_eq!(faults.0.settings.lock().len(), 1000);
        assert_eq!((faults.get().from, faults.get().seed), (1, 1), "the first connection is the next one");
        // Earlier ones are not.
        for seed in 0..1000 {
            faults.set(FaultSpec::default(), seed).unwrap();
        }
        assert!(faults.0.settings.lock().len() < 1000 + KEPT + 2, "{}", faults.0.settings.lock().len());
        assert_eq!(faults.get().seed, 999);
    }
}

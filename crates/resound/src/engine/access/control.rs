//! [`AccessControl`]: the access list, the limit per source and the rate limiter, applied to each
//! connection.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use resound_proto::{ConnInfo, Endpoint, Refusal};

use super::list::AccessList;
use super::rate::RateLimiter;
use super::sources::{SourceCounts, source_of};
use super::{Access, ConnectRate};
use crate::engine::accept::OncePerSecond;
use crate::metrics::REFUSALS;

/// Decides about each accepted connection.
pub(crate) struct AccessControl {
    rules: RwLock<AccessRules>,
    /// From the first limit per source on: slots outlive the limit that they were reserved for.
    sources: OnceLock<Mutex<SourceCounts>>,
    /// The rules concern the clients that PROXY headers name.
    pub(crate) behind_proxies: bool,
    /// By listener.
    refused: Vec<[AtomicU64; REFUSALS]>,
    logs: [Mutex<OncePerSecond>; REFUSALS],
}

/// What may change while a server runs.
struct AccessRules {
    list: AccessList,
    rate: Option<(ConnectRate, Mutex<RateLimiter>)>,
}

impl AccessRules {
    fn of(access: &mut Access, now: Instant) -> Self {
        let limiter = |rate| (rate, Mutex::new(RateLimiter::new(rate, now)));
        Self { list: std::mem::take(&mut access.list), rate: access.connect_rate.map(limiter) }
    }
}

impl AccessControl {
    /// `None` where no rule exists. Without a handshake before a service, no header can name a
    /// client.
    pub(crate) fn new(access: Access, listeners: usize, has_handshake: bool, now: Instant) -> Option<Self> {
        (!access.is_open()).then(|| Self::of(access, listeners, has_handshake, now))
    }

    pub(crate) fn of(mut access: Access, listeners: usize, has_handshake: bool, now: Instant) -> Self {
        let sources = access.max_per_ip.map(|most| OnceLock::from(Mutex::new(SourceCounts::new(most))));
        Self {
            rules: RwLock::new(AccessRules::of(&mut access, now)),
            sources: sources.unwrap_or_default(),
            behind_proxies: access.behind_proxies && has_handshake,
            refused: (0..listeners.max(1)).map(|_| Default::default()).collect(),
            logs: Default::default(),
        }
    }

    /// Applies other rules from now on. Counts of sources stay, and so do the tokens of a rate that
    /// is the same.
    pub(crate) fn replace(&self, mut access: Access, now: Instant) {
        match access.max_per_ip {
            Some(most) => {
                let sources = self.sources.get_or_init(|| Mutex::new(SourceCounts::new(most)));
                sources.lock().set_most(most);
            }
            None => self.sources.get().into_iter().for_each(|sources| sources.lock().set_most(NonZeroU32::MAX)),
        }
        let mut rules = self.rules.write();
        let same = rules.rate.take().filter(|(rate, _)| Some(*rate) == access.connect_rate);
        let new = AccessRules::of(&mut access, now);
        *rules = AccessRules { rate: same.or(new.rate), ..new };
    }

    /// Admits a connection right after it was accepted, and returns its slot among the sources, or
    /// 0 where sources are not counted. `None`: the connection is to be closed; the refusal has
    /// been counted.
    pub(crate) fn admit(&self, listener: u16, peer: &Endpoint, now: Instant) -> Option<u32> {
        let address = match peer {
            // The peer has gone already. This is no refusal.
            Endpoint::Unknown => return None,
            Endpoint::Tcp(address) if !self.behind_proxies => Some(address.ip()),
            _ => None,
        };
        let slot = self.sources.get().map_or(0, |sources| sources.lock().reserve());
        if address.is_some_and(|address| self.check(listener, address, slot, now).is_err()) {
            self.release(slot);
            return None;
        }
        Some(slot)
    }

    /// Admits the client that a PROXY header has named, for the connection with this slot.
    pub(crate) fn admit_client(&self, listener: u16, conn: &ConnInfo, slot: u32, now: Instant) -> Result<(), Refusal> {
        match conn.peer {
            // A connection of the proxy's own needs only a trusted proxy.
            Endpoint::Tcp(address) if !conn.is_local() => self.check(listener, address.ip(), slot, now),
            _ => Ok(()),
        }
    }

    fn check(&self, listener: u16, address: IpAddr, slot: u32, now: Instant) -> Result<(), Refusal> {
        self.judge(address, slot, now).inspect_err(|&refusal| {
            let at = usize::from(listener).min(self.refused.len() - 1);
            self.refused[at][refusal as usize].fetch_add(1, Relaxed);
            if let Some(more) = self.logs[refusal as usize].lock().line(now) {
                tracing::warn!("refused {address}: {refusal}{more}");
            }
        })
    }

    fn judge(&self, address: IpAddr, slot: u32, now: Instant) -> Result<(), Refusal> {
        let rules = self.rules.read();
        if !rules.list.admits(address) {
            return Err(Refusal::Denied);
        }
        let source = source_of(address);
        // Before the rate: a source at its limit uses up none of its rate.
        // A connection that was accepted before the first such limit has no slot.
        let sources = self.sources.get().filter(|_| slot != 0);
        if sources.is_some_and(|sources| !sources.lock().count(slot, source)) {
            return Err(Refusal::MaxPerIp);
        }
        if rules.rate.as_ref().is_some_and(|(_, limiter)| !limiter.lock().take(source, now)) {
            sources.into_iter().for_each(|sources| sources.lock().uncount(slot));
            return Err(Refusal::ConnectRate);
        }
        Ok(())
    }

    /// The connection with this slot has ended.
    pub(crate) fn release(&self, slot: u32) {
        self.sources.get().filter(|_| slot != 0).into_iter().for_each(|sources| sources.lock().release(slot));
    }

    /// How many connections of a listener were refused, by [`Refusal`].
    pub(crate) fn refused(&self, listener: u16) -> [u64; REFUSALS] {
        let of_listener = self.refused.get(usize::from(listener));
        std::array::from_fn(|at| of_listener.map_or(0, |refused| refused[at].load(Relaxed)))
    }
}

//! [`AccessControl`]: the access list, the limit per source and the rate limiter, applied to each
//! connection.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use resound_proto::{ConnInfo, Endpoint, Refusal};

use super::Access;
use super::list::AccessList;
use super::rate::RateLimiter;
use super::sources::{SourceCounts, source_of};
use crate::engine::accept::OncePerSecond;
use crate::metrics::REFUSALS;

/// Decides about each accepted connection.
pub(crate) struct AccessControl {
    list: AccessList,
    sources: Option<Mutex<SourceCounts>>,
    rate: Option<Mutex<RateLimiter>>,
    /// The rules concern the clients that PROXY headers name.
    pub(crate) behind_proxies: bool,
    refused: [AtomicU64; REFUSALS],
    logs: [Mutex<OncePerSecond>; REFUSALS],
}

impl AccessControl {
    /// `None` where no rule exists. Without a handshake before a service, no header can name a
    /// client.
    pub(crate) fn new(access: Access, has_handshake: bool, now: Instant) -> Option<Self> {
        (!access.is_open()).then(|| Self {
            list: access.list,
            sources: access.max_per_ip.map(|most| Mutex::new(SourceCounts::new(most))),
            rate: access.connect_rate.map(|rate| Mutex::new(RateLimiter::new(rate, now))),
            behind_proxies: access.behind_proxies && has_handshake,
            refused: Default::default(),
            logs: Default::default(),
        })
    }

    /// Admits a connection right after it was accepted, and returns its slot among the sources, or
    /// 0 where sources are not counted. `None`: the connection is to be closed; the refusal has
    /// been counted.
    pub(crate) fn admit(&self, peer: &Endpoint, now: Instant) -> Option<u32> {
        let address = match peer {
            // The peer has gone already. This is no refusal.
            Endpoint::Unknown => return None,
            Endpoint::Tcp(address) if !self.behind_proxies => Some(address.ip()),
            _ => None,
        };
        let slot = self.sources.as_ref().map_or(0, |sources| lock(sources).reserve());
        if address.is_some_and(|address| self.check(address, slot, now).is_err()) {
            self.release(slot);
            return None;
        }
        Some(slot)
    }

    /// Admits the client that a PROXY header has named, for the connection with this slot.
    pub(crate) fn admit_client(&self, conn: &ConnInfo, slot: u32, now: Instant) -> Result<(), Refusal> {
        match conn.peer {
            // A connection of the proxy's own needs only a trusted proxy.
            Endpoint::Tcp(address) if !conn.is_local() => self.check(address.ip(), slot, now),
            _ => Ok(()),
        }
    }

    fn check(&self, address: IpAddr, slot: u32, now: Instant) -> Result<(), Refusal> {
        self.judge(address, slot, now).inspect_err(|&refusal| {
            self.refused[refusal as usize].fetch_add(1, Relaxed);
            if let Some(more) = lock(&self.logs[refusal as usize]).line(now) {
                tracing::warn!("refused {address}: {refusal}{more}");
            }
        })
    }

    fn judge(&self, address: IpAddr, slot: u32, now: Instant) -> Result<(), Refusal> {
        if !self.list.admits(address) {
            return Err(Refusal::Denied);
        }
        let source = source_of(address);
        // Before the rate: a source at its limit uses up none of its rate.
        if self.sources.as_ref().is_some_and(|sources| !lock(sources).count(slot, source)) {
            return Err(Refusal::MaxPerIp);
        }
        if self.rate.as_ref().is_some_and(|rate| !lock(rate).take(source, now)) {
            self.sources.iter().for_each(|sources| lock(sources).uncount(slot));
            return Err(Refusal::ConnectRate);
        }
        Ok(())
    }

    /// The connection with this slot has ended.
    pub(crate) fn release(&self, slot: u32) {
        self.sources.iter().for_each(|sources| lock(sources).release(slot));
    }

    /// How many connections were refused, by [`Refusal`].
    pub(crate) fn refused(&self) -> [u64; REFUSALS] {
        std::array::from_fn(|at| self.refused[at].load(Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

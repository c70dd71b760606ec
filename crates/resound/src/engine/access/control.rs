//! [`AccessControl`]: the rules at work.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use resound_proto::{Endpoint, Refusal};

use super::rate::RateLimiter;
use super::sources::{SourceCounts, SourceIndex, SourceKey, SourcePermit};
use super::{Access, AccessList};
use crate::engine::accept::{OncePerSecond, SuppressedCount};
use crate::metrics::REFUSALS;

/// Decides about each connection that was accepted.
pub(crate) struct AccessControl {
    networks: AccessList,
    sources: Option<SourceCounts>,
    turns: Option<Mutex<RateLimiter>>,
    /// They concern the clients that PROXY headers name.
    behind_proxies: bool,
    refused: [AtomicU64; REFUSALS],
    words: [Mutex<OncePerSecond>; REFUSALS],
}

impl AccessControl {
    /// `None` where everybody may come in. Where nothing comes before a service, no header can name a client.
    pub(crate) fn new(access: Access, has_openings: bool) -> Option<Self> {
        (!access.is_open()).then(|| Self {
            networks: access.networks,
            sources: access.max_per_ip.map(SourceCounts::new),
            turns: access.connect_rate.map(|rate| Mutex::new(RateLimiter::new(rate, Instant::now()))),
            refused: Default::default(),
            behind_proxies: access.behind_proxies && has_openings,
            words: Default::default(),
        })
    }

    /// Lets a connection in that was just accepted; `None` where it is to be closed, which has been counted.
    pub(crate) fn admit(&self, peer: &Endpoint) -> Option<SourcePermit> {
        let address = match peer {
            // It is gone already: nobody is refused.
            Endpoint::Unknown => return None,
            _ if self.behind_proxies => {
                return Some(self.sources.as_ref().map(SourceCounts::reserve).unwrap_or_default());
            }
            Endpoint::Tcp(address) => address.ip(),
            Endpoint::Unix(_) => return Some(SourcePermit::default()),
        };
        let seat = self.sources.as_ref().map(SourceCounts::reserve).unwrap_or_default();
        match self.judge(address, seat.number()) {
            Ok(()) => Some(seat),
            Err(refusal) => {
                self.leave(seat);
                self.refuse(address, refusal);
                None
            }
        }
    }

    /// Are clients let in once their PROXY header has been read?
    pub(crate) fn is_behind_proxies(&self) -> bool {
        self.behind_proxies
    }

    /// Lets the client in that a PROXY header has named, and gives it the seat that was kept for it.
    pub(crate) fn admit_client(&self, client: &Endpoint, seat: SourceIndex) -> Result<(), Refusal> {
        let Endpoint::Tcp(address) = client else { return Ok(()) };
        self.judge(address.ip(), seat).inspect_err(|refusal| self.refuse(address.ip(), *refusal))
    }

    fn judge(&self, address: IpAddr, seat: SourceIndex) -> Result<(), Refusal> {
        if !self.networks.admit(address) {
            return Err(Refusal::Denied);
        }
        let source = SourceKey::of(address);
        // The cap first: who is over it has not used up a turn.
        if self.sources.as_ref().is_some_and(|sources| !sources.seat(seat, source)) {
            return Err(Refusal::MaxPerIp);
        }
        if let Some(turns) = &self.turns {
            let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
            if !turns.take(source, Instant::now()) {
                self.sources.iter().for_each(|sources| sources.vacate(seat));
                return Err(Refusal::ConnectRate);
            }
        }
        Ok(())
    }

    /// The connection that was let in with this seat is over.
    pub(crate) fn leave(&self, seat: SourcePermit) {
        if let Some(sources) = &self.sources {
            sources.leave(seat);
        }
    }

    fn refuse(&self, address: IpAddr, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Relaxed);
        let mut words = self.words[refusal as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = words.speak(Instant::now()) {
            tracing::warn!("refused {address}: {refusal}{}", SuppressedCount(more));
        }
    }

    /// How many were refused, by [`Refusal`].
    pub(crate) fn refused(&self) -> [u64; REFUSALS] {
        std::array::from_fn(|at| self.refused[at].load(Relaxed))
    }
}

//! [`Gate`]: the rules at work.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::rate::Turns;
use super::sources::{Seat, Source, Sources};
use super::{Access, Networks};
use crate::engine::accept::{Also, Rationed};
use crate::metrics::{REFUSALS, Refusal};
use crate::service::Endpoint;

/// Decides about each connection that was accepted.
pub(crate) struct Gate {
    networks: Networks,
    sources: Option<Sources>,
    turns: Option<Mutex<Turns>>,
    refused: [AtomicU64; REFUSALS],
    words: [Mutex<Rationed>; REFUSALS],
}

impl Gate {
    /// `None` where everybody may come in.
    pub(crate) fn new(access: Access) -> Option<Self> {
        (!access.is_open()).then(|| Self {
            networks: access.networks,
            sources: access.max_per_ip.map(Sources::new),
            turns: access.connect_rate.map(|rate| Mutex::new(Turns::new(rate, Instant::now()))),
            refused: Default::default(),
            words: Default::default(),
        })
    }

    /// Lets a connection in; `None` where it is to be closed, which has been counted.
    pub(crate) fn admit(&self, peer: &Endpoint) -> Option<Seat> {
        let address = match peer {
            Endpoint::Tcp(address) => address.ip(),
            Endpoint::Unix(_) => return Some(Seat::default()),
            // It is gone already: nobody is refused.
            Endpoint::Unknown => return None,
        };
        self.judge(address).map_err(|refusal| self.refuse(address, refusal)).ok()
    }

    fn judge(&self, address: IpAddr) -> Result<Seat, Refusal> {
        if !self.networks.admit(address) {
            return Err(Refusal::Denied);
        }
        let source = Source::of(address);
        // The cap first: who is over it has not used up a turn.
        let seat = match &self.sources {
            Some(sources) => sources.take(source).ok_or(Refusal::MaxPerIp)?,
            None => Seat::default(),
        };
        if let Some(turns) = &self.turns {
            let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
            if !turns.take(source, Instant::now()) {
                self.leave(seat);
                return Err(Refusal::ConnectRate);
            }
        }
        Ok(seat)
    }

    /// The connection that was let in with this seat is over.
    pub(crate) fn leave(&self, seat: Seat) {
        if let Some(sources) = &self.sources {
            sources.leave(seat);
        }
    }

    fn refuse(&self, address: IpAddr, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Relaxed);
        let mut words = self.words[refusal as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = words.speak(Instant::now()) {
            let more = Also(more);
            match refusal {
                Refusal::Denied => tracing::warn!("refused {address}: it is not allowed to connect{more}"),
                Refusal::MaxPerIp => tracing::warn!("refused {address}: it has as many connections as it may{more}"),
                Refusal::ConnectRate => tracing::warn!("refused {address}: it connects too often{more}"),
            }
        }
    }

    /// How many were refused, by [`Refusal`].
    pub(crate) fn refused(&self) -> [u64; REFUSALS] {
        std::array::from_fn(|at| self.refused[at].load(Relaxed))
    }
}

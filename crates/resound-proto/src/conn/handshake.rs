//! The handshake of a connection before its service is open, and TLS below the service from then
//! on.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Conn;
use super::core::Core;
use crate::error::{CloseReason, TlsFailure};
use crate::guard::{GuardedService, guarded};
use crate::handshake::{HeaderProgress, Layers};
use crate::observer::Observer;
use crate::ordered::OrderedEvent;
use crate::state::State;
use crate::tls::TlsLayer;

impl Conn {
    /// The transport is up, and something has to happen before the service opens.
    pub(super) fn start_handshake(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        let Self { layers: Some(layers), core } = self else { return };
        core.progress = Some(now);
        let mut started = Ok(());
        if let Some(pending) = &mut layers.pending {
            pending.since = Some(now);
            started = pending.broken.map_or(Ok(()), Err);
        }
        if let Some(tls) = &mut layers.tls {
            started = started.and_then(|()| tls.start());
        }
        match started {
            Ok(()) => drop(self.receive_below(now, &mut [], out, observer)),
            Err(failure) => core.refuse(CloseReason::Tls(failure)),
        }
    }

    /// When the handshake has taken too long.
    pub(super) fn handshake_until(&self) -> Option<Instant> {
        let since = self.layers.as_ref()?.pending.as_ref()?.since?;
        let limit = self.core.limits.opening_timeout.filter(|_| self.core.state == State::Handshake)?;
        since.checked_add(limit)
    }

    /// When to ask again for a place among the handshakes. The engine reads nothing before.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.layers.as_ref()?.pending.as_ref()?.waits_until.filter(|_| self.core.state == State::Handshake)
    }

    /// Passes `wire` through the layers, and what comes out of them to the service. Returns the
    /// part of `wire` to send back.
    pub(super) fn receive_below(
        &mut self,
        now: Instant,
        wire: &mut [u8],
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Range<usize> {
        let Self { layers: Some(layers), core } = self else { return 0..0 };
        if core.state != State::Handshake && !core.state.is_open() {
            return 0..0;
        }
        let mut from = 0;
        if let Some(client) = &mut layers.client {
            let read = guarded(|| client.read(wire, &mut core.info, now));
            match read.unwrap_or(HeaderProgress::Refused(CloseReason::Panicked)) {
                HeaderProgress::Done(n) => {
                    from = n.min(wire.len());
                    layers.client = None;
                }
                HeaderProgress::More => return 0..0,
                HeaderProgress::Refused(reason) => {
                    core.refuse(reason);
                    return 0..0;
                }
            }
        }
        let wire = &mut wire[from..];
        if layers.tls.is_some() {
            match layers.receive_records(core, now, wire, out, observer) {
                Err(failure) => core.refuse(CloseReason::Tls(failure)),
                // The end of the input stands behind all that came before it.
                Ok(()) => core.deliver_held(now, out, observer),
            }
            return 0..0;
        }
        if !layers.open_service(core, now, out, observer) {
            return 0..0;
        }
        // No layer is left below the service.
        self.layers = None;
        self.core.deliver(now, wire, Some(from), out, observer)
    }

    /// What the service sent in this call, `out[from..]`, becomes records, where the connection has
    /// TLS. The last of them is a close_notify.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>, from: usize) {
        let Self { layers: Some(layers), core } = self else { return };
        if let Some(tls) = &mut layers.tls
            && let Err(failure) = tls.seal(out, from, core.state.is_finished())
        {
            core.refuse(CloseReason::Tls(failure));
        }
    }

    /// For an engine that knows that the FIN which [`Conn::received_eof`] reports next has cut the
    /// input short, where no layer of this connection can know.
    pub fn truncate_input(&mut self) {
        self.core.truncated |= self.core.state.is_open();
    }

    /// The peer has sent its FIN, where layers stand below the service.
    pub(super) fn receive_fin(&mut self) {
        let Self { layers: Some(layers), core } = self else { return };
        if core.state == State::Handshake {
            core.peer_eof = OrderedEvent::Done;
            let undecided = layers.tls.as_mut().and_then(TlsLayer::left_undecided).map(CloseReason::Tls);
            core.refuse(undecided.unwrap_or(CloseReason::LeftEarly));
        } else if let Some(tls) = &layers.tls
            && !tls.peer_closed
            && core.state.is_open()
        {
            core.truncated = true;
        }
    }
}

impl Layers {
    /// Decrypts records and delivers each. Its bytes do not lie in the engine's buffer, so none of
    /// them can be echoed from there.
    fn receive_records(
        &mut self,
        core: &mut Core,
        now: Instant,
        wire: &mut [u8],
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Result<(), TlsFailure> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let Some(pending) = &mut self.pending else {
            let received = tls.receive(wire, &mut |bytes| {
                core.deliver(now, bytes, None, out, observer);
            });
            note_peer_closed(tls.peer_closed, core);
            return received;
        };
        if let Err(time) = tls.may_proceed(!wire.is_empty()) {
            tls.buffer(wire);
            pending.waits_until = now.checked_add(time);
            return Ok(());
        }
        pending.waits_until = None;
        // What comes right after the handshake waits until the service is open.
        let mut early = Vec::new();
        let received = tls.receive(wire, &mut |bytes| early.extend_from_slice(bytes));
        let is_closed = tls.peer_closed;
        if !tls.is_handshaking() {
            core.info.tls = Some(Arc::new(tls.established()));
            self.open_service(core, now, out, observer);
            core.deliver(now, &early, None, out, observer);
        }
        note_peer_closed(is_closed, core);
        received
    }

    /// Makes the service and opens it. Returns whether it is open.
    fn open_service(&mut self, core: &mut Core, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> bool {
        let Some(make) = self.pending.as_mut().and_then(|pending| pending.make.take()) else { return false };
        let made = guarded(|| {
            let mut service = GuardedService::new(make(&core.info, now));
            Some((service.call(|service| service.framing())?, service))
        });
        match made.flatten() {
            Some((framing, service)) => {
                let since = self.pending.take().and_then(|pending| pending.since);
                if let Some(since) = since {
                    let took = now.saturating_duration_since(since);
                    core.observe(now, |info| observer.handshaken(info, took));
                }
                core.service = service;
                core.asked.framing = framing;
                core.open(now, out, observer);
                true
            }
            None => {
                core.panicked(now);
                false
            }
        }
    }
}

/// The peer's close_notify is the end of the input.
fn note_peer_closed(is_closed: bool, core: &mut Core) {
    if is_closed && core.peer_eof == OrderedEvent::NotYet {
        core.peer_eof = OrderedEvent::Waiting;
    }
}

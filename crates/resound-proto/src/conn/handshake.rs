//! What happens on a connection before its service is open, and below it from then on.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Conn;
use super::ending::guarded;
use crate::error::{CloseReason, TlsFailure};
use crate::handshake::{HeaderProgress, Layers, NoService};
use crate::observer::Observer;
use crate::ordered::OrderedEvent;
use crate::tls::TlsLayer;

impl Conn {
    /// The transport is up, and the service must wait for what comes before it.
    pub(super) fn start_opening(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        self.progress = Some(now);
        let Some(layers) = &mut self.layers else { return };
        let mut started = Ok(());
        if let Some(pending) = &mut layers.opening {
            pending.since = Some(now);
            started = pending.broken.map_or(Ok(()), Err);
        }
        if let Some(tls) = &mut layers.tls {
            started = started.and_then(|()| tls.start());
        }
        match started {
            Ok(()) => drop(self.receive_below(now, &mut [], out, observer)),
            Err(failure) => self.refuse(CloseReason::Tls(failure)),
        }
    }

    /// What this end has to say first: before everything else, and below whatever seals that.
    pub(super) fn announcement(&mut self, now: Instant) -> Vec<u8> {
        let header = self.layers.as_mut().map(|layers| std::mem::take(&mut layers.header)).unwrap_or_default();
        if !header.is_empty() {
            self.unsent += header.len();
            self.delivery.begins(now, &self.limits);
        }
        header
    }

    /// Is the transport up, and the service not open yet?
    pub(super) fn is_opening(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.opening.is_some())
    }

    /// When the opening has taken too long.
    pub(super) fn opening_until(&self) -> Option<Instant> {
        let pending = self.layers.as_ref()?.opening.as_ref()?;
        if self.asked.closing {
            return None;
        }
        pending.since?.checked_add(self.limits.opening_timeout?)
    }

    /// When to ask again for a place among the handshakes. Nothing is read before.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.layers.as_ref()?.opening.as_ref()?.waits_until.filter(|_| !self.asked.closing)
    }

    /// Gives `wire` to what is below the service, and what comes out of that to the service. Says which part of `wire` is to be echoed.
    pub(super) fn receive_below(
        &mut self,
        now: Instant,
        wire: &mut [u8],
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Range<usize> {
        let mut from = 0;
        if self.asked.closing || self.asked.reset {
            return 0..0;
        }
        let Some(mut layers) = self.layers.take() else { return 0..0 };
        if let Some(preface) = &mut layers.preface {
            let read = guarded(|| preface.read(wire, &mut self.info, now));
            match read.unwrap_or(HeaderProgress::Refused(CloseReason::Panicked)) {
                HeaderProgress::Done(n) => {
                    from = n;
                    layers.preface = None;
                }
                more_or_refused => {
                    self.layers = Some(layers);
                    if let HeaderProgress::Refused(reason) = more_or_refused {
                        self.refuse(reason);
                    }
                    return 0..0;
                }
            }
        }
        let wire = &mut wire[from..];
        match layers.tls.take() {
            Some(mut tls) => {
                let received = self.receive_records(&mut tls, &mut layers, now, wire, out, observer);
                layers.tls = Some(tls);
                self.layers = Some(layers);
                match received {
                    Err(failure) => self.refuse(CloseReason::Tls(failure)),
                    // Behind all that came before it.
                    Ok(()) => drop(self.deliver(now, &[], out, observer)),
                }
                0..0
            }
            None => {
                self.open_service(&mut layers, now, out, observer);
                if layers.opening.is_some() {
                    self.layers = Some(layers);
                    return 0..0;
                }
                // Nothing is below the service any more.
                let echo = self.deliver(now, wire, out, observer);
                from + echo.start..from + echo.end
            }
        }
    }

    fn receive_records(
        &mut self,
        tls: &mut TlsLayer,
        layers: &mut Layers,
        now: Instant,
        wire: &mut [u8],
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Result<(), TlsFailure> {
        let mut received = Ok(());
        if let Some(pending) = &mut layers.opening {
            if let Err(time) = tls.may_go_on(!wire.is_empty()) {
                tls.keep(wire);
                pending.waits_until = now.checked_add(time);
                return Ok(());
            }
            pending.waits_until = None;
            // What comes right behind the handshake waits until the service is there.
            let mut early = Vec::new();
            received = tls.receive(wire, &mut |bytes| early.extend_from_slice(bytes));
            if !tls.is_handshaking() {
                self.info.tls = Some(Arc::new(tls.established()));
                self.open_service(layers, now, out, observer);
                self.deliver_opened(now, &early, out, observer);
            }
        } else {
            received =
                received.and_then(|()| tls.receive(wire, &mut |bytes| self.deliver_opened(now, bytes, out, observer)));
        }
        if tls.peer_closed && self.peer_eof == OrderedEvent::NotYet {
            self.peer_eof = OrderedEvent::Waiting;
        }
        received
    }

    /// Delivers what was in a record. The buffer that it lies in is not the engine's, so nothing of it can be lent.
    fn deliver_opened(&mut self, now: Instant, bytes: &[u8], out: &mut Vec<u8>, observer: &mut dyn Observer) {
        let echo = self.deliver(now, bytes, out, observer);
        if !echo.is_empty() {
            // Lent bytes go first.
            out.splice(0..0, bytes[echo].iter().copied());
        }
    }

    fn open_service(&mut self, layers: &mut Layers, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        let Some(pending) = &mut layers.opening else { return };
        let make = std::mem::replace(&mut pending.make, Box::new(|_| Box::new(NoService)));
        let made = guarded(|| make(&self.info));
        let made = made.and_then(|service| Some((guarded(|| service.framing())?, service)));
        match made {
            Some((framing, service)) => {
                layers.opening = None;
                self.service = service;
                self.asked.framing = framing;
                self.begin(now, out, observer);
            }
            // It ends unopened.
            None => self.panicked(now),
        }
    }

    /// What the service and this machine say in plain text leaves as records, where TLS is spoken. The last of them is a close_notify.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>) {
        let finished = self.asked.finished;
        if let Some(tls) = self.layers.as_mut().and_then(|layers| layers.tls.as_mut())
            && let Err(failure) = tls.seal(out, finished)
        {
            self.refuse(CloseReason::Tls(failure));
        }
    }

    /// The peer has sent its FIN.
    pub(super) fn fin_below(&mut self) {
        if self.is_opening() {
            // Where it should have gone on.
            self.peer_eof = OrderedEvent::Done;
            let tls = self.layers.as_mut().and_then(|layers| layers.tls.as_mut());
            let undecided = tls.and_then(TlsLayer::left_undecided).map(CloseReason::Tls);
            self.refuse(undecided.unwrap_or(CloseReason::LeftEarly));
        } else if let Some(tls) = self.layers.as_mut().and_then(|layers| layers.tls.as_mut())
            && !tls.peer_closed
        {
            tls.truncated = true;
            self.end(CloseReason::Truncated);
        }
    }

    /// May the end of the input have been cut off?
    pub(super) fn is_truncated(&self) -> bool {
        self.layers.as_ref().and_then(|layers| layers.tls.as_ref()).is_some_and(|tls| tls.truncated)
    }

    /// Has TLS the beginning of a record, or of more than one?
    pub(super) fn has_part_of_a_record(&self) -> bool {
        self.layers.as_ref().and_then(|layers| layers.tls.as_ref()).is_some_and(TlsLayer::has_part)
    }
}

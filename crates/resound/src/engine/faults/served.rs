//! [`ServerFaults`]: the faults of a server, and the service of each of its connections.

use std::sync::Arc;
use std::time::Instant;

use resound_proto::{CloseReason, ConnInfo, Cx, Framing, Limits, Service, SocketReport};

use super::faulted::FaultedService;
use super::live::{ClientFaults, LiveFaults};
use super::permit::ClientPermit;
use super::report::FaultObserver;

/// The faults of a server, and what observes them.
#[derive(Clone)]
pub(crate) struct ServerFaults {
    pub(crate) live: LiveFaults,
    pub(crate) observer: Arc<FaultObserver>,
}

impl ServerFaults {
    /// The service of a connection, with its faults before it if there are any.
    pub(crate) fn before(&self, service: Box<dyn Service>, info: &ConnInfo, limits: &Limits) -> Box<dyn Service> {
        let admitted = self.live.admit(info, Instant::now());
        let permit = ClientPermit::of(&self.live);
        match admitted.filter(ClientFaults::is_concerned) {
            None => Box::new(CountedService { service, _permit: permit }),
            Some(client) => {
                let observer = Arc::clone(&self.observer);
                Box::new(FaultedService::new(client, service, info, *limits, observer, permit))
            }
        }
    }
}

/// A service whose connection has no faults, and is counted.
struct CountedService {
    service: Box<dyn Service>,
    _permit: ClientPermit,
}

impl Service for CountedService {
    fn framing(&self) -> Framing {
        self.service.framing()
    }
    fn open(&mut self, cx: &mut Cx<'_>) {
        self.service.open(cx);
    }
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        self.service.data(bytes, cx);
    }
    fn drained(&mut self, cx: &mut Cx<'_>) {
        self.service.drained(cx);
    }
    fn wake(&mut self, cx: &mut Cx<'_>) {
        self.service.wake(cx);
    }
    fn eof(&mut self, cx: &mut Cx<'_>) {
        self.service.eof(cx);
    }
    fn drain(&mut self, cx: &mut Cx<'_>) {
        self.service.drain(cx);
    }
    fn socket(&mut self, report: &SocketReport, cx: &mut Cx<'_>) {
        self.service.socket(report, cx);
    }
    fn closed(&mut self, why: &CloseReason) {
        self.service.closed(why);
    }
}

//! [`NearFacts`]: one connection, as this end's system sees it.

use std::time::{Duration, Instant};

use resound::tls::{Certificate, TlsInfo};
use resound::{Endpoint, Stream};

use resound_probe::SocketFacts;

/// What this end knows of a connection.
#[derive(Clone, Debug)]
pub(crate) struct NearFacts {
    pub(crate) local: Endpoint,
    /// The address that was dialled.
    pub(crate) remote: Endpoint,
    pub(crate) socket: SocketFacts,
    /// The clock of this end's timestamps.
    pub(crate) timestamp_clock: Option<u32>,
    /// The most time since the SYN left.
    pub(crate) age: Duration,
    pub(crate) tls: Option<TlsInfo>,
    /// The certificate that the server has shown.
    pub(crate) certificate: Option<Certificate>,
}

impl NearFacts {
    /// Of a connection that was begun at `start`.
    pub(crate) fn of(stream: &Stream, start: Instant) -> Self {
        let report = stream.report();
        Self {
            local: stream.local(),
            remote: stream.peer(),
            socket: SocketFacts::of(&report),
            timestamp_clock: report.timestamp_clock,
            age: start.elapsed(),
            tls: stream.tls().map(|tls| tls.info().clone()),
            certificate: stream.tls().and_then(|tls| tls.chain().first().cloned()),
        }
    }
}

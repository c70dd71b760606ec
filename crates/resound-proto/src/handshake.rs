//! [`Handshake`]: what happens between a transport that is up and a service that is open.

use std::time::Instant;

use super::tls::TlsLayer;
use crate::error::{CloseReason, Refusal, TlsFailure};
use crate::service::{ConnInfo, Service};
use crate::session::{ClientSession, ServerSession};

/// Reads what the peer has to send before everything else, in plain bytes: a PROXY header, for one.
pub trait ReadHeader {
    /// `wire` has arrived; the first call comes before any byte, with none. The implementation
    /// keeps what is not complete yet, up to a bound.
    fn read(&mut self, wire: &[u8], conn: &mut ConnInfo) -> HeaderProgress;
}

/// How far a [`ReadHeader`] is after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderProgress {
    /// All of them belong to the header, and more must come.
    More,
    /// The header is complete; this many of the bytes, from the first on, belong to it.
    Done(usize),
    /// The bytes are no header, or not an acceptable one: the connection is reset for this reason.
    Refused(CloseReason),
}

/// What has to happen on a connection that is up before its service is made and opened. All of it
/// together is limited by [`Limits::opening_timeout`](crate::Limits::opening_timeout).
#[derive(Default)]
#[must_use]
pub struct Handshake {
    expected: Option<Box<dyn ReadHeader>>,
    admission: Option<Admission>,
    header: Vec<u8>,
    tls: Option<Result<TlsLayer, TlsFailure>>,
    on_failure: Option<OnFailure>,
}

impl Handshake {
    /// An empty one: the service opens at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// The peer's header is read before anything else.
    pub fn expect_header(mut self, reader: impl ReadHeader + 'static) -> Self {
        self.expected = Some(Box::new(reader));
        self
    }

    /// `admit` is called once, when the client is known: behind the PROXY header, or at the
    /// beginning where none comes. A refusal resets the connection.
    pub fn admission(mut self, admit: impl FnOnce(&ConnInfo, Instant) -> Result<(), Refusal> + 'static) -> Self {
        self.admission = Some(Box::new(admit));
        self
    }

    /// These bytes are sent first, in plain: a [PROXY header](crate::proxy::Header) of this end.
    pub fn header(mut self, header: impl Into<Vec<u8>>) -> Self {
        self.header = header.into();
        self
    }

    /// TLS, behind a PROXY header and before the service; this end is the server. `resound` takes
    /// `&TlsServer` here.
    pub fn tls_server(mut self, server: impl Into<ServerSession>) -> Self {
        self.tls = Some(TlsLayer::server(server.into()));
        self
    }

    /// TLS, behind a PROXY header and before the service; this end is the client. `resound` takes
    /// `&TlsClient` here.
    pub fn tls_client(mut self, client: impl Into<ClientSession>) -> Self {
        self.tls = Some(TlsLayer::client(client.into()));
        self
    }

    /// `unopened` is called where the connection ends before its service is made, with the reason
    /// and the time.
    pub fn on_failure(mut self, unopened: impl FnOnce(CloseReason, Instant) + 'static) -> Self {
        self.on_failure = Some(Box::new(unopened));
        self
    }

    /// Whether the service opens at once.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expected.is_none() && self.admission.is_none() && self.header.is_empty() && self.tls.is_none()
    }
}

/// Decides whether a client may connect, by what is known of it and the time.
type Admission = Box<dyn FnOnce(&ConnInfo, Instant) -> Result<(), Refusal>>;

/// Receives the reason why the service was never made.
type OnFailure = Box<dyn FnOnce(CloseReason, Instant)>;

/// Makes the service of a connection whose handshake was complete at this time.
pub type MakeService = Box<dyn FnOnce(&ConnInfo, Instant) -> Box<dyn Service>>;

/// Where the service of a connection comes from ([`Conn::start`](crate::Conn::start)).
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "it lives only while a connection is set up")]
pub enum ServiceSource {
    /// It exists, and opens at once.
    Ready(Box<dyn Service>),
    /// It is made after a handshake.
    After(Handshake, MakeService),
}

/// What stands between the transport and the service. A plain connection has none of it.
pub(super) struct Layers {
    /// Until the service is open.
    pub(super) pending: Option<PendingHandshake>,
    /// Until the client is known. Boxed: an open connection with TLS keeps these layers.
    pub(super) client: Option<Box<ClientCheck>>,
    /// What is sent first.
    pub(super) header: Vec<u8>,
    pub(super) tls: Option<TlsLayer>,
}

/// The handshake of a connection whose service is not open yet.
#[derive(Default)]
pub(super) struct PendingHandshake {
    /// Until it has been called.
    pub(super) make: Option<MakeService>,
    pub(super) on_failure: Option<OnFailure>,
    /// When the transport came up, once it has.
    pub(super) since: Option<Instant>,
    /// Too many handshakes are under way: when to ask again whether this one may go on.
    pub(super) waits_until: Option<Instant>,
    /// TLS could not even be set up.
    pub(super) broken: Option<TlsFailure>,
}

/// Finds out which client a connection serves, and whether that client may connect.
pub(super) struct ClientCheck {
    header: Option<Box<dyn ReadHeader>>,
    admission: Option<Admission>,
}

impl ClientCheck {
    pub(super) fn read(&mut self, wire: &[u8], conn: &mut ConnInfo, now: Instant) -> HeaderProgress {
        let n = match self.header.as_mut().map_or(HeaderProgress::Done(0), |header| header.read(wire, conn)) {
            HeaderProgress::Done(n) => n,
            more_or_refused => return more_or_refused,
        };
        match self.admission.take().map_or(Ok(()), |admit| admit(conn, now)) {
            Ok(()) => HeaderProgress::Done(n),
            Err(refusal) => HeaderProgress::Refused(CloseReason::Refused(refusal)),
        }
    }
}

impl Layers {
    pub(super) fn new(handshake: Handshake, make: Option<MakeService>) -> Self {
        let (tls, broken) = match handshake.tls {
            None => (None, None),
            Some(Ok(tls)) => (Some(tls), None),
            Some(Err(failure)) => (None, Some(failure)),
        };
        let pending = PendingHandshake { make, on_failure: handshake.on_failure, broken, ..Default::default() };
        let (header, admission) = (handshake.expected, handshake.admission);
        let client = (header.is_some() || admission.is_some()).then(|| Box::new(ClientCheck { header, admission }));
        Self { pending: Some(pending), client, header: handshake.header, tls }
    }

    /// Whether TLS holds the beginning of a record.
    pub(super) fn has_part(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsLayer::has_part)
    }
}

//! [`Handshake`]: what comes between a transport that is up and a service that is open.

use std::time::Instant;

use super::tls::TlsLayer;
use crate::error::{CloseReason, Refusal, TlsFailure};
use crate::service::{ConnInfo, Cx, Service};
use crate::session::{ClientSession, ServerSession};

/// What the peer has to say before everything else, in plain bytes: a PROXY header, for one.
pub trait ProxyHeader {
    /// `wire` has arrived; nothing, at the very beginning. What belongs to the preface and is not complete yet is for the preface to keep, bounded.
    fn read(&mut self, wire: &[u8], conn: &mut ConnInfo) -> HeaderProgress;
}

/// What a [`ProxyHeader`] has made of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderProgress {
    /// All of them belong to it, and more must come.
    More,
    /// It is complete; so many of these bytes were its own.
    Done(usize),
    /// It is none, or one that is not wanted: the connection is reset for this reason.
    Refused(CloseReason),
}

/// What has to happen on a connection that is up before its service is made and opened. It has
/// [`Limits::opening_timeout`](crate::Limits::opening_timeout) for all of it.
#[derive(Default)]
#[must_use]
pub struct Handshake {
    preface: Option<Box<dyn ProxyHeader>>,
    admission: Option<Admission>,
    header: Vec<u8>,
    tls: Option<Result<TlsLayer, TlsFailure>>,
    otherwise: Option<OnFailure>,
}

impl Handshake {
    /// Nothing: the service opens with the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// The peer's preface is read before anything else.
    pub fn preface(mut self, preface: impl ProxyHeader + 'static) -> Self {
        self.preface = Some(Box::new(preface));
        self
    }

    /// Called once, when the client is known: behind the PROXY header, or at the beginning where none comes. A refusal
    /// resets the connection.
    pub fn admission(mut self, admit: impl FnOnce(&ConnInfo, Instant) -> Result<(), Refusal> + 'static) -> Self {
        self.admission = Some(Box::new(admit));
        self
    }

    /// These bytes leave first, in plain: a [PROXY header](crate::proxy::Header) of this end's own.
    pub fn header(mut self, header: impl Into<Vec<u8>>) -> Self {
        self.header = header.into();
        self
    }

    /// Then the connection speaks TLS, and this end is the server.
    pub fn tls_server(mut self, server: impl Into<ServerSession>) -> Self {
        self.tls = Some(TlsLayer::server(server.into()));
        self
    }

    /// Then the connection speaks TLS, and this end is the client.
    pub fn tls_client(mut self, client: impl Into<ClientSession>) -> Self {
        self.tls = Some(TlsLayer::client(client.into()));
        self
    }

    /// What is to be called where the connection ends before its service is made, and why that was.
    pub fn otherwise(mut self, unopened: impl FnOnce(CloseReason) + 'static) -> Self {
        self.otherwise = Some(Box::new(unopened));
        self
    }

    /// Does the service open at once?
    pub fn is_nothing(&self) -> bool {
        self.preface.is_none() && self.admission.is_none() && self.header.is_empty() && self.tls.is_none()
    }
}

/// Decides whether a client may connect, by what is known of it and the time.
type Admission = Box<dyn FnOnce(&ConnInfo, Instant) -> Result<(), Refusal>>;

/// Is told why there is no service.
type OnFailure = Box<dyn FnOnce(CloseReason)>;

/// Makes the service of a connection that has been opened.
pub type MakeService = Box<dyn FnOnce(&ConnInfo) -> Box<dyn Service>>;

/// What stands between the transport and the service. A plain connection has none of it.
pub(super) struct Layers {
    /// Until the service is open.
    pub(super) opening: Option<PendingHandshake>,
    /// Until the client is known. Boxed: an open connection with TLS keeps these layers.
    pub(super) preface: Option<Box<ClientPreface>>,
    /// What leaves first.
    pub(super) header: Vec<u8>,
    pub(super) tls: Option<TlsLayer>,
}

/// A connection that is up, and whose service is not open yet.
pub(super) struct PendingHandshake {
    pub(super) make: MakeService,
    pub(super) otherwise: Option<OnFailure>,
    /// When the transport came up, once it has.
    pub(super) since: Option<Instant>,
    /// Too many handshakes are under way: when to ask again whether this one may go on.
    pub(super) waits_until: Option<Instant>,
    /// There could not even be a beginning.
    pub(super) broken: Option<TlsFailure>,
}

/// Finds out which client a connection serves, and whether that client may connect.
pub(super) struct ClientPreface {
    header: Option<Box<dyn ProxyHeader>>,
    admission: Option<Admission>,
}

impl ClientPreface {
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
    pub(super) fn new(opening: Handshake, make: MakeService) -> Self {
        let (tls, broken) = match opening.tls {
            None => (None, None),
            Some(Ok(tls)) => (Some(tls), None),
            Some(Err(failure)) => (None, Some(failure)),
        };
        let pending = PendingHandshake { make, otherwise: opening.otherwise, since: None, waits_until: None, broken };
        let (header, admission) = (opening.preface, opening.admission);
        let preface = (header.is_some() || admission.is_some()).then(|| Box::new(ClientPreface { header, admission }));
        Self { opening: Some(pending), preface, header: opening.header, tls }
    }
}

/// Stands in for a service that is not made yet. Nothing is delivered to it.
pub(super) struct NoService;

impl Service for NoService {
    fn data(&mut self, _bytes: &[u8], _cx: &mut Cx<'_>) {}
}

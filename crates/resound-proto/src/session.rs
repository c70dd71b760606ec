//! The two ends of TLS: rustls's settings, and the parts that this crate leaves to its caller.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};

use crate::service::PeerCertificate;

/// Reads a peer's certificate, for [`TlsInfo::peer`](crate::TlsInfo::peer).
pub type ReadCertificate = fn(&CertificateDer<'_>) -> Option<PeerCertificate>;

/// A permit for one of a server's concurrent handshakes, or a position in the queue for it.
/// Dropping the value returns it.
pub trait HandshakePermit {
    /// Whether the handshake may go on; if not, how long to wait before asking again.
    ///
    /// # Errors
    /// The time to wait.
    fn is_granted(&mut self) -> Result<(), Duration>;
}

/// The server's end of TLS on one connection.
pub struct ServerSession {
    /// The settings of this connection. [`AskedName`] may stand before its certificate resolver.
    pub config: Arc<ServerConfig>,
    /// Where the name that the client asks for (SNI, RFC 6066) is noted.
    pub name: Arc<AskedName>,
    /// Joins the queue of handshakes. Called once, when the first byte has come.
    pub join: Box<dyn FnOnce() -> Box<dyn HandshakePermit>>,
    /// What a client that does not use TLS gets, in plain text.
    pub hint: &'static [u8],
    /// Reads the client's certificate.
    pub read_certificate: ReadCertificate,
}

/// The client's end of TLS on one connection.
pub struct ClientSession {
    /// The settings. Connections that share them can resume each other's sessions.
    pub config: Arc<ClientConfig>,
    /// The name of the server.
    pub name: ServerName<'static>,
    /// Reads the server's certificate.
    pub read_certificate: ReadCertificate,
}

/// The name that one connection's client asks for. rustls shows it to the certificate resolver
/// only, so this wraps the resolver of one connection.
#[derive(Debug)]
pub struct AskedName {
    asked: OnceLock<Box<str>>,
    resolver: Arc<dyn ResolvesServerCert>,
}

impl AskedName {
    /// Wraps this resolver.
    #[must_use]
    pub fn before(resolver: Arc<dyn ResolvesServerCert>) -> Self {
        Self { asked: OnceLock::new(), resolver }
    }

    /// The name, once the client has asked for one.
    #[must_use]
    pub fn asked(&self) -> Option<&str> {
        self.asked.get().map(|name| &**name)
    }
}

impl ResolvesServerCert for AskedName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            let _ = self.asked.set(name.into());
        }
        self.resolver.resolve(hello)
    }
}

//! [`TlsServer`]: the TLS settings that the connections of a server share.

use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use resound_proto::{AskedName, ServerSession};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};

use super::handshake_limit::HandshakeLimit;
use super::identity::Identity;
use super::known::KnownClients;
use super::trust_store::TrustStore;
use super::{provider, read_peer, settings_error};
use crate::error::Error;

/// Handshakes under way at once, by default.
const HANDSHAKES: usize = 1024;
/// Sessions of TLS 1.2 clients without tickets that can be resumed.
const SESSIONS: usize = 4096;

/// The certificates that a server shows, and what it demands of its clients.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TlsServerSettings {
    identities: Vec<Identity>,
    clients: Option<TrustStore>,
    alpn: Vec<Vec<u8>>,
}

impl TlsServerSettings {
    /// A server with this certificate.
    pub fn new(identity: Identity) -> Self {
        Self { identities: vec![identity], ..Self::default() }
    }

    /// Another certificate, for clients that ask for one of its names (SNI, RFC 6066). Clients that
    /// ask for none, or for an unknown name, get the first. Of several for one name, such as one
    /// with an RSA key and one with an ECDSA key, a client gets the first whose key signs in a way
    /// that the client supports.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identities.push(identity);
        self
    }

    /// Clients must show a certificate that one of the authorities in this PEM file has signed, or
    /// that itself stands in it.
    ///
    /// # Errors
    /// [`Error::Certificate`] where the file cannot be read, or holds no certificate.
    pub fn client_ca(mut self, file: &Path) -> Result<Self, Error> {
        self.clients = Some(TrustStore::file(file)?);
        Ok(self)
    }

    /// An application protocol of this server (ALPN, RFC 7301), in order of preference. A client
    /// that offers protocols, but none of these, is refused.
    pub fn alpn(mut self, protocol: impl Into<Vec<u8>>) -> Self {
        self.alpn.push(protocol.into());
        self
    }

    /// The certificates, in their order.
    #[must_use]
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    fn config(&self) -> Result<ServerConfig, Error> {
        if self.identities.is_empty() {
            return Err(Error::Tls("a TLS server needs a certificate, and none was given".into()));
        }
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(settings_error)?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(&clients.roots), provider()).build();
                let others = verifier.map_err(|error| Error::Tls(error.to_string()))?;
                builder.with_client_cert_verifier(Arc::new(KnownClients {
                    known: Arc::clone(&clients.certificates),
                    others,
                }))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SniResolver(self.identities.clone())));
        config.alpn_protocols = self.alpn.clone();
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        config.ticketer = Ticketer::new().map_err(settings_error)?;
        Ok(config)
    }
}

/// The TLS of a server: cheap to clone, and every clone sees a [`replace`](TlsServer::replace).
#[derive(Clone, Debug)]
pub struct TlsServer {
    current: Arc<RwLock<Arc<ServerConfig>>>,
    handshakes: Arc<HandshakeLimit>,
    hint: &'static [u8],
}

impl TlsServer {
    /// TLS 1.2 and 1.3 with these settings, 1024 handshakes at once.
    ///
    /// # Errors
    /// [`Error::Tls`] where the settings have no certificate, or contradict each other.
    pub fn new(settings: &TlsServerSettings) -> Result<Self, Error> {
        let current = Arc::new(RwLock::new(Arc::new(settings.config()?)));
        Ok(Self { current, handshakes: HandshakeLimit::new(HANDSHAKES), hint: &[] })
    }

    /// How many handshakes may be under way at once; the others wait in order. A handshake takes
    /// its place at the first byte of a ClientHello.
    #[must_use]
    pub fn handshakes(mut self, most: usize) -> Self {
        self.handshakes = HandshakeLimit::new(most);
        self
    }

    /// A line in plain text for clients that do not speak TLS. By default the server resets such a
    /// connection without one.
    #[must_use]
    pub fn hint(mut self, text: &'static [u8]) -> Self {
        self.hint = text;
        self
    }

    /// Other settings for all further connections. Earlier sessions are not resumed: a new
    /// authority for clients would have no effect otherwise.
    ///
    /// # Errors
    /// As [`TlsServer::new`]; the old settings then stay.
    pub fn replace(&self, settings: &TlsServerSettings) -> Result<(), Error> {
        let config = Arc::new(settings.config()?);
        *self.current.write() = config;
        Ok(())
    }
}

impl From<&TlsServer> for ServerSession {
    fn from(server: &TlsServer) -> Self {
        let mut config = ServerConfig::clone(&server.current.read());
        let name = Arc::new(AskedName::before(Arc::clone(&config.cert_resolver)));
        config.cert_resolver = Arc::<AskedName>::clone(&name);
        let handshakes = Arc::clone(&server.handshakes);
        Self {
            config: Arc::new(config),
            name,
            join: Box::new(move || Box::new(handshakes.join())),
            hint: server.hint,
            read_certificate: read_peer,
        }
    }
}

/// Chooses the certificate by the name that a client asks for, and by the signatures that it
/// supports.
#[derive(Debug)]
struct SniResolver(Vec<Identity>);

impl SniResolver {
    /// The first certificate for this name whose key can sign for this client; where none can, the
    /// first, and rustls reports the failure.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Identity> {
        let first = self.0.first()?;
        let asked = |identity: &&Identity| name.is_some_and(|name| identity.is_for(name));
        let default = |identity: &&Identity| first.shares_a_name_with(identity);
        let named: Vec<_> = self.0.iter().filter(asked).collect();
        let fitting = if named.is_empty() { self.0.iter().filter(default).collect() } else { named };
        let signs = |identity: &&&Identity| identity.key.key.choose_scheme(schemes).is_some();
        fitting.iter().find(signs).or(fitting.first()).copied().or(Some(first))
    }
}

impl ResolvesServerCert for SniResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.choose(hello.server_name(), hello.signature_schemes());
        chosen.map(|identity| Arc::clone(&identity.key))
    }
}

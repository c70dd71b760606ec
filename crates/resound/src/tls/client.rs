//! [`TlsClient`]: which servers a client trusts, and its own certificate.

use std::path::Path;
use std::sync::Arc;

use resound_proto::ClientSession;
use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::authorities::Authorities;
use super::certificate::Fingerprint;
use super::identity::Identity;
use super::known::{KnownServers, NoVerification};
use super::{provider, read_peer, settings_error};
use crate::error::Error;

/// Which server certificates a client accepts.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Trust {
    /// Certificates that an authority of the platform has signed, for the right name.
    #[default]
    Platform,
    /// Certificates that one of these authorities has signed, and these certificates themselves,
    /// for the right name.
    Roots(Authorities),
    /// The certificate with this fingerprint only, whatever its issuer and its names.
    Pin(Fingerprint),
    /// Every certificate. An attacker on the path can read and change what is sent.
    Unverified,
}

impl Trust {
    /// The authorities in a PEM file.
    ///
    /// # Errors
    /// [`Error::Certificate`] where the file cannot be read, or holds no certificate.
    pub fn file(file: &Path) -> Result<Self, Error> {
        Ok(Self::Roots(Authorities::file(file)?))
    }
}

/// The TLS of a client: cheap to clone. Connections made with clones of one can resume each other's
/// sessions.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl From<&TlsClient> for ClientSession {
    fn from(client: &TlsClient) -> Self {
        Self { config: Arc::clone(&client.config), name: client.name.clone(), read_certificate: read_peer }
    }
}

impl TlsClient {
    /// TLS 1.2 and 1.3 with the server of this name (a DNS name or an IP address). Its certificate
    /// must name it, an IP address too, as a subjectAltName.
    ///
    /// # Errors
    /// [`Error::Tls`] for a text that is no server name, and where the platform has no authorities.
    pub fn new(name: &str, trust: Trust, identity: Option<&Identity>, alpn: &[Vec<u8>]) -> Result<Self, Error> {
        Self::of_provider(provider(), name, trust, identity, alpn)
    }

    /// The same, with one key exchange group only, by its IANA name in either case: `x25519`,
    /// `X25519MLKEM768`, `secp256r1`.
    ///
    /// # Errors
    /// As [`TlsClient::new`], and [`Error::Tls`] for an unknown group.
    pub fn with_group(
        group: &str,
        name: &str,
        trust: Trust,
        identity: Option<&Identity>,
        alpn: &[Vec<u8>],
    ) -> Result<Self, Error> {
        let mut provider = CryptoProvider::clone(&provider());
        let named = |known: &&dyn SupportedKxGroup| resound_proto::group(known.name());
        let names = provider.kx_groups.iter().map(named).collect::<Vec<_>>().join(", ");
        provider.kx_groups.retain(|known| named(known).eq_ignore_ascii_case(group));
        if provider.kx_groups.is_empty() {
            return Err(Error::Tls(format!("'{group}' is none of the groups there are to exchange keys in: {names}")));
        }
        Self::of_provider(Arc::new(provider), name, trust, identity, alpn)
    }

    fn of_provider(
        provider: Arc<CryptoProvider>,
        name: &str,
        trust: Trust,
        identity: Option<&Identity>,
        alpn: &[Vec<u8>],
    ) -> Result<Self, Error> {
        let name = ServerName::try_from(name.to_string())
            .map_err(|_| Error::Tls(format!("'{name}' is no name that a certificate can have")))?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(settings_error)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(match trust {
            Trust::Platform => {
                let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(settings_error)?;
                Arc::new(KnownServers { known: Arc::new([]), others: Arc::new(verifier) })
            }
            Trust::Roots(authorities) => {
                let verifier = WebPkiServerVerifier::builder_with_provider(authorities.roots, provider).build();
                let others = verifier.map_err(|error| Error::Tls(error.to_string()))?;
                Arc::new(KnownServers { known: authorities.certificates, others })
            }
            Trust::Pin(pin) => Arc::new(NoVerification(Some(pin))),
            Trust::Unverified => Arc::new(NoVerification(None)),
        });
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = SingleCertAndKey::from(Arc::clone(&identity.key));
                builder.with_client_cert_resolver(Arc::new(key))
            }
        };
        config.alpn_protocols = alpn.to_vec();
        Ok(Self { config: Arc::new(config), name })
    }

    /// A client with the caller's own configuration.
    #[must_use]
    pub fn of(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self { config, name }
    }

    /// The same, without resuming sessions: each handshake is a full one.
    #[must_use]
    pub fn without_resumption(mut self) -> Self {
        Arc::make_mut(&mut self.config).resumption = Resumption::disabled();
        self
    }

    /// The configuration for rustls.
    #[must_use]
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The name that the certificate must have.
    #[must_use]
    pub fn name(&self) -> &ServerName<'static> {
        &self.name
    }
}

//! [`TlsClient`]: which servers a client trusts, and its own certificate.

use std::path::Path;
use std::sync::Arc;

use resound_proto::ClientSession;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::certificate::Fingerprint;
use super::identity::Identity;
use super::known::{KnownServers, NoVerification};
use super::trust_store::TrustStore;
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
    Roots(TrustStore),
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
        Ok(Self::Roots(TrustStore::file(file)?))
    }
}

/// The TLS of a client: cheap to clone. Connections made with clones of one can resume each other's
/// sessions.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// What `config` verifies certificates with; `None` in a configuration of the caller's own.
    verifier: Option<Arc<dyn ServerCertVerifier>>,
}

impl From<&TlsClient> for ClientSession {
    fn from(client: &TlsClient) -> Self {
        Self { config: Arc::clone(&client.config), name: client.name.clone(), read_certificate: read_peer }
    }
}

impl TlsClient {
    /// TLS 1.2 and 1.3 with the server of this name (a DNS name or an IP address). Its certificate
    /// must name it, an IP address too, as a subjectAltName, unless `trust` asks for no name.
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
        Self::of_provider(only_group(group)?, name, trust, identity, alpn)
    }

    /// The same as this client, with one key exchange group only ([`TlsClient::with_group`]), and
    /// without the sessions that it could resume: its ClientHello has another size.
    ///
    /// # Errors
    /// [`Error::Tls`] for an unknown group, and for a client with the caller's own configuration.
    pub fn to_group(&self, group: &str) -> Result<Self, Error> {
        let Some(verifier) = &self.verifier else {
            return Err(Error::Tls("the groups of a configuration of your own cannot be changed".into()));
        };
        let builder = ClientConfig::builder_with_provider(only_group(group)?)
            .with_safe_default_protocol_versions()
            .map_err(settings_error)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::clone(verifier));
        let mut config = builder.with_client_cert_resolver(Arc::clone(&self.config.client_auth_cert_resolver));
        config.alpn_protocols.clone_from(&self.config.alpn_protocols);
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name: self.name.clone(), verifier: Some(Arc::clone(verifier)) })
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
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
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
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = SingleCertAndKey::from(Arc::clone(&identity.key));
                builder.with_client_cert_resolver(Arc::new(key))
            }
        };
        config.alpn_protocols = alpn.to_vec();
        Ok(Self { config: Arc::new(config), name, verifier: Some(verifier) })
    }

    /// A client with the caller's own configuration.
    #[must_use]
    pub fn of(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self { config, name, verifier: None }
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

/// The cryptography with one key exchange group alone.
fn only_group(group: &str) -> Result<Arc<CryptoProvider>, Error> {
    let mut provider = CryptoProvider::clone(&provider());
    let named = |known: &&dyn SupportedKxGroup| resound_proto::group(known.name());
    let names = provider.kx_groups.iter().map(named).collect::<Vec<_>>().join(", ");
    provider.kx_groups.retain(|known| named(known).eq_ignore_ascii_case(group));
    if provider.kx_groups.is_empty() {
        return Err(Error::Tls(format!("'{group}' is not a group for the key exchange; there are {names}")));
    }
    Ok(Arc::new(provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_be_had_with_one_group_alone() {
        let protocol = b"echo".to_vec();
        let client = TlsClient::new("localhost", Trust::Unverified, None, std::slice::from_ref(&protocol)).unwrap();
        let small = client.to_group("X25519").unwrap();
        let names = |client: &TlsClient| {
            let groups = client.config().crypto_provider().kx_groups.iter();
            groups.map(|group| resound_proto::group(group.name())).collect::<Vec<_>>()
        };
        assert!(names(&client).len() > 1 && names(&small) == ["x25519"], "{:?}", names(&small));
        assert_eq!((small.config().alpn_protocols.as_slice(), small.name()), (&[protocol][..], client.name()));
        assert!(client.to_group("x").unwrap_err().to_string().contains("X25519MLKEM768"));
        let own = TlsClient::of(Arc::clone(client.config()), client.name().clone());
        assert!(own.to_group("x25519").unwrap_err().to_string().contains("your own"));
    }
}

//! The TLS of a client: its flags, their meaning, and the result of the handshake as text.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::Args;
use resound::client::FailureClass;
use resound::client::TlsStream;
use resound::tls::rustls::{self, CertificateError};
use resound::tls::{Fingerprint, Identity, TlsClient, TlsFailure, Trust, rustls::pki_types::UnixTime};
use resound::{Address, Error, Stream};
use resound_console::escape;
use resound_console::tls_summary::TlsSummary;
use tokio::time::timeout;

use super::failure::ClientFailure;
use crate::advice;
use crate::certificates::dates;
use crate::stdio::say;

/// A heading in the help.
const TLS: &str = "TLS";

#[derive(Args)]
pub(crate) struct ClientTlsArgs {
    /// Use TLS 1.2 or 1.3, and check the server's certificate against this machine's authorities
    #[arg(help_heading = TLS, long)]
    pub(crate) tls: bool,
    /// Authorities to trust instead of this machine's (PEM)
    ///
    /// A certificate that itself stands in the file is trusted while its names and dates match.
    #[arg(help_heading = TLS, long, value_name = "FILE", requires = "tls", conflicts_with_all = ["pin", "insecure"])]
    pub(crate) ca: Option<PathBuf>,
    /// Name to ask for (SNI) and to find in the certificate [default: the host]
    #[arg(help_heading = TLS, long, value_name = "NAME", requires = "tls")]
    pub(crate) server_name: Option<String>,
    /// Trust the one certificate with this SHA-256 fingerprint, whatever its name and issuer
    #[arg(help_heading = TLS, long, value_name = "SHA256", requires = "tls", conflicts_with = "insecure")]
    pub(crate) pin: Option<Fingerprint>,
    /// Check nothing: a machine between can read and change all bytes
    #[arg(help_heading = TLS, long, requires = "tls")]
    pub(crate) insecure: bool,
    /// Client certificate to show to the server (PEM)
    #[arg(help_heading = TLS, long, value_name = "FILE", requires = "tls")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key of --cert (PEM) [default: in the same file]
    #[arg(help_heading = TLS, long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Application protocol to offer (ALPN; repeatable, the preferred one first)
    #[arg(help_heading = TLS, long, value_name = "NAME", requires = "tls")]
    pub(crate) alpn: Vec<String>,
}

/// Options of a handshake, for measuring it.
#[derive(Clone, Default)]
pub(crate) struct HandshakeOptions {
    /// No connection resumes an earlier session.
    pub(crate) are_full: bool,
    /// The group of the key exchange; `None` leaves it to the two ends.
    pub(crate) group: Option<String>,
}

/// The TLS of the connections.
pub(crate) struct TlsOptions {
    client: TlsClient,
    insecure: bool,
}

impl ClientTlsArgs {
    /// Is --tls given?
    pub(crate) fn is_wanted(&self) -> bool {
        self.tls
    }

    /// Another TLS flag, if one is given.
    pub(crate) fn details(&self) -> Option<&'static str> {
        [
            (self.ca.is_some(), "--ca"),
            (self.server_name.is_some(), "--server-name"),
            (self.pin.is_some(), "--pin"),
            (self.insecure, "--insecure"),
            (self.cert.is_some(), "--cert"),
            (!self.alpn.is_empty(), "--alpn"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    pub(crate) fn meaning(&self, address: &Address, handshakes: &HandshakeOptions) -> Result<Option<TlsOptions>> {
        if !self.tls {
            return Ok(None);
        }
        if let Some(name) = self.alpn.iter().find(|name| !(1..=255).contains(&name.len())) {
            bail!("--alpn '{name}': a protocol's name has 1 to 255 bytes");
        }
        let name = match (&self.server_name, address) {
            (Some(name), _) => name.as_str(),
            // The interface in an address concerns this machine only.
            (None, Address::Tcp { host, .. }) => host.split('%').next().unwrap_or(host),
            (None, Address::Unix(_)) => "localhost",
        };
        let trust = match (&self.ca, self.pin) {
            _ if self.insecure => Trust::Unverified,
            (Some(file), _) => Trust::file(file)?,
            (None, Some(pin)) => Trust::Pin(pin),
            (None, None) => Trust::Platform,
        };
        let mut identity = None;
        if let Some(cert) = &self.cert {
            let loaded = Identity::load(cert, self.key.as_ref().unwrap_or(cert))?;
            dates(loaded.certificate(), cert).iter().for_each(|complaint| say(&format!("warning: {complaint}")));
            identity = Some(loaded);
        }
        let alpn: Vec<Vec<u8>> = self.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        let client = handshakes.client(name, trust, identity.as_ref(), &alpn)?;
        Ok(Some(TlsOptions { client, insecure: self.insecure }))
    }
}

impl HandshakeOptions {
    fn client(
        &self,
        name: &str,
        trust: Trust,
        identity: Option<&Identity>,
        alpn: &[Vec<u8>],
    ) -> Result<TlsClient, Error> {
        let client = match &self.group {
            None => TlsClient::new(name, trust, identity, alpn)?,
            Some(group) => TlsClient::with_group(group, name, trust, identity, alpn)?,
        };
        Ok(if self.are_full { client.without_resumption() } else { client })
    }
}

impl TlsOptions {
    /// Trusts the one server with this certificate.
    pub(crate) fn pinned(pin: Fingerprint, handshakes: &HandshakeOptions) -> Result<Self> {
        let client = handshakes.client("localhost", Trust::Pin(pin), None, &[])?;
        Ok(Self { client, insecure: false })
    }

    pub(crate) fn client(&self) -> &TlsClient {
        &self.client
    }

    /// Is the server's certificate checked?
    pub(crate) fn is_checked(&self) -> bool {
        !self.insecure
    }

    /// Completes the TLS handshake.
    pub(super) async fn secure(&self, stream: Stream, limit: Duration) -> Result<Stream> {
        if self.insecure {
            say("warning: the server's certificate is not checked (--insecure): a machine between can read and \
             change all bytes");
        }
        let Ok(secured) = timeout(limit, stream.secure(&self.client)).await else {
            let what = format!("no TLS handshake after {}", humantime::format_duration(limit));
            let advice = "The server accepts connections and sends nothing: is it one that speaks TLS?";
            return Err(ClientFailure::no_handshake(FailureClass::Timeout, what, advice).into());
        };
        secured.map_err(refused)
    }
}

/// The failure of a handshake. For a certificate, it has the name or the date that it fails for.
fn refused(error: io::Error) -> anyhow::Error {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let what = "the server closed the connection within the TLS handshake";
            let advice = "It may not use TLS, or refuse this client: check the port, and its log.";
            return ClientFailure::no_handshake(FailureClass::Eof, what, advice).into();
        }
        if FailureClass::of(&error) == Some(FailureClass::Reset) {
            let what = "the server reset the connection within the TLS handshake";
            let advice = "The server may want a PROXY header (--send-proxy) first, or no TLS, refuse this machine, or \
                          have crashed: see its log.";
            return ClientFailure::no_handshake(FailureClass::Reset, what, advice).into();
        }
        return ClientFailure::of(error, " within the TLS handshake");
    };
    let failure = TlsFailure::of(inner);
    let mut advice = advice::of_tls(failure);
    let date = |time: &UnixTime| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    let detail = match inner {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
            let mut names = format!("is for {}", escape::text(presented.join(", ").as_bytes()));
            if presented.is_empty() {
                names = "has no names: no subjectAltName".into();
                advice = "No --server-name can match it: pin it (--pin SHA256), or give the server a certificate with \
                          a subjectAltName (`openssl req -x509 -addext subjectAltName=DNS:NAME`).";
            }
            format!(" (it should be for {}, and {names})", escape::text(expected.to_str().as_bytes()))
        }
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            format!(" (at {})", date(not_after))
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            format!(" (not before {})", date(not_before))
        }
        _ => String::new(),
    };
    ClientFailure::advised(FailureClass::Tls, format!("{failure}{detail}"), advice).into()
}

/// The parameters of TLS, and the certificates of the server.
pub(super) fn described(secure: &TlsStream) -> String {
    // The chain includes the peer.
    let mut info = secure.info().clone();
    info.peer = None;
    let mut text = format!("{}{}\n", TlsSummary(&info), if info.resumed { "" } else { ", full handshake" });
    for (at, certificate) in secure.chain().iter().enumerate() {
        // A name has backslashes of its own.
        let quoted = |text: &str| escape::plain(if text.is_empty() { b"(no name)" } else { text.as_bytes() });
        let until = humantime::format_rfc3339_seconds(certificate.not_after);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  certificate {at}: {}, signed by {}",
            quoted(&certificate.subject),
            quoted(&certificate.issuer)
        );
        if !certificate.names.is_empty() {
            let _ = writeln!(text, "    for {}", quoted(&certificate.names.join(", ")));
        }
        let _ = writeln!(text, "    until {until}, SHA-256 {}", certificate.fingerprint);
    }
    text
}

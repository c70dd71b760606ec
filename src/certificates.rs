//! The TLS of a server: its flags, their meaning, and certificates that are replaced while it runs.

use std::fs;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};
use clap::Args;
use resound::tls::{Certificate, Identity, TlsServer, TlsServerSettings};
use resound::{Endpoint, Error};
use resound_console::Console;
use resound_console::escape;

use crate::advice::{self, TLS_HINT};
use crate::units;

/// A heading in the help.
const TLS: &str = "TLS";

#[derive(Args, Clone)]
pub(crate) struct ServerTlsArgs {
    /// Use TLS 1.2 and 1.3; without --cert the server makes a certificate for this run
    #[arg(help_heading = TLS, long)]
    tls: bool,
    /// Certificate chain in PEM form (repeatable: clients choose by name, the first is the default)
    ///
    /// Files that change are read again, and at once on SIGHUP.
    #[arg(help_heading = TLS, long, value_name = "FILE", requires = "tls")]
    cert: Vec<PathBuf>,
    /// Private key in PEM form, one for each --cert [default: in the same file]
    #[arg(help_heading = TLS, long, value_name = "FILE", requires = "cert")]
    key: Vec<PathBuf>,
    /// Serve only clients with a certificate that one of these authorities has signed (PEM)
    #[arg(help_heading = TLS, long, value_name = "FILE", requires = "tls")]
    client_ca: Option<PathBuf>,
    /// Application protocol to accept (ALPN; repeatable, the preferred one first)
    ///
    /// A client that offers only others is refused.
    #[arg(help_heading = TLS, long, value_name = "NAME", requires = "tls")]
    alpn: Vec<String>,
    /// TLS handshakes at once; further ones wait in order
    #[arg(
        help_heading = TLS, long, value_name = "N", value_parser = units::positive, allow_hyphen_values = true,
        default_value = "1024", requires = "tls"
    )]
    max_handshakes: NonZeroUsize,
}

impl ServerTlsArgs {
    pub(crate) fn meaning(self) -> Result<Option<Self>> {
        if !self.tls {
            return Ok(None);
        }
        if !self.key.is_empty() && self.key.len() != self.cert.len() {
            bail!(
                "{} but {}: give one --key for each --cert, in the same order",
                units::counted(self.cert.len() as u64, "certificate"),
                units::counted(self.key.len() as u64, "key")
            );
        }
        if let Some(name) = self.alpn.iter().find(|name| !(1..=255).contains(&name.len())) {
            bail!("--alpn '{name}': a protocol's name has 1 to 255 bytes");
        }
        Ok(Some(self))
    }

    /// Certificates and keys; none for a development certificate.
    fn pairs(&self) -> impl Iterator<Item = (&PathBuf, &PathBuf)> {
        self.cert.iter().zip(if self.key.is_empty() { &self.cert } else { &self.key })
    }

    /// Do clients need certificates?
    pub(crate) fn ask_for_certificates(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Reads the files, or makes a development certificate for these addresses.
    pub(crate) fn begin(self, addresses: &[Endpoint]) -> Result<ServedTls> {
        let names = names(addresses);
        let PreparedTls { files, settings, seen, generated } = self.prepare(&names, Vec::new())?;
        let server = TlsServer::new(&settings)?.handshakes(files.max_handshakes.get()).hint(TLS_HINT);
        let certificates = certificates(&settings);
        let mut served = ServedTls { server, certificates, files, names, seen, generated, warned: Vec::new() };
        served.warn();
        Ok(served)
    }

    /// Reads the files, without a server, and says what clients will refuse.
    pub(crate) fn check(self) -> Result<Vec<String>> {
        let PreparedTls { files, settings, .. } = self.prepare(&names(&[]), Vec::new())?;
        TlsServer::new(&settings)?;
        Ok(warnings(&files, &certificates(&settings)))
    }

    /// Reads the files. A certificate that was made for this run before is kept.
    fn prepare(self, names: &[String], mut generated: Vec<Identity>) -> Result<PreparedTls, Error> {
        let seen = self.stamps();
        match self.cert.is_empty() {
            true if generated.is_empty() => generated.push(Identity::development(names)?),
            true => {}
            false => generated.clear(),
        }
        let settings = self.read(&generated)?;
        Ok(PreparedTls { files: self, settings, seen, generated })
    }

    fn read(&self, generated: &[Identity]) -> Result<TlsServerSettings, Error> {
        let loaded = self.pairs().map(|(cert, key)| Identity::load(cert, key));
        let mut settings = TlsServerSettings::default();
        for identity in generated.iter().cloned().map(Ok).chain(loaded) {
            settings = settings.identity(identity?);
        }
        if let Some(file) = &self.client_ca {
            settings = settings.client_ca(file)?;
        }
        Ok(self.alpn.iter().fold(settings, |settings, name| settings.alpn(name.as_bytes())))
    }

    fn stamps(&self) -> Vec<Stamp> {
        let of = |file: &PathBuf| {
            let found = fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        self.pairs().flat_map(|(cert, key)| [cert, key]).chain(&self.client_ca).map(of).collect()
    }
}

/// The TLS of a running server.
pub(crate) struct ServedTls {
    pub(crate) server: TlsServer,
    pub(crate) certificates: Vec<Certificate>,
    files: ServerTlsArgs,
    /// For a certificate that is made on the spot.
    names: Vec<String>,
    /// The versions of the files.
    seen: Vec<Stamp>,
    /// Development certificates, which have no file.
    generated: Vec<Identity>,
    /// Warnings already printed about the current certificates.
    warned: Vec<String>,
}

/// What the files hold, ready to be used.
pub(crate) struct PreparedTls {
    files: ServerTlsArgs,
    settings: TlsServerSettings,
    seen: Vec<Stamp>,
    generated: Vec<Identity>,
}

/// Identifies one version of a file.
type Stamp = Option<(SystemTime, u64)>;

impl ServedTls {
    /// Are there files to reload?
    pub(crate) fn has_files(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Is it a development certificate?
    pub(crate) fn is_development(&self) -> bool {
        self.files.cert.is_empty()
    }

    /// Reads the files again if they have changed, or if that is asked for. If a file is invalid,
    /// it warns and the last good certificates stay.
    pub(crate) async fn refresh(&mut self, console: &Console, is_requested: bool) {
        let files = self.files.clone();
        // Files may be on a slow network file system.
        let Ok(stamps) = tokio::task::spawn_blocking(move || files.stamps()).await else { return };
        if stamps == self.seen && !is_requested {
            // A certificate may have expired meanwhile.
            return self.warn();
        }
        self.seen = stamps;
        let prepared = self.prepare(self.files.clone()).await;
        if let Err(error) = prepared.and_then(|prepared| self.commit(prepared, console)) {
            tracing::warn!("the certificates stay as they were: {error}; {}", advice::of_error(&error));
        }
    }

    /// Reads files that are to be used instead.
    pub(crate) async fn prepare(&self, files: ServerTlsArgs) -> Result<PreparedTls, Error> {
        let (names, generated) = (self.names.clone(), self.generated.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            let prepared = files.prepare(&names, generated)?;
            TlsServer::new(&prepared.settings)?;
            Ok(prepared)
        });
        prepared.await.unwrap_or_else(|error| Err(Error::Tls(error.to_string())))
    }

    /// Uses what was read for all further connections.
    pub(crate) fn commit(&mut self, prepared: PreparedTls, console: &Console) -> Result<(), Error> {
        self.server.replace(&prepared.settings)?;
        self.certificates = certificates(&prepared.settings);
        (self.files, self.seen, self.generated) = (prepared.files, prepared.seen, prepared.generated);
        console.certificates("reloaded", &self.certificates);
        self.warned.clear();
        self.warn();
        Ok(())
    }

    /// Warns of certificates that clients will refuse, once after each load.
    fn warn(&mut self) {
        for warning in warnings(&self.files, &self.certificates) {
            if !self.warned.contains(&warning) {
                tracing::warn!("{warning}");
                self.warned.push(warning);
            }
        }
    }
}

/// Why clients will refuse these certificates.
fn warnings(files: &ServerTlsArgs, certificates: &[Certificate]) -> Vec<String> {
    let of = |((file, key), certificate): ((&PathBuf, &PathBuf), &Certificate)| {
        dates(certificate, file).into_iter().chain(shortcomings(certificate, file, key)).collect::<Vec<_>>()
    };
    files.pairs().zip(certificates).flat_map(of).collect()
}

/// The warning about a certificate that is not valid now.
pub(crate) fn dates(certificate: &Certificate, file: &Path) -> Option<String> {
    let (now, file) = (SystemTime::now(), escape::text(file.display().to_string().as_bytes()));
    let date = humantime::format_rfc3339_seconds;
    if now > certificate.not_after {
        Some(format!("the certificate in {file} has expired at {}: others will refuse it", date(certificate.not_after)))
    } else if now < certificate.not_before {
        let from = date(certificate.not_before);
        Some(format!("the certificate in {file} is not valid before {from}: others will refuse it until then"))
    } else {
        None
    }
}

/// Other reasons why clients refuse a certificate, with the command that makes a better one for the
/// same key.
fn shortcomings(certificate: &Certificate, file: &Path, key: &Path) -> Vec<String> {
    let file = escape::text(file.display().to_string().as_bytes());
    let key = escape::text(advice::shell_path(key).as_bytes());
    let is_plain = |name: &&String| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    let mut names: Vec<_> = certificate.names.iter().filter(is_plain).map(String::as_str).collect();
    if names.is_empty() {
        names.extend(["localhost", "127.0.0.1"]);
    }
    let kind = |name: &&str| if name.parse::<IpAddr>().is_ok() { format!("IP:{name}") } else { format!("DNS:{name}") };
    let all = names.iter().map(kind).collect::<Vec<_>>().join(",");
    let make = format!(
        "openssl req -x509 -key {key} -out server.pem -days 90 -subj /CN={} -addext subjectAltName={all} \
         -addext basicConstraints=critical,CA:FALSE",
        names[0]
    );
    let mut warnings = Vec::new();
    if certificate.is_authority {
        let own = if certificate.is_self_issued { ", which has signed itself" } else { "" };
        warnings.push(format!(
            "the certificate in {file} is a certificate authority's own (CA:TRUE){own}: many clients refuse \
             it as a server's, even if they trust it; one of the server's own is made with: {make}"
        ));
    }
    if certificate.names.is_empty() {
        warnings.push(format!(
            "the certificate in {file} is for no name (no subjectAltName), so clients refuse it; \
             one with names is made with: {make}"
        ));
    }
    warnings
}

fn certificates(settings: &TlsServerSettings) -> Vec<Certificate> {
    settings.identities().iter().map(|identity| identity.certificate().clone()).collect()
}

/// The names and addresses of a server that listens on these addresses.
fn names(addresses: &[Endpoint]) -> Vec<String> {
    let local = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let others = addresses.iter().filter_map(|address| match address {
        Endpoint::Tcp(tcp) if !tcp.ip().is_unspecified() && !tcp.ip().is_loopback() => Some(tcp.ip().to_string()),
        _ => None,
    });
    local.into_iter().chain(others).collect()
}

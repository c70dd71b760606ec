//! The server's TLS: its flags, what they mean, and certificates that are replaced while it runs.

use std::fs;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use clap::Args;
use resound::tls::{Certificate, Identity, TlsServer, TlsSettings};
use resound::{Endpoint, Error};

use crate::advice::{self, TLS_HINT};
use crate::console::Console;
use crate::signals::CaughtSignals;
use crate::{escape, units};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// A heading in the help.
const TLS: &str = "TLS";

#[derive(Args)]
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
    pub(crate) fn meaning(self) -> Result<Option<Files>> {
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
        let keys = if self.key.is_empty() { self.cert.clone() } else { self.key };
        Ok(Some(Files {
            pairs: self.cert.into_iter().zip(keys).collect(),
            client_ca: self.client_ca,
            alpn: self.alpn,
            handshakes: self.max_handshakes.get(),
        }))
    }
}

/// Where the server's certificates come from, and what it wants from its clients.
#[derive(Clone)]
pub(crate) struct Files {
    /// Certificate and key; none for a certificate made on the spot.
    pairs: Vec<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
    alpn: Vec<String>,
    handshakes: usize,
}

/// TLS as the server began with it.
pub(crate) struct ServedTls {
    pub(crate) server: TlsServer,
    pub(crate) certificates: Vec<Certificate>,
    files: Files,
    /// What the files looked like.
    seen: Vec<Stamp>,
    /// What was made on the spot is no file, and stays.
    made: Vec<Identity>,
    /// What was said of the certificates that are in use.
    said: Vec<String>,
}

/// Tells one version of a file from the next.
#[derive(PartialEq, Eq)]
struct Stamp(Option<(SystemTime, u64)>);

impl Files {
    /// Are clients known by their certificates?
    pub(crate) fn ask_for_certificates(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Reads the files, or makes a certificate for a server on these addresses.
    pub(crate) fn begin(self, addresses: &[Endpoint]) -> Result<ServedTls> {
        let seen = self.stamps();
        let made = match self.pairs.is_empty() {
            true => vec![Identity::development(&names(addresses))?],
            false => Vec::new(),
        };
        let settings = self.read(&made)?;
        let server = TlsServer::new(&settings)?.handshakes(self.handshakes).hint(TLS_HINT);
        let certificates = certificates(&settings);
        let mut begun = ServedTls { server, certificates, files: self, seen, made, said: Vec::new() };
        begun.complain();
        Ok(begun)
    }

    fn read(&self, made: &[Identity]) -> Result<TlsSettings, Error> {
        let loaded = self.pairs.iter().map(|(cert, key)| Identity::load(cert, key));
        self.settings(made.iter().cloned().map(Ok).chain(loaded).collect::<Result<_, _>>()?)
    }

    fn settings(&self, identities: Vec<Identity>) -> Result<TlsSettings, Error> {
        let mut identities = identities.into_iter();
        let mut settings = identities.next().map(TlsSettings::new).unwrap_or_default();
        for identity in identities {
            settings = settings.identity(identity);
        }
        if let Some(file) = &self.client_ca {
            settings = settings.client_ca(file)?;
        }
        Ok(self.alpn.iter().fold(settings, |settings, name| settings.alpn(name.as_bytes())))
    }

    fn stamps(&self) -> Vec<Stamp> {
        let of = |file: &PathBuf| {
            let found = fs::metadata(file).ok();
            Stamp(found.and_then(|found| Some((found.modified().ok()?, found.len()))))
        };
        self.pairs.iter().flat_map(|(cert, key)| [cert, key]).chain(&self.client_ca).map(of).collect()
    }
}

impl ServedTls {
    /// Is there anything that can be read again?
    pub(crate) fn has_files(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Is the certificate one that was made on the spot?
    pub(crate) fn is_development(&self) -> bool {
        self.files.pairs.is_empty()
    }

    /// Reads the files again whenever they change or the process is told to, for as long as the server runs. What cannot be used is said, and
    /// the last good certificates stay.
    pub(crate) async fn keep_fresh(mut self, console: Console) {
        if !self.has_files() {
            return std::future::pending().await;
        }
        let mut told = CaughtSignals::hangup();
        loop {
            let is_told = tokio::select! {
                () = told.next() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let files = self.files.clone();
            // Files may be far away.
            let Ok(stamps) = tokio::task::spawn_blocking(move || files.stamps()).await else { continue };
            if stamps == self.seen && !is_told {
                // One may have expired meanwhile.
                self.complain();
                continue;
            }
            self.seen = stamps;
            let (files, server, made) = (self.files.clone(), self.server.clone(), self.made.clone());
            let replaced = tokio::task::spawn_blocking(move || {
                let settings = files.read(&made)?;
                server.replace(&settings)?;
                Ok::<_, Error>(certificates(&settings))
            });
            match replaced.await {
                Ok(Ok(certificates)) => {
                    console.certificates("reloaded", &certificates);
                    self.certificates = certificates;
                    self.said.clear();
                    self.complain();
                }
                Ok(Err(error)) => {
                    tracing::warn!("the certificates stay as they were: {error}; {}", advice::of_error(&error));
                }
                Err(_) => {}
            }
        }
    }
}

impl ServedTls {
    /// Warns of certificates that clients will refuse: once, each time that they are read.
    fn complain(&mut self) {
        for ((file, key), certificate) in self.files.pairs.iter().zip(&self.certificates) {
            for complaint in dates(certificate, file).into_iter().chain(shortcomings(certificate, file, key)) {
                if !self.said.contains(&complaint) {
                    tracing::warn!("{complaint}");
                    self.said.push(complaint);
                }
            }
        }
    }
}

/// What to say of a certificate that is not valid now.
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

/// What else keeps clients from trusting a server's certificate, and the command that makes another
/// with the same key.
fn shortcomings(certificate: &Certificate, file: &Path, key: &Path) -> Vec<String> {
    let file = escape::text(file.display().to_string().as_bytes());
    let key = escape::text(shell(key).as_bytes());
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
    let mut said = Vec::new();
    if certificate.is_authority {
        let own = if certificate.is_self_issued { ", which has signed itself" } else { "" };
        said.push(format!(
            "the certificate in {file} is a certificate authority's own (CA:TRUE){own}: many clients refuse \
             it as a server's, even if they trust it; one of the server's own is made with: {make}"
        ));
    }
    if certificate.names.is_empty() {
        said.push(format!(
            "the certificate in {file} is for no name (no subjectAltName), so clients refuse it; \
             one with names is made with: {make}"
        ));
    }
    said
}

/// A path as a shell takes it for one word.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./+,@%:=".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

fn certificates(settings: &TlsSettings) -> Vec<Certificate> {
    settings.identities().iter().map(|identity| identity.certificate().clone()).collect()
}

/// What clients may call a server on these addresses.
fn names(addresses: &[Endpoint]) -> Vec<String> {
    let mut names = vec!["localhost".to_string(), "127.0.0.1".into(), "::1".into()];
    let others = addresses.iter().filter_map(|address| match address {
        Endpoint::Tcp(tcp) => Some(tcp.ip()),
        _ => None,
    });
    let others = others.filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback()).map(|ip| ip.to_string());
    names.extend(others);
    names
}

//! The flags of `resound relay`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use resound::tls::{Fingerprint, TlsClient};
use resound::{Address, Engine, Error, Family};

use super::config::ConfigArgs;
use super::faults::FaultArgs;
use super::logging::set_verbose;
use super::serving::{LIMITS, ServingArgs};
use super::{DEFAULT_HOST, address, examples, listen_address};
use crate::client::{ClientTlsArgs, HandshakeOptions, SendProxy};
use crate::listening::ListenAddress;
use crate::relay::RelaySettings;
use crate::source_address::SourceAddress;
use crate::units::{self, Timeout};

/// Where a relay listens without LISTEN.
const DEFAULT_LISTEN: u16 = 8889;

// Headings in the help, and tables in docs/relay.md.
const TARGET: &str = "Target";
const TARGET_TLS: &str = "TLS to the target";

#[derive(Args)]
#[command(
    override_usage = "resound relay [OPTIONS] [LISTEN] TARGET\n       resound relay [OPTIONS] --map LISTEN=TARGET..."
)]
#[command(after_help = examples::RELAY_NOTES, after_long_help = examples::long_help("relay"))]
pub(crate) struct RelayArgs {
    /// Address to listen on [default: 127.0.0.1:8889], and the address to connect to for each
    /// client
    #[arg(value_names = ["LISTEN", "TARGET"], num_args = 0..)]
    addresses: Vec<String>,
    /// Another address to listen on, and its target (repeatable)
    #[arg(long, value_name = "LISTEN=TARGET")]
    map: Vec<String>,
    /// Print each connection, its bytes, and how each direction has ended
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    #[command(flatten)]
    serving: ServingArgs,
    /// Reset both ends of a connection on which no byte has moved for this long
    #[arg(help_heading = LIMITS, long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    idle_timeout: Timeout,
    /// How long the resolver may take, and then each address of the target
    #[arg(help_heading = TARGET, long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    connect_timeout: Duration,
    /// Address of this machine to connect from
    #[arg(help_heading = TARGET, long, value_name = "IP")]
    source_address: Option<SourceAddress>,
    /// Begin each connection with a PROXY header that names the client: v1 or v2, with more fields
    /// of v2 after commas, as for `resound client --send-proxy`
    #[arg(help_heading = TARGET, long, value_name = "VERSION")]
    send_proxy: Option<SendProxy>,
    #[command(flatten)]
    target_tls: TargetTlsArgs,
    #[command(flatten)]
    faults: FaultArgs,
    #[command(flatten)]
    _config: ConfigArgs,
}

#[derive(Args)]
struct TargetTlsArgs {
    /// Use TLS 1.2 or 1.3, and check the target's certificate against this machine's authorities
    #[arg(help_heading = TARGET_TLS, long)]
    target_tls: bool,
    /// Authorities to trust instead of this machine's (PEM)
    #[arg(
        help_heading = TARGET_TLS, long, value_name = "FILE", requires = "target_tls",
        conflicts_with_all = ["target_pin", "target_insecure"]
    )]
    target_ca: Option<PathBuf>,
    /// Name to ask for (SNI) and to find in the certificate [default: the target's host]
    #[arg(help_heading = TARGET_TLS, long, value_name = "NAME", requires = "target_tls")]
    target_server_name: Option<String>,
    /// Trust the one certificate with this SHA-256 fingerprint, whatever its name and issuer
    #[arg(
        help_heading = TARGET_TLS, long, value_name = "SHA256", requires = "target_tls",
        conflicts_with = "target_insecure"
    )]
    target_pin: Option<Fingerprint>,
    /// Check nothing: a machine between can read and change all bytes
    #[arg(help_heading = TARGET_TLS, long, requires = "target_tls")]
    target_insecure: bool,
    /// Client certificate to show to the target (PEM)
    #[arg(help_heading = TARGET_TLS, long, value_name = "FILE", requires = "target_tls")]
    target_cert: Option<PathBuf>,
    /// Private key of --target-cert (PEM) [default: in the same file]
    #[arg(help_heading = TARGET_TLS, long, value_name = "FILE", requires = "target_cert")]
    target_key: Option<PathBuf>,
    /// Application protocol to offer (ALPN; repeatable, the preferred one first)
    #[arg(help_heading = TARGET_TLS, long, value_name = "NAME", requires = "target_tls")]
    target_alpn: Vec<String>,
}

impl TargetTlsArgs {
    /// The TLS of each target.
    fn meaning(self, targets: &[Address]) -> Result<Vec<Option<TlsClient>>> {
        let client = ClientTlsArgs {
            tls: self.target_tls,
            ca: self.target_ca,
            server_name: self.target_server_name,
            pin: self.target_pin,
            insecure: self.target_insecure,
            cert: self.target_cert,
            key: self.target_key,
            alpn: self.target_alpn,
        };
        let tls =
            |target| Ok(client.meaning(target, &HandshakeOptions::default())?.map(|options| options.client().clone()));
        targets.iter().map(tls).collect()
    }
}

impl RelayArgs {
    pub(crate) fn meaning(self) -> Result<RelaySettings> {
        let routes = routes(&self.addresses, &self.map)?;
        if self.serving.engine() == Engine::Threads {
            bail!(
                "--engine threads cannot relay: it has one thread for each connection, and a relay needs two \
                   connections on one (use auto, uring or portable)"
            );
        }
        let source_address = match self.source_address {
            Some(SourceAddress { interface, ip }) if interface != 0 => {
                bail!("--source-address {ip}: a relay takes the interface of a link-local address from its target")
            }
            source => source.map(|source| source.ip),
        };
        let (listen, targets): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
        let family = self.serving.family();
        check_source(source_address, family, &targets)?;
        targets.iter().try_for_each(|target| can_be_reached(target, family, source_address))?;
        let tls = self.target_tls.meaning(&targets)?;
        let mut serving = self.serving.meaning(listen)?;
        set_verbose(&mut serving.console, self.verbose)?;
        (serving.limits.idle_timeout, serving.targets) = (self.idle_timeout.0, targets);
        let faults = self.faults.meaning(&mut serving)?;
        let (send_proxy, connect_timeout) = (self.send_proxy, self.connect_timeout);
        Ok(RelaySettings { serving, tls, send_proxy, source: source_address, connect_timeout, faults })
    }
}

/// Each address to listen on, and its target.
fn routes(addresses: &[String], map: &[String]) -> Result<Vec<(ListenAddress, Address)>> {
    let mut routes = match addresses {
        [] if map.is_empty() => bail!("where to? Give the target, such as `resound relay 127.0.0.1:8888`"),
        [] => Vec::new(),
        [target] => {
            let listen = Address::Tcp { host: DEFAULT_HOST.into(), port: DEFAULT_LISTEN };
            vec![(ListenAddress::Bound(listen), address(Some(target), None)?)]
        }
        [listen, target] => vec![(listening(listen)?, address(Some(target), None)?)],
        more => bail!(
            "{} addresses, and a relay takes LISTEN and TARGET, each as HOST:PORT: `resound relay 127.0.0.1:8889 \
             db.example:5432`",
            more.len()
        ),
    };
    for text in map {
        let Some((listen, target)) = text.split_once('=') else {
            bail!("--map {text}: write LISTEN=TARGET, such as 127.0.0.1:8889=db.example:5432");
        };
        routes.push((listening(listen)?, address(Some(target), None)?));
    }
    for (at, (_, target)) in routes.iter().enumerate() {
        let leads_here = |listen: &ListenAddress| matches!(listen, ListenAddress::Bound(listen) if listen == target);
        if let Some((listen, _)) = routes.iter().find(|(listen, _)| leads_here(listen)) {
            bail!("{listen} would lead to itself");
        }
        if let Address::Tcp { port: 0, .. } = target {
            bail!("{target}: port 0 cannot be connected to");
        }
        if let Some(twice) = routes[..at].iter().find(|(listen, _)| *listen == routes[at].0 && is_one(listen)) {
            bail!("{} has two targets: an address leads to one", twice.0);
        }
    }
    Ok(routes)
}

/// Refuses a source address from which no target is dialled.
fn check_source(source: Option<IpAddr>, family: Family, targets: &[Address]) -> Result<()> {
    let Some(source) = source else { return Ok(()) };
    if !family.admits(&(source, 0).into()) {
        bail!("--source-address {source} is not of the family that -4 or -6 asks for: drop one of them");
    }
    if targets.iter().all(|target| matches!(target, Address::Unix(_))) {
        bail!("--source-address {source}: a unix socket has no source address. Drop the flag");
    }
    Ok(())
}

/// Refuses a target that no connection can reach, whatever listens there.
fn can_be_reached(target: &Address, family: Family, source: Option<IpAddr>) -> Result<()> {
    let Address::Tcp { host, .. } = target else { return Ok(()) };
    // The addresses of a name are known once a client comes.
    let Ok(ip) = host.split('%').next().unwrap_or(host).parse::<IpAddr>() else { return Ok(()) };
    let ip = ip.to_canonical();
    if !family.admits(&(ip, 0).into()) {
        bail!("{target} is not of the family that -4 or -6 asks for: drop the flag, or give another target");
    }
    match source {
        Some(source) if source.is_ipv4() != ip.is_ipv4() => {
            bail!("--source-address {source} cannot reach {target}, which is of the other family: drop one of them")
        }
        _ => Ok(()),
    }
}

/// Whether an address can be listened on once only: with port 0 the system chooses another port
/// each time.
fn is_one(listen: &ListenAddress) -> bool {
    !listen.is_chosen()
}

/// An address to listen on; a host alone gets a relay's port.
fn listening(text: &str) -> Result<ListenAddress, Error> {
    match listen_address(Some(text), None) {
        Ok(ListenAddress::Bound(Address::Tcp { host, .. })) if text == host || text == format!("[{host}]") => {
            Ok(ListenAddress::Bound(Address::Tcp { host, port: DEFAULT_LISTEN }))
        }
        parsed => parsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(addresses: &[&str], map: &[&str]) -> Result<Vec<String>, String> {
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let routes = routes(&owned(addresses), &owned(map)).map_err(|error| error.to_string())?;
        Ok(routes.into_iter().map(|(listen, target)| format!("{listen} to {target}")).collect())
    }

    #[test]
    fn a_relay_has_an_address_and_a_target() {
        let cases: [(&[&str], &[&str], &[&str]); 6] = [
            (&["8888"], &[], &["127.0.0.1:8889 to 127.0.0.1:8888"]),
            (&["db.internal:5432"], &[], &["127.0.0.1:8889 to db.internal:5432"]),
            (&["9000", "db:5432"], &[], &["127.0.0.1:9000 to db:5432"]),
            (&["::1", "db:5432"], &[], &["[::1]:8889 to db:5432"]),
            (&["unix:/tmp/a", "unix:/tmp/b"], &[], &["unix:/tmp/a to unix:/tmp/b"]),
            (
                &[],
                &["9000=db:1", "0=db:2", "0=db:3"],
                &["127.0.0.1:9000 to db:1", "127.0.0.1:0 to db:2", "127.0.0.1:0 to db:3"],
            ),
        ];
        for (addresses, map, want) in cases {
            if !cfg!(unix) && want[0].starts_with("unix:") {
                assert!(typed(addresses, map).unwrap_err().contains("this system has no unix sockets"));
                continue;
            }
            assert_eq!(typed(addresses, map).unwrap(), want);
        }
    }

    #[test]
    fn a_target_that_no_connection_can_reach_is_refused() {
        let reached = |target: &str, family, source: Option<&str>| {
            let source = source.map(|ip| ip.parse().unwrap());
            let target = target.parse().unwrap();
            check_source(source, family, std::slice::from_ref(&target))
                .and_then(|()| can_be_reached(&target, family, source))
                .map_err(|error| error.to_string())
        };
        for (target, family, source) in [
            ("[::1]:1", Family::V6, Some("::1")),
            ("[fe80::1%lo]:1", Family::Any, Some("fe80::2")),
            ("127.0.0.1:1", Family::V4, Some("127.0.0.2")),
            ("[::ffff:127.0.0.1]:1", Family::V4, Some("127.0.0.2")),
            ("name.example:1", Family::V4, Some("127.0.0.2")),
            ("name.example:1", Family::V6, None),
            #[cfg(unix)]
            ("unix:/tmp/a", Family::V6, None),
        ] {
            assert_eq!(reached(target, family, source), Ok(()), "{target}");
        }
        for (target, family, source, want) in [
            ("[::1]:1", Family::V4, None, "[::1]:1 is not of the family that -4 or -6 asks for"),
            ("127.0.0.1:1", Family::V6, None, "127.0.0.1:1 is not of the family"),
            ("[fe80::1%lo]:1", Family::V4, None, "[fe80::1%lo]:1 is not of the family"),
            ("127.0.0.1:1", Family::Any, Some("::1"), "--source-address ::1 cannot reach 127.0.0.1:1"),
            ("name.example:1", Family::V6, Some("127.0.0.2"), "--source-address 127.0.0.2 is not of the family"),
            #[cfg(unix)]
            ("unix:/tmp/a", Family::Any, Some("::1"), "--source-address ::1: a unix socket has no"),
        ] {
            let error = reached(target, family, source).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_relayed_is_refused() {
        let cases: [(&[&str], &[&str], &str); 7] = [
            (&[], &[], "where to? Give the target"),
            (&["127.0.0.1", "9000", "db", "5432"], &[], "4 addresses, and a relay takes"),
            (&["9000", "127.0.0.1:9000"], &[], "127.0.0.1:9000 would lead to itself"),
            (&["0"], &[], "127.0.0.1:0: port 0 cannot be connected to"),
            (&["9000", "db:1"], &["9000=db:2"], "127.0.0.1:9000 has two targets"),
            (&[], &["9000"], "--map 9000: write LISTEN=TARGET"),
            (&[], &["9000=db=2"], "invalid address 'db=2'"),
        ];
        for (addresses, map, want) in cases {
            let error = typed(addresses, map).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
    }
}

//! The flags of `resound relay`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use resound::faults::{FaultProfile, FaultSpec, PROFILES};
use resound::tls::{Fingerprint, TlsClient};
use resound::{Address, Engine, Error};

use super::serving::{LIMITS, ServingArgs};
use super::{DEFAULT_HOST, address, examples};
use crate::client::{ClientTlsArgs, HandshakeOptions, SendProxy};
use crate::relay::{CONTROL_DESCRIPTORS, ControlAddress, FaultSource, RelaySettings, SourcedFaults};
use crate::units::{self, SourceAddress, Timeout};

/// Where a relay listens without LISTEN.
const DEFAULT_LISTEN: u16 = 8889;

// Headings in the help, and tables in docs/relay.md.
const TARGET: &str = "Target";
const TARGET_TLS: &str = "TLS to the target";
const FAULTS: &str = "Faults on purpose";

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
    #[arg(help_heading = TARGET, long, value_name = "IP", value_parser = units::source_address)]
    source_address: Option<SourceAddress>,
    /// Begin each connection with a PROXY header that names the client: v1 or v2, with more fields
    /// of v2 behind commas as `resound client --send-proxy` takes them
    #[arg(help_heading = TARGET, long, value_name = "VERSION")]
    send_proxy: Option<SendProxy>,
    #[command(flatten)]
    target_tls: TargetTlsArgs,
    /// What goes wrong, such as `1-2: reset @0B` or `down: delay=20ms+-5ms` (repeatable)
    ///
    /// docs/faults.md has the grammar, and a table of all faults.
    #[arg(help_heading = FAULTS, long, value_name = "SPEC", conflicts_with_all = ["faults", "replay"])]
    fault: Vec<FaultSpec>,
    /// Do to connections what a real box in the path does (repeatable; --fault adds to it)
    #[arg(
        help_heading = FAULTS, long = "as", value_name = "BOX", value_parser = profile(),
        conflicts_with_all = ["faults", "replay"]
    )]
    profiles: Vec<String>,
    /// File with the faults (TOML), read again when it changes and on SIGHUP
    #[arg(help_heading = FAULTS, long, value_name = "FILE", conflicts_with = "replay")]
    faults: Option<PathBuf>,
    /// Seed of all that is drawn: the same seed repeats the same faults [default: drawn, and
    /// printed unless --quiet]
    #[arg(help_heading = FAULTS, long, value_name = "N", conflicts_with = "replay")]
    seed: Option<u64>,
    /// Write the faults and each injection to a file, one JSON object a line
    #[arg(help_heading = FAULTS, long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Inject the faults of a file of --record again
    #[arg(help_heading = FAULTS, long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Listen on this address for an HTTP API, by which a test sets faults and reads events
    #[arg(help_heading = FAULTS, long, value_name = "ADDR", value_parser = control_address)]
    control: Option<SocketAddr>,
    /// Let --control listen on an address that other machines can reach
    #[arg(help_heading = FAULTS, long, requires = "control")]
    control_open: bool,
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
        if let (Some(record), Some(replay)) = (&self.record, &self.replay)
            && record.canonicalize().is_ok_and(|record| replay.canonicalize().is_ok_and(|replay| record == replay))
        {
            bail!("--record {} would overwrite what --replay reads", record.display());
        }
        let source_address = match self.source_address {
            Some(SourceAddress { interface, ip }) if interface != 0 => {
                bail!("--source-address {ip}: a relay takes the interface of a link-local address from its target")
            }
            source => source.map(|source| source.ip),
        };
        let source = match (self.faults, self.replay) {
            (Some(file), _) => FaultSource::File(file),
            (None, Some(record)) => FaultSource::Record(record),
            (None, None) => {
                let of_boxes = self.profiles.iter().filter_map(|name| FaultProfile::named(name));
                let boxes = of_boxes.map(|profile| profile.faults.to_string());
                let all: Vec<String> = boxes.chain(self.fault.iter().map(ToString::to_string)).collect();
                match all.is_empty() {
                    true => FaultSource::Nowhere,
                    false => FaultSource::Spec(all.join("; ").parse()?),
                }
            }
        };
        if matches!(source, FaultSource::Nowhere) && self.seed.is_some() && self.control.is_none() {
            bail!("--seed has no meaning without --fault, --as or --faults, or --control");
        }
        let control = self.control.map(|address| ControlAddress { address, is_open: self.control_open });
        if let Some(ControlAddress { address, is_open: false }) = control
            && !address.ip().is_loopback()
        {
            bail!("--control {address}: other machines could set faults there; --control-open allows that");
        }
        // Short enough to be typed again.
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
        let faults = SourcedFaults::new(source, seed);
        let (listen, targets): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
        let tls = self.target_tls.meaning(&targets)?;
        let mut serving = self.serving.meaning(listen)?;
        (serving.verbose, serving.limits.idle_timeout, serving.targets) = (self.verbose, self.idle_timeout.0, targets);
        serving.reloads = faults.reloads();
        serving.beside = control.map_or(0, |_| CONTROL_DESCRIPTORS);
        let (send_proxy, connect_timeout, record) = (self.send_proxy, self.connect_timeout, self.record);
        Ok(RelaySettings { serving, tls, send_proxy, source: source_address, connect_timeout, faults, record, control })
    }
}

/// The names of the boxes, each with what it does.
fn profile() -> PossibleValuesParser {
    PossibleValuesParser::new(PROFILES.iter().map(|profile| PossibleValue::new(profile.name).help(profile.what)))
}

/// Each address to listen on, and its target.
fn routes(addresses: &[String], map: &[String]) -> Result<Vec<(Address, Address)>> {
    let mut routes = match addresses {
        [] if map.is_empty() => bail!("where to? Give the target, such as `resound relay 127.0.0.1:8888`"),
        [] => Vec::new(),
        [target] => {
            vec![(Address::Tcp { host: DEFAULT_HOST.into(), port: DEFAULT_LISTEN }, address(Some(target), None)?)]
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
            bail!("--map {text}: LISTEN=TARGET is meant, such as 127.0.0.1:8889=db.example:5432");
        };
        routes.push((listening(listen)?, address(Some(target), None)?));
    }
    for (at, (_, target)) in routes.iter().enumerate() {
        if let Some((listen, _)) = routes.iter().find(|(listen, _)| listen == target) {
            bail!("{listen} would lead to itself");
        }
        if let Address::Tcp { port: 0, .. } = target {
            bail!("{target} cannot be connected to: port 0 is none");
        }
        if let Some(twice) = routes[..at].iter().find(|(listen, _)| *listen == routes[at].0 && is_one(listen)) {
            bail!("{} has two targets: an address leads to one", twice.0);
        }
    }
    Ok(routes)
}

/// Whether an address can be listened on once only: with port 0 the system chooses another port
/// each time.
fn is_one(listen: &Address) -> bool {
    !matches!(listen, Address::Tcp { port: 0, .. })
}

/// The address of `--control`: a port is one of this machine's.
fn control_address(text: &str) -> Result<SocketAddr, String> {
    let on_this_machine = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    match on_this_machine.parse() {
        Ok(port) => Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        Err(_) => text.parse().map_err(|_| "HOST:PORT is meant, such as 127.0.0.1:8474, or a port alone".into()),
    }
}

/// An address to listen on; a host alone gets a relay's port.
fn listening(text: &str) -> Result<Address, Error> {
    match address(Some(text), None) {
        Ok(Address::Tcp { host, .. }) if text == host || text == format!("[{host}]") => {
            Ok(Address::Tcp { host, port: DEFAULT_LISTEN })
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
            assert_eq!(typed(addresses, map).unwrap(), want);
        }
    }

    #[test]
    fn an_address_that_cannot_be_relayed_is_refused() {
        let cases: [(&[&str], &[&str], &str); 6] = [
            (&[], &[], "where to? Give the target"),
            (&["127.0.0.1", "9000", "db", "5432"], &[], "4 addresses, and a relay takes"),
            (&["9000", "127.0.0.1:9000"], &[], "127.0.0.1:9000 would lead to itself"),
            (&["0"], &[], "127.0.0.1:0 cannot be connected to"),
            (&["9000", "db:1"], &["9000=db:2"], "127.0.0.1:9000 has two targets"),
            (&[], &["9000"], "--map 9000: LISTEN=TARGET is meant"),
        ];
        for (addresses, map, want) in cases {
            let error = typed(addresses, map).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
    }
}

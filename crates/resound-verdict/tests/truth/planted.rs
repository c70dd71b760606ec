//! [`Planted`]: a server, and a relay with faults before it.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use resound::relay::{Relay, RelayTarget};
use resound::tls::{Identity, TlsClient, TlsServer, TlsServerSettings, Trust};
use resound::{Address, DialOptions, Endpoint, Framing, Handle, Handshake, Reply, Server};
use resound_probe::{FarEnd, Sessions};
use resound_verdict::{CheckVerdict, Path};

use crate::row::{Row, Way};

/// Nothing moves for so long: no fault of the table stalls for a shorter time on purpose.
const PATIENCE: Duration = Duration::from_secs(4);

/// A path with a planted defect.
pub(crate) struct Planted {
    server: Handle,
    relay: Handle,
    tls: Option<TlsClient>,
}

/// What a run found.
pub(crate) struct Found {
    /// Those that fail, warn or are flaky.
    pub(crate) judged: BTreeSet<String>,
    /// Each check in one line.
    pub(crate) lines: Vec<String>,
    pub(crate) seconds: f64,
}

fn settings() -> Server {
    Server::new().workers(NonZeroUsize::MIN)
}

fn address(handle: &Handle) -> Address {
    match &handle.addresses()[0] {
        Endpoint::Tcp(address) => Address::tcp(&address.ip().to_string(), &address.port().to_string()).unwrap(),
        other => panic!("{other}"),
    }
}

/// Decides what faults by chance hit: `RESOUND_TRUTH_SEED`, or always the same.
fn seed() -> u64 {
    std::env::var("RESOUND_TRUTH_SEED").map_or(7, |seed| seed.parse().expect("a seed is a number"))
}

impl Planted {
    pub(crate) fn new(faults: &str, way: Way) -> Self {
        let listen = if way == Way::Ipv6 { "[::1]:0" } else { "127.0.0.1:0" };
        let sessions = Sessions::new(None);
        let service = move |_: &_| FarEnd::new(Reply::new(Reply::PREFIX.as_bytes(), Framing::auto()), sessions.clone());
        let server = settings().save_syns(true).listen(listen).unwrap();
        let (server, tls) = if way == Way::Tls {
            let identity = Identity::development(&["localhost".into()]).unwrap();
            let client = TlsClient::new("localhost", Trust::Pin(identity.fingerprint()), None, &[]).unwrap();
            let tls = TlsServer::new(&TlsServerSettings::new(identity)).unwrap();
            (server.handshake(move |_| Handshake::new().tls_server(&tls)), Some(client))
        } else {
            (server, None)
        };
        let server = server.serve(service).unwrap();
        let target = RelayTarget::new(address(&server)).unwrap();
        let relay = Relay::new(settings()).map(listen, target).unwrap();
        relay.faults().set(faults.parse().unwrap_or_else(|error| panic!("{faults}: {error}")), seed()).unwrap();
        Self { server, relay: relay.start().unwrap(), tls }
    }

    /// What a run finds. Of `unknown`, what is wanted counts.
    pub(crate) fn verdict(&self, row: &Row, wanted: &BTreeSet<String>) -> Found {
        let start = Instant::now();
        let dial = DialOptions { timeout: PATIENCE, ..DialOptions::default() };
        let path = row.path(Path::to(address(&self.relay)).dial(dial).patience(PATIENCE).seed(7));
        let path = match &self.tls {
            Some(client) => path.tls(client.clone()),
            None => path,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reports = runtime.block_on(path.check());
        let checks = &reports[0].checks;
        let is_judged = |verdict| {
            matches!(verdict, CheckVerdict::Fail | CheckVerdict::Warn | CheckVerdict::Flaky | CheckVerdict::Error)
        };
        let name = |check: &resound_verdict::CheckReport| {
            let direction = check.direction.filter(|_| check.verdict != CheckVerdict::Warn);
            let direction = direction.map(|direction| format!(" {direction}")).unwrap_or_default();
            format!("{} {}{direction}", check.verdict, check.id)
        };
        Found {
            judged: checks
                .iter()
                .map(|check| (name(check), is_judged(check.verdict)))
                .filter(|(name, is_judged)| *is_judged || wanted.contains(name))
                .map(|(name, _)| name)
                .collect(),
            lines: checks
                .iter()
                .filter(|check| check.verdict != CheckVerdict::Skip)
                .map(|check| format!("{} {}/{} {}", name(check), check.ok, check.tries, check.summary))
                .collect(),
            seconds: start.elapsed().as_secs_f64(),
        }
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        self.relay.stop();
        self.server.stop();
    }
}

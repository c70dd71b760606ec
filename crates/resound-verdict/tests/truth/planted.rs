//! [`Planted`]: a server, and a relay with faults before it.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use resound::relay::{Relay, RelayTarget};
use resound::{Address, Endpoint, Framing, Handle, Reply, Server};
use resound_verdict::probe::{FarEnd, Sessions};
use resound_verdict::{CheckVerdict, Path};

use crate::table::Row;

/// Nothing moves for so long: no fault of the table stalls for a shorter time on purpose.
const PATIENCE: Duration = Duration::from_secs(4);

/// A path with a planted defect.
pub(crate) struct Planted {
    server: Handle,
    relay: Handle,
}

/// What a run found.
pub(crate) struct Found {
    /// Those that fail, warn or are flaky.
    pub(crate) judged: BTreeSet<String>,
    /// Each check in one line.
    pub(crate) lines: Vec<String>,
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

impl Planted {
    pub(crate) fn relay(faults: &str, host: &str) -> Self {
        let listen = if host.contains(':') { format!("[{host}]:0") } else { format!("{host}:0") };
        let sessions = Sessions::new(None);
        let service = move |_: &_| FarEnd::new(Reply::new(Reply::PREFIX.as_bytes(), Framing::auto()), sessions.clone());
        let server = settings().save_syns(true).listen(&listen).unwrap().serve(service).unwrap();
        let target = RelayTarget::new(address(&server)).unwrap();
        let relay = Relay::new(settings()).map(&listen, target).unwrap();
        relay.faults().set(faults.parse().unwrap_or_else(|error| panic!("{faults}: {error}")), 7).unwrap();
        Self { server, relay: relay.start().unwrap() }
    }

    pub(crate) fn verdict(&self, row: &Row) -> Found {
        let path = row.path(Path::to(address(&self.relay)).patience(PATIENCE).seed(7));
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
            judged: checks.iter().filter(|check| is_judged(check.verdict)).map(name).collect(),
            lines: checks
                .iter()
                .filter(|check| check.verdict != CheckVerdict::Skip)
                .map(|check| format!("{} {}/{} {}", name(check), check.ok, check.tries, check.summary))
                .collect(),
        }
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        self.relay.stop();
        self.server.stop();
    }
}

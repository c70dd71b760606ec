//! [`Path`]: what to test, and how.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use resound::tls::TlsClient;
use resound::{Address, DialOptions, Family};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::check::{CheckId, greet};
use crate::greeted::Greeted;
use crate::ledger::ConnectionLedger;
use crate::machine::MachineWatch;
use crate::pace::ConnectPace;
use crate::path_run::Progress;
use crate::permits::ConnectionPermits;
use crate::place::{FirstBytes, PathEnd};
use crate::report::{CheckReport, CheckVerdict, FarKind, PathReport};
use crate::run;
pub(crate) use crate::settings::{PathSettings, Profile};

/// The longest patience: waits are multiples of it.
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);
/// A connection without progress for this long counts as dead. Retransmissions of Linux are 0.2,
/// 0.4, ... 6.4 s apart at small round-trip times.
const PATIENCE: Duration = Duration::from_secs(10);

/// A path to test: from this machine to an address.
#[derive(Clone)]
pub struct Path {
    pub(crate) address: Address,
    pub(crate) dial: DialOptions,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) first_bytes: Option<FirstBytes>,
    pub(crate) settings: PathSettings,
}

impl Path {
    /// The path to an address, for a quick run with a random seed.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), resound::Error> {
    /// use resound_verdict::{CheckId, CheckVerdict, Path};
    ///
    /// for report in Path::to(resound::Address::tcp("db.example", "7")?).check().await {
    ///     assert_eq!(report.check(CheckId::HalfCloseOut).unwrap().verdict, CheckVerdict::Pass);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn to(address: Address) -> Self {
        let settings = PathSettings {
            profile: Profile::default(),
            only: BTreeSet::new(),
            skip: BTreeSet::new(),
            seed: fastrand::u64(..),
            patience: PATIENCE,
            idle: None,
            finds_idle_timeout: false,
            connections: None,
        };
        Self { address, dial: DialOptions::default(), tls: None, first_bytes: None, settings }
    }

    /// Dials like this.
    #[must_use]
    pub fn dial(mut self, dial: DialOptions) -> Self {
        self.dial = dial;
        self
    }

    /// With TLS.
    #[must_use]
    pub fn tls(mut self, client: TlsClient) -> Self {
        self.tls = Some(client);
        self
    }

    /// Each connection begins with these bytes, such as a PROXY header.
    #[must_use]
    pub fn first_bytes(mut self, bytes: FirstBytes) -> Self {
        self.first_bytes = Some(bytes);
        self
    }

    /// How thorough the run is.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.settings.profile = profile;
        self
    }

    /// These checks alone, and those that they need; without any, all checks of the profile.
    #[must_use]
    pub fn only(mut self, checks: impl IntoIterator<Item = CheckId>) -> Self {
        self.settings.only = checks.into_iter().collect();
        self
    }

    /// Without these checks. A report is empty if that leaves none of [`Path::only`].
    #[must_use]
    pub fn skip(mut self, checks: impl IntoIterator<Item = CheckId>) -> Self {
        self.settings.skip = checks.into_iter().collect();
        self
    }

    /// Decides the bytes that are sent.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// How long nothing may move until a connection counts as dead: at most an hour.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience.min(LONGEST_PATIENCE);
        self
    }

    /// Looks for connections that die while idle, for at most `longest`.
    #[must_use]
    pub fn idle(mut self, longest: Duration) -> Self {
        self.settings.idle = Some(longest);
        self
    }

    /// Looks for the exact time after which an idle connection dies.
    #[must_use]
    pub fn find_idle_timeout(mut self) -> Self {
        self.settings.finds_idle_timeout = true;
        self
    }

    /// Looks for a limit on open connections: opens up to `most` of them.
    #[must_use]
    pub fn connections(mut self, most: u32) -> Self {
        self.settings.connections = Some(most);
        self
    }

    /// The checks that are asked for, in the order of reports.
    pub fn checks(&self) -> impl Iterator<Item = CheckId> + use<> {
        let settings = self.settings.clone();
        CheckId::ALL.into_iter().filter(move |id| settings.wants(*id))
    }

    /// How long to wait, before sending anything, for a server that speaks first.
    #[must_use]
    pub fn first_word(&self) -> Duration {
        greet::first_word(match &self.address {
            Address::Tcp { port, .. } => Some(*port),
            Address::Unix(_) => None,
        })
    }

    /// Tests the path, for each address family of a name by itself.
    ///
    /// The future is not [`Send`]: await it in a task of a `LocalSet`, or in `block_on`.
    pub async fn check(&self) -> Vec<PathReport> {
        self.check_and_tell(&|_| ()).await
    }

    /// The same, and tells what happens meanwhile.
    pub async fn check_and_tell(&self, tell: &(dyn Fn(Progress<'_>) + Sync)) -> Vec<PathReport> {
        let start = Instant::now();
        let (resolved, targets) = self.resolve().await;
        if targets.is_empty() {
            tell(Progress::Checked(&resolved));
            return vec![PathReport {
                address: self.address.to_string(),
                family: "none",
                far: FarKind::None,
                far_name: None,
                checks: vec![resolved],
                seconds: start.elapsed().as_secs_f64(),
            }];
        }
        let mut reports = Vec::new();
        for (address, family) in targets {
            let end = self.end(address);
            tell(Progress::Begins(&end.address));
            reports.push(run::run(&end, family, &self.settings, &resolved, tell).await);
        }
        reports
    }

    /// This address, and how to come to it.
    pub(crate) fn end(&self, address: Address) -> PathEnd {
        PathEnd {
            address,
            dial: self.dial,
            tls: self.tls.clone(),
            first_bytes: self.first_bytes.clone(),
            patience: self.settings.patience,
            seed: self.settings.seed,
            machine: MachineWatch::default(),
            pace: ConnectPace::default(),
            permits: ConnectionPermits::default(),
            greeted: Greeted::default(),
            ledger: ConnectionLedger::default(),
        }
    }

    /// The addresses: the first of each family.
    async fn resolve(&self) -> (CheckReport, Vec<(Address, &'static str)>) {
        let report = |verdict, summary: String| CheckReport::new(CheckId::Resolve, verdict, summary);
        let (host, port) = match &self.address {
            Address::Tcp { host, port } => (host.as_str(), *port),
            Address::Unix(_) => {
                let skipped = report(CheckVerdict::Skip, "a unix socket has no name to resolve".into());
                return (skipped, vec![(self.address.clone(), "unix")]);
            }
        };
        let start = Instant::now();
        let found: Vec<SocketAddr> = match timeout(self.dial.timeout, lookup_host((host, port))).await {
            Ok(Ok(found)) => found.map(unmapped).collect(),
            Ok(Err(error)) => {
                let report = report(CheckVerdict::Fail, format!("{host} does not resolve: {error}"));
                return (report.tried(0, 1), Vec::new());
            }
            Err(_) => {
                let report = report(CheckVerdict::Fail, format!("the resolver did not answer for {host}"));
                return (report.tried(0, 1), Vec::new());
            }
        };
        let took = start.elapsed();
        let admitted = |address: &&SocketAddr| match self.dial.family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let mut targets: Vec<(Address, &'static str)> = Vec::new();
        for address in found.iter().filter(admitted) {
            let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            if !targets.iter().any(|(_, seen)| *seen == family) {
                targets.push((Address::Tcp { host: with_scope(address), port }, family));
            }
        }
        let list: Vec<_> = found.iter().map(|address| address.ip().to_string()).collect();
        let is_numeric = host.parse::<std::net::IpAddr>().is_ok();
        let resolved = match (&targets[..], is_numeric) {
            ([], _) => {
                report(CheckVerdict::Fail, format!("{host} has no address of the wanted family: {}", list.join(", ")))
            }
            (_, true) => report(CheckVerdict::Skip, "the address is a number".into()),
            _ => report(CheckVerdict::Pass, list.join(", "))
                .tried(1, 1)
                .measure("resolve_ms", took.as_secs_f64() * 1000.0),
        };
        (resolved, targets)
    }
}

fn with_scope(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(six) if six.scope_id() != 0 => format!("{}%{}", six.ip(), six.scope_id()),
        _ => address.ip().to_string(),
    }
}

/// An IPv4 address inside IPv6 is one of IPv4. Others keep their interface.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_interface() {
        for (found, want) in [
            ("[fe80::1%7]:5", "fe80::1%7"),
            ("[::1]:5", "::1"),
            ("[::ffff:127.0.0.1]:5", "127.0.0.1"),
            ("127.0.0.1:5", "127.0.0.1"),
        ] {
            assert_eq!(with_scope(&unmapped(found.parse().unwrap())), want);
        }
    }
}

//! [`Row`]: a planted defect, and what must be found.

use std::collections::BTreeSet;
use std::time::Duration;

use resound_verdict::Path;

/// How a run comes to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Ipv4,
    Ipv6,
    /// TLS to the server, over IPv4: the relay passes it on.
    Tls,
}

/// One planted defect.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) faults: &'static str,
    /// `fail integrity in`, `warn nagle`, `unknown accept-truth`, ...
    found: &'static [&'static str],
    /// The same with TLS, where it differs.
    found_with_tls: Option<&'static [&'static str]>,
    /// Of [`RELAYED`], so many are found.
    relayed: usize,
    /// The checks of idle connections wait for so long.
    idle: Option<Duration>,
    /// It is not planted under TLS.
    pub(crate) is_plain: bool,
    /// What it does shows in times: it runs beside few others.
    pub(crate) is_timed: bool,
    /// It is one of those that each test run plants.
    pub(crate) is_short: bool,
}

/// What is true of each path through a relay: it is one.
const RELAYED: [&str; 2] = ["warn address", "warn split-tcp"];

impl Row {
    pub(crate) fn wanted(&self, way: Way) -> BTreeSet<String> {
        let found = self.found_with_tls.filter(|_| way == Way::Tls).unwrap_or(self.found);
        let relayed = if found.contains(&UNMET) { 0 } else { self.relayed };
        let found = found.iter().filter(|found| **found != UNMET);
        RELAYED[..relayed].iter().chain(found).map(ToString::to_string).collect()
    }

    pub(crate) fn path(&self, path: Path) -> Path {
        match self.idle {
            Some(longest) => path.idle(longest),
            None => path,
        }
    }

    /// What is true, and shows only where a connection lasts long enough.
    pub(crate) fn may_show(&self, found: &str) -> bool {
        self.relayed == 1 && found == RELAYED[1]
    }

    /// With TLS this is found in the place of what is found without.
    pub(crate) const fn tls(mut self, found: &'static [&'static str]) -> Self {
        self.found_with_tls = Some(found);
        self
    }

    /// Connections are idle for up to so many seconds.
    pub(crate) const fn idle(mut self, seconds: u64) -> Self {
        self.idle = Some(Duration::from_secs(seconds));
        self
    }

    /// With TLS chance breaks some handshakes, and others not.
    pub(crate) const fn plain(mut self) -> Self {
        self.is_plain = true;
        self
    }

    /// It runs beside few others.
    pub(crate) const fn timed(mut self) -> Self {
        self.is_timed = true;
        self
    }

    /// Each test run plants it.
    pub(crate) const fn short(mut self) -> Self {
        self.is_short = true;
        self
    }
}

/// The far end is not met: of the addresses nothing is known.
pub(crate) const UNMET: &str = "unreached";

/// A defect that leaves enough of a connection to show the relay.
pub(crate) const fn row(faults: &'static str, found: &'static [&'static str]) -> Row {
    Row {
        faults,
        found,
        found_with_tls: None,
        relayed: 2,
        idle: None,
        is_plain: false,
        is_timed: false,
        is_short: false,
    }
}

/// One that ends each connection so early that it depends on the time whether a second one behind
/// the relay shows.
pub(crate) const fn early(faults: &'static str, found: &'static [&'static str]) -> Row {
    Row { relayed: 1, ..row(faults, found) }
}

/// One after which the far end is not met.
pub(crate) const fn wall(faults: &'static str, found: &'static [&'static str]) -> Row {
    Row { relayed: 0, ..row(faults, found) }
}

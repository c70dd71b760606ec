//! [`Watch`]: what to watch, and how.

use std::time::Duration;

use resound::client::FailureClass;

use crate::path::Path;
use crate::place::PathEnd;
use crate::report::FarKind;

/// Watches the service behind an address through a deploy or a failover: held connections with
/// heartbeats, and a row of new ones.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use resound_verdict::Path;
/// use resound_verdict::watch::Watch;
///
/// let path = Path::to(resound::Address::tcp("db.example", "7")?);
/// let restart = tokio::time::sleep(Duration::from_secs(30));
/// let record = Watch::of(&path).held(20).run(restart, &mut |_| ()).await?;
/// assert!(record.total.gap < Duration::from_secs(2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Watch {
    pub(super) end: PathEnd,
    pub(super) held: usize,
    pub(super) heartbeat: Duration,
    pub(super) new_per_second: u32,
    pub(super) patience: Duration,
    pub(super) waits: bool,
    pub(super) length: Option<Duration>,
}

impl Watch {
    /// The most connections that are held.
    pub const MOST_HELD: usize = 10_000;
    /// The most new connections a second.
    pub const MOST_NEW: u32 = 10_000;
    /// The shortest time between two heartbeats of a connection.
    pub const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(1);

    /// A watch of what a path leads to: 10 held connections with a heartbeat every 100 ms, and 10
    /// new connections a second. A name is resolved anew for each connection.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self {
            end: path.end(path.address.clone()),
            held: 10,
            heartbeat: Duration::from_millis(100),
            new_per_second: 10,
            patience: path.settings.patience,
            waits: false,
            length: None,
        }
    }

    /// Holds this number of connections: at least one, at most [`Watch::MOST_HELD`].
    #[must_use]
    pub fn held(mut self, connections: usize) -> Self {
        self.held = connections.clamp(1, Self::MOST_HELD);
        self
    }

    /// Sends a heartbeat on each held connection this often.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval.max(Self::SHORTEST_HEARTBEAT);
        self
    }

    /// Makes this number of new connections a second, at most [`Watch::MOST_NEW`]. 0 makes none.
    #[must_use]
    pub fn new_per_second(mut self, connections: u32) -> Self {
        self.new_per_second = connections.min(Self::MOST_NEW);
        self
    }

    /// A heartbeat without an answer for `patience` is lost; a connection on which nothing else
    /// arrives meanwhile is given up. By default the patience of the path.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Ends after this long, a [wait](Watch::waits) included. Without this call it watches until it
    /// is stopped.
    #[must_use]
    pub fn lasts(mut self, length: Duration) -> Self {
        self.length = Some(length);
        self
    }

    /// Waits for the first connection, instead of failing without one.
    #[must_use]
    pub fn waits(mut self, waits: bool) -> Self {
        self.waits = waits;
        self
    }
}

/// Why a service cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchError {
    /// There is no connection: the class of the failure, unless this machine failed, and its text.
    NoConnection(Option<FailureClass>, String),
    /// Connections are made, and nothing answers on them.
    NoAnswer(String),
    /// What answers does not answer lines: its kind, and its words.
    NotLines(FarKind, String),
}

impl WatchError {
    /// Whether waiting may help: another service, or a certificate that is wrong, stays so.
    pub(super) fn may_pass(&self) -> bool {
        !matches!(self, Self::NotLines(..) | Self::NoConnection(Some(FailureClass::Tls), _))
    }
}

impl std::fmt::Display for WatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoConnection(_, why) => why.fmt(f),
            Self::NoAnswer(how) => write!(f, "nothing answers heartbeats there: {how}"),
            Self::NotLines(FarKind::SpeaksFirst, words) => {
                write!(f, "the server speaks first, so no heartbeat was sent to it: {words}")
            }
            Self::NotLines(_, words) => {
                write!(f, "the server neither echoes a line nor replies with it: it answered {words}")
            }
        }
    }
}

impl std::error::Error for WatchError {}

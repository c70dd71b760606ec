//! [`Watch`]: the service behind an address, through a deploy or a failover.
//!
//! Each held connection has a place of its own. Its heartbeats keep the schedule that it began
//! with: a heartbeat counts from the time that it was planned for, whether or not there was a
//! connection to send it on. The tally adds up what happened, and knows no socket and no clock.

mod attempt;
mod counts;
mod drive;
mod heartbeat;
mod own_time;
mod record;
mod settings;
mod slot;
mod tally;
mod timeline;

pub use counts::{ConnectCounts, HeartbeatCounts, HeldCounts, WatchCounts};
pub use drive::WatchProgress;
pub use record::{WatchRecord, WatchSecond};
pub use settings::{Watch, WatchError};
pub use timeline::WatchEpisode;

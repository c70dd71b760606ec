//! The load generator: what it measured ([`Record`]), and what can be said of it.
//!
//! A [`Record`] is plain data. Times are [`Duration`](std::time::Duration)s, distributions of times are [`Latency`]; nothing here does I/O or reads a clock.

mod answers;
mod backlog;
mod bounded;
mod compare;
mod course;
mod fault;
pub mod figures;
mod generator;
mod judge;
mod latency;
mod length;
mod outcome;
mod pattern;
mod payload;
mod record;
mod schedule;
mod seats;
mod settings;
mod settle;
mod split;
mod student;
mod table;
mod talker;
mod tally;
mod timeline;
mod warnings;
mod watch;

pub use bounded::{Bounded, Bounds, Figure};
pub use compare::{Comparison, Difference, FEWEST, RUNS, compare, compare_repeated};
pub use fault::{Failure, Fault};
pub use generator::{BULK, Breaks, Generation, Load, MOST_IN_FLIGHT, Openings, Phase, Ramp, direction};
pub use latency::{Bucket, Latency};
pub use record::{Counts, Generator, Interval, Record, Step};
pub use settings::{Agreed, Arrivals, Direction, Mode, Raised, Security, Settings, Shape, Sizes, Steps, Timestamps};
pub use timeline::Timeline;

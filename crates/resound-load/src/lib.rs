//! The load generator: what it measured ([`Record`]), and what can be said of it.
//!
//! A [`Record`] is plain data. Times are [`Duration`](std::time::Duration)s, distributions of times are [`Latency`]; nothing here does I/O or reads a clock.

mod answers;
mod backlog;
mod bounded;
mod chunk_table;
mod compare;
mod connection;
mod dial_plan;
mod fault;
pub mod figures;
mod generator;
mod judge;
mod latency;
mod length;
mod monitor;
mod outcome;
mod pattern;
mod payload;
mod record;
mod run_config;
mod schedule;
mod settings;
mod split;
mod stall;
mod student;
mod tally;
mod timeline;
mod unfinished;
mod warnings;

pub use bounded::{Bounded, Bounds, Figure};
pub use compare::{Comparison, Difference, FEWEST, RUNS, compare, compare_repeated};
pub use fault::{Failure, Fault};
pub use generator::{BULK, Load, MOST_IN_FLIGHT, Phase, Ramp, RunningLoad, Threshold, direction};
pub use latency::{Bucket, Latency};
pub use record::{Counts, Generator, Interval, RampStep, Record};
pub use settings::{
    Arrivals, Direction, Mode, NegotiatedTls, RampSteps, RampVariable, Security, Settings, Shape, Sizes, Timestamps,
};
pub use timeline::Timeline;

//! The load generator: what to generate ([`Load`]), what a run measured ([`Record`]), and whether
//! two runs differ ([`compare`]).
//!
//! A [`Record`] is plain data. Times are [`Duration`](std::time::Duration)s, and distributions of
//! times are [`Latency`].

mod answers;
mod bounded;
mod check;
mod chunk_table;
mod compare;
mod connection;
mod connection_state;
mod dial_plan;
pub mod figures;
mod generator;
mod hash;
mod judge;
mod latency;
mod length;
mod load_failure;
mod monitor;
mod nanos;
mod outcome;
mod pattern;
mod payload;
mod ramp;
mod ramp_progress;
mod record;
mod rules;
mod run_config;
mod schedule;
mod settings;
mod slot;
mod split;
mod stall;
mod student;
mod tally;
mod timeline;
mod unfinished;
mod waiting_messages;
mod warnings;

pub use bounded::{Bounded, Bounds, Figure};
pub use check::{LONGEST_MESSAGE, LoadError, MOST_STEPS, RATES};
pub use compare::{Comparison, Difference, FEWEST, RUNS, compare};
pub use generator::{BULK, Load, Phase, RunningLoad, direction};
pub use latency::{Bucket, Latency};
pub use load_failure::{Failure, LoadFailure};
pub use ramp::Threshold;
pub use record::{Counts, Generator, Interval, RampStep, Record};
pub use settings::{
    Arrivals, Direction, MOST_IN_FLIGHT, Mode, NegotiatedTls, RampSteps, RampVariable, Security, Settings, Shape,
    Sizes, Timestamps,
};
pub use timeline::Timeline;

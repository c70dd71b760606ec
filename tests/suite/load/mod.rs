//! The load generator, on each engine, and `resound load`.

mod codes;
mod ends;
mod faults;
mod outage;
mod program;
pub(crate) mod runs;
mod stalls;
mod timestamps;
mod tls;
mod truth;

//! What resound prints of connections: the transcript as text, or one JSON object a line
//! ([`Console`]).
//!
//! A worker appends a line to its lane and never waits; one thread ([`printer`]) writes the lanes
//! to an output that may be slow, stuck or full. What a peer has sent is escaped ([`escape`]).

pub mod attempts;
mod console;
pub mod escape;
pub mod json;
pub mod printer;
mod proxied;
pub mod settings;
pub mod sink;
pub mod tls_summary;

pub use console::{
    Console, LANES_OF_THREADS, RelayConsole, RelayTotals, closed_json, event_json, fault_json, opened_json,
    setting_json,
};

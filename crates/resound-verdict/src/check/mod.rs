//! The checks: one file a family. A family has two halves: what is tried on the path, and what the
//! tries mean.

pub(crate) mod accept_truth;
pub(crate) mod address;
mod at_once;
pub(crate) mod backends;
mod bunches;
pub(crate) mod cap;
pub(crate) mod churn;
pub(crate) mod close_tail;
mod directions;
mod first_answer;
pub(crate) mod greet;
pub(crate) mod half_close;
pub(crate) mod half_closed_idle;
pub(crate) mod hidden;
pub(crate) mod hold;
mod id;
pub(crate) mod idle;
mod idle_try;
pub(crate) mod integrity;
mod ladder;
pub(crate) mod mtu;
pub(crate) mod mtu_finding;
pub(crate) mod nagle;
mod one_connection;
pub(crate) mod one_ended;
pub(crate) mod options;
pub(crate) mod proxy_header;
pub(crate) mod reset;
pub(crate) mod responsiveness;
pub(crate) mod rtt;
pub(crate) mod segmentation;
pub(crate) mod slow_reader;
pub(crate) mod split_hello;
pub(crate) mod spurious_reset;
pub(crate) mod tls;
pub(crate) mod waits;

pub use id::{CheckId, UnknownCheck};

//! Connections without I/O, on a virtual clock; some of it on each engine too.

pub(crate) mod bench;
mod conn;
mod duplex;
pub(crate) mod ending;
mod fuzzing;
mod handshake;
mod pair;
mod proxy;
mod silence;
mod stalls;
mod unanswered;

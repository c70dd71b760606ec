//! The protocol between the two ends of a check: `resound-probe/1`.
//!
//! A client opens a connection with one line ([`ProbeRequest`]). The far end answers with a line of
//! JSON that says who it is ([`FarHello`]), and plays the steps asked for. What became of a
//! connection ([`SessionLog`]) is asked for on another one: the first may be dead by then.

mod facts;
mod far_end;
mod pattern;
mod request;
mod sessions;

pub use facts::{FarHello, FarTls, ProbeAnswer, ProxiedClient, SessionLog, SocketFacts, SynFacts, TcpFacts, hex};
pub use far_end::FarEnd;
pub use pattern::{Damage, Pattern, PatternCheck, WrongBytes};
pub use request::{BadRequest, CREDIT, PREFIX, ProbeRequest, Step};
pub use sessions::Sessions;

//! Faults of a TCP path without I/O: a grammar of faults and their schedule ([`FaultSpec`]), and
//! the state of one connection that suffers from them ([`ConnectionFaults`]).
//!
//! Nothing here holds a socket, a clock, a lock or a thread. Time is an argument, bytes are slices,
//! and a relay or a server does the rest. What is drawn depends on a seed, the connection's number,
//! the direction, the rule and the byte's offset alone, so that a run repeats.

pub mod amounts;
mod connection;
mod direction;
pub mod draws;
mod effect;
mod error;
mod event;
mod file;
pub mod grammar;
mod kind;
mod profile;
mod rule;
mod spec;

pub use connection::{ClientAdmission, ConnectionFaults, End, MOST_HELD, Polled, QUEUE_BYTES, SocketFaults};
pub use direction::StreamDirection;
pub use effect::{DelayShape, Effect, EffectValue};
pub use error::{Flaw, SpecError, SpecProblem};
pub use event::FaultEvent;
pub use file::FaultFile;
pub use ipnet;
pub use kind::{FaultKind, Role};
pub use profile::{FaultProfile, PROFILES};
pub use rule::{Chance, Connections, FaultRule, Trigger};
pub use spec::{FaultSpec, ListenerFaults};

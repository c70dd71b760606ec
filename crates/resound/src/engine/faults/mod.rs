//! Fault injection: those that hold ([`LiveFaults`]), closed listeners, and what a server does with
//! a connection that suffers from them ([`FaultedService`](faulted::FaultedService)).

mod closed_listeners;
mod faulted;
mod inner;
mod live;
mod pending;
mod permit;
mod report;
mod served;
#[cfg(test)]
mod virtual_clock;

pub(crate) use closed_listeners::ClosedListeners;
pub use live::{FaultSetting, LiveFaults};
pub(crate) use served::ServerFaults;

//! SIGUSR2: another process, started as this one was, takes the listening sockets over, and this
//! one serves its open connections to their end.
//!
//! One of the two accepts at any time. Clients that connect between the two wait in the backlog of
//! the sockets, which stay open.

#[cfg(not(unix))]
mod elsewhere;
#[cfg(unix)]
mod handover_sockets;
#[cfg(unix)]
mod predecessor;
#[cfg(unix)]
mod program;
#[cfg(unix)]
mod successor;
#[cfg(unix)]
mod upgrader;
#[cfg(unix)]
mod wire;

use std::time::Duration;

use tokio::sync::watch;

#[cfg(not(unix))]
pub(crate) use self::elsewhere::{
    LoneUpgrader as Upgrader, NoHandover as HandoverSockets, NoPredecessor as Predecessor, NoProgram as StartedProgram,
};
#[cfg(unix)]
pub(crate) use self::handover_sockets::HandoverSockets;
#[cfg(unix)]
pub(crate) use self::predecessor::Predecessor;
#[cfg(unix)]
pub(crate) use self::program::StartedProgram;
#[cfg(unix)]
pub(crate) use self::upgrader::Upgrader;
use crate::exit;
use crate::stdio::say;

/// Becomes true once another process serves what runs beside the engine.
pub(crate) type HandedOver = watch::Receiver<bool>;

/// The meaning of the flags about an upgrade.
#[derive(Clone, Copy)]
pub(crate) struct UpgradeSettings {
    /// How long the connections of the old process may go on; `None` is for ever.
    pub(crate) timeout: Option<Duration>,
    /// How long the new process may take to start.
    pub(crate) start_timeout: Duration,
    /// Why a second process cannot be started as the first was.
    pub(crate) refusal: Option<&'static str>,
}

/// Exits if the old process goes on, or if a signal arrives before this one takes over.
pub(crate) fn wait_for_turn(upgrader: &mut Upgrader, is_to_end: &dyn Fn() -> bool) {
    if let Err(error) = upgrader.wait_for_turn(is_to_end) {
        // Nothing was accepted.
        say(&format!("{error:#}"));
        std::process::exit(if is_to_end() { exit::SIGNAL } else { exit::USAGE }.into());
    }
}

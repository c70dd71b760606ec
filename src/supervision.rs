//! [`Supervision`]: what runs beside a server or a relay until it ends.

use std::sync::Arc;
use std::time::Instant;

use resound::Handle;
use tokio::sync::{Notify, oneshot};

use crate::leaving;
use crate::log_file::LogReopener;
use crate::reload::Reloads;
use crate::signals::{CaughtSignals, EndingSignals, SAME_SIGNAL};
use crate::upgrade::Upgrader;

/// The signals that a server waits for, but for that of an upgrade.
pub(crate) struct ShutdownSignals {
    ending: EndingSignals,
    hangup: CaughtSignals,
    /// SIGHUP as well: a log is rotated during a drain too.
    rotation: CaughtSignals,
}

impl ShutdownSignals {
    /// Catches them from now on, within a runtime.
    pub(crate) fn catch() -> Self {
        Self { ending: EndingSignals::catch(), hangup: CaughtSignals::hangup(), rotation: CaughtSignals::hangup() }
    }

    /// Whether one that ends the program has come already.
    pub(crate) fn has_first(&self) -> bool {
        self.ending.has_first()
    }
}

/// What the supervision of a server needs.
pub(crate) struct Supervision {
    pub(crate) signals: ShutdownSignals,
    pub(crate) upgrader: Upgrader,
    /// What systemd shows.
    pub(crate) status: String,
    pub(crate) reloads: Reloads,
    /// Of a log file.
    pub(crate) reopener: Option<LogReopener>,
}

impl Supervision {
    pub(crate) async fn run(self, handle: Handle) {
        let Self { signals: ShutdownSignals { ending, hangup, rotation }, upgrader, status, reloads, reopener } = self;
        let (handle, watchdog) = (Arc::new(handle), reloads.notifier.clone());
        tokio::select! {
            biased;
            // First, so that the end of a reload, which systemd waits for, comes after it.
            () = reopen(rotation, reopener) => {}
            () = shut_down(ending, hangup, &handle, (upgrader, status), reloads) => {}
            () = watchdog.keep_watchdog(&handle) => {}
        }
    }
}

/// Drains at the first signal, exits at the second. Meanwhile it reads files again, and lets
/// another process take over.
async fn shut_down(
    mut ending: EndingSignals,
    hangup: CaughtSignals,
    handle: &Arc<Handle>,
    (upgrader, status): (Upgrader, String),
    mut reloads: Reloads,
) {
    let console = reloads.console.clone();
    let (tell, told) = oneshot::channel();
    let drains = Notify::new();
    // Beside the upgrade, which nothing interrupts while the two processes take turns.
    let leaving = async {
        tokio::select! {
            at = ending.first() => drop(tell.send(at)),
            // Something else has begun it.
            () = drains.notified() => {}
        }
        leaving::leave_at_second(ending, Arc::clone(handle)).await;
    };
    let serving = async {
        let mut began = None;
        let first_signal = async {
            began = Some(tokio::select! {
                Ok(at) = told => at,
                () = reloads.until_hung_up(handle, hangup) => Instant::now(),
            });
        };
        upgrader.run(handle, &console, status, first_signal).await;
        drains.notify_one();
        // Otherwise another process has replaced this one.
        let began = began.unwrap_or_else(Instant::now);
        // A reload may have set it.
        let Reloads { notifier, drain_timeout, .. } = reloads;
        // A signal that answers this line is a second one: it must not count as the first.
        tokio::time::sleep(SAME_SIGNAL.saturating_sub(began.elapsed())).await;
        notifier.stopping(handle.clients());
        console.draining(handle.clients(), drain_timeout).await;
        // The time counts from the signal: a busy thread learns of it later.
        handle.drain(drain_timeout.saturating_sub(began.elapsed()));
    };
    tokio::join!(leaving, serving);
}

/// Opens the log file anew at each SIGHUP.
async fn reopen(mut hangup: CaughtSignals, reopener: Option<LogReopener>) {
    let Some(reopener) = reopener else { return std::future::pending().await };
    loop {
        hangup.next().await;
        reopener.ask();
    }
}

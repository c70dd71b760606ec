//! Signals that end a command. A signal that was ignored at the start, as with `nohup` and in
//! background jobs of a script, stays ignored.

use std::time::Duration;

#[cfg(unix)]
use rustix::process::Signal;
#[cfg(unix)]
use tokio::signal::unix::{self, SignalKind};

/// Two signals within this time are one: some programs (`timeout`, for example) signal a process,
/// and then its group.
pub(crate) const SAME_SIGNAL: Duration = Duration::from_millis(20);

/// Waits for a signal that asks the program to end. From this call on, not only from the first
/// poll, such a signal no longer ends the program by itself.
pub(crate) fn termination() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let mut signals = CaughtSignals::catch(&[Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT]);
    #[cfg(not(unix))]
    let mut signals = CaughtSignals::interrupt();
    async move { signals.next().await }
}

/// Caught signals.
pub(crate) struct CaughtSignals {
    #[cfg(unix)]
    caught: Vec<unix::Signal>,
    #[cfg(not(unix))]
    caught: Option<tokio::signal::windows::CtrlC>,
}

impl CaughtSignals {
    /// Catches the kinds that are not ignored. A signal that cannot be caught keeps its default
    /// action.
    #[cfg(unix)]
    fn catch(signals: &[Signal]) -> Self {
        let numbers = signals.iter().map(|signal| signal.as_raw());
        let heeded = numbers.filter(|&number| !resound::system::ignores_signal(number));
        Self { caught: heeded.filter_map(|number| unix::signal(SignalKind::from_raw(number)).ok()).collect() }
    }

    /// SIGINT, and SIGTERM on Unix.
    pub(crate) fn interrupt() -> Self {
        #[cfg(unix)]
        return Self::catch(&[Signal::INT, Signal::TERM]);
        #[cfg(not(unix))]
        Self { caught: tokio::signal::windows::ctrl_c().ok() }
    }

    /// SIGHUP, on Unix.
    pub(crate) fn hangup() -> Self {
        #[cfg(unix)]
        return Self::catch(&[Signal::HUP]);
        #[cfg(not(unix))]
        Self { caught: None }
    }

    /// SIGUSR2.
    #[cfg(unix)]
    pub(crate) fn upgrade() -> Self {
        Self::catch(&[Signal::USR2])
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        std::future::poll_fn(|cx| {
            use std::task::Poll;
            let came = self.caught.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        #[cfg(not(unix))]
        match &mut self.caught {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }

    /// Discards the signals that have arrived.
    pub(crate) async fn discard(&mut self) {
        for _ in 0..2 {
            tokio::select! {
                biased;
                () = self.next() => {}
                () = std::future::ready(()) => return,
            }
        }
    }
}

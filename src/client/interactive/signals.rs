//! [`TerminalSignals`]: signals about the terminal.

#[cfg(unix)]
use std::task::Poll;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals when the window changes its size, or the program continues after a stop. Systems without
/// such signals never send them.
pub(crate) struct TerminalSignals {
    #[cfg(unix)]
    resized: Option<Signal>,
    #[cfg(unix)]
    continued: Option<Signal>,
}

impl TerminalSignals {
    pub(crate) fn listen() -> Self {
        Self {
            #[cfg(unix)]
            resized: signal(SignalKind::window_change()).ok(),
            #[cfg(unix)]
            continued: signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw())).ok(),
        }
    }

    /// Waits for the next signal. True if the program continues after a stop.
    pub(crate) async fn next(&mut self) -> bool {
        #[cfg(unix)]
        return std::future::poll_fn(|cx| {
            let mut came =
                |signal: &mut Option<Signal>| signal.as_mut().is_some_and(|signal| signal.poll_recv(cx).is_ready());
            let (resized, continued) = (came(&mut self.resized), came(&mut self.continued));
            if resized || continued { Poll::Ready(continued) } else { Poll::Pending }
        })
        .await;
        #[cfg(not(unix))]
        std::future::pending().await
    }
}

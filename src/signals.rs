//! Signals that end a command. A signal that was ignored at the start, as with `nohup` and in
//! background jobs of a script, stays ignored.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

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

/// From now on a file that has reached the limit of its size (setrlimit(2), `RLIMIT_FSIZE`) cannot
/// be written further, and ends no process. Programs that this one starts are not concerned.
pub(crate) fn survive_large_files() {
    #[cfg(unix)]
    let _ = resound::system::SignalArrivals::watch(&[Signal::XFSZ.as_raw()], SAME_SIGNAL);
}

/// From now on a signal ends the process: a thread of its own waits for that, for this one may wait
/// for ever for the reader of its results.
pub(crate) fn exit_at_signal() {
    let wait = || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(async {
                // What has ended the run may still come once more.
                tokio::time::sleep(SAME_SIGNAL).await;
                termination().await;
            });
            let _whole = uninterrupted();
            std::process::exit(crate::exit::SIGNAL.into());
        }
    };
    // Without a thread there is only the wait.
    let _ = std::thread::Builder::new().name("resound-signals".into()).spawn(wait);
}

/// Held while a file is written: a signal does not leave half of it.
pub(crate) fn uninterrupted() -> MutexGuard<'static, ()> {
    static WRITING: Mutex<()> = Mutex::new(());
    WRITING.lock()
}

/// The signals that end a server: the first begins a drain, the second ends that.
pub(crate) struct EndingSignals {
    caught: CaughtSignals,
    #[cfg(unix)]
    arrivals: Option<std::sync::Arc<resound::system::SignalArrivals>>,
    /// When the first came, as far as it is known.
    first: Option<Instant>,
}

impl EndingSignals {
    /// Catches them from now on, within a runtime.
    pub(crate) fn catch() -> Self {
        // Handlers run in this order: a task that the other one wakes finds the arrival noted.
        #[cfg(unix)]
        let arrivals = resound::system::SignalArrivals::watch(&CaughtSignals::heeded(&INTERRUPTS), SAME_SIGNAL).ok();
        Self {
            caught: CaughtSignals::interrupt(),
            #[cfg(unix)]
            arrivals,
            first: None,
        }
    }

    /// Waits for the first. Returns when it came, which is earlier than this call knows of it if
    /// its thread is busy.
    pub(crate) async fn first(&mut self) -> Instant {
        self.caught.next().await;
        #[cfg(unix)]
        let at = self.arrivals.as_ref().and_then(|arrivals| arrivals.first()).unwrap_or_else(Instant::now);
        #[cfg(not(unix))]
        let at = Instant::now();
        *self.first.insert(at)
    }

    /// Waits for the second, on any runtime: the thread that waited for the first may be too busy.
    /// Returns when it came. If no signal began the drain, this waits for the first signal.
    pub(crate) async fn second(&self) -> Instant {
        let mut caught = CaughtSignals::interrupt();
        loop {
            if let Some(at) = self.has_come() {
                return at;
            }
            caught.next().await;
            if !self.is_counted() && self.first.is_none_or(|first| first.elapsed() > SAME_SIGNAL) {
                return Instant::now();
            }
        }
    }

    /// Whether the first has come, as far as that is known without a wait.
    pub(crate) fn has_first(&self) -> bool {
        #[cfg(unix)]
        return self.arrivals.as_ref().is_some_and(|arrivals| arrivals.first().is_some());
        #[cfg(not(unix))]
        false
    }

    #[cfg(unix)]
    fn has_come(&self) -> Option<Instant> {
        let arrivals = self.arrivals.as_ref()?;
        if self.first.is_some() { arrivals.second() } else { arrivals.first() }
    }

    #[cfg(not(unix))]
    fn has_come(&self) -> Option<Instant> {
        None
    }

    /// Whether their handler notes when they come.
    fn is_counted(&self) -> bool {
        #[cfg(unix)]
        return self.arrivals.is_some();
        #[cfg(not(unix))]
        false
    }
}

/// What ends a server.
#[cfg(unix)]
const INTERRUPTS: [Signal; 2] = [Signal::INT, Signal::TERM];

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
        let heeded = Self::heeded(signals).into_iter();
        Self { caught: heeded.filter_map(|number| unix::signal(SignalKind::from_raw(number)).ok()).collect() }
    }

    /// The numbers of those that are not ignored.
    #[cfg(unix)]
    fn heeded(signals: &[Signal]) -> Vec<i32> {
        let numbers = signals.iter().map(|signal| signal.as_raw());
        numbers.filter(|&number| !resound::system::ignores_signal(number)).collect()
    }

    /// SIGINT, and SIGTERM on Unix.
    pub(crate) fn interrupt() -> Self {
        #[cfg(unix)]
        return Self::catch(&INTERRUPTS);
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
}

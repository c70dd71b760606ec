//! The end of a server by a second signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use resound::{Engine, Handle};
use tokio::runtime::Builder;

use crate::exit;
use crate::signals::EndingSignals;

/// From the second signal to the end, at most, where connections are cut one by one, each with its
/// line in the log.
const LAST: Duration = Duration::from_millis(100);

/// With more clients than this, a cut of each takes too long: the system alone needs as long again
/// to close so many sockets. They end with the process.
const FEW: usize = 500;

/// From the second signal to the end with more of them: answers that are under way leave, and lines
/// are written.
const LAST_OF_MANY: Duration = Duration::from_millis(20);

/// Descriptors that this thread looks at on the threads engine. Beside thousands of runnable
/// threads it has little processor time.
#[cfg(unix)]
const RESETS_BESIDE_THREADS: usize = 1000;

/// A second signal has come.
static IS_HURRIED: AtomicBool = AtomicBool::new(false);

/// Whether a second signal ends this server.
pub(crate) fn is_hurried() -> bool {
    IS_HURRIED.load(SeqCst)
}

/// Ends the process at the second signal. A thread of its own waits for that, for this one may be
/// busy with connections; and so does this one, which the signal may find first.
pub(crate) async fn leave_at_second(signals: EndingSignals, handle: Arc<Handle>) {
    let here = Arc::new((signals, handle));
    let ending = Arc::clone(&here);
    let wait = move || {
        if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
            runtime.block_on(leave(&ending));
        }
    };
    // If no thread is to be had, this one must do.
    let _ = thread::Builder::new().name("resound-leaving".into()).spawn(wait);
    leave(&here).await;
}

async fn leave((signals, handle): &(EndingSignals, Arc<Handle>)) {
    let at = signals.second().await;
    IS_HURRIED.store(true, SeqCst);
    let has_threads = handle.engine() == Engine::Threads;
    let patience = match handle.clients() {
        0..=FEW => {
            handle.stop();
            LAST
        }
        _ if has_threads => Duration::ZERO,
        _ => LAST_OF_MANY,
    };
    tokio::time::sleep(patience.saturating_sub(at.elapsed())).await;
    // A FIN at the exit would make a cut answer look complete. A connection that drains is reset by
    // the exit; one whose thread has not run since the signal is not.
    #[cfg(unix)]
    resound::system::reset_on_exit(if has_threads { RESETS_BESIDE_THREADS } else { usize::MAX });
    std::process::exit(exit::SIGNAL.into());
}

//! The end of a server by a second signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use resound::Handle;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::exit;
use crate::signals::EndingSignals;

/// From the second signal to the end, at most. Connections are reset and lines written meanwhile;
/// the system then takes its time to close thousands of sockets.
const LAST: Duration = Duration::from_millis(100);

/// A second signal has come.
static IS_HURRIED: AtomicBool = AtomicBool::new(false);

/// Whether a second signal ends this server.
pub(crate) fn is_hurried() -> bool {
    IS_HURRIED.load(SeqCst)
}

/// Ends the process at the second signal, on a thread of its own: the one that has seen the first
/// may be busy with connections.
pub(crate) async fn leave_at_second(signals: EndingSignals, handle: Arc<Handle>) {
    let ending = Arc::new((signals, handle));
    let here = Arc::clone(&ending);
    // Held by that thread while it waits.
    let (waits, ends) = oneshot::channel::<()>();
    let wait = move || {
        let _waits = waits;
        if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
            runtime.block_on(leave(&ending));
        }
    };
    let _ = thread::Builder::new().name("resound-leaving".into()).spawn(wait);
    let _ = ends.await;
    // No thread is to be had, so this one must do.
    leave(&here).await;
}

async fn leave((signals, handle): &(EndingSignals, Arc<Handle>)) {
    let at = signals.second().await;
    IS_HURRIED.store(true, SeqCst);
    // What is unfinished is reset, so that no peer takes this for a FIN. If that, and the last
    // lines, take too long, the process ends without them: nothing may keep it.
    handle.stop();
    tokio::time::sleep(LAST.saturating_sub(at.elapsed())).await;
    std::process::exit(exit::SIGNAL.into());
}

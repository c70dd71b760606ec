//! [`stdout_was_closed`]: the state of stdout when this program started.
//!
//! Rust's runtime opens `/dev/null` in place of a closed standard stream, before `main`. From then
//! on a closed stdout accepts all writes. So the check runs before the runtime.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::Errno;

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Returns whether stdout was closed when this program started. No write to it arrives.
#[must_use]
pub fn stdout_was_closed() -> bool {
    WAS_CLOSED.load(Relaxed)
}

/// One system call, and no memory: the runtime does not exist yet.
extern "C" fn check_stdout() {
    let flags = rustix::io::fcntl_getfd(rustix::stdio::stdout());
    WAS_CLOSED.store(flags == Err(Errno::BADF), Relaxed);
}

// SAFETY: the loader calls each function in this section once, in the C calling convention, before
// `main` and on the only thread. This one uses nothing of the runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static CHECK_STDOUT: extern "C" fn() = check_stdout;

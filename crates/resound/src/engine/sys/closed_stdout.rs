//! Was stdout closed when this program was started?
//!
//! Rust's runtime opens `/dev/null` in the place of a standard stream that is closed, before `main`.
//! From then on a closed stdout looks like one that takes everything. So it is looked at before.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::Errno;

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Was stdout closed when this program was started? Nothing that is written to it arrives.
#[must_use]
pub fn stdout_was_closed() -> bool {
    WAS_CLOSED.load(Relaxed)
}

/// One system call, and no memory: the runtime is not there yet.
extern "C" fn look() {
    let flags = rustix::io::fcntl_getfd(rustix::stdio::stdout());
    WAS_CLOSED.store(flags == Err(Errno::BADF), Relaxed);
}

// SAFETY: the loader calls each function in this section once, in the C calling convention, before
// `main` and on the only thread that there is. This one uses nothing that would not be there.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

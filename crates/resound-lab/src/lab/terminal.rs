//! The terminal after a shell in a lab.

use std::os::fd::BorrowedFd;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::process::getpgrp;
use rustix::termios::tcsetpgrp;

/// Makes the process group of this process that of the terminal again. A shell in a lab has made
/// its own group that, and cannot know this one: it is outside of the lab.
pub fn take_terminal(terminal: BorrowedFd<'_>) {
    let mut mask = SigSet::empty();
    mask.add(NixSignal::SIGTTOU);
    // A process in the background would be stopped for it.
    let Ok(before) = mask.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK) else { return };
    // Without a terminal of its own nothing is to take back.
    let _ = tcsetpgrp(terminal, getpgrp());
    let _ = before.thread_set_mask();
}

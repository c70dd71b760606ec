//! The terminal after a shell in a lab.

use std::os::fd::BorrowedFd;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::io::Errno;
use rustix::process::{getpgrp, test_kill_process_group};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// Makes the process group of this process that of the terminal again, after the lab has ended. A
/// shell in a lab has made its own group that, and cannot know this one: it is outside of the lab.
/// A group that still has processes keeps the terminal: this process runs in the background of a
/// shell outside, which would read the end of its input.
pub fn take_terminal(terminal: BorrowedFd<'_>) {
    let is_left = |group| test_kill_process_group(group) == Err(Errno::SRCH);
    if !tcgetpgrp(terminal).is_ok_and(is_left) {
        return;
    }
    let mut mask = SigSet::empty();
    mask.add(NixSignal::SIGTTOU);
    // A process in the background would be stopped for it.
    let Ok(before) = mask.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK) else { return };
    // Without a terminal of its own nothing is to take back.
    let _ = tcsetpgrp(terminal, getpgrp());
    let _ = before.thread_set_mask();
}

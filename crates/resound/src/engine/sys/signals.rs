//! The signals that this process ignores.

/// Returns whether this process ignores the signal with this number (sigaction(2), `SIG_IGN`).
/// `nohup` and the background jobs of a script start programs with a signal ignored; such a program
/// should leave it ignored.
#[must_use]
pub fn ignores_signal(number: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one, into memory of that type.
    let asked = unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: a call that succeeds has written all of it.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

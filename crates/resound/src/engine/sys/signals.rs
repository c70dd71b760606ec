//! What this process does about signals.

/// Does this process ignore the signal of this number (sigaction(2), `SIG_IGN`)? A program that is
/// started with a signal ignored, as `nohup` and the background jobs of a script are, is not meant
/// to be reached by it, and leaves it ignored.
#[must_use]
pub fn ignores_signal(number: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one, into memory of that type.
    let asked = unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: a call that succeeds has written all of it.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

//! The signals that this process ignores, and when others arrive.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

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

/// When signals that ask a program to end have arrived. They are counted in their handler: a busy
/// program would see two as one.
#[derive(Debug)]
pub struct SignalArrivals {
    epoch: Instant,
    /// Signals within this time of the first are one signal.
    same: Duration,
    /// Nanoseconds after `epoch`, plus one; 0 before the signal.
    first: AtomicU64,
    second: AtomicU64,
}

impl SignalArrivals {
    /// Counts the signals with these numbers from now on, as one kind. Those within `same` of the
    /// first belong to it.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn watch(numbers: &[i32], same: Duration) -> io::Result<Arc<Self>> {
        let epoch = Instant::now();
        let arrivals = Arc::new(Self { epoch, same, first: AtomicU64::new(0), second: AtomicU64::new(0) });
        for &number in numbers {
            let noted = Arc::clone(&arrivals);
            // SAFETY: the action reads the clock and writes atomics: it takes no lock, allocates
            // nothing and cannot panic.
            unsafe { signal_hook_registry::register(number, move || noted.note()) }?;
        }
        Ok(arrivals)
    }

    fn note(&self) {
        let now = (self.epoch.elapsed().as_nanos() as u64).saturating_add(1);
        let Err(first) = self.first.compare_exchange(0, now, SeqCst, SeqCst) else { return };
        if now.saturating_sub(first) > self.same.as_nanos() as u64 {
            let _ = self.second.compare_exchange(0, now, SeqCst, SeqCst);
        }
    }

    /// When the first has arrived.
    #[must_use]
    pub fn first(&self) -> Option<Instant> {
        self.instant(&self.first)
    }

    /// When the second has arrived.
    #[must_use]
    pub fn second(&self) -> Option<Instant> {
        self.instant(&self.second)
    }

    fn instant(&self, at: &AtomicU64) -> Option<Instant> {
        let at = at.load(SeqCst).checked_sub(1)?;
        Some(self.epoch + Duration::from_nanos(at))
    }
}

//! [`Clock`]: alarms that ring to the microsecond. Tokio's timer counts milliseconds, which is too
//! coarse for a dialer that keeps a rate.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Waker, ready};
use std::time::{Duration, Instant};

use resound_proto::ConnId;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;

use crate::engine::sys::watch;

/// The alarms of one worker, at most one for each connection, and the one timer (timerfd_create(2))
/// that rings for all of them.
pub(super) struct Clock {
    timer: AsyncFd<OwnedFd>,
    alarms: RefCell<BTreeMap<(Instant, ConnId), Waker>>,
    /// The instant that the timer is set for.
    set_for: Cell<Option<Instant>>,
    /// The worker wakes this long before an alarm, and polls for it.
    lead: Duration,
}

impl Clock {
    pub(super) fn new(lead: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let timer = watch(timer)?;
        Ok(Self { timer, alarms: RefCell::default(), set_for: Cell::new(None), lead })
    }

    /// Replaces the alarm of a connection, which is set for `before`.
    pub(super) fn set(&self, conn: ConnId, before: Option<Instant>, at: Instant, waker: &Waker) {
        let mut alarms = self.alarms.borrow_mut();
        if let Some(before) = before {
            alarms.remove(&(before, conn));
        }
        alarms.insert((at, conn), waker.clone());
        drop(alarms);
        if self.set_for.get().is_none_or(|set| at < set) {
            self.arm(at);
        }
    }

    /// Removes the alarm of a connection that has ended.
    pub(super) fn forget(&self, conn: ConnId, before: Option<Instant>) {
        if let Some(before) = before {
            self.alarms.borrow_mut().remove(&(before, conn));
        }
    }

    /// Rings the alarms that are due.
    pub(super) fn ring(&self) {
        let now = Instant::now();
        let mut alarms = self.alarms.borrow_mut();
        while let Some(first) = alarms.first_entry().filter(|first| first.key().0 <= now) {
            first.remove().wake();
        }
    }

    fn arm(&self, at: Instant) {
        let time = at.saturating_duration_since(Instant::now()).saturating_sub(self.lead);
        // Zero would disarm the timer.
        let time = Timespec::try_from(time.max(Duration::from_nanos(1))).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: never, it_value: time };
        // Fails only for values out of range.
        let _ = rustix::time::timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &spec);
        self.set_for.set(Some(at));
    }

    /// Waits until the timer has expired, and rings the alarms that are due.
    pub(super) async fn tick(&self) -> io::Result<()> {
        poll_fn(|cx| {
            // Arming the timer again makes it unready.
            ready!(self.timer.poll_read_ready(cx))?.clear_ready();
            io::Result::Ok(()).into()
        })
        .await?;
        self.set_for.set(None);
        self.ring();
        let next = self.alarms.borrow().first_key_value().map(|((at, _), _)| *at);
        if let Some(at) = next {
            self.arm(at);
        }
        Ok(())
    }
}

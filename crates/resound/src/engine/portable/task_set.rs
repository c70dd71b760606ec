//! [`TaskSet`]: many futures, which one task of the runtime polls.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::slots::Slots;

/// Polls of tasks between two polls of the runtime for new events.
const POLLS: u32 = 256;
/// The time that they may take together. A connection may move thousands of lines in one poll, and
/// a drain, a deadline or a new connection must not wait for hundreds of those.
const TURN: Duration = Duration::from_millis(5);
/// How many polls share one reading of the clock.
const CLOCK: u32 = 4;

/// The tasks of one thread. A panic of one is its own end only.
///
/// They are no tasks of tokio's because of memory. Tokio aligns each of its tasks, and what it
/// keeps of each descriptor, to 128 bytes, so that its threads share no cache line. Here one thread
/// has thousands of them, and for an idle connection that would be half of its memory.
#[derive(Default)]
pub(super) struct TaskSet {
    tasks: RefCell<Slots<SetTask>>,
    woken: Arc<WokenTasks>,
    /// A task has ended.
    pub(super) ended: Notify,
}

struct SetTask {
    future: Pin<Box<dyn Future<Output = ()>>>,
    handle: Arc<TaskHandle>,
    /// The same as a waker, so that no poll makes one.
    waker: Waker,
}

/// The numbers of the tasks that are to be polled, in their order.
#[derive(Default)]
struct WokenTasks {
    slots: Mutex<VecDeque<u32>>,
    added: Notify,
}

/// Wakes one task, and carries signals to it. It may outlive the task: the next task under its
/// number is then polled once more than it needs to be.
pub(super) struct TaskHandle {
    woken: Arc<WokenTasks>,
    slot: u32,
    is_woken: AtomicBool,
    signals: AtomicU8,
}

/// Signals to a task; what they mean is its own affair.
#[derive(Clone, Copy)]
pub(super) struct TaskSignals(pub(super) u8);

impl TaskHandle {
    /// Sets signals, and wakes the task.
    pub(super) fn signal(self: &Arc<Self>, signals: TaskSignals) {
        self.signals.fetch_or(signals.0, Relaxed);
        self.wake_by_ref();
    }

    pub(super) fn has(&self, signals: TaskSignals) -> bool {
        self.signals.load(Relaxed) & signals.0 != 0
    }

    /// Returns whether signals are set, and removes them.
    pub(super) fn take(&self, signals: TaskSignals) -> bool {
        self.has(signals) && self.signals.fetch_and(!signals.0, Relaxed) & signals.0 != 0
    }
}

impl Wake for TaskHandle {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_woken.swap(true, AcqRel) {
            return;
        }
        let mut slots = self.woken.slots.lock();
        slots.push_back(self.slot);
        let is_first = slots.len() == 1;
        drop(slots);
        if is_first {
            self.woken.added.notify_one();
        }
    }
}

impl TaskSet {
    /// Adds the task that `make` returns for its handle.
    pub(super) fn spawn<F: Future<Output = ()> + 'static>(&self, make: impl FnOnce(&Arc<TaskHandle>) -> F) {
        let mut tasks = self.tasks.borrow_mut();
        let slot = tasks.insert(|slot| {
            let (woken, is_woken) = (Arc::clone(&self.woken), AtomicBool::new(false));
            let handle = Arc::new(TaskHandle { woken, slot, is_woken, signals: AtomicU8::new(0) });
            let (future, waker) = (Box::pin(make(&handle)), Waker::from(Arc::clone(&handle)));
            SetTask { future, handle, waker }
        });
        if let Some(task) = tasks.get_mut(slot) {
            task.waker.wake_by_ref();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.borrow().is_empty()
    }

    /// Signals at most this many tasks, in the order of their numbers from `from` on. Returns where
    /// the rest begins.
    pub(super) fn signal_some(&self, signals: TaskSignals, from: u64, most: usize) -> Option<u64> {
        let mut tasks = self.tasks.borrow_mut();
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        let mut left = most;
        for slot in from..tasks.end() {
            if left == 0 {
                return Some(slot.into());
            }
            if let Some(task) = tasks.get_mut(slot) {
                task.handle.signal(signals);
                left -= 1;
            }
        }
        None
    }

    /// Polls the tasks that are woken, for as long as it is polled itself. It may be cancelled and
    /// called again.
    pub(super) async fn run(&self) {
        loop {
            if self.poll_some() {
                tokio::task::yield_now().await;
            } else {
                self.woken.added.notified().await;
            }
        }
    }

    /// Polls woken tasks for a turn. Returns whether there may be more of them.
    fn poll_some(&self) -> bool {
        let start = Instant::now();
        for polls in 1..=POLLS {
            let Some(slot) = self.woken.slots.lock().pop_front() else { return false };
            self.poll(slot);
            if polls % CLOCK == 0 && start.elapsed() >= TURN {
                break;
            }
        }
        true
    }

    fn poll(&self, slot: u32) {
        // It is away while it is polled: it may spawn and wake others.
        let taken = self.tasks.borrow_mut().take(slot);
        let Some(mut task) = taken else { return };
        // Before the poll: what wakes the task during the poll must not be lost.
        task.handle.is_woken.swap(false, AcqRel);
        let polled =
            catch_unwind(AssertUnwindSafe(|| task.future.as_mut().poll(&mut Context::from_waker(&task.waker))));
        if let Ok(Poll::Pending) = polled {
            return self.tasks.borrow_mut().put_back(slot, task);
        }
        self.end(slot, task);
    }

    fn end(&self, slot: u32, task: SetTask) {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        self.tasks.borrow_mut().free(slot);
        self.ended.notify_one();
    }

    /// Drops all tasks.
    pub(super) fn clear(&self) {
        let end = self.tasks.borrow().end();
        for slot in 0..end {
            let taken = self.tasks.borrow_mut().take(slot);
            if let Some(task) = taken {
                self.end(slot, task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, poll_fn};
    use std::rc::Rc;

    use super::*;

    fn on_a_runtime(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
    }

    /// Runs the set until its tasks have ended.
    async fn until_ended(set: &TaskSet) {
        tokio::select! {
            () = set.run() => {}
            () = async { while !set.is_empty() { set.ended.notified().await } } => {}
        }
    }

    #[test]
    fn tasks_run_in_the_order_in_which_they_are_woken() {
        on_a_runtime(async {
            let (set, order) = (TaskSet::default(), Rc::new(RefCell::new(Vec::new())));
            for number in 0..3 {
                let (order, mut polls) = (Rc::clone(&order), 0);
                set.spawn(|_| {
                    poll_fn(move |cx| {
                        order.borrow_mut().push(number);
                        polls += 1;
                        // Woken twice, polled once.
                        cx.waker().wake_by_ref();
                        cx.waker().wake_by_ref();
                        if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
                    })
                });
            }
            until_ended(&set).await;
            assert_eq!(*order.borrow(), [0, 1, 2, 0, 1, 2]);
        });
    }

    #[test]
    fn a_panic_ends_its_own_task_only() {
        on_a_runtime(async {
            let (set, ended) = (TaskSet::default(), Rc::new(Cell::new(false)));
            set.spawn(|_| async { panic!("on purpose") });
            let is_ended = Rc::clone(&ended);
            set.spawn(|_| async move { is_ended.set(true) });
            until_ended(&set).await;
            assert!(ended.get());
        });
    }

    #[test]
    fn a_late_waker_harms_no_task_under_the_same_number() {
        on_a_runtime(async {
            let (set, late) = (TaskSet::default(), Rc::new(RefCell::new(None)));
            let keeps = Rc::clone(&late);
            set.spawn(|handle| {
                *keeps.borrow_mut() = Some(Arc::clone(handle));
                async {}
            });
            until_ended(&set).await;
            let polls = Rc::new(Cell::new(0));
            let counts = Rc::clone(&polls);
            set.spawn(|_| {
                poll_fn(move |_| {
                    counts.set(counts.get() + 1);
                    if counts.get() == 2 { Poll::Ready(()) } else { Poll::Pending }
                })
            });
            late.take().expect("a handle").wake();
            until_ended(&set).await;
            assert_eq!(polls.get(), 2);
        });
    }

    #[test]
    fn tasks_that_never_wait_leave_the_runtime_its_turn() {
        on_a_runtime(async {
            let set = TaskSet::default();
            set.spawn(|_| {
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
            });
            tokio::select! {
                biased;
                () = set.run() => {}
                () = tokio::task::yield_now() => {}
            }
        });
    }

    #[test]
    fn a_set_that_is_cleared_drops_its_tasks() {
        let (set, kept) = (TaskSet::default(), Rc::new(()));
        for _ in 0..2 {
            let keeps = Rc::clone(&kept);
            set.spawn(|_| async move {
                let _keeps = keeps;
                pending().await
            });
        }
        assert!(!set.is_empty() && Rc::strong_count(&kept) == 3);
        set.clear();
        assert!(set.is_empty() && Rc::strong_count(&kept) == 1);
    }

    #[test]
    fn a_turn_ends_with_its_time() {
        let set = TaskSet::default();
        let polls = Rc::new(Cell::new(0));
        for _ in 0..3 * CLOCK {
            let polls = Rc::clone(&polls);
            set.spawn(|_| {
                poll_fn(move |_| {
                    let start = Instant::now();
                    while start.elapsed() < TURN {
                        std::hint::spin_loop();
                    }
                    polls.set(polls.get() + 1);
                    Poll::<()>::Pending
                })
            });
        }
        assert!(set.poll_some(), "the others wait");
        assert_eq!(polls.get(), CLOCK);
    }
}

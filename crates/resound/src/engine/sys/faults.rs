//! [`FaultInjector`]: what a kernel may do and hardly ever does.
//!
//! Operations fail or fall short, completions come late and in another order, calls fail. The seed
//! repeats a run.

use std::collections::{HashSet, VecDeque};
use std::io;

use super::done::{Done, SendBlocking};
use super::tokens::Key;

pub(super) struct FaultInjector {
    state: u64,
    /// Completions that come late. Those of one connection stay in order, as the kernel keeps them.
    late: VecDeque<Done>,
    /// Receives that were cancelled. Their last completion gets another error.
    cancelled: HashSet<Key>,
}

/// What happens to an operation instead of its submission.
pub(super) enum FaultDecision {
    /// It is submitted.
    Pass,
    /// It completes with this error.
    Fail(i32),
    /// A send is submitted with this many bytes only.
    Shorten(usize),
}

impl FaultInjector {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, late: VecDeque::new(), cancelled: HashSet::new() }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 11
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random().is_multiple_of(n)
    }

    fn one_of(&mut self, errors: &[i32]) -> i32 {
        errors[self.random() as usize % errors.len()]
    }

    pub(super) fn on_accept(&mut self) -> FaultDecision {
        if self.one_in(4) {
            return FaultDecision::Fail(self.one_of(&[
                libc::EMFILE,
                libc::ECONNABORTED,
                libc::EINTR,
                libc::ECANCELED,
                libc::EAGAIN,
            ]));
        }
        FaultDecision::Pass
    }

    pub(super) fn on_connect(&mut self) -> FaultDecision {
        if self.one_in(4) {
            return FaultDecision::Fail(self.one_of(&[libc::EINTR, libc::ECANCELED, libc::EAGAIN]));
        }
        FaultDecision::Pass
    }

    /// A connect completes like a repeated one: it is in progress, or was established already.
    pub(super) fn connected(&mut self, result: i32) -> i32 {
        match result == 0 && self.one_in(3) {
            true => -self.one_of(&[libc::EALREADY, libc::EISCONN]),
            false => result,
        }
    }

    pub(super) fn on_receive(&mut self) -> FaultDecision {
        if self.one_in(4) {
            return FaultDecision::Fail(self.one_of(&[libc::ENOBUFS, libc::EINTR, libc::ECANCELED, libc::EAGAIN]));
        }
        FaultDecision::Pass
    }

    pub(super) fn on_poll(&mut self) -> FaultDecision {
        if self.one_in(4) {
            return FaultDecision::Fail(self.one_of(&[libc::ENOMEM, libc::ECANCELED]));
        }
        FaultDecision::Pass
    }

    pub(super) fn on_send(&mut self, len: usize, blocking: SendBlocking) -> FaultDecision {
        if self.one_in(6) {
            // A send that waits never completes with EAGAIN.
            return FaultDecision::Fail(match blocking {
                SendBlocking::Try => self.one_of(&[libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::ECANCELED]),
                SendBlocking::Wait => self.one_of(&[libc::EINTR, libc::ENOBUFS, libc::ECANCELED]),
            });
        }
        if len > 1 && self.one_in(3) {
            return FaultDecision::Shorten(1 + self.random() as usize % (len - 1));
        }
        FaultDecision::Pass
    }

    /// The error of the next call, if it is to fail instead of being made.
    pub(super) fn on_enter(&mut self) -> Option<io::Error> {
        let error = self.one_of(&[libc::EINTR, libc::EAGAIN, libc::EBUSY]);
        self.one_in(8).then(|| io::Error::from_raw_os_error(error))
    }

    /// Returns whether to cancel this receive.
    pub(super) fn cancels(&mut self, key: Key) -> bool {
        self.one_in(8) && self.cancelled.insert(key)
    }

    /// The last result of a receive, with another error if it was cancelled here.
    pub(super) fn end_result(&mut self, key: Key, result: i32) -> i32 {
        if self.cancelled.remove(&key) && result == -libc::ECANCELED {
            return -self.one_of(&[libc::ENOBUFS, libc::ECANCELED, libc::EINTR, libc::EAGAIN]);
        }
        result
    }

    pub(super) fn delays_any(&self) -> bool {
        !self.late.is_empty()
    }

    /// Holds back some completions, and releases some that were held back.
    pub(super) fn reorder(&mut self, done: &mut VecDeque<Done>) {
        let mut held: HashSet<u64> = HashSet::new();
        let mut old = std::mem::take(&mut self.late);
        let fresh = std::mem::take(done);
        // A completion that is held back again also holds back those after it.
        let mut sort = |faults: &mut Self, one: Done, chance: u64| {
            let stream = one.stream();
            if held.contains(&stream) || faults.one_in(chance) {
                held.insert(stream);
                faults.late.push_back(one);
            } else if faults.one_in(2) && !done.iter().any(|other| other.stream() == stream) {
                done.push_front(one);
            } else {
                done.push_back(one);
            }
        };
        while let Some(one) = old.pop_front() {
            sort(self, one, 3);
        }
        for one in fresh {
            sort(self, one, 6);
        }
    }
}

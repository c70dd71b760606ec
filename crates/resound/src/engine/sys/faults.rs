//! What a kernel may do and hardly ever does, done on purpose: operations that are refused or fall short, completions that come late and
//! in another order, calls that fail. From a seed, so that what was found can be found again.

use std::collections::{HashSet, VecDeque};
use std::io;

use super::done::{Done, SendBlocking};
use super::tokens::Key;

pub(super) struct FaultInjector {
    state: u64,
    /// Completions that come late. Those of one connection stay in order, as the kernel keeps them.
    late: VecDeque<Done>,
    /// Receives that were ended before their time: their last completion gets another reason.
    ended: HashSet<Key>,
}

/// What becomes of an operation before the kernel has seen it.
pub(super) enum FaultDecision {
    Goes,
    /// It is completed with this error instead.
    Fails(i32),
    /// A send: of this many bytes only.
    Shorter(usize),
}

impl FaultInjector {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, late: VecDeque::new(), ended: HashSet::new() }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 11
    }

    fn once_in(&mut self, n: u64) -> bool {
        self.random().is_multiple_of(n)
    }

    fn one_of(&mut self, errors: &[i32]) -> i32 {
        errors[self.random() as usize % errors.len()]
    }

    pub(super) fn of_accept(&mut self) -> FaultDecision {
        if self.once_in(4) {
            return FaultDecision::Fails(self.one_of(&[
                libc::EMFILE,
                libc::ECONNABORTED,
                libc::EINTR,
                libc::ECANCELED,
                libc::EAGAIN,
            ]));
        }
        FaultDecision::Goes
    }

    pub(super) fn of_connect(&mut self) -> FaultDecision {
        if self.once_in(4) {
            return FaultDecision::Fails(self.one_of(&[libc::EINTR, libc::ECANCELED, libc::EAGAIN]));
        }
        FaultDecision::Goes
    }

    /// A call that was made is told as one that was repeated: it is under way already, or was answered.
    pub(super) fn connected(&mut self, result: i32) -> i32 {
        match result == 0 && self.once_in(3) {
            true => -self.one_of(&[libc::EALREADY, libc::EISCONN]),
            false => result,
        }
    }

    pub(super) fn of_receive(&mut self) -> FaultDecision {
        if self.once_in(4) {
            return FaultDecision::Fails(self.one_of(&[libc::ENOBUFS, libc::EINTR, libc::ECANCELED, libc::EAGAIN]));
        }
        FaultDecision::Goes
    }

    pub(super) fn of_poll(&mut self) -> FaultDecision {
        if self.once_in(4) {
            return FaultDecision::Fails(self.one_of(&[libc::ENOMEM, libc::ECANCELED]));
        }
        FaultDecision::Goes
    }

    pub(super) fn of_send(&mut self, len: usize, patience: SendBlocking) -> FaultDecision {
        if self.once_in(6) {
            // A send that waits is not told that it would have to.
            return FaultDecision::Fails(match patience {
                SendBlocking::Try => self.one_of(&[libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::ECANCELED]),
                SendBlocking::Wait => self.one_of(&[libc::EINTR, libc::ENOBUFS, libc::ECANCELED]),
            });
        }
        if len > 1 && self.once_in(3) {
            return FaultDecision::Shorter(1 + self.random() as usize % (len - 1));
        }
        FaultDecision::Goes
    }

    /// Does the next call fail instead of being made?
    pub(super) fn of_enter(&mut self) -> Option<io::Error> {
        let error = self.one_of(&[libc::EINTR, libc::EAGAIN, libc::EBUSY]);
        self.once_in(8).then(|| io::Error::from_raw_os_error(error))
    }

    /// Is this receive to end before its time?
    pub(super) fn ends(&mut self, key: Key) -> bool {
        self.once_in(8) && self.ended.insert(key)
    }

    /// The reason for which a receive ended, where we had a hand in it.
    pub(super) fn reason(&mut self, key: Key, result: i32) -> i32 {
        if self.ended.remove(&key) && result == -libc::ECANCELED {
            return -self.one_of(&[libc::ENOBUFS, libc::ECANCELED, libc::EINTR, libc::EAGAIN]);
        }
        result
    }

    pub(super) fn holds_any(&self) -> bool {
        !self.late.is_empty()
    }

    /// Holds some of what has completed back, and lets go of what came late.
    pub(super) fn shake(&mut self, done: &mut VecDeque<Done>) {
        let mut held: HashSet<u64> = HashSet::new();
        let mut old = std::mem::take(&mut self.late);
        let fresh = std::mem::take(done);
        // What was held back and is held back again holds up what is behind it.
        let mut sort = |faults: &mut Self, one: Done, chance: u64| {
            let stream = one.stream();
            if held.contains(&stream) || faults.once_in(chance) {
                held.insert(stream);
                faults.late.push_back(one);
            } else if faults.once_in(2) && !done.iter().any(|other| other.stream() == stream) {
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

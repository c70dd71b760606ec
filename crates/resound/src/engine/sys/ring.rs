//! [`Ring`]: operations go to the kernel, completions come back.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode, squeue};
use socket2::SockAddr;

use super::bytes::{Received, SendBytes};
use super::done::{Done, SendBlocking, Wait};
use super::faults::{FaultDecision, FaultInjector};
use super::pool::BufferPool;
use super::setup::Setup;
use super::tokens::{Key, Token};

/// Group and buffers of receives that go on: a receive takes what it fills of a buffer. They are small and few, because what lies in them is
/// dealt with before the next call, because one connection may fill all of them in one, and because memory that is used again soon is
/// still in the cache. Who sends much at a time is received with [`ONCE`].
const MANY: u16 = 0;
const MANY_BUFFERS: u16 = 16;
const MANY_BUFFER: usize = 16 * 1024;
/// The same where each receive takes a whole buffer.
const WHOLE_BUFFERS: u16 = 64;
const WHOLE_BUFFER: usize = 8 * 1024;
/// Group and buffers of single receives. Completions of the two kinds may overtake each other, so they never share a buffer.
const ONCE: u16 = 1;
const ONCE_BUFFERS: u16 = 32;
const ONCE_BUFFER: usize = 64 * 1024;

/// How long a ring that is to end waits for its last completion, before it gives up the memory instead.
const LAST_COMPLETIONS: Duration = Duration::from_secs(2);
/// A pause where the kernel can take nothing and has nothing to tell.
const PRESSED: Duration = Duration::from_millis(1);

/// One worker's way to the kernel.
///
/// Descriptors are only borrowed while an operation is handed over, and must stay open until its last completion has come back: the number
/// would mean somebody else otherwise.
pub(crate) struct Ring<'a> {
    uring: &'a IoUring,
    submitter: Submitter<'a>,
    many: BufferPool,
    once: BufferPool,
    /// Handed over by us and not yet to the kernel, whose queue was full.
    pending: VecDeque<squeue::Entry>,
    loads: Vec<Option<(Key, SendBytes)>>,
    free_loads: Vec<u32>,
    /// Whom to connect to, by the number of the call, while the kernel may look.
    targets: HashMap<u32, Box<SockAddr>>,
    done: VecDeque<Done>,
    /// Received up to the end of a buffer: where more of it follows, both are one piece.
    cut: Option<(Key, Received)>,
    /// Operations whose last completion has not come back.
    in_flight: usize,
    /// A call has failed for good: nothing more is handed over.
    failed: bool,
    faults: Option<Box<FaultInjector>>,
    /// In tests: how many calls are left.
    calls: Option<u32>,
}

impl Ring<'_> {
    /// Sets a ring up, and lets `work` use it.
    ///
    /// Whatever the kernel may touch is freed only once nothing is in flight any more. Where the kernel holds on to something, its memory is
    /// never freed.
    pub(crate) fn with<R>(setup: &Setup, work: impl FnOnce(&mut Ring<'_>) -> R) -> io::Result<R> {
        let uring = setup.open()?;
        let mut submitter = uring.submitter();
        setup.register(&mut submitter);
        // SAFETY: the ring that is made of them below, in `Ring::drop`, leaks the pools if anything is left in flight; and its leases go
        // either with their operations or before `work` returns, or keep their pool.
        let (many, once) = unsafe { pools(&submitter, setup)? };
        let mut ring = Ring {
            uring: &uring,
            submitter,
            many,
            once,
            pending: VecDeque::new(),
            loads: Vec::new(),
            free_loads: Vec::new(),
            targets: HashMap::new(),
            done: VecDeque::new(),
            cut: None,
            in_flight: 0,
            failed: false,
            faults: setup.faults.seed.map(|seed| Box::new(FaultInjector::new(seed))),
            calls: setup.faults.calls,
        };
        Ok(work(&mut ring))
    }

    /// Accepts on a listener: until it is stopped, or once.
    pub(crate) fn accept(&mut self, listener: u32, socket: BorrowedFd<'_>, many: bool) {
        if let Some(FaultDecision::Fails(errno)) = self.faults.as_mut().map(|faults| faults.of_accept()) {
            let result = Err(io::Error::from_raw_os_error(errno));
            return self.done.push_back(Done::Accepted { listener, result, more: false });
        }
        let fd = Fd(socket.as_raw_fd());
        let entry = if many {
            opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build()
        } else {
            opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
        };
        self.push(entry, Token::Accept(listener));
    }

    /// Ends an accept; its last completion says when.
    pub(crate) fn cancel_accept(&mut self, listener: u32) {
        let entry = opcode::AsyncCancel::new(Token::Accept(listener).pack()).build();
        self.push(entry, Token::Cancel);
    }

    /// Connects; numbers are used again only once they have completed.
    pub(crate) fn connect(&mut self, call: u32, socket: BorrowedFd<'_>, target: SockAddr) {
        if let Some(FaultDecision::Fails(errno)) = self.faults.as_mut().map(|faults| faults.of_connect()) {
            return self.done.push_back(Done::Connected { call, result: -errno });
        }
        let target = Box::new(target);
        let entry = opcode::Connect::new(Fd(socket.as_raw_fd()), target.as_ptr().cast(), target.len()).build();
        self.targets.insert(call, target);
        self.push(entry, Token::Connect(call));
    }

    /// Asks when a call that is under way is decided: the socket can be written to then, and the result is positive.
    pub(crate) fn connect_decides(&mut self, call: u32, socket: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLOUT as u32).build();
        self.push(entry, Token::Connect(call));
    }

    /// Gives a call up; its completion says when.
    pub(crate) fn cancel_connect(&mut self, call: u32) {
        let entry = opcode::AsyncCancel::new(Token::Connect(call).pack()).build();
        self.push(entry, Token::Cancel);
    }

    /// Receives until it is stopped.
    pub(crate) fn receive_many(&mut self, key: Key, socket: BorrowedFd<'_>) {
        if self.receive_fails(key) {
            return;
        }
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), MANY).build();
        self.push(entry, Token::ReceiveMany(key));
    }

    /// Receives once, one buffer and `most` bytes at most.
    pub(crate) fn receive_once(&mut self, key: Key, socket: BorrowedFd<'_>, most: usize) {
        if self.receive_fails(key) {
            return;
        }
        // No length is a whole buffer's.
        let len = if most < ONCE_BUFFER { most.max(1) as u32 } else { 0 };
        let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), len)
            .buf_group(ONCE)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry, Token::ReceiveOnce(key));
    }

    /// Waits until there is something to read; whoever waits reads by himself.
    pub(crate) fn await_input(&mut self, key: Key, socket: BorrowedFd<'_>) {
        if self.receive_fails(key) {
            return;
        }
        let entry = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLIN as u32).build();
        self.push(entry, Token::Await(key));
    }

    fn receive_fails(&mut self, key: Key) -> bool {
        let Some(FaultDecision::Fails(errno)) = self.faults.as_mut().map(|faults| faults.of_receive()) else {
            return false;
        };
        self.done.push_back(Done::Received { key, result: -errno, more: false, piece: None });
        true
    }

    /// Ends a receive that goes on; its last completion says when.
    pub(crate) fn cancel_receive(&mut self, key: Key) {
        let entry = opcode::AsyncCancel::new(Token::ReceiveMany(key).pack()).build();
        self.push(entry, Token::Cancel);
    }

    /// Ends all that is in flight on a socket.
    pub(crate) fn cancel_all(&mut self, socket: BorrowedFd<'_>) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(socket.as_raw_fd())).all()).build();
        self.push(entry, Token::Cancel);
    }

    /// Sends; the load comes back with the completion.
    pub(crate) fn send(&mut self, key: Key, socket: BorrowedFd<'_>, mut load: SendBytes, patience: SendBlocking) {
        let mut len = load.len();
        match self.faults.as_mut().map(|faults| faults.of_send(len, patience)) {
            Some(FaultDecision::Fails(errno)) => return self.done.push_back(Done::Sent { key, result: -errno, load }),
            Some(FaultDecision::Shorter(n)) => len = n,
            Some(FaultDecision::Goes) | None => {}
        }
        let patience = if patience == SendBlocking::Try { libc::MSG_DONTWAIT } else { 0 };
        let flags = patience | libc::MSG_NOSIGNAL;
        let entry = load.entry(Fd(socket.as_raw_fd()), len, flags);
        let number = match self.free_loads.pop() {
            Some(number) => {
                self.loads[number as usize] = Some((key, load));
                number
            }
            None => {
                self.loads.push(Some((key, load)));
                self.loads.len() as u32 - 1
            }
        };
        self.push(entry, Token::Send(number));
    }

    /// Looks at an event counter until it is stopped.
    pub(crate) fn poll(&mut self, counter: BorrowedFd<'_>) {
        if let Some(FaultDecision::Fails(errno)) = self.faults.as_mut().map(|faults| faults.of_poll()) {
            return self.done.push_back(Done::Polled { result: -errno, more: false });
        }
        let entry = opcode::PollAdd::new(Fd(counter.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
        self.push(entry, Token::Poll);
    }

    /// Do the receives of either kind find a buffer?
    pub(crate) fn has_buffers(&self) -> bool {
        self.many.has_some() && self.once.has_some()
    }

    /// Has everything come back that has left a socket? The kernel's completions are all there when a call returns; those that faults hold
    /// back are not.
    pub(crate) fn has_told_all(&self) -> bool {
        self.done.is_empty() && !self.faults.as_ref().is_some_and(|faults| faults.holds_any())
    }

    /// What has happened, in the order in which it did.
    pub(crate) fn next(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.pack());
        self.in_flight += 1;
        // SAFETY: no other view of the queue exists; it is used in this file only, for the length of a statement. What the entry points
        // to is the ring's own: pools, loads and targets.
        if !self.pending.is_empty() || unsafe { self.uring.submission_shared().push(&entry) }.is_err() {
            self.pending.push_back(entry);
        }
    }

    /// Hands over what is to be done, waits as it is told unless something has happened already, and collects what has.
    ///
    /// # Errors
    /// Only of the kind that a ring does not survive.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        if let Some(left) = &mut self.calls {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADR))?;
        }
        loop {
            self.hand_over();
            let all = self.pending.is_empty();
            // Looked at in each round: what one has brought is not to wait for the next one's.
            let wait = if all && self.has_told_all() { wait } else { Wait::Not };
            let failed = match self.faults.as_mut().and_then(|faults| faults.of_enter()) {
                Some(error) => Err(error),
                None => self.call(wait),
            };
            let before = self.in_flight;
            self.reap();
            match failed {
                Ok(()) if !all => {}
                Ok(()) => break,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR | libc::ETIME) => break,
                    // Completions wait for room, or memory is short: what was reaped makes room, and then again.
                    Some(libc::EAGAIN | libc::EBUSY) => {
                        if before == self.in_flight && self.done.is_empty() {
                            std::thread::sleep(PRESSED);
                        }
                        break;
                    }
                    _ => {
                        self.failed = true;
                        return Err(error);
                    }
                },
            }
        }
        if let Some(faults) = &mut self.faults {
            faults.shake(&mut self.done);
        }
        Ok(())
    }

    /// Is there a reason to enter: something to hand over, or to be told? Costs no call.
    pub(crate) fn looks_busy(&self) -> bool {
        // SAFETY: as in `push`.
        let (sq, cq) = unsafe { (self.uring.submission_shared(), self.uring.completion_shared()) };
        sq.taskrun() || sq.cq_overflow() || !cq.is_empty() || !sq.is_empty() || !self.pending.is_empty()
    }

    /// As much of what is pending as the kernel's queue takes.
    fn hand_over(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        // SAFETY: as in `push`.
        let mut queue = unsafe { self.uring.submission_shared() };
        while let Some(entry) = self.pending.front() {
            // SAFETY: as in `push`.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.pending.pop_front();
        }
    }

    fn call(&self, wait: Wait) -> io::Result<()> {
        // SAFETY: as in `push`.
        let submissions = unsafe { self.uring.submission_shared() }.len() as u32;
        let (want, time) = match wait {
            Wait::Not => (0, None),
            Wait::AtMost(time) => (1, Some(Timespec::from(time))),
            Wait::Forever => (1, None),
        };
        let args = match &time {
            Some(time) => SubmitArgs::new().timespec(time),
            None => SubmitArgs::new(),
        };
        // Also where nothing is waited for: what the kernel has put off until we ask is done in such a call only.
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // SAFETY: the arguments are what EXT_ARG says they are, and outlive the call.
        unsafe { self.submitter.enter(submissions, want, flags.bits(), Some(&args)) }.map(drop)
    }

    /// Collects what has completed, also what found no room in the queue.
    fn reap(&mut self) {
        for _ in 0..64 {
            loop {
                // SAFETY: as in `push`.
                let Some(entry) = unsafe { self.uring.completion_shared() }.next() else { break };
                self.completed(&entry);
            }
            self.let_cut_go();
            // SAFETY: as in `push`.
            if !unsafe { self.uring.submission_shared() }.cq_overflow() {
                break;
            }
            // The call moves them into the queue. If it fails, the next one will.
            if self.call(Wait::Not).is_err() {
                break;
            }
        }
    }

    /// What a receive that goes on has brought, unless the rest of it is about to follow.
    fn received(&mut self, key: Key, flags: u32, n: usize, more: bool) -> Option<Option<Received>> {
        let before = match self.cut.take() {
            Some((whose, piece)) if whose == key && n > 0 => Some(piece),
            other => {
                self.cut = other;
                self.let_cut_go();
                None
            }
        };
        let Some(lease) = self.many.take(flags, n) else { return Some(before) };
        let is_cut = more && lease.is_cut();
        let piece = match before {
            Some(piece) => piece.join(&lease),
            None => Received::Lent(lease),
        };
        if is_cut && piece.len() < ONCE_BUFFER {
            self.cut = Some((key, piece));
            return None;
        }
        Some(Some(piece))
    }

    /// Nothing followed.
    fn let_cut_go(&mut self) {
        if let Some((key, piece)) = self.cut.take() {
            let result = self.interfere(key, i32::try_from(piece.len()).unwrap_or(i32::MAX), true);
            self.done.push_back(Done::Received { key, result, more: true, piece: Some(piece) });
        }
    }

    fn completed(&mut self, entry: &cqueue::Entry) {
        let (result, flags) = (entry.result(), entry.flags());
        let more = cqueue::more(flags);
        if !more {
            self.in_flight -= 1;
        }
        let filled = usize::try_from(result).unwrap_or(0);
        let done = match Token::unpack(entry.user_data()) {
            Token::Accept(listener) => {
                let result = if result < 0 {
                    Err(io::Error::from_raw_os_error(-result))
                } else {
                    // SAFETY: the kernel has made this descriptor for us, and nobody else knows of it.
                    Ok(unsafe { OwnedFd::from_raw_fd(result) })
                };
                Done::Accepted { listener, result, more }
            }
            Token::Connect(call) => {
                // Of a poll there is none.
                let was_connect = self.targets.remove(&call).is_some();
                let result = match &mut self.faults {
                    Some(faults) if was_connect => faults.connected(result),
                    _ => result,
                };
                Done::Connected { call, result }
            }
            Token::ReceiveMany(key) => {
                let Some(piece) = self.received(key, flags, filled, more) else { return };
                let result = self.interfere(key, result, more);
                Done::Received { key, result, more, piece }
            }
            Token::ReceiveOnce(key) => {
                let piece = self.once.take(flags, filled).map(Received::Lent);
                Done::Received { key, result, more, piece }
            }
            Token::Await(key) => Done::Readable { key, result },
            Token::Send(number) => {
                let Some((key, load)) = self.loads.get_mut(number as usize).and_then(Option::take) else { return };
                self.free_loads.push(number);
                Done::Sent { key, result, load }
            }
            Token::Poll => Done::Polled { result, more },
            Token::Cancel => return,
        };
        self.done.push_back(done);
    }

    /// In tests: a receive that goes on may be made to end.
    fn interfere(&mut self, key: Key, result: i32, more: bool) -> i32 {
        let Some(faults) = &mut self.faults else { return result };
        if !more {
            return faults.reason(key, result);
        }
        if faults.ends(key) {
            self.cancel_receive(key);
        }
        result
    }

    /// Ends everything, and waits for it. Not after a failure: what is still queued was meant for sockets that are closed by now, and their
    /// numbers may be somebody else's.
    fn settle(&mut self) {
        if self.failed || std::thread::panicking() {
            return;
        }
        (self.faults, self.calls) = (None, None);
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(entry, Token::Cancel);
        let until = Instant::now() + LAST_COMPLETIONS;
        while self.in_flight > 0 && Instant::now() < until {
            self.done.clear();
            if self.enter(Wait::AtMost(LAST_COMPLETIONS / 20)).is_err() {
                break;
            }
        }
    }
}

/// # Safety
/// As [`BufferPool::new`].
unsafe fn pools(submitter: &Submitter<'_>, setup: &Setup) -> io::Result<(BufferPool, BufferPool)> {
    let incremental = if setup.faults.no_incremental_buffers {
        Err(io::ErrorKind::Unsupported.into())
    } else {
        // SAFETY: the caller's promise.
        unsafe { BufferPool::new(submitter, MANY, MANY_BUFFERS, MANY_BUFFER, true) }
    };
    let many = match incremental {
        Ok(many) => many,
        // A kernel before 6.12.
        // SAFETY: the caller's promise.
        Err(_) => unsafe { BufferPool::new(submitter, MANY, WHOLE_BUFFERS, WHOLE_BUFFER, false)? },
    };
    // SAFETY: the caller's promise.
    let once = unsafe { BufferPool::new(submitter, ONCE, ONCE_BUFFERS, ONCE_BUFFER, false)? };
    Ok((many, once))
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        self.settle();
        if self.in_flight > 0 {
            // Somewhere the kernel still reads or writes: the memory stays, and nobody else gets it.
            self.many.leak();
            self.once.leak();
            std::mem::forget(std::mem::take(&mut self.loads));
            std::mem::forget(std::mem::take(&mut self.targets));
        }
    }
}

//! [`Ring`]: submits operations to the kernel and collects their completions.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode, squeue};
use socket2::SockAddr;

use super::bytes::{Received, SendBytes};
use super::done::{BufferKind, Done, SendBlocking, Wait};
use super::faults::{FaultDecision, FaultInjector};
use super::pool::BufferPool;
use super::pools::{MULTISHOT, SINGLE_SHOT, SINGLE_SHOT_BUFFER, pools};
use super::setup::Setup;
use super::tokens::{Key, Token};

/// How long a ring that ends waits for its last completion, before it leaks its memory instead.
const LAST_COMPLETIONS: Duration = Duration::from_secs(2);
/// A pause while the kernel accepts no operation and completes none.
const PRESSURE_PAUSE: Duration = Duration::from_millis(1);

/// The submission and completion queues of one worker.
///
/// Descriptors are borrowed only while an operation is submitted, and must stay open until its last
/// completion: otherwise the number would denote another socket.
pub(crate) struct Ring<'a> {
    uring: &'a IoUring,
    submitter: Submitter<'a>,
    multishot: BufferPool,
    single_shot: BufferPool,
    /// Operations that found the submission queue full.
    pending: VecDeque<squeue::Entry>,
    /// The bytes of each send, while the kernel may read them.
    sends: Vec<Option<(Key, SendBytes)>>,
    free_sends: Vec<u32>,
    /// The target of each connect, by its number, while the kernel may read it.
    targets: HashMap<u32, Box<SockAddr>>,
    done: VecDeque<Done>,
    /// Received up to the end of a buffer. If more of it follows, both parts are joined.
    cut: Option<(Key, Received)>,
    /// Operations without their last completion.
    in_flight: usize,
    /// A call has failed for good: nothing more is submitted.
    failed: bool,
    faults: Option<Box<FaultInjector>>,
    /// In tests: the calls left until the ring fails.
    calls: Option<u32>,
}

impl Ring<'_> {
    /// Sets up a ring for `work`.
    ///
    /// Memory that the kernel may touch is freed once nothing is in flight. If an operation does
    /// not complete, its memory is never freed.
    pub(crate) fn with<R>(setup: &Setup, work: impl FnOnce(&mut Ring<'_>) -> R) -> io::Result<R> {
        let uring = setup.open()?;
        let mut submitter = uring.submitter();
        setup.register(&mut submitter);
        // SAFETY: the ring below owns the pools, and `Ring::drop` leaks them if anything is in
        // flight. Leases end with their operations or before `work` returns, or keep their pool.
        let (multishot, single_shot) = unsafe { pools(&submitter, setup)? };
        let mut ring = Ring {
            uring: &uring,
            submitter,
            multishot,
            single_shot,
            pending: VecDeque::new(),
            sends: Vec::new(),
            free_sends: Vec::new(),
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

    /// Accepts on a listener: until cancelled (`multishot`), or once.
    pub(crate) fn accept(&mut self, listener: u32, socket: BorrowedFd<'_>, multishot: bool) {
        if let Some(FaultDecision::Fail(errno)) = self.faults.as_mut().map(|faults| faults.on_accept()) {
            let result = Err(io::Error::from_raw_os_error(errno));
            return self.done.push_back(Done::Accepted { listener, result, more: false });
        }
        let fd = Fd(socket.as_raw_fd());
        let entry = if multishot {
            opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build()
        } else {
            opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
        };
        self.push(entry, Token::Accept(listener));
    }

    /// Cancels an accept. It ends with its last completion.
    pub(crate) fn cancel_accept(&mut self, listener: u32) {
        let entry = opcode::AsyncCancel::new(Token::Accept(listener).pack()).build();
        self.push(entry, Token::Cancel);
    }

    /// Connects. A number may be reused once its operation has completed.
    pub(crate) fn connect(&mut self, number: u32, socket: BorrowedFd<'_>, target: SockAddr) {
        if let Some(FaultDecision::Fail(errno)) = self.faults.as_mut().map(|faults| faults.on_connect()) {
            return self.done.push_back(Done::Connected { number, result: -errno });
        }
        let target = Box::new(target);
        let entry = opcode::Connect::new(Fd(socket.as_raw_fd()), target.as_ptr().cast(), target.len()).build();
        self.targets.insert(number, target);
        self.push(entry, Token::Connect(number));
    }

    /// Waits until a pending connect has succeeded or failed: the socket is writable then, and the
    /// result positive.
    pub(crate) fn poll_connect(&mut self, number: u32, socket: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLOUT as u32).build();
        self.push(entry, Token::Connect(number));
    }

    /// Cancels a connect. It ends with its completion.
    pub(crate) fn cancel_connect(&mut self, number: u32) {
        let entry = opcode::AsyncCancel::new(Token::Connect(number).pack()).build();
        self.push(entry, Token::Cancel);
    }

    /// Receives until cancelled (io_uring_prep_recv_multishot(3)).
    pub(crate) fn multishot_recv(&mut self, key: Key, socket: BorrowedFd<'_>) {
        if self.receive_fails(key) {
            return;
        }
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), MULTISHOT).build();
        self.push(entry, Token::MultishotRecv(key));
    }

    /// Receives once: at most one buffer, and at most `most` bytes.
    pub(crate) fn single_shot_recv(&mut self, key: Key, socket: BorrowedFd<'_>, most: usize) {
        if self.receive_fails(key) {
            return;
        }
        // Without a length the receive may fill the whole buffer.
        let len = if most < SINGLE_SHOT_BUFFER { most.max(1) as u32 } else { 0 };
        let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), len)
            .buf_group(SINGLE_SHOT)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry, Token::SingleShotRecv(key));
    }

    /// Waits until the socket is readable. The connection then reads by itself.
    pub(crate) fn poll_input(&mut self, key: Key, socket: BorrowedFd<'_>) {
        if self.receive_fails(key) {
            return;
        }
        let entry = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLIN as u32).build();
        self.push(entry, Token::PollInput(key));
    }

    /// Reports that the connection has failed, until cancelled: for a socket that nothing receives
    /// from or sends to.
    pub(crate) fn poll_failure(&mut self, key: Key, socket: BorrowedFd<'_>) {
        // Not once: the kernel also reports a FIN (POLLRDHUP), for as long as a poll is armed
        // after it.
        let entry = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLERR as u32).multi(true).build();
        self.push(entry, Token::PollFailure(key));
    }

    fn receive_fails(&mut self, key: Key) -> bool {
        let Some(FaultDecision::Fail(errno)) = self.faults.as_mut().map(|faults| faults.on_receive()) else {
            return false;
        };
        self.done.push_back(Done::Received { key, result: -errno, more: false, piece: None });
        true
    }

    /// Cancels a multishot receive. It ends with its last completion.
    pub(crate) fn cancel_receive(&mut self, key: Key) {
        let entry = opcode::AsyncCancel::new(Token::MultishotRecv(key).pack()).build();
        self.push(entry, Token::Cancel);
    }

    /// Cancels all operations on a socket.
    pub(crate) fn cancel_all(&mut self, socket: BorrowedFd<'_>) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(socket.as_raw_fd())).all()).build();
        self.push(entry, Token::Cancel);
    }

    /// Sends. The bytes come back with the completion.
    pub(crate) fn send(&mut self, key: Key, socket: BorrowedFd<'_>, mut bytes: SendBytes, blocking: SendBlocking) {
        let mut len = bytes.len();
        match self.faults.as_mut().map(|faults| faults.on_send(len, blocking)) {
            Some(FaultDecision::Fail(errno)) => return self.done.push_back(Done::Sent { key, result: -errno, bytes }),
            Some(FaultDecision::Shorten(n)) => len = n,
            Some(FaultDecision::Pass) | None => {}
        }
        let blocking = if blocking == SendBlocking::Try { libc::MSG_DONTWAIT } else { 0 };
        let entry = bytes.entry(Fd(socket.as_raw_fd()), len, blocking | libc::MSG_NOSIGNAL);
        let number = match self.free_sends.pop() {
            Some(number) => {
                self.sends[number as usize] = Some((key, bytes));
                number
            }
            None => {
                self.sends.push(Some((key, bytes)));
                self.sends.len() as u32 - 1
            }
        };
        self.push(entry, Token::Send(number));
    }

    /// Polls an event counter until cancelled.
    pub(crate) fn poll(&mut self, counter: BorrowedFd<'_>) {
        if let Some(FaultDecision::Fail(errno)) = self.faults.as_mut().map(|faults| faults.on_poll()) {
            return self.done.push_back(Done::Polled { result: -errno, more: false });
        }
        let entry = opcode::PollAdd::new(Fd(counter.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
        self.push(entry, Token::Poll);
    }

    /// A receive of that kind has found no buffer: one more is provided, up to a limit.
    pub(crate) fn add_buffer(&self, kind: BufferKind) {
        match kind {
            BufferKind::Multishot => self.multishot.grow(),
            BufferKind::SingleShot => self.single_shot.grow(),
        }
    }

    /// Whether a multishot receive can bring only little: only the first buffers are in use.
    pub(crate) fn has_few_buffers(&self) -> bool {
        self.multishot.is_small()
    }

    /// Buffers that the kernel may fill: the number of receives, of either kind, that would find
    /// one.
    pub(crate) fn buffers(&self) -> usize {
        self.multishot.provided().min(self.single_shot.provided())
    }

    /// Returns whether no completion waits to be handled: all that has left a socket was handled.
    /// A call collects all completions of the kernel, but injected faults may delay some.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.done.is_empty() && !self.faults.as_ref().is_some_and(|faults| faults.delays_any())
    }

    /// The next completion, in order.
    pub(crate) fn next(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.pack());
        self.in_flight += 1;
        // SAFETY: no other view of the queue exists: it is used in this file only, for the length
        // of a statement. What the entry points to is the ring's own: pools, sends and targets.
        if !self.pending.is_empty() || unsafe { self.uring.submission_shared().push(&entry) }.is_err() {
            self.pending.push_back(entry);
        }
    }

    /// Submits what is pending, waits unless a completion is there already, and collects the
    /// completions.
    ///
    /// # Errors
    /// Those that end the ring.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        if let Some(left) = &mut self.calls {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADR))?;
        }
        self.multishot.begin_turn();
        self.single_shot.begin_turn();
        loop {
            self.submit_pending();
            let all = self.pending.is_empty();
            // In each round: completions of one round must not wait for those of the next.
            let wait = if all && self.is_caught_up() { wait } else { Wait::Not };
            let failed = match self.faults.as_mut().and_then(|faults| faults.on_enter()) {
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
                    // Completions wait for room, or memory is short. Reaping makes room, and the
                    // next call tries again.
                    Some(libc::EAGAIN | libc::EBUSY) => {
                        if before == self.in_flight && self.done.is_empty() {
                            std::thread::sleep(PRESSURE_PAUSE);
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
            faults.reorder(&mut self.done);
        }
        Ok(())
    }

    /// Returns whether there is something to submit or to collect, without a call.
    pub(crate) fn needs_enter(&self) -> bool {
        // SAFETY: as in `push`.
        let (sq, cq) = unsafe { (self.uring.submission_shared(), self.uring.completion_shared()) };
        sq.taskrun() || sq.cq_overflow() || !cq.is_empty() || !sq.is_empty() || !self.pending.is_empty()
    }

    /// Moves as much of what is pending into the submission queue as that takes.
    fn submit_pending(&mut self) {
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
        // Even without a wait: the kernel runs deferred work (DEFER_TASKRUN) only in such a call.
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // SAFETY: the arguments are those that EXT_ARG requires, and outlive the call.
        unsafe { self.submitter.enter(submissions, want, flags.bits(), Some(&args)) }.map(drop)
    }

    /// Collects the completions, also those that found the completion queue full.
    fn reap(&mut self) {
        for _ in 0..64 {
            loop {
                // SAFETY: as in `push`.
                let Some(entry) = unsafe { self.uring.completion_shared() }.next() else { break };
                self.completed(&entry);
            }
            self.flush_cut();
            // SAFETY: as in `push`.
            if !unsafe { self.uring.submission_shared() }.cq_overflow() {
                break;
            }
            // The call moves them into the queue. If it fails, the next one does.
            if self.call(Wait::Not).is_err() {
                break;
            }
        }
    }

    /// What a multishot receive has brought, unless the rest of it is about to follow.
    fn received(&mut self, key: Key, flags: u32, n: usize, more: bool) -> Option<Option<Received>> {
        let before = match self.cut.take() {
            Some((owner, piece)) if owner == key && n > 0 => Some(piece),
            other => {
                self.cut = other;
                self.flush_cut();
                None
            }
        };
        let Some(lease) = self.multishot.take(flags, n) else { return Some(before) };
        let is_cut = more && lease.is_cut();
        let piece = match before {
            Some(piece) => piece.join(&lease),
            None => Received::Lent(lease),
        };
        if is_cut && piece.len() < SINGLE_SHOT_BUFFER {
            self.cut = Some((key, piece));
            return None;
        }
        Some(Some(piece))
    }

    /// Nothing has followed.
    fn flush_cut(&mut self) {
        if let Some((key, piece)) = self.cut.take() {
            let result = self.inject_end(key, i32::try_from(piece.len()).unwrap_or(i32::MAX), true);
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
                    // SAFETY: the kernel made this descriptor for this operation, and nothing else
                    // owns it.
                    Ok(unsafe { OwnedFd::from_raw_fd(result) })
                };
                Done::Accepted { listener, result, more }
            }
            Token::Connect(number) => {
                // A poll has no target.
                let was_connect = self.targets.remove(&number).is_some();
                let result = match &mut self.faults {
                    Some(faults) if was_connect => faults.connected(result),
                    _ => result,
                };
                Done::Connected { number, result }
            }
            Token::MultishotRecv(key) => {
                let Some(piece) = self.received(key, flags, filled, more) else { return };
                let result = self.inject_end(key, result, more);
                Done::Received { key, result, more, piece }
            }
            Token::SingleShotRecv(key) => {
                let piece = self.single_shot.take(flags, filled).map(Received::Lent);
                Done::Received { key, result, more, piece }
            }
            Token::PollInput(key) => Done::Readable { key, result },
            Token::PollFailure(key) => {
                let failed = result > 0 && result & i32::from(libc::POLLERR) != 0;
                if more && !failed {
                    return;
                }
                Done::Failed { key, failed, more }
            }
            Token::Send(number) => {
                let Some((key, bytes)) = self.sends.get_mut(number as usize).and_then(Option::take) else { return };
                self.free_sends.push(number);
                Done::Sent { key, result, bytes }
            }
            Token::Poll => Done::Polled { result, more },
            Token::Cancel => return,
        };
        self.done.push_back(done);
    }

    /// In tests: may cancel a multishot receive.
    fn inject_end(&mut self, key: Key, result: i32, more: bool) -> i32 {
        let Some(faults) = &mut self.faults else { return result };
        if !more {
            return faults.end_result(key, result);
        }
        if faults.cancels(key) {
            self.cancel_receive(key);
        }
        result
    }

    /// Cancels all operations, and waits for their completions. Not after a failure: operations
    /// that are still queued were for sockets that are closed by now, whose numbers may be reused.
    fn cancel_everything(&mut self) {
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

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        self.cancel_everything();
        if self.in_flight > 0 {
            // The kernel may still read or write: the memory stays, and is not reused.
            self.multishot.leak();
            self.single_shot.leak();
            std::mem::forget(std::mem::take(&mut self.sends));
            std::mem::forget(std::mem::take(&mut self.targets));
        }
    }
}

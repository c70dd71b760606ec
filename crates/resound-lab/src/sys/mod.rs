//! The system calls that no library wraps safely: all of the crate's unsafe code.

mod frames;
mod ring;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

pub(crate) use frames::FrameQueue;
pub(crate) use ring::{PacketRing, RING_FRAMES, frame_size};

/// The exit code of a child that panicked.
const PANICKED: i32 = 70;

/// The result of a call, from its return value.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Starts a child process that runs `child` and ends with its result. The C library keeps its
/// allocator usable there, also where this process has more threads; locks of others are not.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the child has one thread and never returns from here. It takes no lock of the
    // standard streams. That of the environment, which starting a command takes, is held elsewhere
    // only while a thread changes the environment, which must not happen beside other threads.
    let pid = checked(unsafe { libc::fork() })?;
    in_child(pid, child)
}

/// Like [`fork`], of a process with one thread; the parent of this process becomes that of the
/// child.
pub(crate) fn fork_for_parent(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: without CLONE_VM and a stack the call behaves as fork(2) does, and this process has
    // no other thread. The child never returns from here.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) };
    in_child(checked(pid as libc::c_int)?, child)
}

fn in_child(pid: libc::c_int, child: impl FnOnce() -> i32) -> io::Result<Pid> {
    if let Some(pid) = Pid::from_raw(pid) {
        return Ok(pid);
    }
    let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED);
    // SAFETY: it ends the process, without the exit handlers of its parent.
    unsafe { libc::_exit(code) }
}

/// Closes all descriptors except `kept`, and leads the standard streams to /dev/null.
pub(crate) fn close_others(kept: &[RawFd]) -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for stream in 0..3 {
        // SAFETY: the standard streams of a process that has just been forked belong to no object.
        checked(unsafe { libc::dup2(null.as_raw_fd(), stream) })?;
    }
    drop(null);
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first = 3;
    for next in kept.iter().copied().chain([RawFd::MAX]) {
        if next > first {
            // SAFETY: their owners are objects of the parent that this process never touches.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, first, next - 1, 0) };
            checked(closed as libc::c_int)?;
        }
        first = next.saturating_add(1);
    }
    Ok(())
}

/// Moves the calling process, which has one thread, into new namespaces.
pub(crate) fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    // SAFETY: CLONE_FILES, which would part this thread from descriptors, is not among them.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }.map_err(io::Error::from)
}

/// Gives the signals that this process handles as its parent did, and SIGCHLD, their usual meaning.
pub(crate) fn forget_handlers() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: zero is a valid value of each field, and the call only fills the value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to one live value.
        let known = unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) } == 0;
        if known && (action.sa_sigaction != libc::SIG_IGN || signal == libc::SIGCHLD) {
            // SAFETY: the default is no handler, so that no code runs at a signal.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// Calls `prepare` in the child before the program starts.
pub(crate) fn prepare(command: &mut Command, prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: the calling process has one thread, so that no lock is held at the fork.
    unsafe { command.pre_exec(prepare) };
}

/// A socket option that is a number.
fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    set_option_to(socket, level, option, &value)
}

fn set_option_to<T>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length are those of one live value, which the call only reads.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length) })?;
    Ok(())
}

/// Attaches a packet socket to an interface. With protocol 0 it receives nothing.
fn attach(socket: BorrowedFd<'_>, interface: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: interface as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: pointer and length are those of one live value, which the call only reads.
    checked(unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) })?;
    Ok(())
}

/// Asks the scheduler for short turns of this thread, which come sooner (sched_setattr(2), Linux
/// 6.12). Elsewhere the thread keeps the usual ones.
pub(crate) fn ask_for_short_turns() {
    /// The shortest that the kernel gives, in nanoseconds.
    const TURN: u64 = 100_000;
    /// `struct sched_attr`, its first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let mut attributes =
        Attributes { size: 0, policy: 0, flags: 0, nice: 0, priority: 0, runtime: 0, deadline: 0, period: 0 };
    let size = size_of::<Attributes>();
    let current = std::ptr::from_mut(&mut attributes);
    // SAFETY: the pointer is to one live value of plain numbers of that size; the call fills it.
    if unsafe { libc::syscall(libc::SYS_sched_getattr, 0, current, size, 0) } == 0 {
        (attributes.size, attributes.runtime) = (size as u32, TURN);
        // SAFETY: the same value, which the call only reads.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attributes), 0) };
    }
}

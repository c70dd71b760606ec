//! [`reset_on_exit`]: what the peers of a process see that ends before its connections do.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::process::{Resource, getrlimit};
use socket2::SockRef;

use crate::engine::socket::{is_unfinished_tcp, reset_on_close};

/// The highest limit of descriptors that is looked through.
const HIGHEST: u64 = 1 << 20;
/// After stdin, stdout and stderr, which may be sockets of the parent process.
const FIRST: RawFd = 3;

/// Lets the end of this process reset (RST) each TCP connection on which this end has sent no FIN:
/// otherwise a peer could take the part of an answer that it has for all of it. To be called right
/// before the exit; other threads may still use their connections.
///
/// It costs three system calls for each descriptor, up to 3 microseconds, and looks at `most` of
/// them.
pub fn reset_on_exit(most: usize) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(HIGHEST).min(HIGHEST);
    let mut left = open_descriptors().unwrap_or(usize::MAX).min(most);
    for descriptor in FIRST..limit as RawFd {
        // SAFETY: the call reads the flags of a descriptor, and fails for a number that is none.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
            continue;
        }
        // SAFETY: it was open just now. If another thread closes it meanwhile, the calls below
        // fail, or meet the next connection with this number, which is to be reset as well.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let socket = SockRef::from(&descriptor);
        if is_unfinished_tcp(&socket) {
            reset_on_close(&socket);
        }
        left = left.saturating_sub(1);
        if left == 0 {
            return;
        }
    }
}

/// How many descriptors are open, where the system tells: Linux 6.2 as the size of the folder
/// (proc_pid_fd(5)), older ones by its entries.
fn open_descriptors() -> Option<usize> {
    const FOLDER: &str = "/proc/self/fd";
    let size = usize::try_from(std::fs::metadata(FOLDER).ok()?.len()).ok().filter(|&open| open > 0);
    size.or_else(|| Some(std::fs::read_dir(FOLDER).ok()?.count()))
}

use std::os::fd::AsRawFd;

use socket2::SockRef;

/// `SIOCOUTQ`: bytes that were written and not taken by the peer. `None` where the socket does not say.
pub(crate) fn unacknowledged(socket: &SockRef<'_>) -> Option<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, and is given the address of one.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { usize::try_from(bytes).ok() } else { None }
}

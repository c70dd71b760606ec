use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};

use socket2::SockRef;

/// `SIOCOUTQ`: bytes that were written and not taken by the peer. `None` where the socket does not say.
pub(crate) fn unacknowledged(socket: &SockRef<'_>) -> Option<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, and is given the address of one.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { usize::try_from(bytes).ok() } else { None }
}

/// `TCP_INFO`: what the system knows of a connection. `None` where the socket is not TCP.
pub(crate) fn tcp_info(socket: RawFd) -> Option<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `info`, which has that many.
    let result =
        unsafe { libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut size) };
    if result != 0 {
        return None;
    }
    // SAFETY: it is made of integers, for which any bytes will do, and what an older kernel left out is zero.
    Some(unsafe { info.assume_init() })
}

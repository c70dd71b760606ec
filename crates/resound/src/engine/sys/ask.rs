use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use socket2::{SockAddr, SockRef};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `SIOCOUTQ`: bytes that were written and that the peer has not acknowledged. `None` if the socket
/// does not support it.
pub(crate) fn unacknowledged(socket: &SockRef<'_>) -> Option<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, and is given the address of one.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { usize::try_from(bytes).ok() } else { None }
}

/// `SO_PEERNAME`: the address of the peer of an IP socket, also of a peer that has reset the
/// connection since, for which getpeername(2) fails.
pub(crate) fn peer_name(socket: &SockRef<'_>) -> std::io::Result<SockAddr> {
    // The system refuses a longer address than there is. Both ends' addresses are equally long.
    let local = socket.local_addr()?;
    if local.as_socket().is_none() {
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    // SAFETY: the kernel writes at most `len` bytes, which is less than the storage has, and stores
    // how many it has written. On an error the storage is not used.
    let ((), peer) = unsafe {
        SockAddr::try_init(|storage, len| {
            *len = local.len();
            let fd = socket.as_raw_fd();
            match libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERNAME, storage.cast(), len) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })?
    };
    Ok(peer)
}

/// `TCP_INFO`: the state of a TCP connection. `None` if the socket is not TCP.
pub(crate) fn tcp_info(socket: RawFd) -> Option<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `info`, which has that many.
    let result =
        unsafe { libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut size) };
    if result != 0 {
        return None;
    }
    // SAFETY: the struct consists of integers, for which any bytes are valid. Fields that an older
    // kernel does not write are zero.
    Some(unsafe { info.assume_init() })
}

/// `IP_BIND_ADDRESS_NO_PORT`: the system chooses the port when the socket connects (ip(7)).
pub(crate) fn bind_address_no_port(socket: &SockRef<'_>) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int, and is given the address and the size of one.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Registers a descriptor with this thread's runtime: readable.
pub(crate) fn watch(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is the same one, and open, for as long as it exists.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(watched?)
}

/// `getrusage(2)`: the processor time of this process, in user mode and in the kernel.
pub(crate) fn processor_time() -> (Duration, Duration) {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes one `rusage`, and is given the address of one.
    let done = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    if done != 0 {
        return Default::default();
    }
    // SAFETY: the struct consists of integers, for which any bytes are valid.
    let usage = unsafe { usage.assume_init() };
    let time = |t: libc::timeval| Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64);
    (time(usage.ru_utime), time(usage.ru_stime))
}

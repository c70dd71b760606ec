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

/// `TCP_SAVED_SYN`: the SYN of an accepted connection, whose listener [saves it](save_syns). The
/// kernel gives it once. `None` if there is none.
pub(crate) fn saved_syn(socket: &SockRef<'_>) -> Option<Box<[u8]>> {
    // The headers of IPv4 and TCP have at most 60 bytes each. Those of IPv6 may have more, up to a
    // packet's length: the kernel refuses a buffer that is too short, and returns what it needs.
    let mut syn = vec![0; 256];
    for _ in 0..2 {
        let mut size = syn.len() as libc::socklen_t;
        // SAFETY: the kernel writes at most `size` bytes to `syn`, which has that many, and stores
        // in `size` how many there are.
        let result = unsafe {
            let (fd, to) = (socket.as_raw_fd(), syn.as_mut_ptr().cast());
            libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_SAVED_SYN, to, &raw mut size)
        };
        let needed = (size as usize).min(usize::from(u16::MAX));
        if result == 0 {
            syn.truncate(needed);
            return (!syn.is_empty()).then(|| syn.into());
        }
        if needed <= syn.len() {
            return None;
        }
        syn.resize(needed, 0);
    }
    None
}

/// `TCP_TIMESTAMP`: the clock of this end's timestamps. `None` if the socket is not TCP.
pub(crate) fn timestamp_clock(socket: &SockRef<'_>) -> Option<u32> {
    let mut clock: u32 = 0;
    let mut size = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `clock`, which has that many.
    let done = unsafe {
        let (fd, to) = (socket.as_raw_fd(), (&raw mut clock).cast());
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_TIMESTAMP, to, &raw mut size)
    };
    (done == 0).then_some(clock)
}

/// `TCP_SAVE_SYN`: a listener keeps the SYN of each connection until that is asked for it.
pub(crate) fn save_syns(listener: &SockRef<'_>) -> std::io::Result<()> {
    turn_on(listener, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN)
}

/// `IP_BIND_ADDRESS_NO_PORT`: the system chooses the port when the socket connects (ip(7)).
pub(crate) fn bind_address_no_port(socket: &SockRef<'_>) -> std::io::Result<()> {
    turn_on(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)
}

fn turn_on(socket: &SockRef<'_>, level: libc::c_int, option: libc::c_int) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one int, and is given the address and the size of one.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size) };
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

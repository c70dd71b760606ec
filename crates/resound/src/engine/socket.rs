//! Socket options and socket states that all engines use.

use std::io;
use std::time::{Duration, Instant};

use resound_proto::{CloseReason, Conn, Endpoint, Limits, SocketRequests};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockAddr, SockRef, Socket, TcpKeepalive};

/// A dead peer is detected after this silence, by probes in this interval.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unacknowledged data ends a connection after this long (RFC 5482), unless the write timeout is
/// longer.
///
/// Much longer than a dead peer would need. Linux counts until the peer's window has room for the
/// whole of the next segment (tens of kilobytes), and would end the connection of a slow reader
/// that takes smaller parts. For a slow peer the write timeout decides instead.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(300);

/// No delay for small answers, and an end for dead peers. On Linux an accepted socket inherits all
/// of it from its listener.
pub(crate) fn set_tcp_options(socket: &SockRef<'_>, limits: &Limits) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))?;
    // The timeout also runs while a living peer keeps its window closed. The write timeout limits
    // how long that may last; without one, no timeout may be stricter.
    #[cfg(target_os = "linux")]
    {
        // The option is an int of milliseconds.
        let most = Duration::from_millis(i32::MAX as u64);
        socket.set_tcp_user_timeout(limits.write_timeout.map(|timeout| USER_TIMEOUT.max(timeout).min(most)))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = limits;
    Ok(())
}

/// Sets the options that a socket does not inherit from its listener ([`set_tcp_options`]), or all
/// of them where the listener has those of earlier limits.
pub(crate) fn set_accepted_options(
    socket: &SockRef<'_>,
    peer: &Endpoint,
    limits: &Limits,
    inherits: bool,
    is_relay: bool,
) {
    // On Linux a TCP socket inherits it.
    if is_relay && (!cfg!(target_os = "linux") || !matches!(peer, Endpoint::Tcp(_))) {
        let _ = socket.set_out_of_band_inline(true);
    }
    let inherits = inherits && cfg!(target_os = "linux");
    if !inherits && matches!(peer, Endpoint::Tcp(_)) {
        // Fails if the peer is gone already. The first read reports that.
        let _ = set_tcp_options(socket, limits);
    }
}

/// Sets what a service has asked for. A unix socket has none of it.
#[cold]
pub(crate) fn apply_requests(socket: &SockRef<'_>, requests: SocketRequests) {
    if requests.nagle {
        let _ = socket.set_tcp_nodelay(false);
    }
    if requests.no_keepalive {
        let _ = socket.set_keepalive(false);
    }
    #[cfg(target_os = "linux")]
    if requests.drop_input {
        drop_input(socket);
    }
}

/// Lets the system drop segments with data or a FIN before TCP sees them, as if they had been lost
/// on their way (socket(7), `SO_ATTACH_FILTER`). The others acknowledge what this end has sent
/// before, or reset the connection.
#[cfg(target_os = "linux")]
fn drop_input(socket: &SockRef<'_>) {
    use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LEN};
    use libc::{BPF_MISC, BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X};
    use socket2::SockFilter;
    const DATA_OFFSET: u32 = 12;
    const FLAGS: u32 = 13;
    const FIN: u32 = 1;
    let is_tcp = socket.local_addr().is_ok_and(|address| address.is_ipv4() || address.is_ipv6());
    if !is_tcp {
        return;
    }
    let line = |code: u32, jt, jf, k| SockFilter::new(code as u16, jt, jf, k);
    // The filter sees a segment from its TCP header on.
    let _ = socket.attach_filter(&[
        line(BPF_LD | BPF_B | BPF_ABS, 0, 0, FLAGS),
        line(BPF_JMP | BPF_JSET | BPF_K, 6, 0, FIN),
        line(BPF_LD | BPF_B | BPF_ABS, 0, 0, DATA_OFFSET),
        // The length of the header: the upper four bits, in words of four bytes.
        line(BPF_ALU | BPF_RSH | BPF_K, 0, 0, 2),
        line(BPF_ALU | BPF_AND | BPF_K, 0, 0, 0x3c),
        line(BPF_MISC | BPF_TAX, 0, 0, 0),
        line(BPF_LD | BPF_W | BPF_LEN, 0, 0, 0),
        line(BPF_JMP | BPF_JEQ | BPF_X, 1, 0, 0),
        line(BPF_RET | BPF_K, 0, 0, 0),
        line(BPF_RET | BPF_K, 0, 0, u32::MAX),
    ]);
}

/// Makes the next close a reset (RST).
pub(crate) fn reset_on_close(socket: &SockRef<'_>) {
    let _ = socket.set_linger(Some(Duration::ZERO));
}

/// Makes the next close a FIN again, after what the system still has to deliver.
pub(crate) fn fin_on_close(socket: &SockRef<'_>) {
    let _ = socket.set_linger(None);
}

/// Whether the next close is a reset.
pub(crate) fn resets_on_close(socket: &SockRef<'_>) -> bool {
    matches!(socket.linger(), Ok(Some(Duration::ZERO)))
}

/// The socket of an accepted connection. Unless it is served, dropping it resets the connection: a
/// refused peer must not take a FIN for an answer.
pub(crate) struct ResetOnDrop(Option<Socket>);

impl ResetOnDrop {
    pub(crate) fn new(socket: Socket) -> Self {
        Self(Some(socket))
    }

    /// Takes the socket out. From here on the connection owns it.
    pub(crate) fn serve(mut self) -> Option<Socket> {
        self.0.take()
    }
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            reset_on_close(&SockRef::from(socket));
        }
    }
}

/// Bytes that have arrived and not been read (`FIONREAD`), urgent ones included: at least as many
/// as reads will return.
pub(crate) fn unread(socket: &SockRef<'_>) -> usize {
    #[cfg(unix)]
    {
        let ready = poll_now(socket, PollFlags::IN | PollFlags::PRI);
        // A unix socket also counts urgent bytes, which can never be read.
        if !ready.intersects(PollFlags::IN) {
            return 0;
        }
        // The count ends before an urgent byte, unless that is part of the stream.
        let is_marked = ready.intersects(PollFlags::PRI) && !socket.out_of_band_inline().unwrap_or(false);
        let inline = is_marked && socket.set_out_of_band_inline(true).is_ok();
        let n = rustix::io::ioctl_fionread(&**socket).map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX));
        if inline {
            let _ = socket.set_out_of_band_inline(false);
        }
        n
    }
    #[cfg(not(unix))]
    if holds_nothing(socket) {
        0
    } else {
        rustix::io::ioctl_fionread(&**socket).map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX))
    }
}

/// Returns whether a read would wait.
pub(crate) fn holds_nothing(socket: &SockRef<'_>) -> bool {
    poll_now(socket, PollFlags::IN).is_empty()
}

/// The events of a socket now; none if poll(2) fails.
fn poll_now(socket: &SockRef<'_>, what: PollFlags) -> PollFlags {
    let mut socket = [PollFd::new(&**socket, what)];
    let _ = poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    socket[0].revents()
}

/// The address behind what the system reports.
pub(crate) fn endpoint(address: &SockAddr) -> Endpoint {
    if let Some(ip) = address.as_socket() {
        return ip.into();
    }
    #[cfg(unix)]
    if address.is_unix() {
        return Endpoint::Unix(address.as_pathname().map(Into::into));
    }
    Endpoint::Unknown
}

/// The peer of a connected socket, also of one that has reset the connection;
/// [`Endpoint::Unknown`] only if the system does not report it.
pub(crate) fn peer(socket: &SockRef<'_>) -> Endpoint {
    let name = socket.peer_addr();
    #[cfg(target_os = "linux")]
    let name = name.or_else(|_| super::sys::peer_name(socket));
    name.map_or(Endpoint::Unknown, |address| endpoint(&address))
}

/// Bytes that were written to a socket and that the peer has not acknowledged (`SIOCOUTQ`, tcp(7)).
/// The count falls while a slow peer reads, even if the socket has no room for more. `None` if the
/// system does not report it.
pub(super) fn unacknowledged(socket: &SockRef<'_>) -> Option<usize> {
    #[cfg(target_os = "linux")]
    return super::sys::unacknowledged(socket);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        None
    }
}

/// Whether the system reports unacknowledged bytes.
pub(crate) const REPORTS_UNACKNOWLEDGED: bool = cfg!(target_os = "linux");

/// Reports to a connection, if it wants that, the bytes that the system still holds for its peer.
/// To be called before [`Conn::timed_out`].
pub(crate) fn report_unacknowledged(conn: &mut Conn, now: Instant, socket: &SockRef<'_>) {
    if conn.wants_unacknowledged(now)
        && let Some(bytes) = unacknowledged(socket)
    {
        if bytes > 0 {
            // From here on only the write timeout limits how long that may last.
            no_user_timeout(socket);
        }
        // After a reset the system still counts bytes that no peer will take, and without a read or
        // a write no call fails. (Otherwise the next call reports the error.)
        let is_reset =
            bytes > 0 && conn.only_delivers() && !conn.wants_read() && matches!(socket.take_error(), Ok(Some(_)));
        conn.unacknowledged(now, if is_reset { 0 } else { bytes });
    }
}

/// Resets the user timeout of [`set_tcp_options`], which is for dead peers and would end slow ones.
fn no_user_timeout(socket: &SockRef<'_>) {
    // Fails on a unix socket, which has none.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(None);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// Returns whether the peer has reset a TCP connection on which this end has sent no FIN. The
/// system reports a reset once: if a send has met it, a read returns the same as after a FIN.
#[cfg(target_os = "linux")]
pub(crate) fn was_reset(socket: &SockRef<'_>) -> bool {
    // TCP_CLOSE of the kernel's net/tcp_states.h; after the peer's FIN it would be TCP_CLOSE_WAIT.
    const CLOSED: u8 = 7;
    use std::os::fd::AsRawFd;
    super::sys::tcp_info(socket.as_raw_fd()).is_some_and(|info| info.tcpi_state == CLOSED)
}

/// The result of a connect that was under way and is decided. A peer that has reset the connection
/// since then had accepted it: what it sent is read first, and then the reset.
pub(crate) fn connect_result(socket: &SockRef<'_>) -> io::Result<()> {
    if socket.peer_addr().is_ok() || was_accepted(socket) {
        return Ok(());
    }
    socket.take_error()?.map_or(Ok(()), Err)
}

/// Returns whether the peer has accepted this connection, as far as the system tells once the peer
/// has reset it: a SYN that was acknowledged counts as a byte.
pub(crate) fn was_accepted(socket: &SockRef<'_>) -> bool {
    #[cfg(target_os = "linux")]
    return {
        use std::os::fd::AsRawFd;
        super::sys::tcp_info(socket.as_raw_fd()).is_some_and(|info| info.tcpi_bytes_acked > 0)
    };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        false
    }
}

/// Returns whether this is a TCP connection on which this end has sent no FIN, as far as the system
/// tells.
#[cfg(unix)]
pub(crate) fn is_unfinished_tcp(socket: &SockRef<'_>) -> bool {
    // TCP_ESTABLISHED and TCP_CLOSE_WAIT of the kernel's net/tcp_states.h.
    #[cfg(target_os = "linux")]
    return {
        use std::os::fd::AsRawFd;
        super::sys::tcp_info(socket.as_raw_fd()).is_some_and(|info| matches!(info.tcpi_state, 1 | 8))
    };
    #[cfg(not(target_os = "linux"))]
    socket.peer_addr().is_ok_and(|peer| peer.as_socket().is_some())
}

/// Why a connection has failed, such as by a reset, where no read or write has met that: the
/// pending error of its socket (`SO_ERROR`), which this takes.
#[cold]
pub(crate) fn failure(socket: &SockRef<'_>) -> Option<CloseReason> {
    socket.take_error().ok().flatten().map(|error| CloseReason::of(&error))
}

/// Returns whether the peer's FIN has arrived, with nothing unread before it. On systems other than
/// Unix the socket must not block.
pub(crate) fn at_eof(socket: &SockRef<'_>) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    #[cfg(unix)]
    let seen = socket.recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT);
    #[cfg(not(unix))]
    let seen = socket.peek(&mut byte);
    matches!(seen, Ok(0))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use resound_proto::{ConnId, ConnInfo, Echo};
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn a_connect_has_succeeded_although_the_peer_has_reset_the_connection_since() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || {
            let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _under_way = socket.connect(&address.into());
            socket
        };
        let mut socket = connect();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"last words").unwrap();
        reset_on_close(&SockRef::from(&peer));
        drop(peer);
        connect_result(&SockRef::from(&socket)).unwrap();
        let mut read = [0; 64];
        assert_eq!(socket.read(&mut read).unwrap(), 10);
        assert_eq!(socket.read(&mut read).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        drop(listener);
        let refused = connect_result(&SockRef::from(&connect())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn accepted_sockets_inherit_the_options_of_the_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let options = |limits: &Limits| {
            set_tcp_options(&SockRef::from(&listener), limits).unwrap();
            let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let socket = SockRef::from(&accepted);
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
            socket.tcp_user_timeout().unwrap()
        };
        assert_eq!(options(&Limits { write_timeout: None, ..Limits::default() }), None, "a slow reader has no limit");
        assert_eq!(options(&Limits::default()), Some(USER_TIMEOUT));
        let patient = Limits { write_timeout: Some(Duration::from_secs(600)), ..Limits::default() };
        assert_eq!(options(&patient), Some(Duration::from_secs(600)));
        let endless = Limits { write_timeout: Some(Duration::MAX), ..Limits::default() };
        assert!(options(&endless).is_some());
    }

    #[test]
    fn only_the_write_timeout_limits_a_slow_peer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        set_tcp_options(&SockRef::from(&listener), &Limits::default()).unwrap();
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let socket = SockRef::from(&accepted);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        let mut conn = Conn::new(info, Box::new(Echo), Limits::default()).reporting_unacknowledged();
        let (now, mut out) = (Instant::now(), Vec::new());
        let _ = conn.open(now, &mut out, &mut ());
        let _ = conn.received(now, &mut [b'x'; 100], &mut out, &mut ());
        let _ = conn.sent(now, 100, &mut out, &mut ());
        // The peer reads nothing of it.
        while std::io::Write::write(&mut &accepted, &[b'x'; 65_536]).is_ok() {}
        report_unacknowledged(&mut conn, now, &socket);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT), "the check is not due");
        let then = conn.deadline().expect("something is on its way");
        report_unacknowledged(&mut conn, then, &socket);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }
}

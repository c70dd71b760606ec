//! Timestamps of the kernel's (timestamping in the kernel's networking documentation, `SO_TIMESTAMPING`): when a segment came up from the
//! network device, and when one was handed to it.
//!
//! The former come with what is read, the latter through the socket's error queue, in which a send is named by the number of its last byte.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, TimestampingFlag, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use resound_proto::KernelTimestamps;

/// Departures that are fetched in one go.
const AT_ONCE: usize = 256;
/// What comes with a departure: three times, and who it concerns, with an address of either family.
const CONTROL: usize = 256;

/// Aligned as the headers in it are.
#[repr(align(8))]
struct ControlBuffer([u8; CONTROL]);

impl ControlBuffer {
    fn new() -> Self {
        Self([0; CONTROL])
    }
}

/// Two clocks that are looked at within this time show the same moment.
const MOMENT: Duration = Duration::from_micros(1);
/// Looks that are taken for it.
const LOOKS: usize = 4;
/// Bytes may have lain for this long between the network and us. What is older was made by another clock.
const CREDIBLE: Duration = Duration::from_secs(3600);

/// From now on the kernel notes times on a TCP connection that is established.
pub(crate) fn enable(socket: &impl AsFd) -> io::Result<()> {
    let wanted = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY
        // Counted from here on, whatever is still unacknowledged (Linux 6.3).
        | TimestampingFlag::from_bits_retain(libc::SOF_TIMESTAMPING_OPT_ID_TCP);
    Ok(setsockopt(socket, sockopt::Timestamping, &wanted)?)
}

/// Reads, and writes down when what was read arrived, and what has left meanwhile. Waits as the socket does, and not at all unless it `waits`.
pub(crate) fn receive(
    socket: &impl AsFd,
    wire: &mut [u8],
    waits: bool,
    times: &mut KernelTimestamps,
) -> io::Result<usize> {
    let mut control = ControlBuffer::new();
    let flags = if waits { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
    let fd = socket.as_fd().as_raw_fd();
    let read = recvmsg::<()>(fd, &mut [IoSliceMut::new(wire)], Some(&mut control.0), flags).map(|message| {
        let arrived = message.cmsgs().ok().and_then(|mut all| all.find_map(|one| time(&one)));
        (message.bytes, arrived)
    });
    if let Ok((_, arrived)) = read {
        times.arrived(arrived.and_then(|at| Clocks::now().instant(at)));
    }
    // Also where nothing was read: a queue that is not empty wakes whoever waits for the socket.
    departures(socket, times);
    Ok(read?.0)
}

/// Writes down what has left.
pub(crate) fn departures(socket: &impl AsFd, times: &mut KernelTimestamps) {
    let (fd, flags) = (socket.as_fd().as_raw_fd(), MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT);
    let (mut control, clocks) = (ControlBuffer::new(), Clocks::now());
    for _ in 0..AT_ONCE {
        let Ok(message) = recvmsg::<()>(fd, &mut [], Some(&mut control.0), flags) else { break };
        let (mut at, mut last) = (None, None);
        for one in message.cmsgs().into_iter().flatten() {
            at = at.or_else(|| time(&one));
            last = last.or_else(|| last_byte(&one));
        }
        if let (Some(at), Some(last)) = (at.and_then(|at| clocks.instant(at)), last) {
            times.departed(last, at);
        }
    }
}

fn time(message: &ControlMessageOwned) -> Option<TimeSpec> {
    match message {
        ControlMessageOwned::ScmTimestampsns(stamps) => Some(stamps.system),
        _ => None,
    }
}

fn last_byte(message: &ControlMessageOwned) -> Option<u32> {
    let (ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _)) = message else {
        return None;
    };
    (error.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING).then_some(error.ee_data)
}

/// One moment on both clocks: the kernel notes the time of day.
struct Clocks {
    monotonic: Instant,
    of_day: SystemTime,
}

impl Clocks {
    fn now() -> Self {
        let mut clocks = Self { monotonic: Instant::now(), of_day: SystemTime::now() };
        for _ in 0..LOOKS {
            let after = Instant::now();
            if after - clocks.monotonic <= MOMENT {
                break;
            }
            // Something came between.
            clocks = Self { monotonic: after, of_day: SystemTime::now() };
        }
        clocks
    }

    fn instant(&self, at: TimeSpec) -> Option<Instant> {
        let age = self.of_day.duration_since(UNIX_EPOCH.checked_add(at.into())?).ok()?;
        self.monotonic.checked_sub(age).filter(|_| age < CREDIBLE)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_leaves_and_what_arrives_is_noted_where_it_passed() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            near.set_nodelay(true).unwrap(); // or two sends may leave as one
            let (mut far, _) = listener.accept().unwrap();
            if let Err(error) = enable(&near) {
                // Linux 6.3 has what is asked for.
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                return crate::not_tested::not_tested("kernel timestamps", &error.to_string());
            }
            let mut wire = [0; 64];
            let mut sent = 0;
            // Whoever asks first waits for the kernel to begin: it does so when it finds the time.
            let (before, mut times) = loop {
                let (mut times, before) = (KernelTimestamps::default(), Instant::now());
                near.write_all(b"three").unwrap();
                near.write_all(b"more").unwrap();
                far.write_all(b"back").unwrap();
                assert_eq!(receive(&near, &mut wire, true, &mut times).unwrap(), 4);
                sent += 9;
                if times.arrival().is_some() {
                    break (before, times);
                }
                assert!(sent < 9_000_000, "the kernel notes no times");
            };
            let (arrived, after) = (times.arrival().unwrap(), Instant::now());
            assert!(before <= arrived && arrived <= after, "{before:?} {arrived:?} {after:?}");
            let left: Vec<_> = times.departures().iter().map(|departure| departure.bytes).collect();
            assert_eq!(left, [sent - 4, sent]);
            assert!(times.departures().iter().all(|left| before <= left.at && left.at <= arrived));
            let error = receive(&near, &mut wire, false, &mut times).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}

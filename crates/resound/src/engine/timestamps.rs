//! Timestamps of the kernel (`SO_TIMESTAMPING`, see timestamping in the kernel's networking
//! documentation): when a segment came from the network device, and when one was passed to it.
//!
//! The former come with the bytes that are read. The latter come through the error queue of the
//! socket, which identifies a send by the number of its last byte.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, TimestampingFlag, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use resound_proto::KernelTimestamps;

/// Departures that one call of [`departures`] reads at most.
const AT_ONCE: usize = 256;
/// The control messages of a departure: three times, and an extended error with an address of
/// either family.
const CONTROL: usize = 256;

/// Aligned as the headers in it.
#[repr(align(8))]
struct ControlBuffer([u8; CONTROL]);

impl ControlBuffer {
    fn new() -> Self {
        Self([0; CONTROL])
    }
}

/// Two clocks that are read within this time show the same moment.
const MOMENT: Duration = Duration::from_micros(1);
/// The most tries to read them so.
const TRIES: usize = 4;
/// Bytes may wait this long between the network and a read. An older timestamp is of another clock.
const CREDIBLE: Duration = Duration::from_secs(3600);

/// Turns timestamps on for an established TCP connection.
pub(crate) fn enable(socket: &impl AsFd) -> io::Result<()> {
    let wanted = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY
        // Counts bytes from here on, whatever is still unacknowledged (Linux 6.3).
        | TimestampingFlag::from_bits_retain(libc::SOF_TIMESTAMPING_OPT_ID_TCP);
    Ok(setsockopt(socket, sockopt::Timestamping, &wanted)?)
}

/// Reads, and records when the bytes arrived and which sends have left meanwhile. Without `waits`
/// it does not block; otherwise it blocks as the socket does.
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
    // Even without a read: an error queue that is not empty makes the socket ready.
    departures(socket, times);
    Ok(read?.0)
}

/// Records the sends that have left.
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

/// One moment on both clocks: the kernel's timestamps are of the time of day.
struct Clocks {
    monotonic: Instant,
    of_day: SystemTime,
}

impl Clocks {
    fn now() -> Self {
        let mut clocks = Self { monotonic: Instant::now(), of_day: SystemTime::now() };
        for _ in 0..TRIES {
            let after = Instant::now();
            if after - clocks.monotonic <= MOMENT {
                break;
            }
            // The thread was interrupted between the two.
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
    fn sends_and_receives_have_timestamps_of_the_kernel() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            ours.set_nodelay(true).unwrap(); // or two sends may leave as one
            let (mut theirs, _) = listener.accept().unwrap();
            if let Err(error) = enable(&ours) {
                // Before Linux 6.3.
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                return crate::not_tested::not_tested("kernel timestamps", &error.to_string());
            }
            let mut wire = [0; 64];
            let mut sent = 0;
            // The first socket waits until the kernel has turned timestamps on, which takes a
            // while.
            let (before, mut times) = loop {
                let (mut times, before) = (KernelTimestamps::default(), Instant::now());
                ours.write_all(b"three").unwrap();
                ours.write_all(b"more").unwrap();
                theirs.write_all(b"back").unwrap();
                assert_eq!(receive(&ours, &mut wire, true, &mut times).unwrap(), 4);
                sent += 9;
                if times.arrival().is_some() {
                    break (before, times);
                }
                assert!(sent < 9_000_000, "the kernel reports no timestamps");
            };
            let (arrived, after) = (times.arrival().unwrap(), Instant::now());
            assert!(before <= arrived && arrived <= after, "{before:?} {arrived:?} {after:?}");
            let left: Vec<_> = times.departures().iter().map(|departure| departure.bytes).collect();
            assert_eq!(left, [sent - 4, sent]);
            assert!(times.departures().iter().all(|left| before <= left.at && left.at <= arrived));
            let error = receive(&ours, &mut wire, false, &mut times).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}

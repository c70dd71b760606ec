//! The error queue of a socket that connects: the ICMP messages about its segments (ip(7),
//! `IP_RECVERR`).

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, recvmsg, setsockopt, sockopt};
use socket2::SockRef;

use super::call_observer::IcmpError;

/// Extended errors with an address of either family, aligned as the headers in it.
#[repr(align(8))]
struct ExtendedErrors([u8; 256]);

/// Messages that one look reads at most.
const AT_ONCE: usize = 16;

/// Lets the system keep ICMP messages, or not. On an established connection, calls would fail with
/// errors that TCP otherwise waits out, so this is for connecting only.
pub(super) fn keep(socket: &impl AsFd, is_ipv4: bool, wanted: bool) {
    // Without it there is nothing to read.
    let _ = match is_ipv4 {
        true => setsockopt(socket, sockopt::Ipv4RecvErr, &wanted),
        false => setsockopt(socket, sockopt::Ipv6RecvErr, &wanted),
    };
}

/// The last ICMP message in the queue, which this empties.
pub(super) fn icmp(socket: &impl AsFd, is_ipv4: bool) -> Option<IcmpError> {
    let (fd, flags) = (socket.as_fd().as_raw_fd(), MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT);
    let mut control = ExtendedErrors([0; 256]);
    let local = SockRef::from(socket).local_addr().ok().and_then(|local| local.as_socket());
    let mut last = None;
    for _ in 0..AT_ONCE {
        // The two families have addresses of different lengths.
        let found = match is_ipv4 {
            true => recvmsg::<SockaddrIn>(fd, &mut [], Some(&mut control.0), flags)
                .map(|message| message.cmsgs().into_iter().flatten().find_map(|one| of_control(&one))),
            false => recvmsg::<SockaddrIn6>(fd, &mut [], Some(&mut control.0), flags)
                .map(|message| message.cmsgs().into_iter().flatten().find_map(|one| of_control(&one))),
        };
        match found {
            Ok(found) => last = found.or(last),
            Err(_) => break,
        }
    }
    last.map(|last: IcmpError| IcmpError {
        is_own: last.from.is_some() && last.from == local.map(|local| local.ip()),
        ..last
    })
}

fn of_control(message: &ControlMessageOwned) -> Option<IcmpError> {
    let (error, from): (_, Option<IpAddr>) = match message {
        ControlMessageOwned::Ipv4RecvErr(error, from) => (error, from.map(|from| SockaddrIn::from(from).ip().into())),
        ControlMessageOwned::Ipv6RecvErr(error, from) => (error, from.map(|from| SockaddrIn6::from(from).ip().into())),
        _ => return None,
    };
    let is_v6 = match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => false,
        libc::SO_EE_ORIGIN_ICMP6 => true,
        _ => return None,
    };
    Some(IcmpError { is_v6, kind: error.ee_type, code: error.ee_code, from, is_own: false })
}

//! The few requests of rtnetlink(7) that a lab needs.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

/// The longest answer of interest: an error, with the request's header.
const ANSWER: usize = 4096;
const ALIGN: usize = 4;

// From linux/if_link.h, linux/veth.h and linux/if_addr.h.
const IFLA_GSO_MAX_SIZE: u16 = 41;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const VETH_INFO_PEER: u16 = 1;
const IFA_F_NODAD: u8 = 2;

/// How long a busy kernel may take to make an address its own; then the lab starts all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A socket of the network namespace in which it was opened.
pub(super) struct RouteSocket(OwnedFd);

/// A link to make.
pub(super) struct LinkEnd<'a> {
    pub(super) name: &'a str,
    pub(super) address: [u8; 6],
    pub(super) mtu: u32,
    /// The largest packet that segmentation offload leaves whole.
    pub(super) largest: u32,
}

/// A request as it grows.
struct RouteRequest(Vec<u8>);

impl RouteRequest {
    fn new(kind: u16, flags: i32) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self(bytes)
    }

    fn link(kind: u16, flags: i32, index: u32, set: i32, clear: i32) -> Self {
        let mut request = Self::new(kind, flags);
        request.link_header(index, set, set | clear);
        request
    }

    /// `struct ifinfomsg`.
    fn link_header(&mut self, index: u32, flags: i32, change: i32) {
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&index.to_ne_bytes());
        self.0.extend_from_slice(&flags.to_ne_bytes());
        self.0.extend_from_slice(&change.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |request| request.0.extend_from_slice(value));
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
    }

    fn link_end(&mut self, end: &LinkEnd<'_>) {
        self.attribute(libc::IFLA_IFNAME, &[end.name.as_bytes(), b"\0"].concat());
        self.attribute(libc::IFLA_ADDRESS, &end.address);
        self.attribute(libc::IFLA_MTU, &end.mtu.to_ne_bytes());
        self.attribute(IFLA_GSO_MAX_SIZE, &end.largest.to_ne_bytes());
    }
}

impl RouteSocket {
    pub(super) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    fn ask(&self, mut request: RouteRequest) -> io::Result<()> {
        let length = request.0.len() as u32;
        request.0[..4].copy_from_slice(&length.to_ne_bytes());
        send(&self.0, &request.0, SendFlags::empty())?;
        let mut answer = [0; ANSWER];
        let (received, _) = recv(&self.0, &mut answer, RecvFlags::empty())?;
        // The header has 16 bytes, and an error's number follows; 0 is an acknowledgement.
        let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
        let number = answer.get(16..20).and_then(|number| number.try_into().ok()).map(i32::from_ne_bytes);
        match (kind.map(i32::from), number) {
            (Some(libc::NLMSG_ERROR), Some(0)) if received >= 20 => Ok(()),
            (Some(libc::NLMSG_ERROR), Some(number)) if received >= 20 => Err(io::Error::from_raw_os_error(-number)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Makes a pair of links: one end here, the other in another namespace.
    pub(super) fn add_pair(
        &self,
        here: &LinkEnd<'_>,
        there: &LinkEnd<'_>,
        namespace: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut request = RouteRequest::link(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, 0, 0, 0);
        request.link_end(here);
        request.nest(libc::IFLA_LINKINFO, |request| {
            request.attribute(libc::IFLA_INFO_KIND, b"veth");
            request.nest(libc::IFLA_INFO_DATA, |request| {
                request.nest(VETH_INFO_PEER, |request| {
                    request.link_header(0, 0, 0);
                    request.link_end(there);
                    request.attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.ask(request)
    }

    /// Lets a link send to its one neighbour without ARP, and be silent of its own accord.
    pub(super) fn quieten(&self, index: u32) -> io::Result<()> {
        self.ask(RouteRequest::link(libc::RTM_NEWLINK, 0, index, libc::IFF_NOARP, libc::IFF_MULTICAST))?;
        let mut request = RouteRequest::link(libc::RTM_NEWLINK, 0, index, 0, 0);
        request.nest(libc::IFLA_AF_SPEC, |request| {
            request.nest(libc::AF_INET6 as u16, |request| {
                request.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
            });
        });
        // Without IPv6 there is nothing to set.
        let _ = self.ask(request);
        Ok(())
    }

    pub(super) fn bring_up(&self, index: u32) -> io::Result<()> {
        self.ask(RouteRequest::link(libc::RTM_NEWLINK, 0, index, libc::IFF_UP, 0))
    }

    /// Adds an address, usable at once.
    pub(super) fn add_address(&self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut request = RouteRequest::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        let (family, octets) = octets(address);
        // `struct ifaddrmsg`.
        request.0.extend_from_slice(&[family, prefix, if address.is_ipv6() { IFA_F_NODAD } else { 0 }, 0]);
        request.0.extend_from_slice(&index.to_ne_bytes());
        request.attribute(libc::IFA_LOCAL, &octets);
        request.attribute(libc::IFA_ADDRESS, &octets);
        self.ask(request)
    }
}

/// Notices which IPv6 addresses become the namespace's own, from its opening on.
pub(super) struct AddressWatch(OwnedFd);

impl AddressWatch {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, libc::RTMGRP_IPV6_ROUTE as u32))?;
        Ok(Self(socket))
    }

    /// Waits until the kernel takes packets to an address for its own. It adds that route later
    /// than the address, by a thread of its own; until then it discards such packets.
    pub(super) fn await_own(&self, address: Ipv6Addr) -> io::Result<()> {
        let end = Instant::now() + LONGEST_WAIT;
        let mut message = [0; ANSWER];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            set_socket_timeout(&self.0, Timeout::Recv, Some(left))?;
            match recv(&self.0, &mut message, RecvFlags::empty()) {
                Ok((_, length)) if is_own_route(&message[..length.min(ANSWER)], address) => return Ok(()),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Does a message say that there is a route of packets to an address to this host itself?
fn is_own_route(message: &[u8], address: Ipv6Addr) -> bool {
    // The header has 16 bytes, `struct rtmsg` 12.
    let kind = message.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    let Some(&[_, prefix, _, _, _, _, _, route, ..]) = message.get(16..28) else { return false };
    kind == Some(libc::RTM_NEWROUTE)
        && (prefix, route) == (128, libc::RTN_LOCAL)
        && message[28..].windows(16).any(|octets| octets == address.octets())
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (libc::AF_INET as u8, address.octets().into()),
        IpAddr::V6(address) => (libc::AF_INET6 as u8, address.octets().into()),
    }
}

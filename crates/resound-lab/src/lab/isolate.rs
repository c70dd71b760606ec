//! The first child of a lab: it makes the namespaces, the links and the packet sockets, starts the
//! lab's first process and ends.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;

use super::channel::LabChannel;
use super::init;
use super::netlink::{AddressWatch, LinkEnd, RouteSocket};
use super::network::{enter, network};
use super::side::{LINK, PREFIX_V4, PREFIX_V6};
use crate::error::LabStep;
use crate::{Side, sys};

/// The kernel's own limits of TCP's buffers, whatever the host has: what one connection has in
/// flight fits the router's rings.
const BUFFERS: [(&str, &str); 2] = [("tcp_rmem", "4096 131072 6291456"), ("tcp_wmem", "4096 16384 4194304")];

/// The first byte of what this child reports.
pub(super) mod report {
    /// A user namespace was made, and waits for its users and groups.
    pub(in super::super) const UNMAPPED: u8 = 1;
    /// With the packet sockets that receive, those that send, and the number of the link of each.
    pub(in super::super) const SOCKETS: u8 = 2;
    /// With the number of the lab's first process.
    pub(in super::super) const STARTED: u8 = 3;
    /// With the step, and the number of the error.
    pub(in super::super) const FAILED: u8 = 4;
}

/// What the links are to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkPlan {
    pub(super) mtu: u32,
    /// The largest packet that segmentation offload leaves whole.
    pub(super) largest: u32,
}

/// The step that failed, and why.
type Failed = (LabStep, io::Error);

/// The life of the child.
pub(super) fn run(channel: LabChannel, plan: LinkPlan) -> i32 {
    let Err((step, error)) = isolate(&channel, plan) else { return 0 };
    let number = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
    // The owner may be gone, and then nothing waits for the reason.
    let _ = channel.send(&[&[report::FAILED, step as u8][..], &number].concat(), &[]);
    1
}

fn isolate(channel: &LabChannel, plan: LinkPlan) -> Result<(), Failed> {
    let at = |step| move |error: io::Error| (step, error);
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| (LabStep::Process, error.into()))?;
    sys::close_others(&[channel.number()]).map_err(at(LabStep::Process))?;
    enter_user_namespace(channel).map_err(at(LabStep::UserNamespace))?;
    let namespaces = at(LabStep::Namespaces);
    sys::unshare(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWPID).map_err(namespaces)?;
    let router = network().map_err(namespaces)?;
    let ends = [new_network().map_err(namespaces)?, new_network().map_err(namespaces)?];
    enter(&router).map_err(namespaces)?;
    let links = add_links(&ends, plan).map_err(at(LabStep::Links))?;
    let opened = at(LabStep::PacketSockets);
    let (mut numbers, mut sockets, mut watches) = (Vec::new(), Vec::new(), Vec::new());
    for (side, end) in Side::BOTH.into_iter().zip(&ends) {
        enter(end).map_err(namespaces)?;
        let (number, watch) = add_addresses(side).map_err(at(LabStep::Addresses))?;
        numbers.push(number);
        watches.extend(watch.map(|watch| (watch, side.ipv6())));
        sockets.push(packet_socket().map_err(opened)?);
    }
    enter(&router).map_err(namespaces)?;
    for link in links {
        numbers.push(link);
        sockets.push(packet_socket().map_err(opened)?);
    }
    for (watch, address) in watches {
        watch.await_own(address).map_err(at(LabStep::Addresses))?;
    }
    let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut message = vec![report::SOCKETS];
    message.extend(numbers.into_iter().flat_map(u32::to_ne_bytes));
    let process = at(LabStep::Process);
    channel.send(&message, &sockets).map_err(process)?;
    let init = sys::fork_for_parent(|| init::run(channel, &ends)).map_err(process)?;
    let number = init.as_raw_nonzero().get().to_ne_bytes();
    channel.send(&[&[report::STARTED][..], &number].concat(), &[]).map_err(process)
}

/// In a user namespace this process may do all that follows. Where the system refuses one, root may
/// do it without.
fn enter_user_namespace(channel: &LabChannel) -> io::Result<()> {
    match sys::unshare(UnshareFlags::NEWUSER) {
        Ok(()) => {}
        Err(_) if rustix::process::geteuid().is_root() => return Ok(()),
        Err(error) => return Err(error),
    }
    // A change of rights takes the signal away.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    channel.send(&[report::UNMAPPED], &[])?;
    match channel.receive()? {
        Some((answer, _)) if answer == [0] => Ok(()),
        Some((answer, _)) => {
            let number = answer.try_into().map(i32::from_ne_bytes).unwrap_or(libc::EPERM);
            Err(io::Error::from_raw_os_error(number))
        }
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A new network namespace, with its loopback up.
fn new_network() -> io::Result<OwnedFd> {
    const LOOPBACK: u32 = 1;
    sys::unshare(UnshareFlags::NEWNET)?;
    RouteSocket::open()?.bring_up(LOOPBACK)?;
    network()
}

fn link_number(name: &str) -> io::Result<u32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(netdevice::name_to_index(socket, name)?)
}

/// Links this namespace, the router's, with both ends: the numbers of the links here.
fn add_links(ends: &[OwnedFd; 2], plan: LinkPlan) -> io::Result<[u32; 2]> {
    let LinkPlan { mtu, largest } = plan;
    let routes = RouteSocket::open()?;
    for (side, end) in Side::BOTH.into_iter().zip(ends) {
        // The address differs from the one that an end sends to, its own: this namespace's IP
        // discards at once what the router reads.
        let mut address = side.link_address();
        address[1] = 1;
        let here = LinkEnd { name: side.name(), address, mtu, largest };
        let there = LinkEnd { name: LINK, address: side.link_address(), mtu, largest };
        routes.add_pair(&here, &there, end.as_fd())?;
    }
    let mut links = [0; 2];
    for (side, link) in Side::BOTH.into_iter().zip(&mut links) {
        *link = link_number(side.name())?;
        routes.quieten(*link)?;
        // Absent without IPv6.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", side.name()), "1");
        routes.bring_up(*link)?;
    }
    Ok(links)
}

/// Gives an end, whose namespace this process is in, its addresses: the number of its link, and
/// what notices when IPv6 is ready.
fn add_addresses(side: Side) -> io::Result<(u32, Option<AddressWatch>)> {
    let (routes, link) = (RouteSocket::open()?, link_number(LINK)?);
    for (name, sizes) in BUFFERS {
        // A host without it has the same sizes, as they are the kernel's own.
        let _ = fs::write(format!("/proc/sys/net/ipv4/{name}"), sizes);
    }
    routes.quieten(link)?;
    routes.bring_up(link)?;
    routes.add_address(link, IpAddr::V4(side.ipv4()), PREFIX_V4)?;
    let watch = AddressWatch::open()?;
    // A system without IPv6 has a lab without it.
    let added = routes.add_address(link, IpAddr::V6(side.ipv6()), PREFIX_V6);
    Ok((link, added.is_ok().then_some(watch)))
}

fn packet_socket() -> io::Result<OwnedFd> {
    // It receives once the router has attached it.
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

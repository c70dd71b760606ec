//! Peers that reset their connection right after TCP's handshake, as the health checks of
//! balancers do.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::mpsc::{self, Sender};

use resound::proxy::Proxies;
use resound::server::{Access, Listener, Refusal};
use resound::{
    Address, CloseReason, Closed, ConnInfo, Endpoint, Engine, Family, Handle, Handshake, Observer, Reply, Server,
};

use crate::harness::{PATIENCE, Peer, on_each_engine_plainly, server};

on_each_engine_plainly!(
    a_reset_peer_has_its_address_and_its_reason,
    rules_count_a_reset_peer_as_any_other,
    a_reset_before_the_service_is_open_is_a_reset,
);

const PEERS: usize = 20;

/// How a connection ended: its two ends, whether it had been opened, and why it ended.
struct End {
    peer: Endpoint,
    local: Endpoint,
    opened: bool,
    reason: CloseReason,
}

struct Ends(Sender<End>);

impl Ends {
    fn note(&mut self, conn: &ConnInfo, opened: bool, how: &Closed) {
        let _ = self.0.send(End { peer: conn.peer.clone(), local: conn.local.clone(), opened, reason: how.reason });
    }
}

impl Observer for Ends {
    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        self.note(conn, true, how);
    }
    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        self.note(conn, false, how);
    }
}

/// A listener, and peers that have connected to it and reset that before anything accepts them.
fn gone(host: &str) -> (Listener, SocketAddr, Vec<SocketAddr>) {
    let listener = Listener::bind(&Address::tcp(host, "0").unwrap(), Family::Any).unwrap().remove(0);
    let Endpoint::Tcp(address) = *listener.address() else { panic!("TCP was asked for") };
    let near: SocketAddr = match host {
        "::" => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => (Ipv4Addr::LOCALHOST, address.port()).into(),
    };
    let reset = |_| {
        let peer = TcpStream::connect(near).unwrap();
        let address = peer.local_addr().unwrap();
        Peer(peer).reset();
        address
    };
    (listener, near, (0..PEERS).map(reset).collect())
}

fn serve(server: Server, listener: Listener, ends: Sender<End>) -> Handle {
    server.listener(listener).observe(move |_| Ends(ends.clone())).serve(|_| Reply::default()).unwrap()
}

/// Each of them ends as `reset`, under its own address, and is counted so.
fn all_are_reset(server: Server, host: &str, opened: bool) {
    let (listener, near, mut peers) = gone(host);
    let (send, events) = mpsc::channel();
    let server = serve(server, listener, send);
    for _ in 0..PEERS {
        let end = events.recv_timeout(PATIENCE).expect("each peer's connection ends");
        let at = peers.iter().position(|peer| Endpoint::Tcp(*peer) == end.peer);
        peers.swap_remove(at.unwrap_or_else(|| panic!("{} is none of {peers:?}", end.peer)));
        assert_eq!((end.local, end.opened, end.reason), (Endpoint::Tcp(near), opened, CloseReason::Reset));
    }
    server.stop();
    let totals = server.wait();
    assert_eq!(totals.closed(CloseReason::Reset), PEERS as u64, "{totals:?}");
    assert_eq!((totals.closed_in_all(), totals.refused_in_all()), (PEERS as u64, 0), "{totals:?}");
    assert_eq!(totals.opened, if opened { PEERS as u64 } else { 0 }, "{totals:?}");
}

fn a_reset_peer_has_its_address_and_its_reason(engine: Engine) {
    all_are_reset(server(engine), "127.0.0.1", true);
    all_are_reset(server(engine), "0.0.0.0", true);
    // Addresses of IPv6 are longer.
    match TcpListener::bind("[::1]:0") {
        Ok(_) => all_are_reset(server(engine), "::", true),
        Err(error) => println!("NOT TESTED with IPv6: {error}"),
    }
}

fn rules_count_a_reset_peer_as_any_other(engine: Engine) {
    let local = || "127.0.0.0/8".parse().unwrap();
    for access in [Access::new().allow(local()), Access::new().max_per_ip(NonZeroU32::new(1000).unwrap())] {
        all_are_reset(server(engine).access(access), "127.0.0.1", true);
    }
    let (listener, ..) = gone("127.0.0.1");
    let (send, events) = mpsc::channel();
    let server = serve(server(engine).access(Access::new().deny(local())), listener, send);
    server.drain(PATIENCE);
    let totals = server.wait();
    assert_eq!(totals.refused(Refusal::Denied), PEERS as u64, "{totals:?}");
    assert!(totals.opened == 0 && events.try_recv().is_err(), "{totals:?}");
}

fn a_reset_before_the_service_is_open_is_a_reset(engine: Engine) {
    let behind = |access: Access| {
        server(engine)
            .access(access)
            .handshake(|conn| Handshake::new().expect_header(Proxies::local().header_reader(conn)))
    };
    all_are_reset(behind(Access::new()), "127.0.0.1", false);
    let rules = Access::new().max_per_ip(NonZeroU32::new(1000).unwrap()).behind_proxies();
    all_are_reset(behind(rules), "127.0.0.1", false);
    all_are_reset(server(engine).handshake(crate::tunnel::handshake()), "127.0.0.1", false);
}

//! Which peers may connect, on each engine.

use std::num::NonZeroU32;

use resound::proxy::{Addresses, Header, Proxies, Version};
use resound::server::{Access, ConnectRate, Refusal};
use resound::{CloseReason, Engine, Handshake, Limits, Reply};

use crate::harness::{PATIENCE, Peer, Running, eventually, on_each_engine_plainly, patient, server};

on_each_engine_plainly!(
    a_denied_peer_is_reset_and_counted,
    a_source_has_so_many_connections_at_once,
    a_source_connects_so_often,
    a_unix_socket_belongs_to_no_network,
    a_drain_serves_only_allowed_peers,
    behind_a_proxy_the_client_is_judged_and_not_the_proxy,
    behind_a_proxy_a_client_has_so_many_connections_at_once,
    behind_a_proxy_a_client_connects_so_often,
    behind_a_proxy_a_refused_client_takes_no_place,
    without_a_header_the_peer_is_judged,
    a_mapped_ipv4_address_is_ipv4,
    behind_a_proxy_a_mapped_ipv4_address_is_ipv4,
);

fn guarded(engine: Engine, access: Access) -> Running {
    Running::start(server(engine).access(access), |_| Reply::default())
}

fn refused(running: &Running, refusal: Refusal) -> u64 {
    running.handle.totals().refused(refusal)
}

fn a_denied_peer_is_reset_and_counted(engine: Engine) {
    let running = guarded(engine, Access::new().deny("127.0.0.0/8".parse().unwrap()));
    for n in 1..=20 {
        assert!(running.connect().is_reset());
        assert_eq!(refused(&running, Refusal::Denied), n);
    }
    let totals = running.drain();
    assert_eq!((totals.opened, totals.unopened, totals.refused_in_all()), (0, 0, 20));
    let running =
        guarded(engine, Access::new().deny("0.0.0.0/0".parse().unwrap()).allow("127.0.0.1/32".parse().unwrap()));
    running.connect().ask("may I?");
}

fn a_source_has_so_many_connections_at_once(engine: Engine) {
    let running = guarded(engine, Access::new().max_per_ip(NonZeroU32::new(2).unwrap()));
    let (mut one, mut two) = (running.connect(), running.connect());
    one.ask("first");
    two.ask("second");
    assert!(running.connect().is_reset());
    assert_eq!(refused(&running, Refusal::MaxPerIp), 1);
    two.ask("still here");
    one.finish();
    assert!(one.rest().is_empty());
    running.closed();
    // Its place is free once its descriptor is closed, a moment after its end was seen.
    until_left(&running, 1);
    running.connect().ask("third");
}

fn a_source_connects_so_often(engine: Engine) {
    let running = guarded(engine, Access::new().connect_rate(ConnectRate::per_hour(NonZeroU32::new(3).unwrap())));
    for _ in 0..3 {
        running.connect().ask("in time");
    }
    for n in 1..=10 {
        assert!(running.connect().is_reset());
        assert_eq!(refused(&running, Refusal::ConnectRate), n);
    }
}

fn a_unix_socket_belongs_to_no_network(engine: Engine) {
    #[cfg(unix)]
    {
        use std::io::{Read, Write};
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("socket");
        let access = Access::new().allow("192.0.2.1/32".parse().unwrap());
        let server = server(engine).access(access).listen(&format!("unix:{}", path.display())).unwrap();
        let running = Running::start_on(server, |_| Reply::default());
        let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
        peer.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        peer.write_all(b"x").unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = String::new();
        peer.read_to_string(&mut got).unwrap();
        assert_eq!(got, "Server received: x");
        drop(running);
    }
    #[cfg(not(unix))]
    let _ = engine;
}

fn a_drain_serves_only_allowed_peers(engine: Engine) {
    // They wait in the backlog until the one place is free, and the drain finds them there.
    let access = Access::new().connect_rate(ConnectRate::per_hour(NonZeroU32::new(4).unwrap()));
    let running = Running::start(server(engine).access(access).max_connections(1), |_| Reply::default());
    let mut first = running.connect();
    first.ask("served");
    let mut waiting: Vec<_> = (0..10).map(|_| running.connect()).collect();
    running.handle.drain(crate::harness::PATIENCE);
    drop(first);
    let totals = running.wait();
    assert!(totals.opened <= 4, "{totals:?}");
    assert!(waiting.iter_mut().all(|peer| peer.is_closed()));
}

/// A server that lets the clients of proxies in by these rules.
fn behind(engine: Engine, access: Access) -> Running {
    let header = |conn: &_| Handshake::new().expect_header(Proxies::local().header_reader(conn));
    Running::start(server(engine).access(access.behind_proxies()).handshake(header), |_| Reply::default())
}

/// A client of a proxy on this machine.
fn from(running: &Running, addresses: Addresses) -> Peer {
    let version = if addresses == Addresses::Unknown { Version::V1 } else { Version::V2 };
    let mut peer = running.connect();
    peer.send(Header::new(version, addresses).encode().unwrap());
    peer
}

fn of(source: &str) -> Addresses {
    Addresses::ip(format!("{source}:1").parse().unwrap(), "127.0.0.1:2".parse().unwrap())
}

/// Waits until no more connections are left than these.
fn until_left(running: &Running, most: usize) {
    eventually("the other connections end", || running.handle.connections().iter().sum::<usize>() <= most);
}

fn behind_a_proxy_the_client_is_judged_and_not_the_proxy(engine: Engine) {
    let rules = Access::new().allow("192.0.2.0/24".parse().unwrap()).deny("192.0.2.66/32".parse().unwrap());
    let running = behind(engine, rules);
    from(&running, of("192.0.2.7")).ask("may I?");
    for (n, stranger) in [of("192.0.2.66"), of("198.51.100.1"), Addresses::Unknown].into_iter().enumerate() {
        let mut peer = from(&running, stranger);
        assert!(peer.is_reset());
        assert_eq!(running.unopened(), CloseReason::Refused(Refusal::Denied));
        assert_eq!(refused(&running, Refusal::Denied), 1 + n as u64);
    }
    from(&running, Addresses::Local).ask("a health check");
    let totals = running.drain();
    let closed = totals.closed(CloseReason::Refused(Refusal::Denied));
    assert_eq!((totals.opened, totals.unopened, closed, totals.refused_in_all(), totals.live()), (2, 3, 3, 3, 0));
}

fn behind_a_proxy_a_client_has_so_many_connections_at_once(engine: Engine) {
    let running = behind(engine, Access::new().max_per_ip(NonZeroU32::new(2).unwrap()));
    let (mut one, mut two) = (from(&running, of("192.0.2.1")), from(&running, of("192.0.2.1")));
    one.ask("first");
    two.ask("second");
    assert!(from(&running, of("192.0.2.1")).is_reset());
    assert_eq!(running.unopened(), CloseReason::Refused(Refusal::MaxPerIp));
    let mut other = from(&running, of("192.0.2.2"));
    other.ask("another client's first");
    two.ask("still here");
    until_left(&running, 3);
    one.finish();
    assert!(one.rest().is_empty());
    until_left(&running, 2);
    from(&running, of("192.0.2.1")).ask("its place is free");
    // A client that is refused, or ends before its header, leaves no place taken.
    until_left(&running, 2);
    drop(running.connect());
    until_left(&running, 2);
    from(&running, of("192.0.2.1")).ask("it is still free");
    assert_eq!(refused(&running, Refusal::MaxPerIp), 1);
}

fn behind_a_proxy_a_refused_client_takes_no_place(engine: Engine) {
    let header = |conn: &_| Handshake::new().expect_header(Proxies::local().header_reader(conn));
    let limits = Limits { linger: PATIENCE * 60, ..patient() };
    let access = Access::new().deny("192.0.2.0/24".parse().unwrap()).behind_proxies();
    let server = server(engine).limits(limits).access(access).handshake(header);
    let running = Running::start(server, |_| Reply::default());
    // They keep their own ends open.
    let strangers = [(); 3].map(|()| from(&running, of("192.0.2.1")));
    for _ in &strangers {
        assert_eq!(running.unopened(), CloseReason::Refused(Refusal::Denied));
    }
    until_left(&running, 0);
}

fn behind_a_proxy_a_client_connects_so_often(engine: Engine) {
    let running = behind(engine, Access::new().connect_rate(ConnectRate::per_hour(NonZeroU32::new(3).unwrap())));
    for _ in 0..3 {
        from(&running, of("192.0.2.1")).ask("in time");
    }
    for n in 1..=5 {
        assert!(from(&running, of("192.0.2.1")).is_reset());
        assert_eq!(running.unopened(), CloseReason::Refused(Refusal::ConnectRate));
        assert_eq!(refused(&running, Refusal::ConnectRate), n);
    }
    from(&running, of("192.0.2.2")).ask("another client of the same proxy");
}

fn without_a_header_the_peer_is_judged(engine: Engine) {
    let rules = || Access::new().deny("127.0.0.0/8".parse().unwrap()).behind_proxies();
    let running = Running::start(server(engine).access(rules()), |_| Reply::default());
    assert!(running.connect().is_reset());
    assert_eq!(refused(&running, Refusal::Denied), 1);
    let handshake = |_: &_| Handshake::new();
    let running = Running::start(server(engine).access(rules()).handshake(handshake), |_| Reply::default());
    assert!(running.connect().is_reset());
    assert_eq!(running.unopened(), CloseReason::Refused(Refusal::Denied));
}

/// IPv4 peers of a listener on `::` come as IPv6, and rules may be written so.
fn a_mapped_ipv4_address_is_ipv4(engine: Engine) {
    let here = if std::net::TcpListener::bind("[::1]:0").is_ok() { "[::]:0" } else { "127.0.0.1:0" };
    for rule in ["127.0.0.0/8", "::ffff:127.0.0.0/104", "::ffff:127.0.0.1/128", "::ffff:127.9.9.9/104"] {
        for may in [true, false] {
            let rule = rule.parse().unwrap();
            let access = if may { Access::new().allow(rule) } else { Access::new().deny(rule) };
            let access = access.max_per_ip(NonZeroU32::MIN);
            let running = Running::start_on(server(engine).access(access).listen(here).unwrap(), |_| Reply::default());
            let port = running.address().port();
            let connect = || Peer::connect(([127, 0, 0, 1], port).into());
            let mut first = connect();
            if may {
                first.ask("may I?");
            } else {
                assert!(first.is_closed(), "{rule}");
            }
            assert!(connect().is_closed());
            let (denied, over) = (refused(&running, Refusal::Denied), refused(&running, Refusal::MaxPerIp));
            assert_eq!((denied, over), if may { (0, 1) } else { (2, 0) }, "{rule}");
        }
    }
}

fn behind_a_proxy_a_mapped_ipv4_address_is_ipv4(engine: Engine) {
    let proxies = Proxies::from(["::ffff:127.0.0.0/104".parse().unwrap()]);
    let rules = Access::new()
        .allow("::ffff:192.0.2.0/120".parse().unwrap())
        .allow("198.51.100.0/24".parse().unwrap())
        .max_per_ip(NonZeroU32::MIN)
        .behind_proxies();
    let header = move |conn: &_| Handshake::new().expect_header(proxies.header_reader(conn));
    let running = Running::start(server(engine).access(rules).handshake(header), |_| Reply::default());
    let mapped = |source: &str| {
        Addresses::ip(format!("[::ffff:{source}]:1").parse().unwrap(), "[::ffff:127.0.0.1]:2".parse().unwrap())
    };
    let mut held = Vec::new();
    for (one, other) in [(of("192.0.2.1"), mapped("192.0.2.1")), (mapped("198.51.100.1"), of("198.51.100.1"))] {
        let mut peer = from(&running, one);
        peer.ask("may I?");
        held.push(peer);
        assert!(from(&running, other).is_closed());
        assert_eq!(running.unopened(), CloseReason::Refused(Refusal::MaxPerIp), "they are one source");
    }
    for stranger in [mapped("203.0.113.1"), of("203.0.113.1")] {
        assert!(from(&running, stranger).is_closed());
        assert_eq!(running.unopened(), CloseReason::Refused(Refusal::Denied));
    }
    from(&running, mapped("192.0.2.2")).ask("another client");
}

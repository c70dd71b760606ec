//! The PROXY protocol: the parser by itself, a connection that begins with a header on a virtual
//! clock, and each engine.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use resound::conn::{Conn, Then};
use resound::proxy::{Addresses, Header, Parsed, Proxies, Ssl, Tlv, Transport, Version, parse};
use resound::proxy::{DetectedProtocol, ProxyError};
use resound::{CloseReason, ConnId, ConnInfo, Endpoint, Engine, Handshake, Limits, Reply};

use crate::fuzz_proxy::{as_sent, in_parts, proxy};
use crate::harness::{Event, Running, on_each_engine_plainly, server};
use crate::proto::bench::Bench;

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

fn socket(ip: impl Strategy<Value = IpAddr> + 'static) -> impl Strategy<Value = SocketAddr> {
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let transport = || prop_oneof![Just(Transport::Stream), Just(Transport::Datagram)];
    let v4 = || socket(any::<[u8; 4]>().prop_map(IpAddr::from));
    let v6 = || socket(any::<[u8; 16]>().prop_map(IpAddr::from));
    // A path's last byte is none of its padding.
    let path = || {
        bytes(109).prop_map(|mut path| {
            while path.last() == Some(&0) {
                path.pop();
            }
            path
        })
    };
    let ip = |(transport, source, destination)| Addresses::Ip { transport, source, destination };
    prop_oneof![
        Just(Addresses::Local),
        Just(Addresses::Unknown),
        (transport(), v4(), v4()).prop_map(ip),
        (transport(), v6(), v6()).prop_map(ip),
        (transport(), path(), path())
            .prop_map(|(transport, source, destination)| { Addresses::Unix { transport, source, destination } }),
    ]
}

fn tlv() -> impl Strategy<Value = Tlv> {
    let ssl = (any::<u8>(), any::<u32>(), proptest::collection::vec((any::<u8>(), bytes(40)), 0..4));
    prop_oneof![
        bytes(20).prop_map(Tlv::Alpn),
        bytes(60).prop_map(Tlv::Authority),
        (0..50_usize).prop_map(Tlv::Noop),
        bytes(129).prop_map(Tlv::UniqueId),
        bytes(20).prop_map(Tlv::NetNs),
        ssl.prop_map(|(client, verify, tlvs)| Tlv::Ssl(Ssl { client, verify, tlvs })),
        (0xe0..=0xff_u8, bytes(60)).prop_map(|(kind, value)| Tlv::Other(kind, value)),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    let v2 =
        (addresses(), proptest::collection::vec(tlv(), 0..5), any::<bool>()).prop_map(|(addresses, tlvs, checksum)| {
            match addresses {
                Addresses::Local => Header::new(Version::V2, addresses),
                _ => Header { version: Version::V2, addresses, tlvs, checksum },
            }
        });
    let v1 = addresses().prop_map(|addresses| match addresses {
        Addresses::Ip { transport: Transport::Stream, .. } => Header::new(Version::V1, addresses),
        _ => Header::new(Version::V1, Addresses::Unknown),
    });
    prop_oneof![v1, v2]
}

proptest! {
    #[test]
    fn an_encoded_header_is_decoded_unchanged(header in header(), behind in bytes(40)) {
        let encoded = header.encode().unwrap();
        let length = encoded.len();
        let wire = [encoded, behind].concat();
        prop_assert_eq!(parse(&wire), Ok(Parsed::Done { header: as_sent(header), length }));
        proxy(&wire);
    }

    #[test]
    fn every_split_of_a_header_gives_the_same_result(header in header(), step in 1..40_usize) {
        let wire = [header.encode().unwrap(), b"hello".to_vec()].concat();
        let length = wire.len() - 5;
        prop_assert_eq!(in_parts(&wire, step), Ok(Some((as_sent(header), length))));
        for end in 0..length {
            prop_assert_eq!(parse(&wire[..end]), Ok(Parsed::More));
        }
    }

    #[test]
    fn garbage_is_refused(header in header(), noise in bytes(64), at in any::<prop::sample::Index>()) {
        let mut wire = header.encode().unwrap();
        let at = at.index(wire.len());
        for (to, from) in wire[at..].iter_mut().zip(&noise) {
            *to = *from;
        }
        proxy(&wire);
        proxy(&noise);
    }
}

/// A connection from a proxy at 10.0.0.1.
fn bench(from: &str, limits: Limits) -> Bench {
    let end = |text: &str| Endpoint::from(text.parse::<SocketAddr>().unwrap());
    let info = ConnInfo::new(ConnId(1), end("10.0.0.1:4000"), end("10.0.0.2:8888"));
    let proxies = Proxies::from([from.parse().unwrap()]);
    let handshake = Handshake::new().expect_header(proxies.header_reader(&info));
    Bench::of(Conn::with_handshake(info, handshake, |_| Box::new(Reply::default()), limits))
}

/// Ends a connection that is not open and must not be: at once, and so that its peer sees it.
fn unopened(bench: &mut Bench) -> CloseReason {
    assert_eq!(bench.then, Then::Reset);
    bench.conn.closed(bench.now, &mut bench.observer);
    assert_eq!((bench.observer.opened, bench.observer.unopened.len()), (0, 1));
    bench.observer.unopened[0].reason
}

fn no_linger() -> Limits {
    Limits { linger: Duration::ZERO, ..Limits::default() }
}

#[test]
fn the_connection_is_the_clients_from_then_on() {
    let ip = Addresses::ip("192.0.2.7:54321".parse().unwrap(), "198.51.100.1:443".parse().unwrap());
    let unix =
        Addresses::Unix { transport: Transport::Stream, source: Vec::new(), destination: b"/run/front".to_vec() };
    let own = ("10.0.0.1:4000", "10.0.0.2:8888");
    let tlvs = vec![Tlv::Authority(b"example.org".to_vec()), Tlv::UniqueId(vec![7])];
    let cases = [
        (Header::new(Version::V1, ip.clone()), ("192.0.2.7:54321", "198.51.100.1:443"), Some(1)),
        (Header { tlvs, ..Header::new(Version::V2, ip) }, ("192.0.2.7:54321", "198.51.100.1:443"), Some(2)),
        (Header::new(Version::V2, unix), ("unix:", "unix:/run/front"), Some(2)),
        (Header::new(Version::V1, Addresses::Unknown), own, Some(1)),
        (Header::new(Version::V2, Addresses::Unknown), own, Some(2)),
        (Header::new(Version::V2, Addresses::Local), own, Some(2)),
    ];
    for (header, want, version) in cases {
        let wire = [header.encode().unwrap(), b"one\ntwo".to_vec()].concat();
        for at in 0..=wire.len() {
            let mut bench = bench("10.0.0.0/8", Limits::default());
            bench.receive(&wire[..at]);
            bench.receive(&wire[at..]);
            bench.eof();
            assert_eq!(bench.take_all(), b"Server received: one\nServer received: two", "{header:?} split at {at}");
            let info = bench.conn.info();
            assert_eq!((info.peer.to_string(), info.local.to_string()), (want.0.into(), want.1.into()));
            assert_eq!(info.is_local(), header.addresses == Addresses::Local);
            let via = info.via.as_deref();
            assert_eq!(via.map(|via| via.version), version);
            assert!(
                via.is_none_or(|via| (via.peer.to_string(), via.local.to_string()) == (own.0.into(), own.1.into()))
            );
            let authority = via.and_then(|via| via.authority.as_deref());
            assert_eq!(authority, (!header.tlvs.is_empty()).then_some(b"example.org".as_slice()));
        }
    }
}

#[test]
fn the_first_of_repeated_values_counts() {
    let ssl = |version: &str, client| {
        Tlv::Ssl(Ssl {
            client,
            verify: 0,
            tlvs: vec![(Ssl::VERSION, version.into()), (Ssl::VERSION, b"second".to_vec())],
        })
    };
    let both = |tlv: fn(Vec<u8>) -> Tlv| [tlv(b"first".to_vec()), tlv(b"second".to_vec())];
    let mut tlvs = [both(Tlv::Authority), both(Tlv::Alpn), both(Tlv::UniqueId), both(Tlv::NetNs)].concat();
    tlvs.extend([ssl("first", Ssl::TLS), ssl("second", Ssl::TLS)]);
    let decoded = |tlvs: Vec<Tlv>| {
        let ip = Addresses::ip("192.0.2.7:54321".parse().unwrap(), "198.51.100.1:443".parse().unwrap());
        let mut bench = bench("10.0.0.0/8", Limits::default());
        bench.receive(&Header { tlvs, ..Header::new(Version::V2, ip) }.encode().unwrap());
        bench.conn.info().via.clone().unwrap()
    };
    let via = decoded(tlvs);
    let tls = via.tls.as_ref().unwrap();
    for value in [&via.authority, &via.alpn, &via.unique_id, &via.namespace, &tls.version] {
        assert_eq!(value.as_deref(), Some(b"first".as_slice()));
    }
    assert_eq!(decoded(vec![ssl("first", 0), ssl("second", Ssl::TLS)]).tls, None, "the first has no TLS");
    // An empty value is a value.
    assert_eq!(decoded(vec![Tlv::Authority(vec![]), Tlv::Authority(vec![1])]).authority.as_deref(), Some(&[][..]));
}

#[test]
fn a_header_from_an_untrusted_peer_closes_the_connection() {
    let mut bench = bench("10.0.0.2/32", Limits::default());
    assert_eq!(unopened(&mut bench), CloseReason::UntrustedProxy);
}

#[test]
fn a_peer_without_an_address_is_judged_by_what_it_sends() {
    let unknown = || {
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        let handshake = Handshake::new().expect_header(Proxies::local().header_reader(&info));
        Bench::of(Conn::with_handshake(info, handshake, |_| Box::new(Reply::default()), no_linger()))
    };
    let mut gone = unknown();
    assert_eq!(gone.then, Then::Go);
    gone.conn.lost(gone.now, CloseReason::Reset, &mut gone.observer);
    assert_eq!(gone.observer.unopened[0].reason, CloseReason::Reset);
    let mut there = unknown();
    there.receive(b"P");
    assert_eq!(unopened(&mut there), CloseReason::UntrustedProxy);
}

#[test]
fn the_protocol_that_came_instead_is_reported() {
    for (wire, why) in [
        (b"GET / HTTP/1.1\r\n".as_slice(), CloseReason::NoProxyHeader(DetectedProtocol::Http)),
        (b"\x16\x03\x01\x02\x00\x01", CloseReason::NoProxyHeader(DetectedProtocol::Tls)),
        (b"hello\n", CloseReason::NoProxyHeader(DetectedProtocol::Text)),
        (b"\x00\x01", CloseReason::NoProxyHeader(DetectedProtocol::Binary)),
        (b"PROXY TCP5 1 2 3 4\r\n", CloseReason::BadProxyHeader(ProxyError::Protocol)),
        (b"\r\n\r\n\0\r\nQUIT\n\x11", CloseReason::BadProxyHeader(ProxyError::Version(1))),
    ] {
        let mut bench = bench("10.0.0.0/8", Limits::default());
        bench.receive(wire);
        assert!(bench.queue.is_empty());
        assert_eq!(unopened(&mut bench), why);
    }
}

#[test]
fn a_header_has_its_time_and_what_follows_it_has_not() {
    let mut silent = bench("10.0.0.0/8", Limits::default());
    silent.receive(b"PROXY TCP4 ");
    assert_eq!(silent.reach_deadline(), Duration::from_secs(10));
    assert_eq!(unopened(&mut silent), CloseReason::OpeningTimeout);
    let mut quiet = bench("10.0.0.0/8", no_linger());
    quiet.receive(b"PROXY UNKNOWN\r\n");
    assert_eq!(quiet.conn.deadline(), None);
}

#[test]
fn this_ends_own_header_leaves_first_and_is_counted() {
    let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
    struct Caller;
    impl resound::Service for Caller {
        fn open(&mut self, cx: &mut resound::Cx<'_>) {
            cx.send(b"hello\n");
        }
        fn data(&mut self, _: &[u8], cx: &mut resound::Cx<'_>) {
            cx.close();
        }
    }
    let header = Header::new(Version::V1, Addresses::Unknown).encode().unwrap();
    let handshake = Handshake::new().header(header.clone());
    let mut bench = Bench::of(Conn::with_handshake(info, handshake, |_| Box::new(Caller), no_linger()));
    assert_eq!(bench.observer.opened, 1);
    assert_eq!(bench.take_all(), b"PROXY UNKNOWN\r\nhello\n");
    bench.receive(b"bye");
    bench.conn.closed(bench.now, &mut bench.observer);
    assert_eq!(bench.observer.closed[0].bytes_out, header.len() as u64 + 6);
}

on_each_engine_plainly!(
    the_real_peer_is_seen,
    a_half_close_right_behind_the_header_is_answered,
    a_header_then_silence_then_a_drain,
    half_a_header_is_reset_in_time,
    strangers_and_plain_clients_are_refused,
    a_header_byte_by_byte,
);

fn proxied(engine: Engine, limits: Limits) -> Running {
    let handshake = |conn: &ConnInfo| Handshake::new().expect_header(Proxies::local().header_reader(conn));
    Running::start(server(engine).limits(limits).handshake(handshake), |_| Reply::default())
}

const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 54321 443\r\n";

fn the_real_peer_is_seen(engine: Engine) {
    let running = proxied(engine, Limits::default());
    let mut peer = running.connect();
    peer.send(format!("{LINE}one\n"));
    peer.expect("Server received: one\n");
    peer.ask("two");
    let Event::Opened(_, seen) = running.event() else { panic!("it was opened") };
    assert_eq!(seen.to_string(), "192.0.2.7:54321");
}

fn a_half_close_right_behind_the_header_is_answered(engine: Engine) {
    let running = proxied(engine, Limits::default());
    let mut peer = running.connect();
    peer.send(format!("{LINE}last words"));
    peer.finish();
    assert_eq!(peer.rest(), b"Server received: last words");
    assert_eq!(running.closed(), CloseReason::Finished);
    let mut peer = running.connect();
    peer.send(LINE);
    peer.finish();
    assert_eq!(peer.rest(), b"");
    assert_eq!(running.closed(), CloseReason::Finished);
    let mut peer = running.connect();
    peer.send("PROXY TCP4");
    peer.finish();
    assert!(peer.is_reset());
    assert_eq!(running.unopened(), CloseReason::LeftEarly);
}

fn a_header_then_silence_then_a_drain(engine: Engine) {
    let running = proxied(engine, Limits::default());
    let (mut open, mut handshake) = (running.connect(), running.connect());
    open.send(LINE);
    running.opened();
    handshake.send("PROXY TC");
    // What has arrived before the drain is taken notice of first.
    let totals = running.drain();
    assert_eq!((open.rest(), handshake.rest()), (Vec::new(), Vec::new()));
    assert_eq!((totals.opened, totals.unopened, totals.live()), (1, 1, 0));
    assert_eq!(totals.closed(CloseReason::Drained), 2);
}

fn half_a_header_is_reset_in_time(engine: Engine) {
    let limits = Limits { opening_timeout: Some(Duration::from_millis(50)), ..Limits::default() };
    let running = proxied(engine, limits);
    let mut peer = running.connect();
    // It may be too late for it already.
    let _ = std::io::Write::write_all(&mut peer.0, &LINE.as_bytes()[..20]);
    assert!(peer.is_reset());
    assert_eq!(running.unopened(), CloseReason::OpeningTimeout);
}

fn strangers_and_plain_clients_are_refused(engine: Engine) {
    let running = proxied(engine, Limits::default());
    let mut plain = running.connect();
    plain.send("GET / HTTP/1.1\r\n\r\n");
    assert!(plain.is_reset());
    assert_eq!(running.unopened(), CloseReason::NoProxyHeader(DetectedProtocol::Http));
    let elsewhere = Proxies::from(["192.0.2.0/24".parse().unwrap()]);
    let handshake = move |conn: &ConnInfo| Handshake::new().expect_header(elsewhere.header_reader(conn));
    let running = Running::start(server(engine).handshake(handshake), |_| Reply::default());
    let mut stranger = running.connect();
    assert!(stranger.is_reset());
    assert_eq!(running.unopened(), CloseReason::UntrustedProxy);
}

fn a_header_byte_by_byte(engine: Engine) {
    let running = proxied(engine, Limits::default());
    let mut peer = running.connect();
    let addresses = Addresses::ip("[2001:db8::7]:1".parse().unwrap(), "[2001:db8::8]:2".parse().unwrap());
    let header = Header { checksum: true, ..Header::new(Version::V2, addresses) };
    for byte in header.encode().unwrap() {
        peer.send([byte]);
    }
    peer.ask("here");
    let Event::Opened(_, seen) = running.event() else { panic!("it was opened") };
    assert_eq!(seen.to_string(), "[2001:db8::7]:1");
}

//! Metrics of many peers, and under load.

use super::{samples, started, sum};
use crate::child::run;
use crate::harness::eventually;

/// Each peer has an address of its own: Linux has all of 127.0.0.0/8.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "opens 10,000 connections for each engine"]
fn ten_thousand_peers_leave_two_hundred_series() {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use crate::harness::{PATIENCE, engines};

    const PEERS: u32 = 10_000;
    const AT_ONCE: usize = 500;
    let answered = |peer: u32, address: SocketAddr| {
        let [_, high, middle, low] = (peer + 1).to_be_bytes();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 1 + high, middle, low], 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"Hello\n").unwrap();
        stream.read_exact(&mut [0; "Server received: Hello\n".len()]).unwrap();
        stream
    };
    for engine in engines() {
        let args = ["--engine", engine, "--workers", "2"];
        // The threads engine takes no --workers.
        let (_server, address, admin) = started(if engine == "threads" { &args[..2] } else { &args });
        let before = samples(admin);
        let peers: Vec<u32> = (0..PEERS).collect();
        for some in peers.chunks(AT_ONCE) {
            let open: Vec<_> = some.iter().map(|&peer| answered(peer, address)).collect();
            assert_eq!(sum(&samples(admin), &["resound_connections_open"]), open.len() as f64, "{engine}");
            drop(open);
            eventually("all are closed", || sum(&samples(admin), &["resound_connections_open"]) == 0.0);
        }
        let after = samples(admin);
        assert_eq!(sum(&after, &["resound_connections_accepted_total"]), f64::from(PEERS), "{engine}");
        assert_eq!(sum(&after, &["resound_messages_total"]), f64::from(PEERS));
        assert!(after.keys().eq(before.keys()), "{engine}: series have come or gone");
        assert!(after.len() <= 200, "{} series", after.len());
    }
}

#[test]
fn handshakes_under_load_are_all_in_the_histogram() {
    let (_server, address, admin) = started(&["--tls", "-q"]);
    let port = address.port().to_string();
    let (code, _, stderr) =
        run(&["load", "127.0.0.1", &port, "--tls", "--insecure", "-c", "30", "-r", "100", "-d", "1s", "-q"], b"");
    assert_eq!(code, Some(0), "{stderr}");
    let of = |name: &str| sum(&samples(admin), &[name]);
    eventually("all have ended", || of("resound_connections_open") == 0.0);
    let accepted = of("resound_connections_accepted_total");
    assert!(accepted >= 30.0, "{accepted}");
    assert_eq!(of("resound_handshake_duration_seconds_count"), accepted);
    let after = samples(admin);
    let buckets: Vec<_> = after.iter().filter(|(name, _)| name.contains("handshake_duration_seconds_bucket")).collect();
    let largest = buckets.iter().map(|(_, count)| **count).fold(0.0, f64::max);
    assert!(buckets.len() > 3 && largest == accepted, "{buckets:?}");
    let mean = of("resound_handshake_duration_seconds_sum") / accepted;
    assert!(mean > 0.0 && mean < 60.0, "{mean}");
}

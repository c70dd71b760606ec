//! The program behind a proxy and with access rules: its flags, and what a user sees of them.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use resound::proxy::{Addresses, Header, Version};

use crate::child::{Program, run};
use crate::harness::{Peer, engines};

/// A client that sends a header, and answers.
fn answer(address: SocketAddr, header: &str) -> String {
    let (code, out, stderr) = run(&["client", &address.to_string(), "--send-proxy", header], b"hello\n");
    assert_eq!(code, Some(0), "{stderr}");
    String::from_utf8(out).unwrap()
}

/// Ends a server, and returns its last line.
pub(crate) fn stop(mut server: Program) -> String {
    server.signal(rustix::process::Signal::INT);
    let line = server.stdout.until("Server stopped:");
    assert_eq!(server.end().0, Some(0));
    line
}

#[test]
fn the_console_shows_the_real_peer_and_with_verbose_the_way() {
    for engine in engines() {
        let (mut server, address) = Program::server(&["--proxy-protocol", "require", "-v", "--engine", engine]);
        let header =
            "v2,src=192.0.2.7:54321,dst=198.51.100.1:443,authority=example.org,id=a\u{1b}b,tls=TLSv1.3,cn=me,crc32c";
        assert_eq!(answer(address, header), "Server received: hello\n");
        let line = server.stdout.until("New connection");
        let (start, rest) = line.split_once(" via ('127.0.0.1', ").unwrap_or_else(|| panic!("{line}"));
        assert_eq!(start, "New connection from ('192.0.2.7', 54321)");
        let shown = r"), PROXY v2, authority example.org, unique id a\x1bb, TLSv1.3 from CN=me (verified)";
        assert!(rest.ends_with(shown), "{line}");
        assert_eq!(server.stdout.next(), "Received from ('192.0.2.7', 54321): hello");
        assert_eq!(answer(address, "v1,src=[2001:db8::7]:1"), "Server received: hello\n");
        assert!(server.stdout.until("New connection").starts_with("New connection from ('2001:db8::7', 1) via ('127"));
        assert_eq!(answer(address, "v2,local"), "Server received: hello\n");
        let line = server.stdout.until("New connection");
        assert!(
            line.starts_with("New connection from ('127.0.0.1', ") && line.ends_with("), PROXY v2 LOCAL"),
            "{line}"
        );
        assert_eq!(answer(address, "v1,unknown"), "Server received: hello\n");
        let line = server.stdout.until("New connection");
        assert!(line.contains(" via ('127.0.0.1', ") && line.ends_with("), PROXY v1 UNKNOWN"), "{line}");
    }
}

/// HAProxy's health checks, with and without TLS after the header: they send LOCAL, and close.
#[test]
fn a_proxys_own_connections_are_marked_and_can_be_kept_out_of_the_log() {
    let local = Header::new(Version::V2, Addresses::Local).encode().unwrap();
    let check = |address: SocketAddr| {
        let mut peer = Peer::connect(address);
        peer.send(&local);
        peer.finish();
        assert!(peer.is_closed());
    };
    let args = |more: &[&'static str]| [&["--proxy-protocol", "require"], more].concat();
    let (mut server, address) = json_server(&args(&[]));
    check(address);
    let mut opened: serde_json::Value = serde_json::from_str(&server.stdout.until(r#"{"time""#)).unwrap();
    assert_eq!((&opened["event"], &opened["via"]["command"]), (&"opened".into(), &"local".into()));
    assert_eq!((&opened["via"]["peer"], &opened["via"]["version"]), (&opened["peer"], &2.into()));
    answer(address, "v2,unknown");
    while opened["via"]["command"] != "proxy" {
        opened = serde_json::from_str(&server.stdout.next()).unwrap();
    }
    assert_eq!((&opened["peer"], &opened["via"]["unknown"]), (&opened["via"]["peer"].clone(), &true.into()));

    let (mut server, address) = json_server(&args(&["--tls"]));
    check(address);
    let event = unopened(&mut server);
    assert_eq!((&event["reason"], &event["via"]["command"]), (&"left_early".into(), &"local".into()));

    for tls in [&[][..], &["--tls"]] {
        let (mut server, address) = Program::server(&args(&[&["-v", "--quiet-local"], tls].concat()));
        check(address);
        // All output has been written by the end.
        server.signal(rustix::process::Signal::INT);
        let lines = server.stdout.rest();
        assert!(!lines.iter().any(|line| line.contains("onnection from") || line.contains("closed for")), "{lines:?}");
        assert!(lines.last().is_some_and(|line| line.starts_with("Server stopped: ")), "{lines:?}");
        assert_eq!(server.end().0, Some(0));
    }
    let (code, _, stderr) = run(&["server", "127.0.0.1", "0", "--quiet-local"], b"");
    assert!(code == Some(2) && stderr.contains("--proxy-protocol"), "{stderr}");
}

#[test]
fn the_json_log_has_the_way_too() {
    let (mut server, address) = json_server(&["--proxy-protocol", "require"]);
    assert_eq!(answer(address, "v2,src=192.0.2.7:1,dst=192.0.2.8:2,alpn=h2"), "Server received: hello\n");
    let opened: serde_json::Value = serde_json::from_str(&server.stdout.until(r#"{"time""#)).unwrap();
    assert_eq!((&opened["event"], &opened["peer"]), (&"opened".into(), &"192.0.2.7:1".into()));
    assert_eq!((&opened["local"], &opened["via"]["version"]), (&"192.0.2.8:2".into(), &2.into()));
    assert_eq!((&opened["via"]["alpn"], &opened["via"]["local"]), (&"h2".into(), &address.to_string().into()));
    Peer::connect(address).send("GET / HTTP/1.0\r\n\r\n");
    let refused = unopened(&mut server);
    assert_eq!(refused["reason"], "no_proxy_header");
    assert_eq!(refused["detail"], "an HTTP request instead of a PROXY header");
}

/// The next connection that ended before it was opened.
fn unopened(server: &mut Program) -> serde_json::Value {
    loop {
        let event: serde_json::Value = serde_json::from_str(&server.stdout.next()).unwrap();
        if event["event"] == "unopened" {
            return event;
        }
    }
}

fn json_server(args: &[&str]) -> (Program, SocketAddr) {
    let args = [&["server", "127.0.0.1", "0", "--log-format", "json"], args].concat();
    let mut server = Program::spawn(Program::command(&args));
    let started: serde_json::Value = serde_json::from_str(&server.stdout.next()).unwrap();
    let address = started["address"].as_str().unwrap().parse().unwrap();
    (server, address)
}

#[test]
fn the_header_stands_before_tls() {
    for engine in engines() {
        let (mut server, address) = Program::server(&["--tls", "--proxy-protocol", "require", "--engine", engine]);
        let line = server.stdout.until("Trust it with:");
        let pin = line.split_whitespace().last().unwrap();
        let address = address.to_string();
        for header in ["v1,src=192.0.2.7:54321", "v2,src=192.0.2.7:54321,crc32c"] {
            let args = ["client", &address, "--tls", "--pin", pin, "--send-proxy", header];
            let (code, out, stderr) = run(&args, b"a\nb");
            assert_eq!(code, Some(0), "{stderr}");
            assert_eq!(out, b"Server received: a\nServer received: b");
            let line = server.stdout.until("New connection");
            assert!(line.starts_with("New connection from ('192.0.2.7', 54321) (TLS"), "{line}");
        }
        let (code, ..) = run(&["client", &address, "--tls", "--pin", pin], b"a\n");
        assert_eq!(code, Some(1));
        let line = server.stdout.until("No connection");
        assert!(line.ends_with("): a TLS handshake instead of a PROXY header"), "{line}");
    }
}

#[test]
fn every_check_passes_behind_a_proxy() {
    let (_server, address) = Program::server(&["--proxy-protocol", "require"]);
    for header in ["v1", "v1,unknown", "v2,src=192.0.2.7:1,crc32c,noop=100"] {
        let (code, out, stderr) = run(&["test", &address.to_string(), "--send-proxy", header], b"");
        let out = String::from_utf8(out).unwrap();
        assert_eq!(code, Some(0), "{header}: {out}{stderr}");
        assert!(out.contains("6 of 6 checks passed"), "{out}");
    }
}

#[test]
fn a_peer_without_a_header_is_named_with_what_came_instead() {
    let (mut server, address) = Program::server(&["--proxy-protocol", "require"]);
    let (code, out, stderr) = run(&["client", &address.to_string()], b"hello\n");
    assert!(out.is_empty(), "{}", out.escape_ascii());
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.starts_with("resound: reset: the server reset the connection"), "{stderr}");
    let line = server.stdout.until("No connection");
    assert!(line.ends_with("): text instead of a PROXY header"), "{line}");
    Peer::connect(address).send("PROXY TCP9 \r\n");
    let line = server.stdout.until("No connection");
    let reason = "): wrong PROXY header: its family is none of TCP4, TCP6 and UNKNOWN";
    assert!(line.ends_with(reason), "{line}");
    let line = stop(server);
    assert!(line.contains("no proxy header: 1, bad proxy header: 1"), "{line}");
}

#[test]
fn an_untrusted_proxy_is_reset() {
    let (mut server, address) = Program::server(&["--proxy-protocol", "require", "--proxy-from", "192.0.2.0/24"]);
    assert!(Peer::connect(address).is_reset());
    let line = server.stdout.until("No connection");
    assert!(line.ends_with("): the peer is not a trusted proxy"), "{line}");
    assert!(stop(server).contains("untrusted proxy: 1"));
}

#[test]
fn a_header_that_takes_too_long_is_not_waited_for() {
    let (mut server, address) = Program::server(&["--proxy-protocol", "require", "--opening-timeout", "50ms"]);
    assert!(Peer::connect(address).is_reset());
    let line = server.stdout.until("No connection");
    assert!(line.ends_with("): not open in time"), "{line}");
}

#[test]
fn refusals_are_logged_once_and_counted() {
    for engine in engines() {
        let start = Instant::now();
        let (server, address) = Program::server(&["--deny", "127.0.0.1", "--engine", engine]);
        for _ in 0..50 {
            assert!(Peer::connect(address).is_reset());
        }
        server.signal(rustix::process::Signal::INT);
        let mut server = server;
        let line = server.stdout.until("Server stopped:");
        assert!(line.contains("0 connections") && line.ends_with(", 50 connections refused"), "{line}");
        let (code, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.starts_with("resound: warning: refused 127.0.0.1: it is not allowed to connect\n"), "{stderr}");
        // One a second.
        assert!(stderr.lines().count() as u64 <= 2 + start.elapsed().as_secs(), "{stderr}");
    }
}

#[test]
fn behind_a_proxy_the_rules_are_for_its_clients() {
    for engine in engines() {
        let start = Instant::now();
        let args = ["--proxy-protocol", "require", "--deny", "192.0.2.0/24", "--engine", engine];
        let (mut server, address) = Program::server(&args);
        let address = address.to_string();
        let ask = |header| run(&["client", &address, "--send-proxy", header], b"a\n");
        assert_eq!(ask("v1,src=198.51.100.7:1").1, b"Server received: a\n");
        for _ in 0..20 {
            assert!(ask("v2,src=192.0.2.7:1").1.is_empty());
        }
        server.signal(rustix::process::Signal::INT);
        let line = server.stdout.until("Server stopped:");
        assert!(line.contains("1 connection,") && line.ends_with(", 20 connections refused"), "{line}");
        let (code, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.starts_with("resound: warning: refused 192.0.2.7: it is not allowed to connect\n"), "{stderr}");
        // One a second.
        assert!(stderr.lines().count() as u64 <= 2 + start.elapsed().as_secs(), "{stderr}");
    }
    let (mut server, address) = json_server(&["--proxy-protocol", "require", "--deny", "192.0.2.0/24"]);
    run(&["client", &address.to_string(), "--send-proxy", "v1,src=192.0.2.7:5"], b"a\n");
    let event = unopened(&mut server);
    assert_eq!((&event["reason"], &event["peer"]), (&"refused".into(), &"192.0.2.7:5".into()), "{event}");
}

#[test]
fn a_mapped_ipv4_address_is_ipv4_for_the_program() {
    let rules =
        ["--proxy-protocol", "require", "--proxy-from", "::ffff:127.0.0.0/104", "--allow", "::ffff:192.0.2.0/120"];
    let (mut server, address) = Program::server(&rules);
    for header in ["v1,src=192.0.2.7:5", "v1,src=[::ffff:192.0.2.7]:5,dst=[::1]:6", "v2,src=[::ffff:192.0.2.7]:5"] {
        assert_eq!(answer(address, header), "Server received: hello\n");
        assert_eq!(server.stdout.until("New connection"), "New connection from ('192.0.2.7', 5)");
    }
    let mut server = Program::spawn(Program::command(&["server", "::ffff:127.0.0.1", "0"]));
    let line = server.stdout.next();
    let address: SocketAddr = line.strip_prefix("TCP Server started on ").expect(&line).parse().unwrap();
    assert!(address.is_ipv4(), "{address}");
    let port = address.port().to_string();
    let (code, out, stderr) = run(&["client", "::ffff:127.0.0.1", &port, "--source-address", "127.0.0.1"], b"a");
    assert_eq!((code, &out[..]), (Some(0), &b"Server received: a"[..]), "{stderr}");
}

#[test]
fn senseless_rules_are_refused_with_a_hint() {
    let cases: [(&[&str], &str); 15] = [
        (&["--proxy-from", "10.0.0.0/8"], "--proxy-protocol"),
        (&["--proxy-protocol", "optional"], "require"),
        (&["--proxy-protocol", "require", "--proxy-from", "10.0.0.1/8"], "write 10.0.0.0/8 or 10.0.0.1"),
        (&["--proxy-protocol", "require", "--listen", "0.0.0.0:0"], "needs --proxy-from"),
        (&["--allow", "10.0.0.0/33"], "write it like 10.0.0.0/8"),
        (&["--allow", "example.org"], "write it like 10.0.0.0/8"),
        (&["--deny", "2001:db8::1/32"], "write 2001:db8::/32 or 2001:db8::1"),
        (&["--allow", "::ffff:10.0.0.0/8"], "write 10.0.0.0/8 or ::ffff:10.0.0.0/104"),
        (&["--deny", "::ffff:10.0.0.1/104"], "write 10.0.0.0/8 or 10.0.0.1"),
        (
            &["--proxy-protocol", "require", "--proxy-from", "::ffff:127.0.0.1/32"],
            "write 127.0.0.1/32 or ::ffff:127.0.0.1/128",
        ),
        (&["--max-per-ip", "0"], "it must be at least 1"),
        (&["--connect-rate-limit", "5/d"], "write it like 20, 20/s"),
        (&["--connect-rate-limit", "0"], "at least 1"),
        (&["--unix-mode", "0888", "--listen", "unix:/tmp/x"], "write it in octal"),
        (&["--unix-mode", "0660"], "unix:/path"),
    ];
    for (args, reason) in cases {
        let (code, _, stderr) = run(&[&["server", "127.0.0.1", "0"], args].concat(), b"");
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(reason), "{args:?}: {stderr}");
    }
    let (code, _, stderr) = run(&["client", "127.0.0.1", "9", "--send-proxy", "v1,alpn=h2"], b"");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("no place for more than addresses"), "{stderr}");
}

#[test]
fn a_reachable_server_warns_unless_it_has_access_rules() {
    for (args, warns) in [
        (&[][..], true),
        (&["--deny", "192.0.2.1"], true),
        (&["--allow", "127.0.0.1"], false),
        (&["--quiet"], false),
        (&["--proxy-protocol", "require", "--proxy-from", "10.0.0.0/8"], false),
    ] {
        let mut server = Program::spawn(Program::command(&[&["server", "0.0.0.0", "0"], args].concat()));
        server.stdout.next();
        server.signal(rustix::process::Signal::INT);
        let (code, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(stderr.contains("can be reached from other machines"), warns, "{args:?}: {stderr}");
        assert!(stderr.lines().count() <= 1, "{stderr}");
    }
}

#[test]
fn a_unix_sockets_mode_is_as_asked_and_proxies_may_use_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let address = format!("unix:{}", path.display());
    for mode in ["0600", "0660", "666", "0o777"] {
        let args = ["server", &address, "--unix-mode", mode, "--proxy-protocol", "require", "-v"];
        let mut server = Program::spawn(Program::command(&args));
        server.stdout.until("Server started");
        let got = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(got, u32::from_str_radix(mode.trim_start_matches("0o"), 8).unwrap());
        let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
        peer.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\nhi").unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = String::new();
        peer.read_to_string(&mut got).unwrap();
        assert_eq!(got, "Server received: hi");
        let line = server.stdout.until("New connection");
        assert_eq!(line, "New connection from ('192.0.2.7', 1) via a unix socket, PROXY v1");
        stop(server);
    }
}

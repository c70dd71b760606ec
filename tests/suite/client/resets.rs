//! A reset is never taken for an orderly end: how the client reports one at each moment, and which
//! peers the server resets.

use std::io::{Read, Write};
use std::process::Child;
use std::thread;

use serde_json::Value;

use crate::child::{Program, run, wait};
use crate::client::pipe::both;
use crate::harness::{Peer, engines, noise};

/// What the program has come to: exit code, stdout, stderr.
fn end(mut child: Child) -> (Option<i32>, Vec<u8>, String) {
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (wait(&mut child).code(), stdout, stderr)
}

#[track_caller]
fn expect_reset(child: Child, want: &[u8]) {
    let (code, stdout, stderr) = end(child);
    assert_eq!((code, stdout.as_slice()), (Some(1), want), "{stderr}");
    // It may come so early that there is no connection yet.
    assert!(stderr.contains("reset: "), "{stderr}");
}

/// All the ways to wait for a server's end.
const WAYS: [&[&str]; 5] = [&[], &["--no-half-close"], &["--send-only"], &["--quit-after", "10m"], &["--crlf"]];

#[test]
fn a_reset_before_any_data_is_a_failure() {
    for flags in [&[&["--recv-only"][..]][..], &WAYS].concat() {
        let (child, server) = both(flags);
        server.reset();
        expect_reset(child, b"");
        // Stdin is at its end already.
        let (mut child, server) = both(flags);
        drop(child.stdin.take());
        server.reset();
        expect_reset(child, b"");
    }
}

#[test]
fn a_reset_while_much_is_sent_is_a_failure() {
    for flags in WAYS {
        let (mut child, mut server) = both(flags);
        let mut stdin = child.stdin.take().unwrap();
        let feeding = thread::spawn(move || drop(stdin.write_all(&noise(3, 16 << 20))));
        server.read(100_000);
        server.reset();
        expect_reset(child, b"");
        feeding.join().unwrap();
    }
}

#[test]
fn a_reset_behind_the_half_close_is_a_failure() {
    for (flags, answered) in [(&[][..], ""), (&["--quit-after", "10m"][..], "half an ans"), (&[][..], "half an ans")] {
        let (mut child, mut server) = both(flags);
        child.stdin.take().unwrap().write_all(b"question\n").unwrap();
        assert_eq!(server.rest(), b"question\n");
        server.send(answered);
        let mut received = vec![0; answered.len()];
        child.stdout.as_mut().unwrap().read_exact(&mut received).unwrap();
        assert_eq!(received, answered.as_bytes());
        server.reset();
        expect_reset(child, b"");
    }
}

/// The client's exit code, and the class of its failure; what it sends is a line.
fn send_line(address: &str, flags: &[&str], line: &[u8]) -> (Option<i32>, Option<String>, Vec<u8>) {
    let (code, stdout, _) = run(&[&["client", address, "--json"], flags].concat(), line);
    let events: Vec<Value> =
        stdout.split_inclusive(|&byte| byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
    let last = events.last().expect("its end");
    let received = events.iter().filter(|event| event["event"] == "received");
    let received = received.flat_map(|event| event["text"].as_str().unwrap_or("?").bytes()).collect();
    (code, last["class"].as_str().map(str::to_string), received)
}

#[test]
fn a_silent_refusal_is_a_reset_for_the_client() {
    type Refused = (&'static [&'static str], &'static [&'static str], &'static [u8], &'static str);
    const PROXY: &str = "--proxy-protocol=require";
    let cases: [Refused; 10] = [
        (&["--deny", "127.0.0.1"], &[], b"hi\n", "1 connection refused"),
        (&["--deny", "127.0.0.1", "--tls"], &["--tls", "--insecure"], b"hi\n", "1 connection refused"),
        (&[PROXY], &[], b"hi\n", "no proxy header: 1"),
        (&[PROXY], &[], b"PROXY TCP9 \r\nhi\n", "bad proxy header: 1"),
        (&[PROXY], &[], b"PROXY TC", "left early: 1"),
        (&[PROXY, "--proxy-from", "192.0.2.0/24"], &[], b"hi\n", "untrusted proxy: 1"),
        (&[PROXY, "--deny", "192.0.2.0/24"], &["--send-proxy", "v2,src=192.0.2.7:1"], b"hi\n", "1 connection refused"),
        (&[PROXY, "--opening-timeout", "50ms"], &["--no-half-close"], b"PROXY TC", "opening timeout: 1"),
        (&[PROXY, "--opening-timeout", "50ms", "--tls"], &["--recv-only"], b"", "opening timeout: 1"),
        (&["--handshake-timeout", "50ms", "--tls"], &["--recv-only"], b"", "opening timeout: 1"),
    ];
    for engine in engines() {
        for (flags, client, line, counted) in cases {
            let (server, address) = Program::server(&[&["--engine", engine], flags].concat());
            let (code, class, received) = send_line(&address.to_string(), client, line);
            assert_eq!((code, class.as_deref(), received.len()), (Some(1), Some("reset"), 0), "{engine}: {flags:?}");
            let summary = crate::access::program::stop(server);
            assert!(summary.contains(counted), "{engine}: {flags:?}: {summary}");
        }
    }
}

#[test]
fn connections_over_the_limits_are_reset() {
    for engine in engines() {
        for flags in [["--max-per-ip", "1"], ["--connect-rate-limit", "1/h"]] {
            let (server, address) = Program::server(&[&["--engine", engine][..], &flags].concat());
            let mut first = Peer::connect(address);
            first.ask("first");
            let (code, class, received) = send_line(&address.to_string(), &[], b"hi\n");
            assert_eq!((code, class.as_deref(), received.len()), (Some(1), Some("reset"), 0), "{engine}: {flags:?}");
            first.ask("still here");
            drop(first);
            let summary = crate::access::program::stop(server);
            assert!(summary.contains("1 connection refused"), "{engine}: {flags:?}: {summary}");
        }
    }
}

#[test]
fn a_refusal_with_a_text_arrives() {
    let long = [&[b'x'; 70_000][..], b"\n"].concat();
    for engine in engines() {
        let (server, address) = Program::server(&["--engine", engine, "--tls"]);
        let (code, class, received) = send_line(&address.to_string(), &[], b"hi\n");
        assert_eq!((code, class.as_deref()), (Some(1), Some("tls")), "{engine}");
        assert_eq!(received, b"Error: this server speaks TLS (resound client --tls)\n", "{engine}");
        assert!(crate::access::program::stop(server).contains("tls: 1"), "{engine}");
        // What a line that is too long is answered with is like any other answer to the client.
        let (server, address) = Program::server(&["--engine", engine]);
        let (_, _, received) = send_line(&address.to_string(), &[], &long);
        assert_eq!(received, b"Error: line longer than 65536 bytes\n", "{engine}");
        assert!(crate::access::program::stop(server).contains("line too long: 1"), "{engine}");
        // An alert.
        let (mut server, address) = Program::server(&["--tls", "--alpn", "h2", "--engine", engine]);
        let line = server.stdout.until("Trust it with:");
        let pin = line.split_whitespace().last().unwrap();
        let (code, class, _) = send_line(&address.to_string(), &["--tls", "--pin", pin, "--alpn", "http/1.1"], b"hi\n");
        assert_eq!((code, class.as_deref()), (Some(1), Some("tls")), "{engine}");
        assert!(crate::access::program::stop(server).contains("tls: 1"), "{engine}");
    }
}

#[test]
fn checks_and_loads_call_a_reset_by_its_name() {
    let (_server, address) = Program::server(&["--proxy-protocol", "require"]);
    let address = address.to_string();
    let (code, stdout, _) = run(&["test", &address], b"");
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(code == Some(4) && stdout.contains("the connection was reset after the first line"), "{stdout}");
    let (code, _, stderr) = run(&["test", &address, "--expect", "reply"], b"");
    assert!(code == Some(3) && stderr.contains("reset: "), "{stderr}");
    let (code, stdout, stderr) = run(&["load", &address, "--mode", "echo", "-n", "10", "--json"], b"");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(String::from_utf8_lossy(&stdout).contains("reset"), "{}", stdout.escape_ascii());
}

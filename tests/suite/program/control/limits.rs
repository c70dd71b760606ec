//! What the control API refuses, and its limits.

use std::io::{BufReader, Read, Write};
use std::net::TcpListener;

use serde_json::json;

use super::{connect, head, next, read_reply, started};
use crate::child::{Lines, Program, run};
use crate::harness::eventually;

#[test]
fn what_is_wrong_is_refused_with_its_place_and_changes_nothing() {
    let (_server, relay) = started(&["--fault", "2: close", "--seed", "3"]);
    let before = relay.get("/faults").json();
    for (method, body, status, want) in [
        (
            "PUT",
            r#"{"faults":"1: reset; up: dely=20ms"}"#,
            422,
            json!({
                "error": "'dely' is not a fault; did you mean `delay`?", "text": "1: reset; up: dely=20ms",
                "start": 14, "end": 18, "meant": "delay"
            }),
        ),
        ("PATCH", r#"{"faults":"rset"}"#, 422, json!({"text": "rset", "start": 0, "end": 4, "meant": "reset"})),
        ("PUT", r#"{"faults":"garbage"}"#, 422, json!({"text": "garbage", "start": 0, "end": 7, "meant": null})),
        (
            "PUT",
            r#"{"faults":"refuse"}"#,
            409,
            json!({"error": "refuse and never-accept are decided at the start: a change can neither add nor end them"}),
        ),
        ("PATCH", r#"{"faults":"never-accept"}"#, 409, json!({})),
        ("PUT", r#"{"seed":1}"#, 400, json!({"error": "\"faults\" is missing"})),
        ("PATCH", "{}", 400, json!({})),
        ("PUT", "", 400, json!({})),
        ("PUT", r#"["reset",1]"#, 400, json!({})),
        ("PUT", r#"{"faults":"reset","sed":1}"#, 400, json!({})),
        ("PUT", r#"{"faults":"reset","seed":-1}"#, 400, json!({})),
        ("PUT", r#"{"faults":"reset"} x"#, 400, json!({})),
    ] {
        let reply = relay.ask(method, "/faults", body);
        let got = reply.json();
        assert_eq!(reply.status, status, "{body}: {got}");
        assert!(got["error"].is_string(), "{body}: {got}");
        for (field, want) in want.as_object().unwrap() {
            assert_eq!(&got[field], want, "{body}: {field}");
        }
        assert_eq!(relay.get("/faults").json(), before, "{body}");
    }
    let events = relay.get("/events?wait=0").events();
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn a_request_that_is_wrong_has_its_status() {
    let (_server, relay) = started(&[]);
    let host = relay.control;
    let put = format!("PUT /faults HTTP/1.1\r\nHost: {host}\r\n");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    for (text, want) in [
        (format!("GET /fault HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
        (format!("GET /events?form=2 HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        ("GET /faults HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /faults HTTP/1.1\r\nHost: rebound.example\r\n\r\n".into(), 403),
        (format!("GET /faults HTTP/1.1\r\nHost: rebound.example:{}\r\n\r\n", host.port()), 403),
        (format!("GET /faults HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", host.port()), 200),
        ("GET /faults HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n".into(), 400),
        (format!("PUT /faults HTTP/1.1\r\nHost: {host}\r\nContent-Length: 65537\r\n\r\n"), 413),
        (format!("{put}Content-Length: 2000000\r\n\r\n{}", "x".repeat(2_000_000)), 413),
        (format!("{put}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(65)), 413),
        (format!("{put}Transfer-Encoding: chunked\r\n\r\nx\r\n"), 400),
    ] {
        let reply = relay.raw(text.as_bytes());
        assert_eq!(reply.status, want, "{text:?}");
        assert!(
            reply.json().is_object() && reply.head.contains("Content-Type: application/json\r\n"),
            "{}",
            reply.head
        );
    }
    // What is no HTTP request has a status, and no more.
    for (text, want) in [
        ("\u{16}\u{3}\u{1}\u{2}".into(), 400),
        (format!("{put}Content-Length: +1\r\n\r\n"), 400),
        (format!("{put}Content-Length: 99999999999999999999999\r\n\r\n"), 400),
        (format!("GET /faults HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "a: b\r\n".repeat(64)), 431),
        (format!("GET /faults HTTP/1.1\r\nHost: {host}\r\na: {}", "b".repeat(16 * 1024)), 431),
    ] {
        assert_eq!(relay.raw(text.as_bytes()).status, want, "{text:?}");
    }
    for (path, allowed) in [("/faults", "GET, PUT, PATCH"), ("/events", "GET"), ("/connections", "GET")] {
        for method in ["POST", "DELETE", "OPTIONS"] {
            let reply = relay.ask(method, path, "");
            assert!(reply.status == 405 && reply.head.contains(&format!("Allow: {allowed}\r\n")), "{}", reply.head);
            assert!(!reply.head.contains("Access-Control"), "{}", reply.head);
        }
    }
    // A body of 64 KiB is taken, one in chunks, and one that waits until it is asked for.
    let long = format!("{{\"faults\":\"reset{}\"}}", " ".repeat(64 * 1024 - 18));
    assert_eq!((long.len(), relay.ask("PUT", "/faults", &long).status), (64 * 1024, 200));
    let chunked = format!("{put}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"fau\r\n8\r\nlts\":\"\"}}\r\n0\r\n\r\n");
    assert_eq!(relay.raw(chunked.as_bytes()).status, 200);
    let mut stream = BufReader::new(connect(host));
    let request = format!("PUT /faults HTTP/1.1\r\nHost: {host}\r\nContent-Length: 13\r\nExpect: 100-continue\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    assert_eq!(head(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.get_mut().write_all(b"{\"faults\":\"\"}").unwrap();
    assert_eq!(read_reply(&mut stream).status, 200);
}

#[test]
fn requests_on_one_connection_follow_each_other() {
    let (_server, relay) = started(&["--seed", "5"]);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", relay.control);
    let mut stream = connect(relay.control);
    let three =
        [get("/faults"), get("/events?wait=0"), get("/faults").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")];
    // A byte at a time, or all at once.
    for bytes in three[..2].concat().as_bytes().chunks(1) {
        stream.write_all(bytes).unwrap();
    }
    stream.write_all(three.concat().as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    for turn in 0..5 {
        let reply = read_reply(&mut stream);
        assert_eq!(reply.status, 200);
        match turn {
            1 | 3 => assert_eq!(reply.events().len(), 1),
            _ => assert_eq!(reply.json()["seed"], 5),
        }
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection ends as asked");
}

/// A reader that takes nothing while more happens than the relay keeps.
#[test]
fn a_slow_reader_learns_how_much_it_has_missed() {
    let (_server, relay) = started(&["--seed", "1"]);
    let mut slow = relay.stream("/events");
    assert_eq!(next(&mut slow)["event"], "faults");
    // Faults that are set are events; nothing else is needed, and each has some 4 KiB.
    let long = (0..30).map(|number| format!("{}: down: delay=1ms", number + 100_000)).collect::<Vec<_>>().join("; ");
    let body = json!({"faults": long}).to_string();
    let request = format!("PUT /faults HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let request = request.replace("Host: x", &format!("Host: {}", relay.control));
    let mut writer = BufReader::new(connect(relay.control));
    let settings = 25_000;
    for _ in 0..settings / 50 {
        writer.get_mut().write_all(request.repeat(50).as_bytes()).unwrap();
        for _ in 0..50 {
            assert_eq!(read_reply(&mut writer).status, 200);
        }
    }
    let (mut read, mut skipped, mut lines) = (0, 0, 0);
    while read + skipped < settings {
        let event = next(&mut slow);
        match event["event"].as_str().unwrap() {
            "faults" => read += 1,
            "skipped" => (skipped, lines) = (skipped + event["events"].as_u64().unwrap(), lines + 1),
            other => panic!("{other}"),
        }
    }
    assert_eq!(read + skipped, settings, "every event is there or counted");
    assert!(skipped > 0 && lines > 0);
    // One that comes late has missed what is not kept; no connection has suffered from it.
    let late = relay.get("/events?wait=0").events();
    assert_eq!((&late[0], late.len()), (&json!({"event": "skipped", "events": settings + 1 - 10_000}), 10_001));
}

#[test]
fn a_client_beyond_the_limit_is_refused_and_the_relay_goes_on() {
    let (_server, relay) = started(&[]);
    let mut streams: Vec<_> = (0..32).map(|_| relay.stream("/events")).collect();
    streams.iter_mut().for_each(|lines| assert_eq!(next(lines)["event"], "faults"));
    let reply = relay.get("/faults");
    assert_eq!((reply.status, &reply.json()["error"]), (503, &"32 clients are connected already".into()));
    assert_eq!(relay.message(), "Server received: Hello\n");
    for lines in &mut streams {
        assert_eq!(next(lines)["event"], "opened");
    }
    // A client that half-closes a stream has left, and its permit is free.
    let mut left = streams.pop().unwrap();
    left.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    left.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(relay.get("/faults").status, 200);
    // So has one that sent something after its request.
    for lines in streams.drain(..) {
        lines.get_ref().write_all(b"GET").unwrap();
        lines.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        // Not closed: a RST would show in another way.
        std::mem::forget(lines);
    }
    let mut others = Vec::new();
    eventually("their permits are free", || {
        let mut other = BufReader::new(connect(relay.control));
        write!(other.get_mut(), "GET /events HTTP/1.0\r\nHost: {}\r\n\r\n", relay.control).unwrap();
        let is_served = head(&mut other).contains(" 200 ");
        others.extend(is_served.then_some(other));
        others.len() == 16
    });
}

#[test]
fn a_client_that_is_slow_to_ask_has_ten_seconds() {
    let (_server, relay) = started(&[]);
    let mut idle = connect(relay.control);
    let text = format!("PUT /faults HTTP/1.1\r\nHost: {}\r\nContent-Length: 9\r\n\r\n{{", relay.control);
    assert_eq!(relay.raw(text.as_bytes()).status, 408);
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "without a request there is no reply");
    assert_eq!(relay.get("/faults").status, 200);
}

#[test]
fn other_machines_need_permission() {
    for (args, want) in [
        (&["--control", "0.0.0.0:0"][..], "--control 0.0.0.0:0: other machines could set faults there; --control-open"),
        (&["--control", "example"], "write an IP address with a port"),
        (&["--control-open"], "--control <ADDR>"),
    ] {
        let (code, _, stderr) = run(&[&["relay", "127.0.0.1:0", "127.0.0.1:1"], args].concat(), b"");
        assert!(code == Some(2) && stderr.contains(want), "{args:?}: {code:?} {stderr}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(&["relay", "127.0.0.1:0", "127.0.0.1:1", "--control", &address], b"");
    assert!(code == Some(2) && stderr.contains(&format!("--control {address}: ")), "{code:?} {stderr}");
    let args = ["relay", "127.0.0.1:0", "127.0.0.1:1", "-q", "--control", "0.0.0.0:0", "--control-open"];
    let mut relay = Program::spawn(Program::command(&args));
    let warning = Lines::of(relay.child.stderr.take().unwrap()).next();
    assert!(warning.contains("can be reached from other machines, and asks for no password"), "{warning}");
    // The port that the system has chosen is printed with --quiet too.
    relay.stdout.until("Control on http://0.0.0.0:");
}

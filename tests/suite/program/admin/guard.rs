//! What `--admin` refuses, and how it holds against clients that mean it no good.

use std::io::{BufReader, Read, Write};

use super::{Answer, admin_of, connect, get, raw, started};
use crate::child::Program;

#[test]
fn a_request_for_another_host_is_refused() {
    let (_server, _, admin) = started(&["--admin-host", "metrics.example"]);
    let asked = |host: &str| raw(admin, &format!("GET /metrics HTTP/1.1\r\n{host}\r\n"));
    let port = admin.port();
    let forwarded = ["localhost:8080", "127.0.0.1:1", "192.0.2.1"];
    let own = [&*format!("localhost:{port}"), &format!("127.0.0.1:{port}"), "Metrics.Example", "metrics.example:80"];
    for host in own.into_iter().chain(forwarded) {
        assert_eq!(asked(&format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    for host in ["rebound.example", &format!("rebound.example:{port}"), "localhost.example:8080", ""] {
        let refused = asked(&format!("Host: {host}\r\n"));
        assert_eq!(refused.status, 403, "{host}");
        assert!(refused.json()["error"].as_str().unwrap().contains("--admin-host"), "{}", refused.body);
    }
    assert_eq!(asked("").status, 400);
    assert_eq!(asked(&format!("Host: {admin}\r\nHost: {admin}\r\n")).status, 400);
    // A proxy's request names the host twice.
    let absolute = format!("GET http://rebound.example/metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    assert_eq!(raw(admin, &absolute).status, 403);
}

#[test]
fn what_is_no_get_has_its_status() {
    let (_server, _, admin) = started(&[]);
    let asked = |line: &str, rest: &str| raw(admin, &format!("{line} HTTP/1.1\r\nHost: {admin}\r\n{rest}\r\n"));
    let refused = asked("POST /metrics", "Content-Length: 0\r\n");
    assert_eq!(refused.status, 405);
    assert!(refused.head.contains("allow: get, head\r\n") && refused.head.contains("connection: close\r\n"));
    assert_eq!(asked("GET /metrics", "Content-Length: 5\r\n").status, 413);
    assert_eq!(asked("GET /metrics", "Transfer-Encoding: chunked\r\n").status, 413);
    assert_eq!(asked("GET /metric", "").status, 404);
    assert_eq!(asked("GET /connections?sort=size", "").status, 400);
    assert_eq!(asked("GET /connections?limit=1001", "").status, 400);
    assert_eq!(asked("GET /", &"a: b\r\n".repeat(100)).status, 431);
    assert_eq!(asked("GET /", &format!("a: {}\r\n", "b".repeat(20_000))).status, 431);
    assert_eq!(raw(admin, "no http\r\n\r\n").status, 400);
    // A head alone, with the length of the body that it stands for.
    let mut stream = connect(admin);
    write!(stream, "HEAD /healthz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("Content-Length: 21\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn clients_that_are_idle_make_room_for_others() {
    let (_server, _, admin) = started(&[]);
    let mut idle: Vec<_> = (0..100).map(|_| connect(admin)).collect();
    assert_eq!(get(admin, "/healthz").status, 200);
    // Also where exactly as many are connected as there may be.
    let (_other, _, full) = started(&[]);
    let kept: Vec<_> = (0..64).map(|_| connect(full)).collect();
    for _ in 0..3 {
        assert_eq!(get(full, "/healthz").status, 200);
    }
    drop(kept);
    // Those that came first have left by now.
    assert_eq!(idle[0].read(&mut [0]).unwrap_or(0), 0);
    let last = idle.last_mut().unwrap();
    write!(last, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut BufReader::new(last)).status, 200);
}

#[test]
fn readers_of_live_events_are_limited_and_others_are_answered() {
    let (_server, _, admin) = started(&[]);
    let readers: Vec<_> = (0..16).map(|_| super::live(admin)).collect();
    let refused = get(admin, "/live");
    assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("16 clients read /live already")));
    assert_eq!(get(admin, "/healthz").status, 200);
    drop(readers);
}

#[test]
fn an_address_for_other_machines_has_to_be_written_out_and_is_warned_about() {
    let (server, _, admin) = started(&[]);
    assert!(admin.ip().is_loopback());
    drop(server);
    let (mut server, _) = Program::server(&["--admin", "0.0.0.0:0"]);
    assert!(admin_of(&server.stdout.until("Admin on ")).ip().is_unspecified());
    #[cfg(unix)]
    server.signal(rustix::process::Signal::INT);
    #[cfg(not(unix))]
    server.child.kill().unwrap();
    let (_, stderr) = server.end();
    assert!(stderr.contains("warning: --admin 0.0.0.0:") && stderr.contains("asks for no password"), "{stderr}");
}

#[test]
fn a_port_that_is_taken_is_an_error_before_anything_is_served() {
    let (_server, _, admin) = started(&[]);
    let (code, stdout, stderr) = crate::child::run(&["server", "0", "--admin", &admin.port().to_string()], b"");
    assert_eq!((code, stdout), (Some(2), Vec::new()));
    assert_eq!(stderr, format!("resound: --admin {admin}: the port is in use; 0 picks a free one\n"));
}

/// A page of this server may use what comes from here, and nothing else.
#[test]
fn the_page_uses_nothing_from_elsewhere() {
    let (_server, _, admin) = started(&[]);
    let page = get(admin, "/");
    assert!(page.head.contains("content-type: text/html; charset=utf-8\r\n"));
    let policy = page.head.split("content-security-policy: ").nth(1).unwrap().split('\r').next().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert!(page.head.contains("x-content-type-options: nosniff\r\n"));
    let files = ["/page.css", "/page.js"].map(|path| get(admin, path));
    for file in &files {
        assert_eq!(file.status, 200);
        assert!(file.head.contains("content-security-policy: default-src 'none';"), "{}", file.head);
    }
    for text in [&page.body, &files[0].body, &files[1].body] {
        assert!(!text.replace("http://www.w3.org/2000/svg", "").contains("://"), "{text}");
    }
    for markup in ["<script>", "style=", "onclick", "<style"] {
        assert!(!page.body.contains(markup), "{markup}");
    }
    for call in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!files[1].body.contains(call), "{call} takes text for markup");
    }
}

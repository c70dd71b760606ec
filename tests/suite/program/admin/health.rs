//! Health checks: `/healthz`, `/readyz` and `resound health`.

use super::started;
#[cfg(unix)]
use super::{connect, get};
use crate::child::{Program, run};
#[cfg(unix)]
use crate::harness::engines;

/// The exit code of `resound health`, and its line.
fn health(args: &[&str]) -> (Option<i32>, String) {
    let (code, stdout, stderr) = run(&[&["health"], args].concat(), b"");
    assert_eq!(stderr, "");
    (code, String::from_utf8(stdout).unwrap())
}

#[cfg(unix)]
#[test]
fn a_server_that_drains_is_healthy_and_not_ready() {
    for engine in engines() {
        let (mut server, address, admin) =
            started(&["--engine", engine, "--mode", "chargen", "--drain-timeout", "60s"]);
        assert_eq!(get(admin, "/healthz").json()["status"], "healthy");
        crate::harness::eventually("it is ready", || get(admin, "/readyz").status == 200);
        assert_eq!(get(admin, "/readyz").json()["status"], "ready");
        let mut asked = admin.to_string();
        assert_eq!(health(&["--admin", &asked]).0, Some(0));
        // It takes nothing, so the drain waits for it.
        let _client = connect(address);
        let mut before = None;
        crate::harness::eventually("the server waits for the client", || {
            let row = get(admin, "/connections").json()["connections"][0].clone();
            let sent = row["bytes_out"].as_u64();
            let waits = row["unsent_bytes"].as_u64() > Some(0) && sent == before;
            before = sent;
            waits
        });
        server.signal(rustix::process::Signal::TERM);
        server.stdout.until("Shutting down");
        crate::harness::eventually("it drains", || get(admin, "/readyz").status == 503);
        assert_eq!(get(admin, "/readyz").json()["status"], "draining", "{engine}");
        assert_eq!(get(admin, "/healthz").status, 200);
        let (code, line) = health(&["--admin", &asked]);
        asked.push_str(": draining\n");
        assert_eq!((code, line), (Some(1), asked));
    }
}

#[test]
fn health_sends_a_message_and_wants_its_answer() {
    for mode in ["reply", "echo"] {
        let (_server, address) = Program::server(&["--mode", mode]);
        let port = address.port().to_string();
        let (code, line) = health(&[&port]);
        assert!(code == Some(0) && line.starts_with(&format!("{address}: answered after ")), "{code:?} {line}");
        assert_eq!(line.lines().count(), 1);
    }
    let (_server, address) = Program::server(&["--mode", "chargen"]);
    let (code, line) = health(&["127.0.0.1", &address.port().to_string()]);
    assert!(
        code == Some(1) && line.starts_with(&format!("{address}: the answer is not what was expected: ")),
        "{line}"
    );
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let (code, line) = health(&[&address.port().to_string(), "--timeout", "50ms"]);
    assert_eq!((code, line), (Some(1), format!("{address}: the answer took longer than 50ms\n")));
    drop(silent);
    let (code, line) = health(&[&address.port().to_string()]);
    assert_eq!((code, line), (Some(1), format!("{address}: refused: nothing listens there\n")));
}

#[test]
fn health_that_asks_the_wrong_port_says_so() {
    let (_server, address, admin) = started(&[]);
    let (code, line) = health(&["--admin", &address.to_string()]);
    assert_eq!((code, line), (Some(1), format!("{address}: does not speak HTTP: is it the address of --admin?\n")));
    let (code, line) = health(&[&admin.port().to_string()]);
    assert!(code == Some(1) && line.contains("the answer is not what was expected: HTTP/1.1 400"), "{line}");
}

#[cfg(unix)]
#[test]
fn health_asks_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("unix:{}", folder.path().join("s").display());
    let mut server = Program::spawn(Program::command(&["server", &path]));
    server.stdout.until("Server started on ");
    assert_eq!(health(&[&path]).0, Some(0));
}

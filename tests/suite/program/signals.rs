//! Signals: which are ignored because they were at the start, and what SIGHUP is to a server
//! (Unix).

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::child::{Program, wait};
use crate::harness::Peer;

/// The signals that `nohup` and a script's background jobs ignore, and the others that end a
/// program.
const IGNORED: [(Signal, &str); 5] = [
    (Signal::HUP, "HUP"),
    (Signal::INT, "INT"),
    (Signal::QUIT, "QUIT"),
    (Signal::TERM, "TERM"),
    (Signal::TSTP, "TSTP"),
];

/// The program, started with these signals ignored.
fn ignoring(signals: &[(Signal, &str)], args: &str) -> Command {
    let names: Vec<_> = signals.iter().map(|(_, name)| *name).collect();
    let mut command = Command::new("sh");
    let script = format!("trap '' {}; exec '{}' {args}", names.join(" "), env!("CARGO_BIN_EXE_resound"));
    command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Sends all of them; where the system shows which signals a process ignores, it still ignores
/// these.
fn defy(id: u32, signals: &[(Signal, &str)]) {
    let pid = Pid::from_raw(id.try_into().unwrap()).unwrap();
    for (signal, name) in signals {
        kill_process(pid, *signal).unwrap();
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/status")) {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("what is ignored").trim();
            let mask = u64::from_str_radix(mask, 16).unwrap();
            assert!(mask & 1 << (signal.as_raw() - 1) != 0, "SIG{name} is not ignored any more: {mask:x}");
        }
    }
}

#[test]
fn a_run_that_ignored_signals_at_its_start_goes_on() {
    let args = "load --loopback -c 1 -r 100 -d 2s --json --interval 100ms --quiet";
    let mut load = Program::spawn(ignoring(&IGNORED, args));
    load.stdout.next();
    defy(load.child.id(), &IGNORED);
    let result = load.stdout.rest().pop().unwrap();
    assert!(result.contains("\"cut_short\":false"), "{result}");
    assert_eq!(load.end().0, Some(0));
}

#[test]
fn a_client_that_ignored_signals_at_its_start_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = ignoring(&IGNORED, &format!("client {address}")).spawn().unwrap();
    let mut server = Peer(listener.accept().unwrap().0);
    let mut stdin = child.stdin.take().unwrap();
    for _ in 0..3 {
        stdin.write_all(b"x").unwrap();
        server.expect("x");
        defy(child.id(), &IGNORED);
        server.send("y");
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    }
    drop(stdin);
    assert_eq!(server.rest(), b"");
    drop(server);
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn a_test_that_ignored_signals_at_its_start_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = ignoring(&IGNORED, &format!("test {address} --expect echo --only messages")).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    defy(child.id(), &IGNORED);
    let mut answers = stream.try_clone().unwrap();
    std::io::copy(&mut stream, &mut answers).unwrap();
    drop((stream, answers));
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn a_server_that_ignored_signals_at_its_start_drains_at_those_that_are_left() {
    let ignored = &IGNORED[..3];
    let mut server = Program::spawn(ignoring(ignored, "server 127.0.0.1 0"));
    let line = server.stdout.next();
    let address = line.strip_prefix("TCP Server started on ").expect(&line).parse().unwrap();
    let mut peer = Peer::connect(address);
    for _ in 0..3 {
        peer.ask("hello");
        defy(server.child.id(), ignored);
    }
    peer.ask("still there");
    // Were one of them taken for the first, this would be the second, and cut the connection.
    server.signal(Signal::TERM);
    assert_eq!(peer.rest(), b"");
    let lines = server.stdout.rest();
    assert_eq!(lines.iter().filter(|line| line.starts_with("Shutting down")).count(), 1, "{lines:?}");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_terminal_that_is_closed_drains_a_server() {
    for flags in [&["--mode", "chargen"][..], &["--mode", "chargen", "--tls"]] {
        let (mut server, address) = Program::server(&[flags, &["--drain-timeout", "1h"]].concat());
        // It reads nothing, so the drain cannot end.
        let peer = (!flags.contains(&"--tls")).then(|| Peer::connect(address));
        if peer.is_some() {
            server.stdout.until("New connection");
        }
        server.signal(Signal::HUP);
        server.stdout.until("Shutting down: ");
        // The shell and the system may each send one: it is no second wish to leave at once.
        server.signal(Signal::HUP);
        drop(peer);
        server.stdout.until("Server stopped: ");
        assert_eq!(server.end().0, Some(0));
    }
}

#[test]
fn authorities_are_read_again_where_the_certificate_was_made_on_the_spot() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, rcgen::generate_simple_self_signed(["ca".into()]).unwrap().cert.pem()).unwrap();
    let (mut server, _) = Program::server(&["--tls", "--client-ca", file.to_str().unwrap()]);
    let shown = server.stdout.until("TLS certificate (development)");
    server.stdout.until("Waiting for client connections...");
    server.signal(Signal::HUP);
    let again = server.stdout.until("TLS certificate (reloaded)");
    assert_eq!(again.rsplit(' ').next(), shown.rsplit(' ').next(), "the certificate stays");
    server.signal(Signal::TERM);
    server.stdout.until("Server stopped: ");
    assert_eq!(server.end().0, Some(0));
}

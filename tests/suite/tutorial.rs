//! The program and the two ends that every tutorial on sockets has, as Python writes them (`tests/tutorial`).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Peer, Program, engines, run};

/// Starts a tutorial's program, with its output unbuffered, as at a terminal.
fn python(script: &str, args: &[&str]) -> Program {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tutorial").join(script);
    let interpreter = ["python3", "python"].into_iter().find(|name| {
        let version = Command::new(name).args(["-c", "import sys; sys.exit(sys.version_info < (3, 6))"]).status();
        version.is_ok_and(|status| status.success())
    });
    let interpreter = interpreter.expect("this test speaks with programs in Python: install Python 3");
    let mut command = Command::new(interpreter);
    command.arg("-u").arg(script).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Program::spawn(command)
}

/// A tutorial's server, and its port.
pub(crate) fn server() -> (Program, String) {
    let mut server = python("server.py", &["0"]);
    let port = server.stdout.next().rsplit(':').next().unwrap().to_string();
    server.stdout.until("Waiting for client connections...");
    (server, port)
}

#[test]
fn a_tutorials_client_holds_the_conversation() {
    for engine in engines() {
        let (mut server, address) = Program::server(&["--engine", engine]);
        let mut client = python("client.py", &["127.0.0.1", &address.port().to_string()]);
        client.stdout.until("Type messages to send to server");
        let mut keys = client.child.stdin.take().unwrap();
        for message in ["Hello, server!", "How are you?"] {
            writeln!(keys, "{message}").unwrap();
            let answer = client.stdout.next();
            assert_eq!(answer.trim_start_matches("> "), format!("Server: Server received: {message}"));
        }
        writeln!(keys, "quit").unwrap();
        assert_eq!(client.stdout.next().trim_start_matches("> "), "Disconnected from server");
        let connected = server.stdout.until("New connection from ");
        let peer = connected.strip_prefix("New connection from ").unwrap();
        let said: Vec<String> = (0..4).map(|_| server.stdout.next()).collect();
        assert_eq!(said[0], format!("Received from {peer}: Hello, server!"));
        assert!(said[1].starts_with("(a message should end with a newline: this one had none"), "{}", said[1]);
        assert_eq!(said[2], format!("Received from {peer}: How are you?"));
        assert_eq!(said[3], format!("Connection closed for {peer}"));
    }
}

#[test]
fn a_tutorials_server_holds_the_conversation() {
    let (mut server, port) = server();
    let (code, stdout, stderr) = run(&["client", "127.0.0.1", &port], b"Hello, server!\n");
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(String::from_utf8(stdout).unwrap(), "Server received: Hello, server!\n");
    server.stdout.until("Received from ");
    server.stdout.until("Connection closed for ");
}

#[cfg(unix)]
#[test]
fn a_tutorials_server_is_talked_to_at_a_terminal() {
    let (_server, port) = server();
    let mut client = crate::terminal::Terminal::start(&["client", "127.0.0.1", &port]);
    client.until("(type 'quit' to exit):\n>");
    for message in ["Hello, server!", "How are you?"] {
        client.line(message);
        client.until(&format!("\n> {message}\nServer: Server received: {message}\n>"));
    }
    client.line("quit");
    client.until("Disconnected from server");
}

#[test]
fn it_is_said_once_that_a_message_should_end_with_a_newline() {
    let (mut server, address) = Program::server(&["--workers", "2"]);
    for _ in 0..3 {
        let mut peer = Peer::connect(address);
        for _ in 0..2 {
            peer.send("Hello");
            peer.expect("Server received: Hello");
        }
        peer.finish();
        assert!(peer.rest().is_empty());
    }
    let mut explained = 0;
    for _ in 0..3 {
        let mut line = String::new();
        while !line.starts_with("Connection closed") {
            line = server.stdout.next();
            explained += usize::from(line.contains("should end with a newline"));
        }
    }
    assert_eq!(explained, 1);

    let mut server = Program::spawn(Program::command(&["server", "127.0.0.1", "0", "--log-format", "json"]));
    let parse = |line: String| serde_json::from_str::<serde_json::Value>(&line).expect(&line);
    let started = parse(server.stdout.next());
    for _ in 0..2 {
        let mut peer = Peer::connect(started["address"].as_str().unwrap().parse().unwrap());
        for _ in 0..2 {
            peer.send("Hello");
            peer.expect("Server received: Hello");
        }
        drop(peer);
        let events: Vec<_> = (0..5).map(|_| parse(server.stdout.next())).collect();
        let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["opened", "message", "unterminated", "message", "closed"], "of each connection");
        assert_eq!((&events[2]["conn"], &events[2]["pause_ms"]), (&events[0]["conn"], &300.into()));
    }
}

#[test]
fn with_line_framing_a_pause_ends_nothing() {
    let (_server, address) = Program::server(&["--framing", "line"]);
    let mut peer = Peer::connect(address);
    peer.send("Hello");
    peer.0.set_read_timeout(Some(std::time::Duration::from_millis(400))).unwrap();
    assert!(std::io::Read::read(&mut peer.0, &mut [0]).is_err(), "nothing comes");
    peer.0.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    peer.send(", server!\n");
    peer.expect("Server received: Hello, server!\n");
}

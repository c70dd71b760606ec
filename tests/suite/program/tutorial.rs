//! The program and the two ends that every tutorial on sockets has, as Python writes them
//! (`tests/tutorial`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::child::{Program, run};
use crate::client::basics::foreign;
use crate::harness::{Peer, engines};
use crate::not_tested::not_tested;

/// Starts a program of the tutorial.
fn tutorial(script: &str, args: &[&str]) -> Option<Program> {
    python(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tutorial").join(script), args)
}

/// Starts a program in Python, with its output unbuffered, as at a terminal.
pub(super) fn python(script: &Path, args: &[&str]) -> Option<Program> {
    let interpreter = ["python3", "python"].into_iter().find(|name| {
        let version = Command::new(name).args(["-c", "import sys; sys.exit(sys.version_info < (3, 6))"]).status();
        version.is_ok_and(|status| status.success())
    });
    let Some(interpreter) = interpreter else {
        not_tested("programs in Python", "Python 3 is missing");
        return None;
    };
    let mut command = Command::new(interpreter);
    command.arg("-u").arg(script).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Some(Program::spawn(command))
}

/// A tutorial's server, and its port.
fn server() -> Option<(Program, String)> {
    let mut server = tutorial("server.py", &["0"])?;
    let port = server.stdout.next().rsplit(':').next().unwrap().to_string();
    server.stdout.until("Waiting for client connections...");
    Some((server, port))
}

#[test]
fn a_tutorials_client_holds_the_conversation() {
    for engine in engines() {
        let (mut server, address) = Program::server(&["--engine", engine]);
        let Some(mut client) = tutorial("client.py", &["127.0.0.1", &address.port().to_string()]) else { return };
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
        let report: Vec<String> = (0..4).map(|_| server.stdout.next()).collect();
        assert_eq!(report[0], format!("Received from {peer}: Hello, server!"));
        assert!(report[1].starts_with("(a message should end with a newline: this one had none"), "{}", report[1]);
        assert_eq!(report[2], format!("Received from {peer}: How are you?"));
        assert_eq!(report[3], format!("Connection closed for {peer}"));
    }
}

#[test]
fn a_tutorials_server_holds_the_conversation() {
    let Some((mut server, port)) = server() else { return };
    let (code, stdout, stderr) = run(&["client", "127.0.0.1", &port], b"Hello, server!\n");
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(String::from_utf8(stdout).unwrap(), "Server received: Hello, server!\n");
    server.stdout.until("Received from ");
    server.stdout.until("Connection closed for ");
}

#[cfg(unix)]
#[test]
fn a_tutorials_server_works_at_a_terminal() {
    let Some((_server, port)) = server() else { return };
    let mut client = crate::program::terminal::Terminal::start(&["client", "127.0.0.1", &port]);
    client.until("(type 'quit' to exit):\n>");
    for message in ["Hello, server!", "How are you?"] {
        client.line(message);
        client.until(&format!("\n> {message}\nServer: Server received: {message}\n>"));
    }
    client.line("quit");
    client.until("Disconnected from server");
}

#[test]
fn the_console_explains_once_that_a_message_should_end_with_a_newline() {
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

/// The verdict of `resound test` on a server: its exit code and its output.
fn tested(port: &str, flags: &[&str]) -> (Option<i32>, String) {
    let (code, stdout, stderr) = run(&[&["test", "127.0.0.1", port], flags].concat(), b"");
    (code, String::from_utf8(stdout).unwrap() + &stderr)
}

#[test]
fn the_test_warns_of_a_server_that_answers_reads() {
    let tutorial = server();
    let (_chunks, address) = Program::server(&["--framing", "chunk"]);
    let chunks = (address.port().to_string(), false);
    for (port, reads_a_kibibyte) in tutorial.iter().map(|(_, port)| (port.clone(), true)).chain([chunks]) {
        let (code, report) = tested(&port, &[]);
        assert_eq!(code, Some(0), "{report}");
        let result =
            |check: &str| report.lines().find(|line| line.starts_with(check)).unwrap().rsplit(' ').next().unwrap();
        assert_eq!([result("ASCII"), result("UTF-8"), result("half-close")], ["pass"; 3], "{report}");
        // The system decides how much one read returns.
        assert!(result("long line") == "warn" || !reads_a_kibibyte, "{report}");
        assert!(report.contains("6 of 6 checks passed, ") && report.contains("with a warning"), "{report}");
        assert!(report.contains("answers whatever one read returned") && report.contains("not lines"), "{report}");
    }
}

/// Serves one client line by line, as this answers each.
fn answering(answer: impl Fn(&mut TcpStream, &[u8]) -> std::io::Result<()> + Send + 'static) -> String {
    foreign(move |listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = std::io::BufReader::new(stream.try_clone().unwrap());
        let mut line = Vec::new();
        while std::io::BufRead::read_until(&mut lines, b'\n', &mut line).is_ok_and(|n| n > 0) {
            if answer(&mut stream, &line).is_err() {
                return;
            }
            line.clear();
        }
    })
}

#[test]
fn the_test_names_what_a_wrong_server_does() {
    type Answer = fn(&mut TcpStream, &[u8]) -> std::io::Result<()>;
    let cases: [(Answer, &[&str]); 7] = [
        (
            |to, line| to.write_all(&[b"Server received: ", line.trim_ascii_end()].concat()),
            &["strips the newline", "  expected  ...ived: Hello, server!\\n\n  received  ...ived: Hello, server!\n"],
        ),
        (
            |to, line| to.write_all(&[b"Server received: ", line.trim_ascii_end(), b"\r\n"].concat()),
            &["ends its lines with CR LF", "  received  ...ived: Hello, server!\\r\\n\n"],
        ),
        (
            |to, line| to.write_all(&[b"Server received: ", line, b"\n"].concat()),
            &["adds a newline", "Hello, server!\\n\\n"],
        ),
        (|to, line| to.write_all(line), &["as they are", "add --expect echo"]),
        (|to, line| to.write_all(&line.to_ascii_uppercase()), &["capital", "HELLO, SERVER!"]),
        (|to, line| to.write_all(&[b"You said: ", line].concat()), &["sends 'You said: ' before the line"]),
        (
            |to, line| {
                to.write_all(b"Welcome!\n")?;
                to.write_all(&[b"Server received: ", line].concat())
            },
            &["speaks first: 'Welcome!\\n' came before its answer"],
        ),
    ];
    for (answer, want) in cases {
        let (code, report) = tested(&answering(answer), &[]);
        assert_eq!(code, Some(3), "{report}");
        assert!(report.contains("mismatch: the answer differs from byte") && !report.contains("too slow"), "{report}");
        for part in want {
            assert!(report.contains(part), "{part:?} is not in {report}");
        }
    }
}

#[test]
fn the_test_distinguishes_late_answers_and_early_ends() {
    // Reads to the end, and then answers.
    let port = foreign(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&[b"Server received: ", &all[..]].concat()).unwrap();
    });
    let (code, report) = tested(&port, &[]);
    assert_eq!(code, Some(3), "{report}");
    assert!(report.contains("answers only once its client has closed its half"), "{report}");
    assert!(report.contains("  received  Server received: Hello, server!\\n"), "{report}");

    let port = foreign(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut wire = [0; 64];
        let n = stream.read(&mut wire).unwrap();
        stream.write_all(&[b"Server received: ", &wire[..n]].concat()).unwrap();
    });
    let (code, report) = tested(&port, &[]);
    assert_eq!(code, Some(3), "{report}");
    assert!(report.contains("1 of 6 checks passed") && report.contains("answers one message, and closes"), "{report}");

    let port = answering(|to, line| match line {
        b"\n" => Err(std::io::ErrorKind::Other.into()),
        line => to.write_all(&[b"Server received: ", line].concat()),
    });
    let (code, report) = tested(&port, &[]);
    assert_eq!(code, Some(3), "{report}");
    assert!(report.contains("takes an empty line for the client's end"), "{report}");
}

#[test]
fn a_test_shows_its_messages_on_request() {
    let (_server, address) = Program::server(&[]);
    let port = address.port().to_string();
    let shown = "\n  sent      Hello, server!\\n\n  received  Server received: Hello, server!\\n\n";
    let (code, report) = tested(&port, &["-v"]);
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains(shown) && report.contains("... (32.0 KiB)\n"), "{report}");
    let (_, report) = tested(&port, &[]);
    assert!(!report.contains("\n  sent"), "{report}");
}

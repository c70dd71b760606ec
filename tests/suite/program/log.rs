//! What a server logs, and where (Unix).

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::{Lines, Program, run, wait};
use crate::harness::{Peer, eventually};

/// A folder with a place for a log.
fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    (folder, log)
}

fn text(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// A client that says a line, and leaves in order.
fn visit(address: SocketAddr, line: &str) {
    let mut peer = Peer::connect(address);
    peer.ask(line);
    peer.finish();
    assert!(peer.is_closed());
}

/// Ends a server: the rest of its stdout, its exit code and its stderr.
fn stop(mut server: Program) -> (Vec<String>, Option<i32>, String) {
    server.signal(Signal::TERM);
    let lines = server.stdout.rest();
    let (code, stderr) = server.end();
    (lines, code, stderr)
}

/// The first words of lines, which show what they are about.
fn kinds(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split(' ').next().unwrap()).collect()
}

#[test]
fn what_is_logged_is_chosen() {
    let ends = ["Waiting", "New", "Connection", "Shutting", "Server"];
    let (server, address) = Program::server(&["--log", "connections"]);
    visit(address, "hello");
    // Without a newline: no hint about that either.
    let mut peer = Peer::connect(address);
    peer.send("x");
    peer.expect("Server received: x");
    peer.finish();
    assert!(peer.is_closed());
    let (lines, code, stderr) = stop(server);
    let two = [&ends[..3], &ends[1..]].concat();
    assert_eq!((kinds(&lines), code, stderr.as_str()), (two, Some(0), ""), "{lines:?}");
    assert!(lines.last().unwrap().contains(" 2 messages"), "they are counted: {lines:?}");

    let (server, address) = Program::server(&["--log", "messages"]);
    visit(address, "hello");
    assert_eq!(kinds(&stop(server).0), ["Waiting", "New", "Received", "Connection", "Shutting", "Server"]);

    let (server, address) = Program::server(&["--log", "off"]);
    visit(address, "hello");
    assert_eq!(stop(server), (Vec::new(), Some(0), String::new()));
    assert_eq!(run(&["server", "127.0.0.1", "0", "--log", "off", "-v"], b"").0, Some(2));
    assert_eq!(run(&["server", "127.0.0.1", "0", "--log", "messages", "-q"], b"").0, Some(2));
}

#[test]
fn the_json_log_without_messages_has_connections() {
    let mut server =
        Program::spawn(Program::command(&["server", "127.0.0.1", "0", "--log-format", "json", "--log", "connections"]));
    let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect(line);
    let address = event(&server.stdout.next())["address"].as_str().unwrap().parse().unwrap();
    visit(address, "hello");
    let names =
        stop(server).0.iter().map(|line| event(line)["event"].as_str().unwrap().into()).collect::<Vec<String>>();
    assert_eq!(names, ["opened", "closed", "draining", "stopped"]);
}

#[test]
fn a_relay_logs_each_connection_if_it_is_asked_to() {
    let (_target, target) = Program::server(&["--quiet"]);
    let target = target.to_string();
    for (flags, want) in [
        (&[][..], &["Waiting", "Shutting", "Relay"][..]),
        (&["--log", "connections"], &["Waiting", "Connected", "Connection", "Shutting", "Relay"]),
        (&["--log", "connections", "--quiet-from", "127.0.0.1"], &["Waiting", "Shutting", "Relay"]),
        (&["--log", "off"], &[]),
    ] {
        let args = [&["relay", "127.0.0.1:0", &target], flags].concat();
        let mut relay = Program::spawn(Program::command(&args));
        let line = relay.stdout.next();
        let address =
            line.strip_prefix("TCP Relay started on ").and_then(|rest| rest.split_once(", to ")).expect(&line);
        visit(address.0.parse().unwrap(), "hello");
        let (lines, code, _) = stop(relay);
        assert_eq!((kinds(&lines), code), (want.to_vec(), Some(0)), "{flags:?}: {lines:?}");
    }
}

#[test]
fn each_line_begins_with_its_time() {
    let mut server = Program::spawn(Program::command(&["server", "127.0.0.1", "0", "--log-time"]));
    let line = server.stdout.next();
    let address = line.split_once(" TCP Server started on ").expect(&line).1.parse().unwrap();
    let mut peer = Peer::connect(address);
    // A message of two lines: how TLS begins, and what that is.
    peer.send(b"\x16\x03\x01\x00\x05\x01\n");
    peer.expect(b"Server received: \x16\x03\x01\x00\x05\x01\n");
    peer.finish();
    assert!(peer.is_closed());
    let (mut lines, code, _) = stop(server);
    lines.insert(0, line);
    assert_eq!(code, Some(0));
    assert!(lines.iter().any(|line| line.contains("(that is how TLS begins")), "{lines:?}");
    let mut last = String::new();
    for line in lines {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
        assert!(time.len() == "2026-01-02T03:04:05.678Z".len() && !rest.starts_with(' '), "{line}");
        assert!(last.as_str() <= time, "{last}, and then {line}");
        last = time.into();
    }
}

#[test]
fn connections_from_quiet_networks_leave_no_lines() {
    let networks = ["127.0.0.1", "127.0.0.0/8", "::ffff:127.0.0.0/104", "::ffff:127.0.0.1"];
    for (at, network) in networks.iter().enumerate() {
        let flags = ["--quiet-from", "192.0.2.0/24", "--quiet-from", network];
        // On a socket of both families the addresses come as IPv6.
        let (mut server, address) = match at % 2 {
            0 => Program::server(&flags),
            _ => {
                let args = [&["server", "127.0.0.1", "0", "--listen", "[::ffff:127.0.0.1]:0"], &flags[..]].concat();
                let mut server = Program::spawn(Program::command(&args));
                server.stdout.next();
                let line = server.stdout.next();
                let address = line.strip_prefix("TCP Server started on ").expect(&line).parse().unwrap();
                (server, address)
            }
        };
        server.stdout.until("Waiting");
        visit(address, "hello");
        // A port scan, or a simple health check.
        drop(Peer::connect(address));
        let (lines, code, stderr) = stop(server);
        assert_eq!((kinds(&lines), code, stderr.as_str()), (vec!["Shutting", "Server"], Some(0), ""), "{lines:?}");
        assert!(lines[1].starts_with("Server stopped: 2 connections, 1 message"), "they are counted: {lines:?}");
    }
    let (server, address) = Program::server(&["--quiet-from", "127.0.0.2"]);
    visit(address, "hello");
    assert_eq!(kinds(&stop(server).0)[1..4], ["New", "Received", "Connection"]);
    let (code, _, stderr) = run(&["server", "127.0.0.1", "0", "--quiet-from", "10.0.0.1/8"], b"");
    assert!(code == Some(2) && stderr.contains("write 10.0.0.0/8"), "{stderr}");
}

/// The program, without an umask.
fn unmasked(args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_resound")]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_log_file_takes_the_place_of_stdout() {
    for format in ["text", "json"] {
        let (folder, log) = place();
        std::fs::write(folder.path().join("other"), "").unwrap();
        let flags = ["--log-file", log.to_str().unwrap(), "--log-format", format];
        let mut server = Program::spawn(unmasked(&[&["server", "127.0.0.1", "0"], &flags[..]].concat()));
        // Who waits for the address finds it where it always is.
        let line = server.stdout.next();
        let address = line.split_once("127.0.0.1:").expect(&line).1;
        let port = address.split_once('"').map_or(address, |(port, _)| port);
        visit(format!("127.0.0.1:{port}").parse().unwrap(), "hello");
        assert_eq!(stop(server), (Vec::new(), Some(0), String::new()));
        let lines: Vec<String> = text(&log).lines().map(String::from).collect();
        let want = match format {
            "text" => ["TCP Server", "Waiting", "New", "Received", "Connection closed", "Shutting", "Server stopped"],
            _ => ["started", "opened", "message", "closed", "draining", "stopped", ""],
        };
        for (line, want) in lines.iter().zip(want) {
            assert!(line.contains(want), "{want} in {line}");
        }
        assert_eq!(lines.len(), want.iter().filter(|want| !want.is_empty()).count(), "{lines:?}");
        assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o640);

        // Another run appends, and a silent one has nothing to say.
        let (server, _) = Program::server(&["--quiet", "--log-file", log.to_str().unwrap()]);
        assert_eq!(stop(server), (Vec::new(), Some(0), String::new()));
        assert_eq!(text(&log).lines().count(), lines.len());
        // A port that the system did not choose is told on stdout as well. Nothing else has it.
        let host = if cfg!(target_os = "linux") { "127.0.0.2" } else { "127.0.0.1" };
        let admin = std::net::TcpListener::bind((host, 0)).and_then(|free| free.local_addr()).unwrap().to_string();
        let (mut server, _) = Program::server(&["--log-file", log.to_str().unwrap(), "--admin", &admin]);
        assert!(server.stdout.until("Admin on ").contains(&admin));
        stop(server);
        assert_eq!(text(&log).lines().count(), lines.len() + 5);
        assert!(text(&log).contains(&admin), "the address is in both: {admin}");
    }
}

#[test]
fn a_log_file_that_cannot_be_opened_is_explained() {
    let (folder, log) = place();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let cases = [
        (folder.path().join("none/log"), "No such file or directory", "Make its folder first"),
        (folder.path().into(), "Is a directory", "Write the name of a file"),
        (log.join("log"), "Not a directory", "Choose another path"),
        (socket, "No such device or address", "Choose another path"),
    ];
    std::fs::write(&log, "").unwrap();
    for command in [&["server", "127.0.0.1", "0"][..], &["relay", "127.0.0.1:0", "127.0.0.1:1"]] {
        for (path, why, advice) in &cases {
            let path = path.to_str().unwrap();
            let (code, stdout, stderr) = run(&[command, &["--log-file", path]].concat(), b"");
            assert_eq!((code, stdout.as_slice()), (Some(2), &b""[..]), "{stderr}");
            assert!(stderr.starts_with(&format!("resound: --log-file {path} cannot be opened: {why}\n")), "{stderr}");
            assert!(stderr.lines().nth(1).is_some_and(|line| line.starts_with(&format!("  {advice}"))), "{stderr}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_file_that_is_full_is_reported_once_and_stops_nothing() {
    let (server, address) = Program::server(&["--log-file", "/dev/full"]);
    for _ in 0..3 {
        visit(address, "hello");
        // A device can be opened anew, and is as full as before.
        server.signal(Signal::HUP);
    }
    let (_, code, stderr) = stop(server);
    assert_eq!(code, Some(2), "{stderr}");
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(lines[0].contains("warning: --log-file /dev/full cannot be written (No space left on device"), "{stderr}");
    assert!(lines[1].contains("error: --log-file /dev/full could not be written to the end, 1"), "{stderr}");
}

#[test]
fn sighup_opens_the_log_file_anew() {
    let (folder, log) = place();
    for flags in [&[][..], &["--tls"], &["--log", "connections"]] {
        let _ = std::fs::remove_file(&log);
        let (mut server, address) = Program::server(&[&["--log-file", log.to_str().unwrap()], flags].concat());
        eventually("the first lines", || text(&log).contains("Waiting for client connections...\n"));
        let old = folder.path().join("log.1");
        std::fs::rename(&log, &old).unwrap();
        server.signal(Signal::HUP);
        eventually("a new file", || log.exists());
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        let before = text(&old);
        drop(Peer::connect(address));
        eventually("a line in it", || text(&log).contains('\n'));
        assert_eq!(text(&old), before, "the old one is closed");
        assert!(server.child.try_wait().unwrap().is_none(), "no terminal was closed");
        let (_, code, stderr) = stop(server);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(text(&log).contains("Server stopped: "));
    }
}

#[test]
fn a_log_file_that_cannot_be_opened_anew_goes_on() {
    let folder = TempDir::new().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    std::fs::create_dir(&here).unwrap();
    let log = here.join("log");
    let (mut server, address) = Program::server(&["--log-file", log.to_str().unwrap()]);
    let mut errors = Lines::of(server.child.stderr.take().unwrap());
    std::fs::rename(&here, &there).unwrap();
    server.signal(Signal::HUP);
    let warning = errors.next();
    let want = "cannot be reopened (No such file or directory): logging continues in the open file";
    assert!(warning.starts_with("resound: warning: --log-file ") && warning.ends_with(want), "{warning}");
    for _ in 0..3 {
        server.signal(Signal::HUP);
        visit(address, "hello");
    }
    let moved = there.join("log");
    eventually("lines in the old file", || text(&moved).matches("Received from").count() == 3);
    std::fs::rename(&there, &here).unwrap();
    std::fs::rename(&log, here.join("log.1")).unwrap();
    server.signal(Signal::HUP);
    eventually("a new file", || log.exists());
    let (_, code, _) = stop(server);
    assert_eq!((code, errors.rest()), (Some(0), Vec::new()), "once");
    assert!(text(&log).contains("Server stopped: 3 connections, 3 messages"));
}

/// Rotation under load: no line is lost, doubled, torn or mixed with another.
#[test]
fn a_storm_of_sighup_loses_no_line() {
    const CLIENTS: usize = 100;
    const LINES: usize = 30;
    let (folder, log) = place();
    let (server, address) = Program::server(&["--log-file", log.to_str().unwrap()]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let mut peer = Peer::connect(address);
            thread::spawn(move || {
                for line in 0..LINES {
                    peer.ask(&format!("{client:03} {line:03} {}", "x".repeat(client * 3)));
                }
                peer.finish();
                assert!(peer.is_closed());
            })
        })
        .collect();
    let mut number = 0;
    while !clients.iter().all(thread::JoinHandle::is_finished) {
        // Where the last one has not been heeded yet, there is nothing to rename.
        if std::fs::rename(&log, folder.path().join(format!("log.{}", number + 1))).is_ok() {
            number += 1;
        }
        server.signal(Signal::HUP);
        thread::park_timeout(std::time::Duration::from_millis(1));
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    eventually("a new file", || log.exists());
    let (_, code, stderr) = stop(server);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(number > 0, "a file was rotated");
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| text(&entry.unwrap().path()));
    let mut received: Vec<String> = Vec::new();
    for file in files {
        assert!(file.is_empty() || file.ends_with('\n'), "a torn line: {file}");
        for line in file.lines() {
            if let Some((_, message)) =
                line.split_once("): ").filter(|_| line.starts_with("Received from ('127.0.0.1', "))
            {
                received.push(message.into());
            } else {
                let known = [
                    "TCP Server started on 127.0.0.1:",
                    "Waiting for client connections...",
                    "New connection from (",
                    "Connection closed for (",
                    "Shutting down: ",
                    "Server stopped: ",
                ];
                assert!(known.iter().any(|known| line.starts_with(known)), "{line}");
            }
        }
    }
    received.sort();
    let mut want = Vec::new();
    for client in 0..CLIENTS {
        want.extend((0..LINES).map(|line| format!("{client:03} {line:03} {}", "x".repeat(client * 3))));
    }
    assert!(received == want, "{} lines of {}", received.len(), want.len());
}

#[test]
fn a_fifo_needs_no_reader_and_gets_every_line() {
    let (_folder, fifo) = place();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (server, address) = Program::server(&["--log-file", fifo.to_str().unwrap()]);
    // It has no reader yet, and the server serves.
    visit(address, "early");
    let mut reader = BufReader::new(std::fs::File::open(&fifo).unwrap());
    let mut until = |want: &str| {
        let mut line = String::new();
        while !line.contains(want) {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the end, before {want}");
        }
    };
    until("Received from ");
    server.signal(Signal::HUP);
    visit(address, "late");
    until(": late");
    let (_, code, stderr) = stop(server);
    until("Server stopped: 2 connections, 2 messages");
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

/// A log that outgrows its FIFO stops nothing, and what is missing is counted at the end.
#[test]
fn a_fifo_without_a_reader_stops_nothing() {
    let (_folder, fifo) = place();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (mut server, address) = Program::server(&["--log-file", fifo.to_str().unwrap()]);
    let mut peer = Peer::connect(address);
    for _ in 0..200 {
        peer.ask(&"x".repeat(1000));
    }
    peer.finish();
    assert!(peer.is_closed());
    server.signal(Signal::TERM);
    let stderr = server.child.stderr.take().unwrap();
    assert_eq!(wait(&mut server.child).code(), Some(2));
    let lines = Lines::of(stderr).rest();
    assert!(lines.len() == 1 && lines[0].contains("could not be written to the end, up to "), "{lines:?}");
}

/// The disk is full in the middle of a line, and then another file takes its place: the line is
/// whole in that, and no part of it is left in the first.
#[test]
fn a_line_that_was_torn_by_a_full_disk_is_whole_in_the_next_file() {
    let (folder, log) = place();
    let address = format!("unix:{}", folder.path().join("socket").display());
    // A limit on the size of a file looks like a full disk, and another file has room.
    let script = format!(
        "ulimit -f 16; exec '{}' server '{address}' --log-file '{}'",
        env!("CARGO_BIN_EXE_resound"),
        log.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Program::spawn(command);
    server.stdout.next();
    let mut errors = Lines::of(server.child.stderr.take().unwrap());
    let mut peer = std::os::unix::net::UnixStream::connect(folder.path().join("socket")).unwrap();
    let mut answers = BufReader::new(peer.try_clone().unwrap());
    for number in 0..12 {
        peer.write_all(format!("{number:02} {}\n", "x".repeat(900)).as_bytes()).unwrap();
        answers.read_line(&mut String::new()).unwrap();
    }
    let warning = errors.next();
    assert!(warning.contains("cannot be written (File too large"), "{warning}");
    let old = folder.path().join("log.1");
    std::fs::rename(&log, &old).unwrap();
    server.signal(Signal::HUP);
    eventually("the rest of the lines", || text(&log).contains(": 11 x"));
    drop((peer, answers));
    let (_, code, _) = stop(server);
    assert_eq!((code, errors.rest()), (Some(0), Vec::new()));
    let all = text(&old) + &text(&log);
    assert!(text(&old).ends_with('\n') && text(&old).len() < 8192, "{} bytes", text(&old).len());
    let received: Vec<&str> = all.lines().filter(|line| line.starts_with("Received from ")).collect();
    assert_eq!(received.len(), 12);
    for (number, line) in received.iter().enumerate() {
        assert!(line.ends_with(&format!(": {number:02} {}", "x".repeat(900))), "{line}");
    }
}

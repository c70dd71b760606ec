//! The program, as a user sees it: output, errors, exit codes.

use std::io::Read;
#[cfg(unix)]
use std::io::{BufRead, BufReader, Write};
#[cfg(unix)]
use std::process::Stdio;
#[cfg(unix)]
use std::thread;
#[cfg(unix)]
use std::time::Instant;

#[cfg(unix)]
use crate::child::wait;
use crate::child::{Program, run};
#[cfg(unix)]
use crate::harness::uninterrupted;
use crate::harness::{Peer, engines};

#[cfg(unix)]
#[test]
fn the_transcript_of_the_server() {
    for engine in engines() {
        let (mut server, address) = Program::server(&["--engine", engine]);
        assert_eq!(server.stdout.next(), "Waiting for client connections...");
        let mut peer = Peer::connect(address);
        let port = peer.0.local_addr().unwrap().port();
        peer.ask("Hello, server!");
        assert_eq!(server.stdout.next(), format!("New connection from ('127.0.0.1', {port})"));
        assert_eq!(server.stdout.next(), format!("Received from ('127.0.0.1', {port}): Hello, server!"));
        peer.send("\x1b[31mred\x07\r\n");
        assert_eq!(server.stdout.next(), format!("Received from ('127.0.0.1', {port}): \\x1b[31mred\\x07"));
        drop(peer);
        // The unread answer makes this end a reset, and an orderly one has no such remark.
        assert!(server.stdout.next().starts_with(&format!("Connection closed for ('127.0.0.1', {port})")));
        let mut peer = Peer::connect(address);
        let port = peer.0.local_addr().unwrap().port();
        peer.finish();
        assert!(peer.rest().is_empty());
        assert_eq!(server.stdout.next(), format!("New connection from ('127.0.0.1', {port})"));
        assert_eq!(server.stdout.next(), format!("Connection closed for ('127.0.0.1', {port})"));
        server.signal(rustix::process::Signal::INT);
        assert!(server.stdout.next().starts_with("Shutting down: 0 open connections, 10s at most"));
        let last = server.stdout.next();
        assert!(last.starts_with("Server stopped: 2 connections, 2 messages, 26 bytes in,"), "{last}");
        assert!(server.stdout.rest().is_empty());
        assert_eq!(server.end(), (Some(0), String::new()));
    }
}

#[cfg(unix)]
#[test]
fn quiet_names_the_chosen_port_only() {
    let args = ["server", "--quiet", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"];
    let mut server = Program::spawn(Program::command(&args));
    for _ in 0..3 {
        server.stdout.until("TCP Server started on 127.0.0.");
    }
    server.signal(rustix::process::Signal::TERM);
    assert!(server.stdout.rest().is_empty());

    let folder = tempfile::TempDir::new().unwrap();
    let address = format!("unix:{}", folder.path().join("socket").display());
    let mut server = Program::spawn(Program::command(&["server", &address, "--quiet", "--listen", "127.0.0.1:0"]));
    assert!(server.stdout.next().starts_with("TCP Server started on 127.0.0.1:"));
    server.signal(rustix::process::Signal::TERM);
    assert!(server.stdout.rest().is_empty(), "the path was no choice");
}

#[cfg(unix)]
#[test]
fn quiet_is_quiet() {
    let (mut server, address) = Program::server(&["--quiet"]);
    Peer::connect(address).ask("hello");
    server.signal(rustix::process::Signal::TERM);
    assert!(server.stdout.rest().is_empty());
    assert_eq!(server.end(), (Some(0), String::new()));
}

#[cfg(unix)]
#[test]
fn the_json_log_has_one_event_a_line() {
    let mut server = Program::spawn(Program::command(&["server", "127.0.0.1", "0", "--log-format", "json"]));
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect(line);
    let started = parse(&server.stdout.next());
    assert_eq!(started["event"], "started");
    let mut peer = Peer::connect(started["address"].as_str().unwrap().parse().unwrap());
    let local = peer.0.local_addr().unwrap().to_string();
    peer.send("tab\there \u{202e}\n");
    peer.send(b"\xff\n");
    peer.send([b"x".repeat(5000), b"\n".to_vec()].concat());
    peer.finish();
    peer.rest();
    let opened = parse(&server.stdout.next());
    assert_eq!((&opened["event"], &opened["peer"], &opened["conn"]), (&"opened".into(), &local.into(), &1.into()));
    let line = server.stdout.next();
    assert!(!line.contains('\u{202e}'), "{line}");
    let message = parse(&line);
    assert_eq!((&message["event"], &message["text"]), (&"message".into(), &"tab\there \u{202e}\n".into()));
    let message = parse(&server.stdout.next());
    assert_eq!((&message["escaped"], &message["bytes"]), (&"\\xff\\n".into(), &2.into()));
    let message = parse(&server.stdout.next());
    assert_eq!((&message["truncated"], &message["bytes"]), (&true.into(), &5001.into()));
    let closed = parse(&server.stdout.next());
    assert_eq!(
        (&closed["event"], &closed["reason"], &closed["messages"]),
        (&"closed".into(), &"finished".into(), &3.into())
    );
    assert!(closed["seconds"].as_f64().unwrap() >= 0.0);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(parse(&server.stdout.next())["event"], "draining");
    let stopped = parse(&server.stdout.next());
    assert_eq!((&stopped["event"], &stopped["messages"]), (&"stopped".into(), &3.into()));
    assert_eq!(stopped["closed"]["finished"], 1);
    assert!(stopped["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(server.end().0, Some(0));
}

#[cfg(unix)]
#[test]
fn a_second_signal_exits_at_once() {
    for engine in engines() {
        let (mut server, address) =
            Program::server(&["--mode", "chargen", "--drain-timeout", "1h", "--engine", engine]);
        // It reads nothing, so the drain cannot end.
        let peer = Peer::connect(address);
        server.stdout.until("New connection");
        server.signal(rustix::process::Signal::INT);
        server.stdout.until("Shutting down: 1 open connection,");
        server.signal(rustix::process::Signal::INT);
        let start = Instant::now();
        assert_eq!(server.end().0, Some(130));
        assert!(start.elapsed() < crate::harness::PATIENCE);
        drop(peer);
    }
}

#[cfg(unix)]
#[test]
fn a_signal_sent_twice_at_once_is_one_signal() {
    let (mut server, address) = Program::server(&[]);
    let mut peer = Peer::connect(address);
    peer.ask("hello");
    // Of one kind the system itself may make one of two.
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        server.signal(signal);
    }
    let lines: Vec<String> = server.stdout.rest();
    let kinds: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        kinds,
        ["Waiting", "New", "Received", "Shutting", "Connection", "Server"],
        "in the order in which it happened"
    );
    assert_eq!(server.end().0, Some(0));
}

#[cfg(unix)]
#[test]
fn a_drain_that_must_cut_is_reported() {
    let (mut server, address) = Program::server(&["--mode", "chargen", "--drain-timeout", "100ms"]);
    let peer = Peer::connect(address);
    server.stdout.until("New connection");
    server.signal(rustix::process::Signal::TERM);
    let last = server.stdout.until("Server stopped");
    assert!(last.ends_with(", cut: 1"), "{last}");
    assert_eq!(server.end().0, Some(130));
    drop(peer);
}

#[cfg(unix)]
#[test]
fn a_stuck_console_neither_slows_the_server_nor_hides_its_losses() {
    let mut command = Program::command(&["server", "127.0.0.1", "0"]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // Byte by byte up to the first line's end; then the console is not read any more.
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    let address = line.trim().strip_prefix("TCP Server started on ").unwrap().parse().unwrap();
    let mut peer = Peer::connect(address);
    let lines = 200_000;
    let mut writer = peer.0.try_clone().unwrap();
    let sending = thread::spawn(move || {
        writer.write_all("message\n".repeat(lines).as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert_eq!(peer.rest().len(), lines * "Server received: message\n".len());
    sending.join().unwrap();
    drop(peer);
    // All of it is read before the program has only a moment left for it.
    let (mut stdout, mut text) = (BufReader::new(stdout), String::new());
    let mut line = 0;
    while !text[line..].starts_with("Connection closed for") {
        line = text.len();
        assert!(stdout.read_line(&mut text).unwrap() > 0, "the end of the connection is not there");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    stdout.read_to_string(&mut text).unwrap();
    wait(&mut child);
    let printed = text.lines().filter(|line| line.starts_with("Received from")).count();
    let skipped: usize = text
        .lines()
        .filter_map(|line| line.strip_prefix("... and ")?.strip_suffix(" more messages"))
        .map(|count| count.replace(',', "").parse::<usize>().unwrap())
        .sum();
    assert!(skipped > 0, "the console holds a megabyte");
    assert_eq!(printed + skipped, lines);
    assert!(text.contains("Connection closed for"), "what is not a message is kept");
    assert!(text.contains("Server stopped: 1 connection, 200,000 messages"), "{}", &text[text.len() - 300..]);
}

#[test]
fn a_console_without_a_reader_does_not_stop_the_server() {
    let mut child = Program::command(&["server", "127.0.0.1", "0"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = String::new();
    while !text.ends_with("connections...\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        text.push(byte[0].into());
    }
    drop(stdout);
    let address = text.lines().next().unwrap().strip_prefix("TCP Server started on ").unwrap().parse().unwrap();
    for _ in 0..50 {
        Peer::connect(address).ask("hello");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Memory that each peer that never reads costs a server, in KiB. The peers send `text` over and
/// over.
#[cfg(target_os = "linux")]
fn cost_of_slow_readers(args: &[&str], text: &[u8]) -> u64 {
    const PEERS: u64 = 40;
    let mut command = Program::command(&[&["server", "127.0.0.1", "0", "--quiet", "--workers", "1"], args].concat());
    // How many arenas the C library's allocator makes depends on which threads meet.
    command.env("MALLOC_ARENA_MAX", "1");
    let mut server = Program::spawn(command);
    let address = server.stdout.next().strip_prefix("TCP Server started on ").unwrap().parse().unwrap();
    let own_memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap().to_string();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // Until nothing of it is taken any more.
    let stuck = || {
        let mut peer = Peer::connect(address);
        peer.0.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        while peer.0.write(text).is_ok() {}
        peer
    };
    // The first one also pays for what all of them share.
    let _first = stuck();
    let before = own_memory();
    let _slow: Vec<Peer> = std::thread::scope(|scope| {
        let slow: Vec<_> = (0..PEERS).map(|_| scope.spawn(stuck)).collect();
        slow.into_iter().map(|slow| slow.join().unwrap()).collect()
    });
    own_memory().saturating_sub(before) / PEERS
}

#[cfg(target_os = "linux")]
#[test]
fn a_slow_readers_memory_is_bounded() {
    let lines = [&[b'x'; 99][..], b"\n"].concat().repeat(300);
    let long_lines = [&[b'x'; 60_000][..], b"\n"].concat().repeat(4);
    for engine in engines() {
        for (mode, text, most) in [
            ("reply", &lines[..], 64),
            ("echo", &lines[..], 64),
            // Each of these has eighteen times as much for an answer.
            ("reply", &[b'\n'; 30_000][..], 96),
            ("reply", &long_lines[..], 100),
        ] {
            // A thread has a stack too, of which a build for debugging uses more, and a share in an
            // allocator's arena.
            let most = if engine == "threads" { most + 48 } else { most };
            let cost = cost_of_slow_readers(&["--engine", engine, "--mode", mode], text);
            assert!(cost <= most, "{engine}, {mode}: {cost} KiB for a peer that does not read");
        }
    }
}

#[test]
fn modes() {
    for engine in engines() {
        let (_echo, address) = Program::server(&["--mode", "echo", "--engine", engine]);
        let mut peer = Peer::connect(address);
        peer.send(b"a\0b\n");
        peer.expect(b"a\0b\n");

        let (_discard, address) = Program::server(&["--mode", "discard", "--engine", engine]);
        let mut peer = Peer::connect(address);
        peer.send("anything\n");
        peer.finish();
        assert!(peer.rest().is_empty());

        let (_chargen, address) = Program::server(&["--mode", "chargen", "--engine", engine]);
        let mut peer = Peer::connect(address);
        let got = peer.read(200_000);
        assert!(got.starts_with(b" !\"#$%&'()*+,-./0123456789"));
        assert!(got.split(|&byte| byte == b'\n').rev().skip(1).all(|line| line.len() == 73), "lines of 72 and CR");

        let (_chunk, address) = Program::server(&["--framing", "chunk", "--engine", engine]);
        let mut peer = Peer::connect(address);
        peer.send("no newline");
        peer.expect("Server received: no newline");
    }
}

#[test]
fn limits_are_flags() {
    let (_server, address) = Program::server(&["--max-line", "10", "--workers", "1"]);
    // The limit is one of the line, not of its ending.
    Peer::connect(address).ask("0123456789\r");
    let mut peer = Peer::connect(address);
    peer.ask("1234567890");
    peer.send("12345678901\n");
    assert_eq!(peer.rest(), b"Error: line longer than 10 bytes\n");
    let (_server, address) = Program::server(&["--idle-timeout", "200ms", "--workers", "1"]);
    assert!(Peer::connect(address).rest().is_empty(), "idle");
}

#[test]
fn several_addresses() {
    let mut server = Program::spawn(Program::command(&["server", "127.0.0.1", "0", "--listen", "127.0.0.1:0"]));
    for _ in 0..2 {
        let line = server.stdout.next();
        let address = line.strip_prefix("TCP Server started on ").unwrap().parse().unwrap();
        Peer::connect(address).ask("hello");
    }
}

#[test]
fn wrong_arguments_are_explained() {
    let long = format!("unix:/{}", "x".repeat(200));
    let cases: &[(&[&str], &str)] = &[
        (&["server", "127.0.0.1", "70000"], "'70000' is not a port"),
        (&["server", "127.0.0.1", "abc"], "'abc' is not a port; a port is a number from 0 to 65535"),
        (&["server", "256.1.1.1", "80"], "'256.1.1.1' is not an IPv4 address"),
        (&["server", "::zz", "80"], "'::zz' is not an IPv6 address"),
        (&["server", &long], "at most 103 bytes"),
        (&["server", "unix:/tmp/x", "80"], "a unix socket has no port"),
        (&["server", "--mode", "echo", "--framing", "line"], "--mode reply only"),
        (&["server", "--framing", "chunk", "--max-line", "5"], "no meaning"),
        (&["server", "--max-line", "1x"], "write it like 512, 64k or 1MiB"),
        (&["server", "--idle-timeout", "10x"], "write it like 500ms, 10s or 5m"),
        (
            &["server", "--port", "9999"],
            "there is no --port: host and port are positional, the host first\n  resound server 9999\n",
        ),
        (&["server", "9999", "0.0.0.0"], "the host comes first\n  resound server 0.0.0.0 9999\n"),
        (&["client", "--host", "h", "-p", "1"], "there is no --host and no -p: host and port are positional"),
        (&["test", "9999", "localhost"], "\n  resound test localhost 9999\n"),
        (&["load", "--port", "1", "-c", "2"], "\n  resound load 127.0.0.1 1 -c 2\n"),
        (&["server", "--workers", "0"], "--workers"),
        (&["server", "--engine", "steam"], "threads"),
        (&["server", "-4", "-6"], "cannot be used with"),
        (&["server", "127.0.0.1:7000", "7001"], "'127.0.0.1:7000' has a port already"),
        (&["server", "8888", "9999"], "'8888' is not a host"),
        (&["server", "[::1"], "invalid address '[::1'"),
        (&["client", "--expect", "echo"], "--expect has no meaning without a test"),
        (&["server", "--workers", "none"], "a number from 1 on"),
        (&["server", "--workers", "5000"], "workers are allowed"),
        (&["server", "--engine", "threads", "--busy-poll", "1ms"], "its threads block"),
        (&["server", "--drain-timeout", "never"], "write it like 500ms, 10s or 5m"),
        (&["client", "127.0.0.1", "0"], "port 0 cannot be connected to"),
        (&["client", "127.0.0.1", "80", "tset"], "test"),
        (&["frobnicate"], "unrecognized subcommand"),
    ];
    for (args, want) in cases {
        let (code, stdout, stderr) = run(args, b"");
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stdout.is_empty(), "{args:?}");
        assert!(stderr.contains(want), "{args:?}: {stderr}");
    }
}

#[test]
fn a_number_alone_is_in_seconds() {
    let (_server, address) = Program::server(&["--idle-timeout", "0.2", "--drain-timeout", "3"]);
    assert!(Peer::connect(address).rest().is_empty(), "idle");
    let (_server, address) = Program::server(&[]);
    let port = address.port().to_string();
    let (code, stdout, stderr) = run(&["load", "127.0.0.1", &port, "-d", "0.2", "--warm-up", ".1", "--json"], b"");
    assert_eq!(code, Some(0), "{stderr}");
    let run: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((&run["settings"]["duration_s"], &run["warm_up_s"]), (&0.2.into(), &0.1.into()));
}

#[test]
fn an_unknown_host_is_reported() {
    // A label may not be empty, so no resolver has to be asked.
    let (code, _, stderr) = run(&["server", "no..such..host", "0"], b"");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("unknown host 'no..such..host'"), "{stderr}");
    let (code, _, stderr) = run(&["client", "no..such..host", "80"], b"");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("cannot connect to no..such..host:80: dns: "), "{stderr}");
    assert!(stderr.contains("Check the spelling"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_late_server_does_not_make_its_peer_idle() {
    use rustix::process::Signal;
    for engine in engines() {
        let (server, address) = Program::server(&["--idle-timeout", "2s", "--engine", engine]);
        let mut peer = Peer::connect(address);
        peer.ask("one");
        server.signal(Signal::STOP);
        let pid = rustix::process::Pid::from_child(&server.child);
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::UNTRACED).unwrap().expect("it has stopped");
        peer.send("two\n");
        // Nothing comes until the limit is long over.
        peer.0.set_read_timeout(Some(std::time::Duration::from_millis(2300))).unwrap();
        assert!(uninterrupted(|| peer.0.read(&mut [0; 1])).is_err());
        server.signal(Signal::CONT);
        peer.0.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        peer.expect("Server received: two\n");
    }
}

#[test]
fn help_and_version() {
    for args in [&["--help"][..], &["-h"], &["server", "--help"], &["client", "--help"], &["test", "--help"]] {
        let (code, stdout, _) = run(args, b"");
        assert_eq!(code, Some(0));
        assert!(String::from_utf8_lossy(&stdout).contains("Usage: resound"), "{args:?}");
    }
    let (code, stdout, _) = run(&["-V"], b"");
    assert_eq!(code, Some(0));
    assert_eq!(String::from_utf8_lossy(&stdout), format!("resound {}\n", env!("CARGO_PKG_VERSION")));
    let help = String::from_utf8(run(&["server", "--help"], b"").1).unwrap();
    let help: Vec<&str> = help.split_whitespace().collect();
    assert!(help.join(" ").contains("keeps no message boundaries"), "the help says why a chunk is not a message");
}

//! The client as a pipe: what its flags promise to a script.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child::{Program, run, wait};
use crate::client::basics::foreign;
use crate::harness::{PATIENCE, Peer, eventually, longer, noise};

/// The program with open pipes, and its stderr at the end.
fn start(args: &[&str]) -> Child {
    Program::command(args).stdin(Stdio::piped()).spawn().unwrap()
}

fn end(mut child: Child) -> (Option<i32>, Vec<u8>, String) {
    let status = wait(&mut child);
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (status.code(), stdout, stderr)
}

/// A server that this test plays, and the pipe that dialled it.
pub(crate) fn both(flags: &[&str]) -> (Child, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let child = start(&[&["client", "127.0.0.1", &port], flags].concat());
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (child, Peer(stream))
}

/// The events of a run.
fn events(stdout: &[u8]) -> Vec<Value> {
    stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[test]
fn every_input_comes_back_unchanged() {
    let (_server, address) = Program::server(&["--mode", "echo", "--quiet"]);
    let sent = noise(1, 3 << 20);
    for seed in 0..20 {
        let cut = noise(seed, 8).iter().fold(0, |cut, &byte| cut << 8 | usize::from(byte)) % sent.len();
        let (code, got, stderr) = run(&["client", &address.to_string()], &sent[..cut]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "cut at {cut}");
        assert!(got == sent[..cut], "cut at {cut}: {} bytes came back", got.len());
    }
}

#[test]
fn slashes_and_quit_are_bytes_in_a_pipe() {
    let (_server, address) = Program::server(&["--mode", "echo"]);
    let (code, got, _) = run(&["client", &address.to_string()], b"/quit\nquit\n//x\n\x04\x03");
    assert_eq!((code, got.as_slice()), (Some(0), &b"/quit\nquit\n//x\n\x04\x03"[..]));
}

#[test]
fn without_a_half_close_the_servers_close_is_waited_for() {
    let (mut child, mut server) = both(&["--no-half-close"]);
    child.stdin.take().unwrap().write_all(b"question").unwrap();
    server.expect("question");
    // A FIN at the end of stdin would have arrived before the answer.
    server.send("an answer");
    let mut received = [0; 9];
    child.stdout.as_mut().unwrap().read_exact(&mut received).unwrap();
    server.0.set_nonblocking(true).unwrap();
    assert_eq!(server.0.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "no FIN");
    drop(server);
    assert_eq!(end(child).0, Some(0));
}

#[test]
fn send_only_discards_the_answer_and_waits_briefly_for_the_end() {
    let (mut child, mut server) = both(&["--send-only"]);
    // More than fits anywhere: unread, it would hold the server up.
    server.send(noise(2, 32 << 20));
    child.stdin.take().unwrap().write_all(b"all of it").unwrap();
    assert_eq!(server.rest(), b"all of it");
    // The server never closes.
    let (code, stdout, stderr) = end(child);
    assert_eq!((code, stdout.as_slice(), stderr.as_str()), (Some(0), &b""[..], ""));
    drop(server);
}

#[test]
#[cfg(unix)]
fn send_only_waits_for_a_slow_server_that_still_answers() {
    // It reads for 2.5 s what its system has taken, and echoes it meanwhile: a close would destroy
    // the rest.
    let slow = ["--mode", "echo", "--fault", "up: rate=400kB/s"];
    let (server, address) = Program::server(&slow);
    let (code, stdout, stderr) = run(&["client", &address.to_string(), "--send-only"], &noise(3, 1_000_000));
    assert_eq!((code, stdout.as_slice(), stderr.as_str()), (Some(0), &b""[..], ""));
    let line = crate::access::program::stop(server);
    assert!(line.contains(", 976.6 KiB in, "), "{line}");
}

#[test]
fn recv_only_leaves_stdin_alone_and_sends_nothing() {
    let (mut child, mut server) = both(&["--recv-only"]);
    let mut stdin = child.stdin.take().unwrap();
    // More than a pipe holds: it could be written only to a reader.
    let feeder = thread::spawn(move || stdin.write_all(&[b'x'; 1 << 20]));
    server.send("only this");
    server.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.rest(), b"");
    let (code, stdout, _) = end(child);
    assert_eq!((code, stdout.as_slice()), (Some(0), &b"only this"[..]));
    assert!(feeder.join().unwrap().is_err(), "stdin was read");
}

#[test]
fn quit_after_limits_the_wait_for_the_end() {
    let (mut child, mut server) = both(&["--quit-after", "100ms"]);
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    server.send("heard");
    assert_eq!(server.rest(), b"x");
    let (code, stdout, stderr) = end(child);
    assert_eq!((code, stdout.as_slice(), stderr.as_str()), (Some(0), &b"heard"[..], ""));
    // It counts from the end of stdin.
    let (mut child, _server) = both(&["--quit-after", "1ms", "--timeout", "300ms"]);
    let stdin = child.stdin.take();
    let (code, _, stderr) = end(child);
    assert_eq!(code, Some(1), "{stderr}");
    drop(stdin);
}

#[test]
fn an_idle_connection_is_given_up_on_request() {
    let (mut child, mut server) = both(&["--idle-timeout", "2s"]);
    let start = Instant::now();
    let mut stdin = child.stdin.take().unwrap();
    for _ in 0..3 {
        stdin.write_all(b"x").unwrap();
        server.expect("x");
        server.send("y");
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    }
    let (code, _, stderr) = end(child);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("timeout: nothing was sent or received for 2s"), "{stderr}");
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[test]
fn lines_can_end_with_cr_lf_and_come_slowly() {
    let (mut child, mut server) = both(&["--crlf", "--line-delay", "150ms"]);
    child.stdin.take().unwrap().write_all(b"one\ntwo\r\nthree").unwrap();
    let start = Instant::now();
    server.expect("one\r\n");
    server.expect("two\r\n");
    server.expect("three");
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?} for two pauses", start.elapsed());
    drop(server);
    assert_eq!(end(child).0, Some(0));
}

#[test]
fn events_record_the_whole_conversation() {
    let (mut child, mut server) = both(&["--json"]);
    let (near, far) = (server.0.local_addr().unwrap().to_string(), server.0.peer_addr().unwrap().to_string());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hi\n").unwrap();
    server.expect("hi\n");
    server.send(b"\xff\x00\n");
    // What was received stands there before more is sent.
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut seen = Vec::new();
    while !line.contains("\"received\"") {
        line.clear();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        seen.push(serde_json::from_str::<Value>(&line).unwrap());
    }
    drop(stdin);
    assert_eq!(server.rest(), b"");
    drop(server);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    seen.extend(events(&rest));
    assert_eq!(wait(&mut child).code(), Some(0));
    assert_eq!(names(&seen), ["connected", "sent", "received", "eof", "eof", "closed", "end"]);
    assert_eq!((seen[0]["remote"].as_str(), seen[0]["local"].as_str()), (Some(&near[..]), Some(&far[..])));
    assert_eq!((seen[1]["text"].as_str(), seen[1]["bytes"].as_u64()), (Some("hi\n"), Some(3)));
    assert_eq!((seen[2]["hex"].as_str(), seen[2]["bytes"].as_u64()), (Some("ff000a"), Some(3)));
    assert!(seen[2]["since_sent_us"].is_u64());
    assert_eq!((seen[3]["side"].as_str(), seen[4]["side"].as_str()), (Some("local"), Some("remote")));
    assert!(seen[5]["class"].is_null());
    let end = &seen[6];
    assert_eq!((end["ok"].as_bool(), end["exit"].as_u64(), end["class"].is_null()), (Some(true), Some(0), true));
    assert_eq!((end["sent"].as_u64(), end["received"].as_u64()), (Some(3), Some(3)));
    assert!(!cfg!(target_os = "linux") || end["tcp"]["retransmits"] == 0, "{end}");
    for event in &seen {
        let time = event["time"].as_str().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
}

#[test]
fn failures_are_events_too() {
    let (_held, address) = crate::client::connecting::closed_port();
    let port = address.port().to_string();
    let (code, stdout, stderr) = run(&["client", "127.0.0.1", &port, "-j"], b"");
    let seen = events(&stdout);
    assert_eq!((code, names(&seen)), (Some(1), vec!["attempt", "end"]), "{stderr}");
    assert_eq!(
        (seen[0]["class"].as_str(), seen[0]["remote"].as_str()),
        (Some("refused"), Some(&format!("127.0.0.1:{port}")[..]))
    );
    assert_eq!(
        (seen[1]["ok"].as_bool(), seen[1]["exit"].as_u64(), seen[1]["class"].as_str()),
        (Some(false), Some(1), Some("refused"))
    );
    assert!(seen[1]["message"].as_str().unwrap().contains("cannot connect to"), "{}", seen[1]);

    let (mut child, mut server) = both(&["--json"]);
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    server.expect("x");
    server.reset();
    let (code, stdout, _) = end(child);
    let seen = events(&stdout);
    assert_eq!((code, names(&seen)), (Some(1), vec!["connected", "sent", "closed", "end"]));
    assert_eq!((seen[2]["class"].as_str(), seen[3]["class"].as_str()), (Some("reset"), Some("reset")));

    longer(Duration::from_millis(200), |time| {
        let (mut child, _server) = both(&["--json", "--timeout", &format!("{}ms", time.as_millis())]);
        let stdin = child.stdin.take();
        let (code, stdout, _) = end(child);
        let seen = events(&stdout);
        drop(stdin);
        assert_eq!((code, seen.last().unwrap()["class"].as_str()), (Some(1), Some("timeout")));
        // The time begins with the program, and connecting takes some of it.
        let wanted = ["connected", "closed", "end"];
        assert!(names(&seen) == wanted || !names(&seen).contains(&"connected"), "{seen:?}");
        (names(&seen) == wanted).then_some(())
    });
}

#[test]
fn the_bytes_carried_are_reported_even_after_a_failure() {
    let (mut child, mut server) = both(&["--verbose"]);
    child.stdin.as_mut().unwrap().write_all(b"12345").unwrap();
    server.expect("12345");
    server.send("123");
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    server.reset();
    let (code, _, stderr) = end(child);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("resound: sent 5 bytes, received 3 bytes in "), "{stderr}");
    assert!(stderr.contains("resound: reset: "), "{stderr}");
}

#[test]
fn a_slow_reader_of_stdout_does_not_delay_sending() {
    let (done, is_done) = mpsc::channel();
    let port = foreign(move |listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut answers = stream.try_clone().unwrap();
        // More than the pipe takes before it is read.
        let flood = thread::spawn(move || {
            let _ = answers.write_all(&noise(4, 8 << 20));
            let _ = answers.shutdown(Shutdown::Write);
        });
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        done.send(question).unwrap();
        flood.join().unwrap();
    });
    let mut child = start(&["client", "127.0.0.1", &port]);
    child.stdin.take().unwrap().write_all(b"heard?").unwrap();
    // Nothing has been read of stdout yet.
    assert_eq!(is_done.recv_timeout(PATIENCE).unwrap(), b"heard?");
    let mut stdout = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    assert!(stdout == noise(4, 8 << 20));
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_stdout_that_cannot_be_written_is_reported() {
    let (_server, address) = Program::server(&[]);
    for flags in [&[][..], &["--json"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Program::command(&[&["client", &address.to_string()], flags].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(full).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        assert_eq!(wait(&mut child).code(), Some(2));
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert!(stderr.contains("cannot write to stdout: No space left on device"), "{stderr}");
    }
}

#[test]
fn data_received_before_a_failure_is_written() {
    let (mut child, mut server) = both(&[]);
    let sent = noise(8, 200_000);
    server.send(&sent);
    // It has all been taken from the network when the acknowledgement of the last byte is followed
    // by silence; the reset must not overtake it.
    let mut first = vec![0; 100];
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut first).unwrap();
    let mut rest = vec![0; 64_900];
    stdout.read_exact(&mut rest).unwrap();
    // The pipe to us takes 64 KiB: what is more waits in the client.
    wait_until_received(&server);
    server.reset();
    let mut last = Vec::new();
    stdout.read_to_end(&mut last).unwrap();
    assert!([first, rest, last].concat() == sent);
    assert_eq!(wait(&mut child).code(), Some(1));
}

/// Waits until the peer has acknowledged everything and read it, as far as this system shows.
fn wait_until_received(server: &Peer) {
    let table = || std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let end = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let (near, far) = (end(server.0.local_addr().unwrap()), end(server.0.peer_addr().unwrap()));
    eventually("the client reads", || {
        // The client's end: its receive queue is the second half of the fifth field.
        table().lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields.get(1).is_some_and(|local| local.ends_with(&far))
                && fields[2].ends_with(&near)
                && fields[4].ends_with(":00000000")
        })
    });
}

#[cfg(unix)]
#[test]
fn a_signal_has_its_last_event_and_exit_code() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let (mut child, mut server) = both(&["--json", "--verbose"]);
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        server.expect("x");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let (code, stdout, stderr) = end(child);
        let seen = events(&stdout);
        assert_eq!((code, names(&seen)), (Some(130), vec!["connected", "sent", "closed", "end"]));
        assert_eq!((seen[3]["exit"].as_u64(), seen[3]["ok"].as_bool()), (Some(130), Some(false)));
        assert!(stderr.contains("sent 1 byte, received 0 bytes in "), "{stderr}");
    }
}

#[test]
fn a_time_limit_holds_even_where_stdout_is_stuck() {
    for flags in [&["--timeout", "300ms"][..], &["--timeout", "300ms", "--json"]] {
        let (mut child, mut server) = both(flags);
        let flood = thread::spawn(move || {
            let _ = server.0.write_all(&noise(4, 32 << 20));
        });
        // Its stdout is a pipe without a reader.
        assert_eq!(wait(&mut child).code(), Some(1));
        flood.join().unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_ends_the_pipe_even_in_silence() {
    let (mut child, mut server) = both(&[]);
    server.send("the only line\n");
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 14]).unwrap();
    drop(stdout);
    // Neither stdin nor the server sends anything more.
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn text_stays_text_at_every_cut() {
    let (mut child, mut server) = both(&["--json"]);
    drop(child.stdin.take());
    server.send(b"a\xc3");
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"received\"") {
        line.clear();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    }
    assert!(line.contains("\"text\":\"a\""), "{line}");
    server.send(b"\xa9\n");
    drop(server);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let rest = events(&rest);
    let received = rest.iter().find(|event| event["event"] == "received").expect("the rest of the character");
    assert_eq!(received["text"], "\u{e9}\n");
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn each_attempt_is_an_event() {
    let (_held, address) = crate::client::connecting::closed_port();
    let (code, stdout, _) = run(&["client", &address.to_string(), "--json", "--retry", "2"], b"");
    assert_eq!((code, names(&events(&stdout))), (Some(1), vec!["attempt", "attempt", "attempt", "end"]));
}

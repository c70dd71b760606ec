//! The program as a client: pipes, failures, and the test.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::child::{Program, run, wait};
use crate::harness::{Peer, longer, noise, shown};

/// A listener on a free port, served by a function.
pub(crate) fn foreign(serve: impl FnOnce(TcpListener) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || serve(listener));
    port
}

#[test]
fn a_refused_connection_is_reported_with_a_hint() {
    let (_held, address) = crate::client::connecting::closed_port();
    let port = address.port().to_string();
    for args in [&["client", "127.0.0.1", &port][..], &["test", "127.0.0.1", &port]] {
        let (code, stdout, stderr) = run(args, b"hello\n");
        assert_eq!((code, stdout.len()), (Some(1), 0), "{stderr}");
        assert!(stderr.contains(&format!("cannot connect to 127.0.0.1:{port}: refused: ")), "{stderr}");
        assert!(stderr.contains("start the server"), "{stderr}");
    }
}

#[cfg(unix)]
#[test]
fn a_refusing_unix_socket_is_reported() {
    let folder = tempfile::TempDir::new().unwrap();
    let address = format!("unix:{}", folder.path().join("nothing").display());
    let (code, _, stderr) = run(&["client", &address], b"");
    assert_eq!(code, Some(1));
    assert!(stderr.contains(": refused: "), "{stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_unanswered_connection_times_out() {
    // A backlog that is full drops what comes.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    for _ in 0..3 {
        let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&address);
        fillers.push(filler);
    }
    let port = address.as_socket().unwrap().port().to_string();
    let (code, _, stderr) = run(&["client", "127.0.0.1", &port, "--connect-timeout", "200ms"], b"");
    assert_eq!(code, Some(1));
    assert!(stderr.contains(": timeout: no answer in time"), "{stderr}");
    assert!(stderr.contains("firewall"), "{stderr}");
}

#[test]
fn a_pipe_gets_both_replies_and_ends() {
    for engine in ["portable", "threads"] {
        let (_server, address) = Program::server(&["--engine", engine]);
        let port = address.port().to_string();
        let (code, stdout, stderr) = run(&["client", "127.0.0.1", &port], b"a\nb");
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert_eq!(String::from_utf8_lossy(&stdout), "Server received: a\nServer received: b");
        let (code, stdout, stderr) = run(&["client", &address.to_string(), "--verbose"], b"");
        assert_eq!((code, stdout.len()), (Some(0), 0));
        assert!(stderr.contains(&format!("connected to {address}")), "{stderr}");
        assert!(stderr.contains("sent 0 bytes, received 0 bytes"), "{stderr}");
    }
}

#[test]
fn a_pipe_carries_any_bytes() {
    let (_server, address) = Program::server(&["--mode", "echo", "--quiet"]);
    let sent = noise(3, 8 << 20);
    let (code, got, stderr) = run(&["client", &address.to_string()], &sent);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(got == sent, "{} bytes of {}: {}", got.len(), sent.len(), shown(&got[..got.len().min(100)]));
}

#[test]
fn a_reader_that_leaves_ends_the_pipe_quietly() {
    let (_server, address) = Program::server(&["--mode", "chargen"]);
    // Its stdin stays open: only stdout shows that the reader is gone.
    let mut child = Program::command(&["client", &address.to_string()]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 72];
    stdout.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b" !\"#"));
    drop(stdout);
    assert_eq!(wait(&mut child).code(), Some(0));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn the_servers_end_is_the_pipes_end_even_with_stdin_open() {
    for (flags, is_json) in [(&[][..], false), (&["--json"], true)] {
        let port = foreign(|listener| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"goodbye").unwrap();
        });
        let mut command = Program::command(&[&["client", "127.0.0.1", &port][..], flags].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        // Stdin may have had more to send: that is no success.
        assert_eq!(wait(&mut child).code(), Some(1));
        assert!(stderr.contains("eof: the server closed the connection, and stdin had not ended"), "{stderr}");
        assert!(stderr.contains("--recv-only"), "{stderr}");
        if !is_json {
            assert_eq!(stdout, "goodbye");
            continue;
        }
        let events: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["connected", "received", "eof", "given_up", "closed", "end"]);
        assert_eq!(events[3]["stdin_silent_us"], 500_000);
        let end = &events[5];
        assert_eq!((&end["ok"], &end["exit"], &end["class"]), (&false.into(), &1.into(), &"eof".into()));
    }
}

#[test]
fn a_server_that_closes_early_is_no_success() {
    for _ in 0..5 {
        let port = foreign(|listener| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 1000]).unwrap();
            stream.write_all(b"bye").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Long enough for the client to see it; then the rest of its data finds a closed
            // socket.
            stream.read_exact(&mut vec![0; 8 << 20]).unwrap();
        });
        let (code, stdout, stderr) = run(&["client", "127.0.0.1", &port], &noise(9, 30 << 20));
        assert_eq!((code, stdout.as_slice()), (Some(1), &b"bye"[..]), "{stderr}");
        assert!(stderr.contains("eof: the server closed the connection before everything was sent"), "{stderr}");
    }
}

#[test]
fn a_server_that_half_closes_first_gets_everything_still() {
    let (send, got) = std::sync::mpsc::channel();
    let port = foreign(move |listener| {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"bye").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        send.send(rest).unwrap();
    });
    // From a file, which is never silent, even on a slow machine.
    let (folder, sent) = (tempfile::TempDir::new().unwrap(), noise(9, 30 << 20));
    let path = folder.path().join("stdin");
    std::fs::write(&path, &sent).unwrap();
    let mut command = Program::command(&["client", "127.0.0.1", &port]);
    let output = command.stdin(std::fs::File::open(&path).unwrap()).output().unwrap();
    let (stdout, stderr) = (output.stdout.as_slice(), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), stdout, &stderr[..]), (Some(0), &b"bye"[..], ""));
    assert!(got.recv().unwrap() == sent);
}

#[test]
fn a_reader_that_leaves_ends_the_test_quietly() {
    let (_server, address) = Program::server(&[]);
    let mut child = Program::command(&["test", &address.to_string()]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(wait(&mut child).code(), Some(0));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn a_reset_is_a_network_failure() {
    let port = foreign(|listener| {
        let mut peer = Peer(listener.accept().unwrap().0);
        peer.read(1);
        peer.reset();
    });
    let mut child = Program::command(&["client", "127.0.0.1", &port]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"x").unwrap();
    let status = wait(&mut child);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("resound: reset: the server reset the connection"), "{stderr}");
}

#[test]
fn a_run_has_a_time_limit() {
    // The kernel accepts the connection, and no byte ever comes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    longer(Duration::from_millis(200), |time| {
        let limit = format!("{}ms", time.as_millis());
        let mut command = Program::command(&["client", &address, "--timeout", &limit]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let status = wait(&mut child);
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(status.code(), Some(1));
        // The time begins with the program, and may be over before it has connected.
        let is_late = stderr.contains(": timeout: no answer in time");
        assert!(is_late || stderr.contains("timeout: not done after "), "{stderr}");
        (!is_late).then_some(())
    });
}

#[test]
fn the_test_passes_against_the_server() {
    for engine in ["portable", "threads"] {
        let (_server, address) = Program::server(&["--engine", engine]);
        let port = address.port().to_string();
        let (code, stdout, stderr) = run(&["client", "127.0.0.1", &port, "test"], b"");
        let stdout = String::from_utf8(stdout).unwrap();
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        assert_eq!(stdout.lines().filter(|line| line.ends_with("  pass")).count(), 6, "{stdout}");
        assert!(stdout.contains("\n6 of 6 checks passed\n"), "{stdout}");
        let last = stdout.lines().last().unwrap();
        assert!(last.starts_with(&format!("VERDICT  127.0.0.1:{port}: the path carries TCP correctly: ")), "{stdout}");
        assert!(!stdout.contains('\x1b'), "colours are for terminals");
    }
    let (_server, address) = Program::server(&["--mode", "echo"]);
    let (code, stdout, _) = run(&["test", &address.to_string(), "--expect", "echo"], b"");
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&stdout));
}

#[test]
fn the_test_fails_where_the_answer_is_wrong() {
    let (_server, address) = Program::server(&["--mode", "echo"]);
    let (code, stdout, _) = run(&["test", &address.to_string()], b"");
    let stdout = String::from_utf8(stdout).unwrap();
    assert_eq!(code, Some(3), "{stdout}");
    assert!(stdout.contains("FAIL") && stdout.contains("expected  Server received: Hello, server!\\n"), "{stdout}");
    assert!(stdout.contains("add --expect echo"), "{stdout}");
    assert_eq!(stdout.matches("not run").count(), 5, "{stdout}");
    let (_server, address) = Program::server(&[]);
    let (code, stdout, _) = run(&["test", &address.to_string(), "--expect", "echo"], b"");
    assert_eq!(code, Some(3));
    assert!(String::from_utf8_lossy(&stdout).contains("leave out --expect echo"));
    // One byte of the long line is another.
    let port = foreign(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = std::io::BufReader::new(stream.try_clone().unwrap());
        let mut line = Vec::new();
        while std::io::BufRead::read_until(&mut lines, b'\n', &mut line).is_ok_and(|n| n > 0) {
            if line.len() > 20_000 {
                line[20_000] = b'?';
            }
            if stream.write_all(&[b"Server received: ", line.as_slice()].concat()).is_err() {
                return;
            }
            line.clear();
        }
    });
    let (code, stdout, _) = run(&["test", "127.0.0.1", &port], b"");
    let stdout = String::from_utf8(stdout).unwrap();
    assert_eq!(code, Some(3), "{stdout}");
    assert!(stdout.contains("'long line' failed") && stdout.contains("differs from byte 20017 on"), "{stdout}");
}

#[test]
fn the_test_distinguishes_a_network_failure_from_a_wrong_answer() {
    let port = foreign(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"Server rec");
    });
    let (code, _, stderr) = run(&["test", "127.0.0.1", &port], b"");
    assert_eq!(code, Some(3));
    assert!(stderr.contains("eof: the server closed the connection in check 'ASCII', 10 of 32 bytes in"), "{stderr}");
}

#[test]
fn a_test_that_runs_out_of_time_shows_how_far_it_came() {
    // The system connects it; nothing is ever answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    longer(Duration::from_millis(100), |time| {
        let limit = format!("{}ms", time.as_millis());
        let (code, stdout, stderr) = run(&["test", "127.0.0.1", &port, "--timeout", &limit], b"");
        let stdout = String::from_utf8_lossy(&stdout);
        assert_eq!(code, Some(1), "{stderr}");
        // The time begins with the program, and may be over before it has connected.
        if !stdout.contains("Testing ") {
            return None;
        }
        assert!(stdout.lines().any(|line| line.starts_with("ASCII ")), "{stdout}");
        assert!(stdout.contains("0 of 6 checks passed; 'ASCII' failed"), "{stdout}");
        assert!(stderr.contains("not done after "), "{stderr}");
        Some(())
    });
}

//! Standard streams as other programs leave them: without a reader, full, or non-blocking (Unix).

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::thread;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;

use tempfile::TempDir;

use crate::child::{Lines, Program, run, wait};
use crate::client::connecting::closed_port;
use crate::harness::noise;

/// Runs the program to its end with this as its stdout: exit code and stderr.
fn run_into(stdout: impl Into<Stdio>, args: &[&str]) -> (Option<i32>, String) {
    let mut child = Program::command(args).stdout(stdout).spawn().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (wait(&mut child).code(), stderr)
}

/// The results of a run, in a file.
fn saved(folder: &TempDir, address: &str) -> String {
    let (code, results, stderr) = run(&["load", address, "--mode", "echo", "-n", "100", "--json"], b"");
    assert_eq!(code, Some(0), "{stderr}");
    let path = folder.path().join("run.json");
    std::fs::write(&path, results).unwrap();
    path.to_str().unwrap().into()
}

#[test]
fn a_reader_that_leaves_takes_no_exit_code_with_it() {
    let folder = TempDir::new().unwrap();
    let (_server, address) = Program::server(&["--mode", "echo", "--quiet"]);
    let address = address.to_string();
    let (_held, closed) = closed_port();
    let closed = closed.to_string();
    let saved = saved(&folder, &address);
    let load = ["load", &address, "--mode", "echo", "-n", "100"];
    let broken = ["--fail-if", "rate>0"];
    let endless = ["load", &address, "--mode", "echo", "-d", "1h", "--json", "--interval", "100ms"];
    let cases: [(&[&str], i32); 18] = [
        (&["test", &address, "--expect", "echo"], 0),
        (&["test", &address], 3),
        (&["client", &address, "test"], 3),
        (&["test", &closed], 1),
        (&["client", &address], 0),
        (&["client", &closed], 1),
        (&["client", &closed, "--json"], 1),
        (&["client", &closed, "--wait"], 1),
        (&load, 0),
        (&[&load[..], &broken].concat(), 3),
        (&["load", &closed, "--mode", "echo"], 1),
        (&["load", &closed], 1),
        (&[&endless[..], &broken].concat(), 3),
        (&endless, 0),
        (&["report", &saved], 0),
        (&[&["report", &saved][..], &broken].concat(), 3),
        (&["--help"], 0),
        (&["man", "client"], 0),
    ];
    for (args, want) in cases {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let (code, stderr) = run_into(writer, args);
        assert_eq!(code, Some(want), "{args:?}: {stderr}");
        assert!(!stderr.contains("stdout") && !stderr.contains("ipe"), "{args:?}: {stderr}");
    }
}

#[test]
fn sending_needs_no_reader() {
    let sent = noise(5, 4 << 20);
    let (send, got) = std::sync::mpsc::channel();
    let port = crate::client::basics::foreign(move |listener| {
        let mut all = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
        send.send(all).unwrap();
    });
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = Program::command(&["client", "127.0.0.1", &port, "--send-only"]);
    let mut child = command.stdin(Stdio::piped()).stdout(writer).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&sent).unwrap();
    assert!(got.recv_timeout(crate::harness::PATIENCE).unwrap() == sent);
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let folder = TempDir::new().unwrap();
    let (_server, address) = Program::server(&["--mode", "echo", "--quiet"]);
    let address = address.to_string();
    let saved = saved(&folder, &address);
    let load = ["load", &address, "--mode", "echo", "-n", "100"];
    let stdout = "cannot write to stdout: No space left on device";
    let file = "cannot write /dev/full: No space left on device";
    let cases: [(&[&str], i32, &str); 13] = [
        (&["test", &address, "--expect", "echo"], 2, stdout),
        // A failed check outweighs the failure to print it.
        (&["test", &address], 3, stdout),
        (&load, 2, stdout),
        (&["load", &address, "--mode", "echo", "-d", "1h", "--json", "--interval", "100ms"], 2, stdout),
        (&[&load[..], &["--html", "/dev/full"]].concat(), 2, file),
        (&[&load[..], &["--junit", "/dev/full", "--fail-if", "rate>0"]].concat(), 3, file),
        (&["report", &saved], 2, stdout),
        (&["report", &saved, "--hdr", "/dev/full"], 2, file),
        (&["report", &saved, "--fail-if", "rate>0"], 3, stdout),
        (&["completions", "bash"], 2, stdout),
        (&["man"], 2, stdout),
        (&["server", "--help"], 2, stdout),
        (&["--version"], 2, stdout),
    ];
    for (args, want, what) in cases {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, stderr) = run_into(full, args);
        assert_eq!(code, Some(want), "{args:?}: {stderr}");
        assert!(stderr.contains(what), "{args:?}: {stderr}");
    }
}

/// The program, which is ended with the test; its stdout goes elsewhere.
fn unheard(command: &mut std::process::Command) -> Program {
    Program { child: command.spawn().unwrap(), stdout: Lines::of(std::io::empty()) }
}

/// The program under a limit on the size of a file, in half kilobytes: to the program it looks like
/// a full file system.
fn limited(size: u32, args: &str) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("ulimit -f {size}; exec '{}' {args}", env!("CARGO_BIN_EXE_resound"))]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Rust's runtime opens /dev/null in its place, which takes everything.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_stdout_takes_nothing_and_dev_null_everything() {
    let (_server, address) = Program::server(&["--mode", "echo", "--quiet"]);
    for args in ["--version".to_string(), format!("client {address}")] {
        for (to, want) in [(">&-", 2), (">/dev/null", 0)] {
            let script = format!("echo hello | '{}' {args} {to}", env!("CARGO_BIN_EXE_resound"));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(want), "{script}: {stderr}");
        }
    }
}

#[test]
fn half_a_report_is_none() {
    let folder = TempDir::new().unwrap();
    let (_server, address) = Program::server(&["--mode", "echo", "--quiet"]);
    let page = folder.path().join("page.html");
    let output =
        limited(16, &format!("load {address} --mode echo -n 100 --quiet --html '{}'", page.display())).output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(&format!("cannot write {}: ", page.display())), "{stderr}");
    assert!(!output.stdout.is_empty(), "the results are shown all the same");
    assert_eq!(std::fs::metadata(&page).unwrap().len(), 0);
}

#[test]
fn a_log_that_is_full_goes_on_when_there_is_room() {
    for format in ["text", "json"] {
        let folder = TempDir::new().unwrap();
        let (socket, log) = (folder.path().join("socket"), folder.path().join("log"));
        let stdout = File::options().create(true).append(true).open(&log).unwrap();
        let arguments = format!("server 'unix:{}' --log-format {format}", socket.display());
        let mut server = unheard(limited(64, &arguments).stdout(stdout));
        let address = format!("unix:{}", socket.display());
        let line = format!("{}\n", "x".repeat(900));
        let mut errors = Lines::of(server.child.stderr.take().unwrap());
        let ask = |lines: usize| {
            let (code, _, stderr) = run(&["client", &address, "--wait"], line.repeat(lines).as_bytes());
            assert_eq!(code, Some(0), "{stderr}");
        };
        // Between 32 KiB, which is the limit, and twice that.
        ask(42);
        let warning = errors.next();
        assert!(warning.starts_with("resound: warning: stdout cannot be written (File too large"), "{warning}");
        // The failure is reported once, and the server goes on serving.
        ask(3);
        File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
        server.signal(Signal::TERM);
        assert_eq!((wait(&mut server.child).code(), errors.rest()), (Some(0), Vec::new()));
        // What is left fills less than was there: all of it is there, in whole lines.
        let log = std::fs::read_to_string(&log).unwrap();
        let messages = log.lines().filter(|line| line.contains("x".repeat(900).as_str())).count();
        assert!((4..45).contains(&messages), "{messages} messages: {log}");
        if format == "json" {
            log.lines().for_each(|line| drop(serde_json::from_str::<serde_json::Value>(line).expect(line)));
            assert!(log.lines().last().unwrap().contains("\"messages\":45"), "{log}");
        } else {
            assert!(log.lines().next().unwrap().starts_with("Received from ('unix', 1): x"), "{log}");
            assert!(log.ends_with(" out\n") && log.contains("Server stopped: 2 connections, 45 messages"), "{log}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_stays_full_is_no_success() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let folder = TempDir::new().unwrap();
    let address = format!("unix:{}", folder.path().join("socket").display());
    // With and without a stderr to report it.
    for has_stderr in [true, false] {
        let mut command = Program::command(&["server", &address]);
        command.stdout(full());
        if !has_stderr {
            command.stderr(full());
        }
        let server = unheard(&mut command);
        let (code, answer, stderr) = run(&["client", &address, "--wait"], b"hello\n");
        assert_eq!((code, answer.as_slice()), (Some(0), &b"Server received: hello\n"[..]), "{stderr}");
        server.signal(Signal::TERM);
        let (code, stderr) = server.end();
        assert_eq!(code, Some(2), "{stderr}");
        if has_stderr {
            let lines: Vec<_> = stderr.lines().collect();
            assert_eq!(lines.len(), 2, "{stderr}");
            assert!(lines[0].contains("warning: stdout cannot be written (No space left on device"), "{stderr}");
            assert!(lines[1].contains("could not be written to the end, 7 lines are missing: No space"), "{stderr}");
        }
    }
}

/// A pipe into the program whose end does not block, and is full already, and how full.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = pipe().unwrap();
    unblock(&writer);
    let mut filler = 0;
    // To the last byte: a little may fit where much does not.
    for size in [1000, 1] {
        while let Ok(n) = writer.write(&vec![b'.'; size]) {
            filler += n;
        }
    }
    (reader, writer, filler)
}

/// What another program does that reads or writes without waiting.
fn unblock(end: impl AsFd) {
    let flags = fcntl_getfl(&end).unwrap();
    fcntl_setfl(&end, flags | OFlags::NONBLOCK).unwrap();
}

fn blocks(end: impl AsFd) -> bool {
    !fcntl_getfl(&end).unwrap().contains(OFlags::NONBLOCK)
}

/// All that comes out of a pipe after what was in it.
fn behind(filler: usize, mut reader: PipeReader) -> String {
    let mut all = String::new();
    reader.read_to_string(&mut all).unwrap();
    assert!(all[..filler].bytes().all(|byte| byte == b'.'));
    all[filler..].into()
}

#[test]
fn a_log_that_is_stuck_at_the_end_is_no_success() {
    for waits in [true, false] {
        let folder = TempDir::new().unwrap();
        let address = format!("unix:{}", folder.path().join("socket").display());
        // Its reader is there, and does not read.
        let (reader, log, filler) = full_pipe();
        if waits {
            let flags = fcntl_getfl(&log).unwrap();
            fcntl_setfl(&log, flags - OFlags::NONBLOCK).unwrap();
        }
        let mut command = Program::command(&["server", &address]);
        let server = unheard(command.stdout(log));
        drop(command);
        let (code, answer, stderr) = run(&["client", &address, "--wait"], b"hello\n");
        assert_eq!((code, answer.as_slice()), (Some(0), &b"Server received: hello\n"[..]), "{stderr}");
        server.signal(Signal::TERM);
        let (code, stderr) = server.end();
        assert_eq!(code, Some(2), "{stderr}");
        let shown = "stdout could not be written to the end, up to 7 lines are missing: its reader does not read";
        assert_eq!(stderr, format!("resound: error: {shown}\n"));
        assert_eq!(behind(filler, reader), "");
    }
}

#[test]
fn room_on_a_pipe_that_does_not_block_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let (_server, address) = Program::server(&["--mode", "echo", "--quiet"]);
    let address = address.to_string();
    let saved = saved(&folder, &address);
    let cases: [(&[&str], &str); 7] = [
        (&["--help"], "Exit codes: "),
        (&["man"], ".TH resound 1"),
        (&["completions", "bash"], "_resound()"),
        (&["test", &address, "--expect", "echo"], "6 of 6 checks passed\n"),
        (&["load", &address, "--mode", "echo", "-n", "9", "--json"], "resound-load/"),
        (&["report", &saved], "Distribution of "),
        (&["client", &address, "--json"], "\"event\":\"end\",\"ok\":true"),
    ];
    for (args, wanted) in cases {
        let (reader, writer, filler) = full_pipe();
        let (ours, into) = (writer.try_clone().unwrap(), Stdio::from(writer));
        let mut child = Program::command(args).stdout(into).spawn().unwrap();
        // By the time another one is done this one has found no room.
        run(args, b"");
        assert!(!blocks(&ours), "the flags belong to others too");
        drop(ours);
        let shown = behind(filler, reader);
        assert!(shown.contains(wanted), "{args:?}: {shown}");
        assert_eq!(wait(&mut child).code(), Some(0), "{args:?}");
    }
}

#[test]
fn a_log_and_warnings_on_pipes_that_do_not_block_are_complete() {
    let folder = TempDir::new().unwrap();
    let address = format!("unix:{}", folder.path().join("socket").display());
    let ((stdout, log, filler), (stderr, warnings, other)) = (full_pipe(), full_pipe());
    let mut command = Program::command(&["server", "0.0.0.0", "0", "--listen", &address]);
    let server = unheard(command.stdout(log).stderr(warnings));
    drop(command);
    let lines: String = (0..5000).map(|n| format!("line {n}\n")).collect();
    assert_eq!(run(&["client", &address, "--wait"], lines.as_bytes()).0, Some(0));
    server.signal(Signal::TERM);
    let warned = thread::spawn(move || behind(other, stderr));
    let shown = behind(filler, stdout);
    assert_eq!(shown.lines().filter(|line| line.contains(": line ")).count(), 5000);
    assert!(shown.contains("Server stopped: 1 connection, 5,000 messages"), "{shown}");
    assert!(warned.join().unwrap().contains("can be reached from other machines"));
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn progress_on_a_pipe_that_does_not_block_stops_nothing() {
    let (reader, writer, filler) = full_pipe();
    let args = ["load", "--loopback", "-n", "100", "--mode", "echo"];
    let mut command = Program::command(&args);
    let child: Child = command.stderr(writer).spawn().unwrap();
    drop(command);
    // By the time a longer one is done this one has found no room.
    run(&["load", "--loopback", "-d", "500ms", "--mode", "echo"], b"");
    let shown = thread::spawn(move || behind(filler, reader));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Load on "));
    let shown = shown.join().unwrap();
    assert!(shown.contains("finishing"), "{shown}");
}

#[test]
fn input_on_a_pipe_that_does_not_block_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (reader, mut writer) = pipe().unwrap();
    unblock(&reader);
    let ours = reader.try_clone().unwrap();
    let mut command = Program::command(&["client", &address]);
    let mut child = command.stdin(reader).spawn().unwrap();
    drop(command);
    let mut server = crate::harness::Peer(listener.accept().unwrap().0);
    // It has looked for input when it has shown this.
    server.send("go");
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    for n in 0..3 {
        let line = format!("line {n}\n");
        writer.write_all(line.as_bytes()).unwrap();
        server.expect(line);
    }
    assert!(!blocks(&ours), "the flags belong to others too");
    drop((writer, ours));
    assert_eq!(server.rest(), b"");
    drop(server);
    assert_eq!(wait(&mut child).code(), Some(0));

    // Results that come late.
    let folder = TempDir::new().unwrap();
    let (_server, address) = Program::server(&["--mode", "echo", "--quiet"]);
    let saved = saved(&folder, &address.to_string());
    let (reader, mut writer) = pipe().unwrap();
    unblock(&reader);
    let mut command = Program::command(&["report", "-"]);
    let child = command.stdin(reader).spawn().unwrap();
    drop(command);
    run(&["report", &saved], b"");
    writer.write_all(&std::fs::read(&saved).unwrap()).unwrap();
    drop(writer);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

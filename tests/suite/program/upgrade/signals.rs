//! Signals to two processes of which one replaces the other.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Generations, is_gone, linked, replace};
use crate::child::Program;
use crate::harness::{Peer, eventually};

/// From the moment when the old process has stopped to accept, nothing interrupts it for seconds.
#[test]
fn a_second_signal_does_not_wait_until_the_new_process_serves() {
    let folder = tempfile::TempDir::new().unwrap();
    let (link, turn) = (linked(folder.path()), folder.path().join("turn"));
    let (mut server, address) = Generations::server(&link, &["--drain-timeout", "1h"]);
    let mut held = Peer::connect(address);
    held.ask("hello");
    let ready = "set -- $_RESOUND_UPGRADE\nread -r list <&$2\necho ready >&$2\nread -r turn <&$2";
    replace(&link, &format!("#!/bin/bash\n{ready}\n: >{}\nexec sleep 1000\n", turn.display()));
    server.signal(Signal::USR2);
    let line = server.program.stdout.until("Upgrading: process ");
    let hanging = line.split(' ').nth(2).unwrap().parse().unwrap();
    eventually("the new process has its turn", || turn.exists());
    server.signal(Signal::TERM);
    let mut last = Instant::now();
    eventually("it ends", || {
        if last.elapsed() > Duration::from_millis(25) {
            server.signal(Signal::TERM);
            last = Instant::now();
        }
        server.program.child.try_wait().unwrap().is_some()
    });
    let status = server.program.child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(is_gone(hanging), "the process that was to replace it is left behind");
    let warnings = server.stderr.rest();
    assert!(warnings.iter().all(|line| !line.contains("no upgrade")), "it was heard late: {warnings:?}");
}

/// The test is the predecessor.
#[test]
fn a_signal_ends_a_process_that_waits_for_its_turn() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    // Without the flag that closes it in the new process.
    let passed = rustix::io::dup(&theirs).unwrap();
    let mut command = Program::command(&["server", "127.0.0.1", "0"]);
    command.env("_RESOUND_UPGRADE", format!("{} {}", std::process::id(), passed.as_raw_fd()));
    let server = Program::spawn(command);
    drop((theirs, passed));
    (&ours).write_all(b"[]\n").unwrap();
    let mut line = String::new();
    BufReader::new(&ours).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    server.signal(Signal::TERM);
    let (code, stderr) = server.end();
    assert_eq!((code, stderr.as_str()), (Some(130), "resound: a signal ends this process before its turn\n"));
}

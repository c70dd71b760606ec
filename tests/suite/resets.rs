//! A reset is never taken for an end in order: what the client makes of one, whenever it comes.

use std::io::{Read, Write};
use std::process::Child;
use std::thread;

use crate::harness::{noise, wait};
use crate::pipe::both;

/// What the program has come to: exit code, stdout, stderr.
fn end(mut child: Child) -> (Option<i32>, Vec<u8>, String) {
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (wait(&mut child).code(), stdout, stderr)
}

#[track_caller]
fn expect_reset(child: Child, want: &[u8]) {
    let (code, stdout, stderr) = end(child);
    assert_eq!((code, stdout.as_slice()), (Some(1), want), "{stderr}");
    // It may come so early that there is no connection yet.
    assert!(stderr.contains("reset: "), "{stderr}");
}

/// All the ways to wait for a server's end.
const WAYS: [&[&str]; 5] = [&[], &["--no-half-close"], &["--send-only"], &["--quit-after", "10m"], &["--crlf"]];

#[test]
fn a_reset_before_anything_was_said_is_a_failure() {
    for flags in [&[&["--recv-only"][..]][..], &WAYS].concat() {
        let (child, server) = both(flags);
        server.reset();
        expect_reset(child, b"");
        // Stdin is at its end already.
        let (mut child, server) = both(flags);
        drop(child.stdin.take());
        server.reset();
        expect_reset(child, b"");
    }
}

#[test]
fn a_reset_while_much_is_sent_is_a_failure() {
    for flags in WAYS {
        let (mut child, mut server) = both(flags);
        let mut stdin = child.stdin.take().unwrap();
        let feeding = thread::spawn(move || drop(stdin.write_all(&noise(3, 16 << 20))));
        server.read(100_000);
        server.reset();
        expect_reset(child, b"");
        feeding.join().unwrap();
    }
}

#[test]
fn a_reset_behind_the_half_close_is_a_failure() {
    for (flags, answered) in [(&[][..], ""), (&["--quit-after", "10m"][..], "half an ans"), (&[][..], "half an ans")] {
        let (mut child, mut server) = both(flags);
        child.stdin.take().unwrap().write_all(b"question\n").unwrap();
        assert_eq!(server.rest(), b"question\n");
        server.send(answered);
        let mut heard = vec![0; answered.len()];
        child.stdout.as_mut().unwrap().read_exact(&mut heard).unwrap();
        assert_eq!(heard, answered.as_bytes());
        server.reset();
        expect_reset(child, b"");
    }
}

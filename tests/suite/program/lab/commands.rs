//! What a command finds in a lab, and how it ends.

use std::net::TcpListener;
use std::process::Command;

use super::{has, is_allowed, lab, program};

#[test]
fn the_exit_code_is_that_of_the_command() {
    if !is_allowed("exit codes of commands in a lab") {
        return;
    }
    for (command, want) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        let (code, _, stderr) = lab(&["-q", "--", "sh", "-c", command]);
        assert_eq!((code, stderr.as_str()), (Some(want), ""), "{command}");
    }
    let (code, _, stderr) = lab(&["-q", "--", "/no/such/command"]);
    assert_eq!((code, stderr.starts_with("resound: cannot run /no/such/command: ")), (Some(127), true), "{stderr}");
    let (code, ..) = lab(&["-q", "--", "/etc/passwd"]);
    assert_eq!(code, Some(126));
}

#[test]
fn the_streams_are_those_of_the_lab() {
    if !is_allowed("streams of commands in a lab") {
        return;
    }
    let (code, stdout, stderr) = crate::child::run(&["lab", "-q", "--", "sh", "-c", "cat; echo two >&2"], b"one\n");
    assert_eq!((code, stdout.as_slice(), stderr.as_str()), (Some(0), &b"one\n"[..], "two\n"));
}

#[test]
fn a_command_blocks_no_other_signals_than_outside() {
    if !has("grep", "signals of commands in a lab") {
        return;
    }
    let command = ["grep", "^SigBlk", "/proc/self/status"];
    let (code, inside, stderr) = lab(&[&["-q", "--"][..], &command].concat());
    assert_eq!(code, Some(0), "{stderr}");
    // A runtime that waits for SIGCHLD would wait for ever where that is blocked.
    let outside = Command::new(command[0]).args(&command[1..]).output().unwrap();
    assert_eq!(inside, String::from_utf8_lossy(&outside.stdout));
}

#[test]
fn the_far_end_is_known_by_its_name_and_the_outside_is_as_it_was() {
    if !is_allowed("names in a lab") {
        return;
    }
    let before = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let (code, stdout, stderr) = lab(&["-q", "--", "cat", "/etc/hosts"]);
    assert_eq!(code, Some(0), "{stderr}");
    for line in ["10.77.0.1 near", "fd77::1 near", "10.77.0.2 far", "fd77::2 far"] {
        assert!(stdout.lines().any(|found| found == line), "{stdout}");
    }
    assert_eq!(std::fs::read_to_string("/etc/hosts").unwrap_or_default(), before);
}

#[test]
fn nothing_outside_is_within_reach() {
    if !is_allowed("what a lab reaches") {
        return;
    }
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = outside.local_addr().unwrap().port().to_string();
    let (code, _, stderr) = lab(&["-q", "--", program(), "client", "127.0.0.1", &port]);
    assert!(code == Some(1) && stderr.contains("refused"), "{code:?} {stderr}");
    // An address of the real network (TEST-NET-1): no route leads there.
    let (code, _, stderr) = lab(&["-q", "--", program(), "client", "192.0.2.1", "1"]);
    assert!(code == Some(1) && stderr.contains("unreachable"), "{code:?} {stderr}");
    // All links but the loopback lead to the router.
    let (_, stdout, _) = lab(&["-q", "--", "sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1"]);
    let links: Vec<_> = stdout.split_whitespace().collect();
    assert!(links.contains(&"lo") && links.contains(&"eth0"), "{stdout}");
}

#[test]
fn a_server_in_the_far_end_answers_a_client_in_the_near_end() {
    if !is_allowed("a server and a client in a lab") {
        return;
    }
    for host in ["10.77.0.2", "fd77::2"] {
        let far = format!("{} server {host} 8888 -q", program());
        let (code, stdout, stderr) = lab(&["--far", &far, "--seed", "5", "--", program(), "test", host, "8888"]);
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        assert!(stdout.contains("6 of 6 checks passed"), "{stdout}");
        assert!(stderr.contains("seed 5; router: "), "{stderr}");
    }
}

#[test]
fn a_lab_runs_in_a_lab() {
    if !is_allowed("a lab in a lab") {
        return;
    }
    let inner = [program(), "lab", "-q", "--", "sh", "-c", "exit 5"];
    let (code, _, stderr) = lab(&[&["-q", "--"][..], &inner].concat());
    assert_eq!(code, Some(5), "{stderr}");
}

/// A file that cannot be written does not hide how the command has ended.
#[test]
fn a_failed_command_keeps_its_exit_code() {
    if !is_allowed("the exit code of a command beside a file that cannot be written") {
        return;
    }
    for flag in ["--json", "--pcap"] {
        for (command, want) in [("exit 5", 5), ("exit 0", 2), ("exec /nonexistent", 127)] {
            let (code, _, stderr) = lab(&["-q", flag, "/dev/full", "--", "sh", "-c", command]);
            assert!(
                code == Some(want) && stderr.contains("cannot write /dev/full"),
                "{flag} {command}: {code:?} {stderr}"
            );
        }
    }
}

#[test]
fn what_is_wrong_is_said_before_the_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made");
    let made = file.to_str().unwrap();
    for (flags, want) in [
        (&["--los", "1%"][..], "a similar argument exists: '--loss'"),
        (&["--nat", "idle-silent=5s"], "unexpected argument 'idle-silent=5s'"),
        (&["--json", "/nonexistent/summary"], "cannot write /nonexistent/summary"),
    ] {
        let (code, _, stderr) = lab(&[flags, &["--", "touch", made]].concat());
        assert!(code == Some(2) && stderr.contains(want), "{flags:?}: {code:?} {stderr}");
        assert!(!file.exists(), "{flags:?}");
    }
}

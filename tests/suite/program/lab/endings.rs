//! How a lab ends, and that it leaves nothing.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use super::{has, is_allowed, lab, program};
use crate::child::Program;
use crate::harness::PATIENCE;

/// A number that no other process has in its command line.
fn mark() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}.{:03}", 100_000 + std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The processes with a word in their command line, except this one.
pub(super) fn marked(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let text = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = text.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        if words.iter().any(|word| word.contains(mark)) {
            found.push(format!("{}: {}", entry.file_name().to_string_lossy(), words.join(" ")));
        }
    }
    found
}

/// Waits until no process has the mark.
pub(super) fn await_none(mark: &str) {
    let begun = Instant::now();
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "left: {left:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(2));
    }
}

/// A lab whose command prints a line once both ends run, and then waits.
pub(super) fn waiting(mark: &str, command: &str) -> Program {
    let far = format!("{} server far 8888 -q & sleep {mark}", program());
    let mut waiting = Program::spawn(Program::command(&["lab", "-q", "--far", &far, "--", "sh", "-c", command]));
    assert_eq!(waiting.stdout.next(), "begun");
    waiting
}

#[test]
fn signals_reach_the_command_and_nothing_is_left() {
    if !is_allowed("signals to a lab") {
        return;
    }
    for (signal, want) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mark = mark();
        let waiting = waiting(&mark, &format!("sleep {mark} & echo begun; exec sleep {mark}"));
        assert!(marked(&mark).len() >= 4, "{:?}", marked(&mark));
        waiting.signal(signal);
        assert_eq!(waiting.end().0, Some(want), "{signal:?}");
        // The kernel has ended them all before the program was done.
        assert_eq!(marked(&mark), Vec::<String>::new());
    }
}

#[test]
fn a_command_may_handle_the_signal() {
    if !is_allowed("signals to a command in a lab") {
        return;
    }
    let mark = mark();
    let command = format!("trap 'exit 9' TERM; echo begun; while :; do sleep {mark} & wait; done");
    let waiting = waiting(&mark, &command);
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.end().0, Some(9));
    assert_eq!(marked(&mark), Vec::<String>::new());
}

#[test]
fn a_killed_lab_leaves_no_process() {
    if !is_allowed("a killed lab") {
        return;
    }
    let mark = mark();
    let waiting = waiting(&mark, &format!("sleep {mark} & echo begun; exec sleep {mark}"));
    waiting.signal(Signal::KILL);
    assert_eq!(waiting.end().0, None);
    await_none(&mark);
}

#[test]
fn what_a_command_leaves_behind_ends_with_the_lab() {
    if !is_allowed("background processes in a lab") {
        return;
    }
    let mark = mark();
    let (code, ..) = lab(&["-q", "--", "sh", "-c", &format!("setsid sleep {mark} & exit 4")]);
    assert_eq!(code, Some(4));
    assert_eq!(marked(&mark), Vec::<String>::new());
}

#[test]
fn a_far_command_that_fails_is_named() {
    if !is_allowed("a far command that fails") {
        return;
    }
    let (code, _, stderr) = lab(&["--far", "exit 3", "--", "true"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("the far command has ended before anything listened: exit code 3"), "{stderr}");
    let (code, _, stderr) = lab(&["-q", "--far", "sleep 1000", "--far-wait", "10ms", "--", "true"]);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("nothing listens in the far end after 10ms"), "{stderr}");
}

#[test]
fn a_system_that_refuses_is_explained() {
    if !has("setpriv", "a system that refuses a lab") {
        return;
    }
    // In a lab the program may take away what a lab needs.
    let without = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all \
                   --bounding-set=-all";
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("packets");
    let inner = format!("{} lab --pcap {} -- true", program(), file.display());
    let (code, _, stderr) = lab(&["-q", "--", "sh", "-c", &format!("{without} {inner}")]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.starts_with("resound: this system refuses a lab: "), "{stderr}");
    assert!(stderr.contains("`sudo sysctl user.max_user_namespaces=10000` allows them"), "{stderr}");
    assert!(!file.exists(), "a lab that was refused leaves no file");
}

#[test]
fn a_command_that_does_not_end_is_killed() {
    if !is_allowed("a command that ignores a signal in a lab") {
        return;
    }
    let mark = mark();
    let command = format!("trap '' TERM; echo begun; exec sleep {mark}");
    let waiting = waiting(&mark, &command);
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.end(), (Some(137), String::new()));
    assert_eq!(marked(&mark), Vec::<String>::new());
}

#[test]
fn in_a_chroot_nothing_is_mounted_outside() {
    if !has("unshare", "a lab in a chroot") || !has("chroot", "a lab in a chroot") {
        return;
    }
    // The lab's root is a plain folder, and its /proc a mount that others share. An outer lab keeps
    // the mounts of this test away from the machine.
    let script = r#"
        mount -t tmpfs test /mnt && mkdir -p /mnt/root/proc && cd /mnt/root || exit 90
        for folder in bin lib lib64 usr etc dev; do
            [ ! -e /$folder ] || { mkdir $folder && mount --rbind /$folder $folder; } || exit 91
        done
        touch resound && mount --bind "$1" resound && mount --rbind /proc proc || exit 92
        mount --make-shared proc && mount --make-shared /mnt || exit 93
        before=$(cat /proc/self/mountinfo)
        chroot . /resound lab -q -- sh -c 'exit 7'
        echo "code $?"
        [ "$before" = "$(cat /proc/self/mountinfo)" ] && echo unchanged
    "#;
    let outer = ["-q", "--", "unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", program()];
    let (code, stdout, stderr) = lab(&outer);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "code 7\nunchanged\n", ""));
}

#[test]
fn an_owner_that_ignores_the_end_of_its_children_has_the_exit_code() {
    if !has("env", "a lab whose owner ignores SIGCHLD") {
        return;
    }
    let mut command = Command::new("env");
    command.args(["--ignore-signal=CHLD", program(), "lab", "-q", "--", "sh", "-c", "exit 7"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    assert_eq!(Program::spawn(command).end(), (Some(7), String::new()));
}

#[test]
fn a_link_that_was_down_costs_the_router_nothing() {
    if !has("ip", "a link that goes down in a lab") {
        return;
    }
    let mark = mark();
    let waiting = waiting(&mark, &format!("ip link set eth0 down; ip link set eth0 up; echo begun; exec sleep {mark}"));
    let router = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", waiting.child.id())).unwrap().filter_map(Result::ok);
        let stats = tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default());
        stats.into_iter().find(|stat| stat.contains("(lab router)")).expect("the router's thread")
    };
    // It sleeps at some moment; one that is woken for ever never does.
    crate::harness::eventually("the router sleeps", || router().contains("(lab router) S"));
}

#[test]
fn the_first_process_has_no_handler_of_its_owner() {
    if !has("grep", "handlers of a lab's first process") {
        return;
    }
    // A Rust program handles two signals at least, for its stack.
    let (code, stdout, stderr) = lab(&["-q", "--", "grep", "^SigCgt", "/proc/1/status"]);
    let handled = stdout.trim().strip_prefix("SigCgt:\t").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    // After the first 31 come those of the C library itself.
    assert_eq!((code, handled.map(|handled| handled & 0x7fff_ffff), stderr.as_str()), (Some(0), Some(0), ""));
}

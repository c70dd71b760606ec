//! Warnings on stderr: their rate, and how the journal of systemd gets them (Unix).

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::{Lines, Program};
use crate::harness::longer;

/// The lines on stderr of a server whose file of faults cannot be read again, for so long.
fn storm(time: Duration) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let faults = folder.path().join("faults.toml");
    std::fs::write(&faults, "").unwrap();
    let (mut server, _) = Program::server(&["--faults", faults.to_str().unwrap()]);
    let errors = Lines::of(server.child.stderr.take().unwrap());
    server.stdout.until("Waiting");
    std::fs::write(&faults, "no faults").unwrap();
    let start = std::time::Instant::now();
    while start.elapsed() < time {
        server.signal(Signal::HUP);
        std::thread::park_timeout(Duration::from_millis(1));
    }
    server.signal(Signal::TERM);
    server.stdout.until("Server stopped");
    { errors }.rest()
}

#[test]
fn warnings_of_one_kind_are_limited_and_counted() {
    longer(Duration::from_millis(100), |time| {
        let start = std::time::Instant::now();
        let mut lines = storm(time);
        // Each goes on with the line of the file that is wrong.
        lines.retain(|line| line.starts_with("resound: "));
        let seconds = start.elapsed().as_secs() as usize + 1;
        let printed = lines.iter().filter(|line| line.contains("warning: the faults stay as they were: ")).count();
        assert!(printed <= 5 * seconds, "{printed} in {seconds} s: {lines:?}");
        let counts = lines.iter().filter_map(|line| line.strip_prefix("resound: warning: … and "));
        let left_out: Vec<&str> = counts.collect();
        assert_eq!(printed + left_out.len(), lines.len(), "{lines:?}");
        let count = left_out.first()?;
        assert!(count.contains(" more of this kind in the last "), "{lines:?}");
        assert!(count.contains(" s, such as: the faults stay as they were: "), "{lines:?}");
        Some(())
    });
}

#[test]
fn the_journal_gets_a_priority_and_no_time() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("stderr");
    let stream = |inode: u64| format!("{}:{inode}", File::open(&path).unwrap().metadata().unwrap().dev());
    let start = |own: bool, args: &[&str]| {
        let stderr = File::create(&path).unwrap();
        let inode = stderr.metadata().unwrap().ino();
        let mut command = Program::command(args);
        command.env("JOURNAL_STREAM", stream(if own { inode } else { inode + 1 })).stderr(Stdio::from(stderr));
        Program::spawn(command)
    };
    let args = ["server", "127.0.0.1", "0", "--log-time", "--listen", "0.0.0.0:0"];
    for own in [true, false] {
        let mut server = start(own, &args);
        server.stdout.until(""); // the addresses are printed behind the warning
        server.signal(Signal::TERM);
        server.stdout.rest();
        assert_eq!(server.end().0, Some(0));
        let text = std::fs::read_to_string(&path).unwrap();
        let want = "resound: warning: 0.0.0.0:";
        let line = text.lines().find(|line| line.contains(want)).expect(&text);
        assert!(!text.contains('\u{1b}'), "{text}");
        if own {
            assert!(line.starts_with(&format!("<4>{want}")), "{line}");
        } else {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(humantime::parse_rfc3339(time).is_ok() && rest.starts_with(want), "{line}");
        }
    }
    // An error at the start, with its advice.
    let server = start(true, &["server", "127.0.0.1", "0", "--log-file", "/"]);
    assert_eq!(server.end().0, Some(2));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.starts_with("<3>resound: --log-file / ") && text.lines().all(|line| line.starts_with("<3>")),
        "{text}"
    );
}

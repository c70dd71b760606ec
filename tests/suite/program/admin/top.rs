//! `resound top` at a terminal, and as text.

#[cfg(unix)]
use std::net::SocketAddr;

use super::{answered, started};
use crate::child::{Program, run};

/// What `resound top` prints with these arguments: its exit code, stdout and stderr.
fn printed(args: &[&str]) -> (Option<i32>, String, String) {
    let (code, stdout, stderr) = run(&[&["top"], args].concat(), b"");
    (code, String::from_utf8(stdout).unwrap(), stderr)
}

#[test]
fn without_a_terminal_all_is_printed_once() {
    let (_server, address, admin) = started(&[]);
    let peers = [answered(address), answered(address)].map(|peer| (peer.local_addr().unwrap().to_string(), peer));
    for args in [&[][..], &["--once", "--sort", "conn"]] {
        let (code, text, stderr) = printed(&[&[&*admin.to_string()], args].concat());
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(text.starts_with(&format!("program      resound server on {address}\n")), "{text}");
        assert!(text.contains("\nopen         2\n") && text.contains("\n2 connections, by "), "{text}");
        for (peer, _) in &peers {
            let row = text.lines().find(|line| line.contains(&**peer)).expect(&text);
            let words: Vec<_> = row.split_whitespace().collect();
            assert_eq!((words[2], &words[5..8]), ("open", &["6B", "23B", "1"][..]), "{text}");
        }
    }
}

#[test]
fn where_nothing_listens_it_says_what_to_do() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (code, stdout, stderr) = printed(&[&address.to_string()]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with(&format!("resound: refused: nothing listens on {address}\n")), "{stderr}");
    assert!(stderr.contains("Start the program with --admin"), "{stderr}");
    // A server of another kind.
    let (_server, address) = Program::server(&[]);
    let (code, _, stderr) = printed(&[&address.to_string()]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("does not speak HTTP\n  Give the address of --admin"), "{stderr}");
}

#[cfg(unix)]
mod at_a_terminal {
    use std::time::{Duration, Instant};

    use rustix::process::Signal;

    use super::*;
    use crate::program::terminal::Terminal;

    fn watching(admin: SocketAddr) -> Terminal {
        Terminal::start(&["top", &admin.to_string()])
    }

    /// The end of a program that has given the terminal back: its exit code.
    fn left(terminal: Terminal) -> u32 {
        let (code, screen) = terminal.end();
        assert_eq!(screen, "", "the other screen is gone");
        code
    }

    #[test]
    fn nothing_is_drawn_while_nothing_changes() {
        let (_server, address, admin) = started(&[]);
        let mut top = watching(admin);
        top.until_seen(&format!("resound server on {address}  ready"));
        let since = Instant::now();
        (0..10).for_each(|_| top.until_more());
        assert!(since.elapsed() > Duration::from_secs(1), "ten times in {:?}", since.elapsed());
        top.keys("q");
        assert_eq!(left(top), 0);
    }

    #[test]
    fn keys_sort_and_filter_and_a_new_server_is_found() {
        let (server, address, admin) = started(&[]);
        let peers = [answered(address), answered(address)].map(|peer| (peer.local_addr().unwrap().to_string(), peer));
        let mut top = watching(admin);
        top.until_seen(&format!("resound server on {address}  ready"));
        top.until_seen("2 connections, by in");
        top.until_seen(&peers[0].0);
        top.keys("\x1b[C");
        top.until_seen("by out");
        top.keys("ar");
        top.until_seen("by peer, reversed");
        top.resize(12, 50);
        top.keys(&format!("/{}\r", peers[1].0));
        top.until_seen("1 of 2 connections have");
        top.keys("?");
        top.until_seen("reverse the order");
        top.keys("\x1b");
        top.until_seen("1 of 2 connections have");
        top.resize(30, 100);
        drop(server);
        top.until_seen("No answer for ");
        top.until_seen(&format!("nothing listens on {admin}. Trying again"));
        let _again = Program::server(&["--admin", &admin.to_string()]);
        top.until_seen("The program has restarted");
        top.until_seen("0 of 0 connections have");
        top.keys("q");
        assert!(top.written.contains(";36m"), "it has colours");
        assert_eq!(left(top), 0);
    }

    #[test]
    fn a_signal_gives_the_terminal_back_and_no_colour_has_none() {
        let (_server, _, admin) = started(&[]);
        for (signal, keys, code) in [(Some(Signal::TERM), "", 130), (None, "\x1b", 0), (None, "\x03", 0)] {
            let folder = tempfile::TempDir::new().unwrap();
            let mut top = Terminal::start_with(&["top", &admin.to_string()], folder.path(), &[("NO_COLOR", "1")]);
            top.until_seen("0 connections");
            signal.into_iter().for_each(|signal| top.signal(signal));
            top.keys(keys);
            assert!(![";32m", ";36m"].iter().any(|colour| top.written.contains(colour)), "{:?}", top.written);
            assert_eq!(left(top), code);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_stop_gives_the_terminal_to_the_shell() {
        let (_server, _, admin) = started(&[]);
        let script = format!("set -m; \"$resound\" top {admin}; echo stopped; read go; fg");
        let mut top = Terminal::start_shell(&script);
        top.until_seen("0 connections");
        top.keys("\x1a");
        top.until_seen("stopped");
        assert!(!top.screen().contains("0 connections") && top.is_as_a_shell_wants_it(), "{}", top.screen());
        top.line("");
        top.until_seen("0 connections");
        top.keys("q");
        assert_eq!(top.end().0, 0);
    }
}

//! The client at a terminal whose window changes its size, or that a shell takes away for a while.

#[cfg(target_os = "linux")]
use rustix::process::Signal;
use tempfile::TempDir;

use crate::client::interactive::{accept, both, stage};
use crate::harness::Peer;
use crate::program::terminal::Terminal;

/// On terminals of both kinds: that cut their rows off, and that wrap them anew.
fn on_each_terminal(test: fn(Terminal, Peer)) {
    let (client, server, _) = both(&[]);
    test(client, server);
    on_one_that_wraps(test);
}

fn on_one_that_wraps(test: fn(Terminal, Peer)) {
    let (listener, port) = stage();
    let mut client = Terminal::start_wrapping(&["client", "127.0.0.1", &port]);
    let mut server = accept(&listener);
    // The window is full: of one that is not, some terminals take rows away at the top when it
    // becomes narrower.
    server.send("earlier\n".repeat(60));
    client.until(&format!("{}>", "Server: earlier\n".repeat(60)));
    test(client, server);
}

/// A text of so many words.
fn words(count: usize) -> String {
    (0..count).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ")
}

/// Resizes the window several times, while answers arrive, with `shown` as the last lines on the
/// screen. Each must be there once.
fn resize(client: &mut Terminal, server: &mut Peer, sizes: &[(u16, u16)], shown: &str) {
    let mut answers = String::from("Server: first");
    server.send("first\n");
    client.until(&format!("\n{answers}\n{shown}"));
    for &(rows, columns) in sizes {
        client.resize(rows, columns);
        server.send(format!("at {columns}\n"));
        answers += &format!("\nServer: at {columns}");
        client.until(&format!("{answers}\n{shown}"));
    }
}

#[test]
fn a_wrapped_line_and_the_answers_above_it_survive_each_size_of_the_window() {
    on_each_terminal(|mut client, mut server| {
        let line = words(40);
        client.keys(&line);
        client.until(&line);
        resize(&mut client, &mut server, &[(60, 150), (60, 50), (60, 33), (50, 80)], &format!("> {line}"));
        // With the cursor in the middle of it.
        client.keys(&"\x1b[D".repeat(100));
        let (start, end) = line.split_at(line.len() - 100);
        client.keys("X");
        let line = format!("{start}X{end}");
        client.until(&line);
        server.send("again\n");
        client.until(&format!("Server: again\n> {line}"));
        for columns in [40, 120] {
            client.resize(50, columns);
            server.send("once more\n");
            client.until(&format!("Server: once more\n> {line}"));
        }
        client.line("");
        server.expect(format!("{line}\n"));
    });
}

#[test]
fn sizes_that_follow_each_other_at_once_are_survived() {
    on_each_terminal(|mut client, mut server| {
        let line = format!("{} {}", "\u{4e16}\u{754c}".repeat(30), words(20));
        client.keys(&line);
        client.until(&line);
        server.send("before\n");
        client.until(&format!("Server: before\n> {line}"));
        for columns in [99, 60, 45, 77, 120, 62] {
            client.resize(60, columns);
        }
        server.send("after\n");
        client.until(&format!("Server: before\nServer: after\n> {line}"));
        client.line("");
        server.expect(format!("{line}\n"));
    });
}

#[test]
fn a_terminal_that_reports_its_size_late_is_waited_for() {
    on_one_that_wraps(|mut client, mut server| {
        let line = words(30);
        client.keys(&line);
        client.until(&line);
        server.send("before\n");
        client.until(&format!("Server: before\n> {line}"));
        client.resize_late(60, 60, 140);
        server.send("after\n");
        client.until(&format!("Server: before\nServer: after\n> {line}"));
    });
}

#[test]
fn a_line_that_is_higher_than_the_window_is_shown_around_the_cursor() {
    on_each_terminal(|mut client, mut server| {
        let line = words(30);
        client.keys(&line);
        client.until(&line);
        client.resize(4, 7);
        client.until("word29");
        client.keys("\x01");
        client.until_seen("> word0");
        client.keys("\x05!");
        client.until("word29!");
        client.resize(60, 100);
        server.send("wide\n");
        client.until(&format!("Server: wide\n> {line}!"));
        client.line("");
        server.expect(format!("{line}!\n"));
        client.until(&format!("> {line}!\n>"));
    });
}

#[test]
fn a_search_a_paste_and_a_list_survive_a_new_size() {
    on_each_terminal(|mut client, mut server| {
        let line = words(30);
        client.line(&line);
        server.expect(format!("{line}\n"));
        client.until(&format!("> {line}\n>"));
        client.keys("\x12word2");
        let search = format!("(reverse-i-search)`word2': {line}");
        client.until(&search);
        // What arrives is shown meanwhile.
        resize(&mut client, &mut server, &[(60, 60), (60, 140)], &search);
        client.keys("\x07");
        client.until("Server: at 140\n>");

        client.keys(&format!("\x1b[200~{line}\rsecond\r{line}\x1b[201~"));
        resize(&mut client, &mut server, &[(60, 50), (60, 110)], &format!("> {line}\nsecond\n{line}"));
        client.line("");
        server.expect(format!("{line}\nsecond\n{line}\n"));

        let folder = TempDir::new().unwrap();
        for name in ["same one", "same two"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let (before, after) =
            (format!("/send {}/s", folder.path().display()), format!("/send {}/same\\ ", folder.path().display()));
        client.keys(&format!("{before}\t"));
        client.until(format!("> {after}").trim_end());
        client.keys("\t\t");
        client.until(format!("\nsame one  same two\n> {after}").trim_end());
        resize(&mut client, &mut server, &[(60, 30), (60, 90)], format!("> {after}").trim_end());
    });
}

#[test]
fn the_screen_is_cleared_for_the_line_alone() {
    on_each_terminal(|mut client, mut server| {
        let line = words(30);
        client.keys(&line);
        client.until(&line);
        client.keys("\x0c!");
        client.until(&format!("{line}!"));
        server.send("above\n");
        client.until(&format!("Server: above\n> {line}!"));
        assert_eq!(client.screen().matches("> word0").count(), 1, "{}", client.screen());
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_that_goes_on_draws_its_line_at_once() {
    on_each_terminal(|mut client, mut server| {
        let line = words(30);
        client.keys(&line);
        client.until(&line);
        client.signal(Signal::STOP);
        client.until_stopped(true);
        client.resize(60, 70);
        server.send("meanwhile\n");
        client.signal(Signal::CONT);
        client.until(&format!("Server: meanwhile\n> {line}"));
        client.line("");
        server.expect(format!("{line}\n"));
    });
}

#[test]
fn a_shell_gets_its_terminal_and_gives_it_back() {
    let (listener, port) = stage();
    let script =
        format!("set -m; \"$resound\" client 127.0.0.1 {port}; for n in 1 2; do echo stopped $n; read go; fg; done");
    let mut client = Terminal::start_shell(&script);
    let mut server = accept(&listener);
    client.until("\n>");
    let line = words(30);
    client.keys(&line);
    client.until(&line);
    for (stop, columns) in [(1, 100), (2, 70)] {
        client.keys("\x1a");
        client.until(&format!("\nstopped {stop}"));
        assert!(client.is_as_a_shell_wants_it());
        client.resize(60, columns);
        // The line is there before anything else happens, and what arrives then is above it.
        client.line("");
        client.until(&format!("> {line}"));
        server.send("afterwards\n");
        client.until(&format!("\nServer: afterwards\n> {line}"));
    }
    client.line("!");
    server.expect(format!("{line}!\n"));
    client.line("quit");
    let (code, screen) = client.end();
    assert_eq!((code, screen.ends_with("Disconnected from server")), (0, true), "{screen}");
}

#[test]
fn without_a_shell_there_is_no_stopping() {
    // The leader of a session has no shell that could continue it.
    let (mut client, mut server, _) = both(&[]);
    client.keys("half");
    client.until("> half");
    client.keys("\x1a");
    client.until("> half\n> half");
    client.line(" a line");
    server.expect("half a line\n");
}

#[test]
fn a_terminal_that_is_gone_ends_the_client() {
    let (listener, port) = stage();
    let state = TempDir::new().unwrap();
    let client = Terminal::start_unread(&["client", "127.0.0.1", &port], state.path());
    let mut server = accept(&listener);
    // The signal and the end of the input mean the same, and either may come first.
    assert!([0, 130].contains(&client.vanish()));
    server.rest();
}

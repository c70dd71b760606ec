//! The client at a terminal: what a person types, and what they see.

use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tempfile::TempDir;

use crate::child::Program;
use crate::harness::Peer;
use crate::program::terminal::Terminal;

/// The pause between two lines of a server that goes on sending.
const PUSHES: Duration = Duration::from_millis(50);

/// A server that this test plays.
pub(crate) fn stage() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

pub(crate) fn accept(listener: &TcpListener) -> Peer {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    Peer(stream)
}

/// A client and the server that this test plays, with the prompt there.
pub(crate) fn both(flags: &[&str]) -> (Terminal, Peer, TcpListener) {
    let (listener, port) = stage();
    let mut client = Terminal::start(&[&["client", "127.0.0.1", &port], flags].concat());
    let server = accept(&listener);
    client.until("\n>");
    (client, server, listener)
}

#[test]
fn received_text_appears_above_the_line_being_typed() {
    let (mut client, mut server, _) = both(&[]);
    client.keys("half a li");
    client.until("> half a li");
    server.send("news\n");
    client.until("exit):\nServer: news\n> half a li");
    // A prompt without newline, and what would take the terminal over.
    server.send("login: ");
    client.until("Server: login:\n> half a li");
    server.send("\x1b[2Jgone\x07\n");
    client.until("Server: \\x1b[2Jgone\\x07\n> half a li");
    // The cursor is where it was: in the middle of the line, too.
    client.keys("ne\x1b[D\x1b[D\x1b[D\x1b[D");
    server.send("more\n");
    client.until("Server: more\n> half a line");
    client.line("X");
    server.expect("half a Xline\n");
    server.finish();
    drop(server);
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.ends_with("> half a Xline\nThe server closed the connection\nDisconnected from server"), "{screen}");
}

#[test]
fn a_long_line_survives_what_appears_above_it() {
    let (mut client, mut server, _) = both(&[]);
    // Three rows, of characters that are two columns and three bytes each.
    let typed = "\u{4e16}".repeat(120);
    client.keys(&typed);
    client.until("\u{4e16}");
    server.send("above\n");
    client.until_seen("Server: above");
    client.line("");
    server.expect(format!("{typed}\n"));
    server.send("seen\n");
    client.until("Server: seen\n>");
    assert_eq!(client.screen().matches('\u{4e16}').count(), 120, "{}", client.screen());
    assert!(client.screen().contains("exit):\nServer: above\n> \u{4e16}"), "{}", client.screen());
}

#[test]
fn received_text_stays_whole_and_in_order_during_typing() {
    let (mut client, mut server, _) = both(&[]);
    let mut expected = String::new();
    for n in 0..60 {
        let (news, typed) = (format!("news {n}"), format!("typed {n}"));
        server.send(format!("{news}\n"));
        client.line(&typed);
        server.expect(format!("{typed}\n"));
        expected += &format!("{news} ");
    }
    server.finish();
    drop(server);
    // The screen scrolls; what was written in all is the record.
    client.until("Disconnected from server");
    let shown = client.written.replace("\x1b[36m", "").replace("\x1b[0m", "");
    let news: String =
        shown.split("Server: ").skip(1).map(|text| format!("{} ", text.lines().next().unwrap().trim_end())).collect();
    assert_eq!(news, expected);
    assert_eq!(client.end().0, 0);
}

#[test]
fn a_flood_is_shown_to_its_end_and_can_be_left() {
    let (mut client, mut server, _) = both(&[]);
    let flood: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let flooder = std::thread::spawn(move || {
        server.send(&flood);
        server
    });
    client.until("Server: line 19999\n>");
    let _server = flooder.join().unwrap();
    let (_chargen, address) = Program::server(&["--mode", "chargen"]);
    let mut client = Terminal::start(&["client", &address.to_string()]);
    client.until_seen("Server: ");
    client.line("quit");
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.ends_with("Disconnected from server"), "{screen}");
}

#[test]
fn leaving_a_server_that_goes_on_sending_reports_input_that_may_be_lost() {
    let (mut client, mut server, _) = both(&[]);
    let (_running, ended) = std::sync::mpsc::channel::<()>();
    let pushing = std::thread::spawn(move || {
        let goes_on = || ended.recv_timeout(PUSHES) == Err(RecvTimeoutError::Timeout);
        while goes_on() && server.0.write_all(b"news\n").is_ok() {}
    });
    client.until_seen("Server: news");
    client.line("hello");
    client.line("quit");
    client.until_seen("Not everything may have arrived");
    assert_eq!(client.end().0, 1);
    pushing.join().unwrap();
}

#[test]
fn control_d_half_closes_and_the_rest_is_read() {
    let (mut client, mut server, _) = both(&[]);
    client.line("one");
    server.expect("one\n");
    client.keys("\x04");
    assert_eq!(server.rest(), b"", "the half-close");
    client.until("waiting for the rest (Ctrl+D again leaves)\n>");
    client.line("too late");
    client.until("Not sent: this side of the connection is closed (/reconnect makes a new one)\n>");
    server.send("the rest\n");
    client.until("Server: the rest\n>");
    drop(server);
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.ends_with("Server: the rest\nDisconnected from server"), "it was asked to: {screen}");

    let (mut client, mut server, _) = both(&[]);
    client.keys("\x04");
    assert_eq!(server.rest(), b"");
    client.until("leaves)\n>");
    client.keys("\x04");
    assert_eq!(client.end().0, 0);
}

#[test]
fn control_c_clears_the_line_and_then_leaves() {
    let (mut client, mut server, _) = both(&[]);
    client.keys("not this");
    client.until("> not this");
    client.keys("\x03");
    client.until("exit):\n>");
    client.line("but this");
    server.expect("but this\n");
    client.until("> but this\n>");
    client.keys("\x03");
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.ends_with("> but this\n>\nDisconnected from server"), "{screen}");
    assert_eq!(server.rest(), b"");
}

#[test]
fn a_reset_is_reported_at_the_terminal() {
    let (client, server, _) = both(&[]);
    server.reset();
    let (code, screen) = client.end();
    assert_eq!(code, 1);
    assert!(
        screen.contains("exit):\nDisconnected from server\nresound: reset: the server reset the connection\n"),
        "{screen}"
    );
}

#[test]
fn a_paste_of_several_lines_is_one_message_and_never_a_command() {
    let (mut client, mut server, _) = both(&[]);
    client.keys("\x1b[200~/quit\rquit\rlast\x1b[201~");
    client.until_seen("last");
    client.line("");
    server.expect("/quit\nquit\nlast\n");
    server.send("all of it\n");
    client.until("Server: all of it\n>");
    // What is pasted with its own newline gets no other.
    client.keys("\x1b[200~a\rb\r\x1b[201~");
    client.line("");
    server.expect("a\nb\n");
    // Without marks around it, each line is one.
    client.keys("a\rb\r");
    server.expect("a\nb\n");
}

#[test]
fn the_history_is_kept_and_can_be_searched() {
    let state = TempDir::new().unwrap();
    let (listener, port) = stage();
    let mut client = Terminal::start_with(&["client", "127.0.0.1", &port], state.path(), &[]);
    let mut server = accept(&listener);
    client.until("\n>");
    for line in ["needle one", "hay", " a secret", "/help"] {
        client.line(line);
    }
    client.until("Ctrl+C clears the line.\n>");
    client.line("quit");
    assert_eq!(client.end().0, 0);
    server.expect("needle one\nhay\n a secret\n");

    let history = state.path().join("resound/history");
    let remembered = std::fs::read_to_string(&history).unwrap();
    assert!(remembered.contains("needle one") && !remembered.contains("secret"), "{remembered}");
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&history).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "others could read what was typed");
    }

    let mut client = Terminal::start_with(&["client", "127.0.0.1", &port], state.path(), &[]);
    let mut server = accept(&listener);
    client.until("\n>");
    client.keys("\x1b[A\x1b[A\x1b[A");
    client.until("> hay");
    client.keys("\x03");
    client.until("exit):\n>");
    client.keys("\x12needle");
    client.until_seen("needle one");
    client.line("");
    server.expect("needle one\n");
}

#[test]
fn a_lost_connection_is_made_again_on_request() {
    let (mut client, first, listener) = both(&["--reconnect"]);
    client.keys("half");
    client.until("> half");
    first.reset();
    let mut second = accept(&listener);
    client.until_seen("reset: the server reset the connection; connecting again\nConnected to server at 127.0.0.1:");
    client.until("\n> half");
    client.line(" a line");
    second.expect("half a line\n");
    // The server is gone for a while.
    let address = listener.local_addr().unwrap();
    drop(listener);
    drop(second);
    client.until_seen("The server closed the connection; connecting again");
    client.until_seen(&format!("waiting for {address}: refused"));
    client.line("too early");
    client.until_seen("Not connected yet, so nothing was sent");
    client.line("quit");
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.ends_with("> quit\nDisconnected from server"), "{screen}");
}

#[test]
fn answers_are_timed_on_request() {
    let (_server, address) = Program::server(&[]);
    let mut client = Terminal::start(&["client", &address.to_string(), "--verbose"]);
    client.until("\n>");
    assert!(
        client.screen().contains(&format!("resound: connected to {address} from 127.0.0.1:")),
        "{}",
        client.screen()
    );
    client.line("now");
    client.until("): Server received: now\n>");
    let screen = client.screen();
    let time = screen.split("\nServer (+").nth(1).unwrap().split(')').next().unwrap();
    assert!(["us", "ms", "s"].contains(&time.split(' ').nth(1).unwrap()), "{screen}");
}

#[test]
fn lines_can_end_with_cr_lf() {
    let (mut client, mut server, _) = both(&["--crlf"]);
    client.line("GET / HTTP/1.0");
    client.line("");
    server.expect("GET / HTTP/1.0\r\n\r\n");
    client.line(r"/raw \n");
    server.expect("\n");
}

#[test]
fn time_limits_leave_the_terminal_as_it_was() {
    for (flag, what) in
        [("--timeout", "not done after 300ms"), ("--idle-timeout", "nothing was sent or received for 300ms")]
    {
        let (listener, port) = stage();
        let client = Terminal::start(&["client", "127.0.0.1", &port, flag, "300ms"]);
        let _server = accept(&listener);
        let (code, screen) = client.end();
        assert_eq!(code, 1, "{screen}");
        assert!(screen.contains(&format!("resound: timeout: {what}\n")), "{screen}");
        assert!(!screen.contains('>'), "no prompt is left: {screen}");
    }
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    use rustix::process::Signal;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let (mut client, mut server, _) = both(&[]);
        client.keys("half a li");
        client.until("> half a li");
        client.signal(signal);
        let (code, screen) = client.end();
        assert_eq!(code, 130, "{signal:?}");
        assert!(screen.ends_with("\nDisconnected from server"), "{screen}");
        assert_eq!(server.rest(), b"");
    }
}

#[test]
fn an_unread_terminal_cannot_keep_the_client() {
    let (_server, address) = Program::server(&["--mode", "chargen"]);
    let state = TempDir::new().unwrap();
    let mut client = Terminal::start_unread(&["client", &address.to_string()], state.path());
    client.glance();
    client.signal(rustix::process::Signal::TERM);
    assert_eq!(client.exit_code(), 130);
    let client = Terminal::start_unread(&["client", &address.to_string(), "--timeout", "500ms"], state.path());
    assert_eq!(client.exit_code(), 1);
}

#[test]
fn without_colours_everything_is_shown_once_too() {
    let state = TempDir::new().unwrap();
    let (listener, port) = stage();
    let mut client = Terminal::start_with(&["client", "127.0.0.1", &port], state.path(), &[("NO_COLOR", "1")]);
    let mut server = accept(&listener);
    client.until("\n>");
    for n in 0..10 {
        client.line(&format!("typed {n}"));
        server.expect(format!("typed {n}\n"));
        server.send(format!("answer {n}\n"));
        client.until(&format!("Server: answer {n}\n>"));
    }
    drop(server);
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    let mut want =
        format!("Connected to server at 127.0.0.1:{port}\nType messages to send to server (type 'quit' to exit):\n");
    for n in 0..10 {
        want += &format!("> typed {n}\nServer: answer {n}\n");
    }
    assert_eq!(screen, want + "The server closed the connection\nDisconnected from server");
}

#[test]
fn invalid_utf_8_is_rejected_and_ends_nothing() {
    let (mut client, mut server, _) = both(&[]);
    client.bytes(b"caf\xe9\r");
    client.until_seen("Not sent: that was no UTF-8 (/raw sends any bytes)");
    client.line("");
    client.line("caf\u{e9}");
    let mut got = server.read(1);
    while !got.ends_with("caf\u{e9}\n".as_bytes()) {
        got.extend(server.read(1));
    }
    client.line("quit");
    assert_eq!(client.end().0, 0);
}

#[test]
fn a_server_that_half_closes_first_gets_the_waiting_input() {
    let (mut client, mut server, _) = both(&[]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    let content = crate::harness::noise(6, 20_000_000);
    std::fs::write(&path, &content).unwrap();
    client.line(&format!("/send {}", path.display()));
    server.expect(&content[..1]);
    server.finish();
    server.expect(&content[1..]);
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.contains("The server closed the connection\nDisconnected from server"), "{screen}");
}

#[test]
fn unsent_input_is_reported_at_the_end() {
    let (mut client, server, _) = both(&[]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a file");
    std::fs::write(&path, crate::harness::noise(6, 20_000_000)).unwrap();
    // As Tab completes it.
    client.line(&format!("/send {}/a\\ file", folder.path().display()));
    client.line("quit");
    let (code, screen) = client.end();
    assert_eq!(code, 1, "{screen}");
    // What the two systems hold of it is no more than a part.
    let (_, unsent) = screen.split_once("\nNot everything was sent: ").expect(&screen);
    assert!(unsent.split_once(" MiB").and_then(|(n, _)| n.parse::<f64>().ok()).is_some_and(|n| n > 5.0), "{screen}");
    drop(server);
}

#[test]
fn a_server_that_closes_at_once_is_not_dialled_without_pause() {
    let (listener, port) = stage();
    let mut client = Terminal::start(&["client", "127.0.0.1", &port, "--reconnect"]);
    let start = std::time::Instant::now();
    for _ in 0..6 {
        drop(accept(&listener));
    }
    // Five pauses, of 50 ms and twice as much each time, less a quarter at most.
    assert!(start.elapsed().as_millis() >= (50 + 100 + 200 + 400 + 800) * 3 / 4, "{:?}", start.elapsed());
    client.until_seen("The server closed the connection; connecting again");
    client.line("quit");
    assert_eq!(client.end().0, 0);
}

#[test]
fn a_unix_socket_can_be_talked_to() {
    let folder = TempDir::new().unwrap();
    let address = format!("unix:{}", folder.path().join("door").display());
    let mut server = Program::spawn(Program::command(&["server", &address]));
    server.stdout.until("Waiting");
    let mut client = Terminal::start(&["client", &address]);
    client.until("\n>");
    client.line("through the door");
    client.until("Server: Server received: through the door\n>");
    client.line("/stats");
    client.until_seen("received     34 bytes in 1 line");
    client.line("quit");
    assert_eq!(client.end().0, 0);
}

#[test]
fn a_terminal_without_an_editor_will_do() {
    let (_server, address) = Program::server(&[]);
    let state = TempDir::new().unwrap();
    let mut client = Terminal::start_with(&["client", &address.to_string()], state.path(), &[("TERM", "dumb")]);
    client.until("\n>");
    client.line("plain");
    client.until_seen("Server: Server received: plain");
    client.line("quit");
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.ends_with("Disconnected from server"), "{screen}");
}

#[test]
fn a_peer_that_dials_the_client_can_converse() {
    let mut client = Terminal::start(&["client", "--listen", "127.0.0.1", "0"]);
    client.until_seen("resound: listening on 127.0.0.1:");
    let address = client.screen().split("listening on ").nth(1).unwrap().trim().parse().unwrap();
    let mut dialler = Peer::connect(address);
    client.until("\n>");
    let from = dialler.0.local_addr().unwrap();
    assert!(client.screen().contains(&format!("\nConnection from {from}\nType messages")), "{}", client.screen());
    dialler.send("hello\n");
    client.until("Server: hello\n>");
    client.line("and you");
    dialler.expect("and you\n");
    drop(dialler);
    assert_eq!(client.end().0, 0);
}

//! The commands of a conversation, at a terminal.

use tempfile::TempDir;

use crate::child::Program;
use crate::client::interactive::{accept, both};
use crate::program::terminal::Terminal;

#[test]
fn a_slash_begins_a_command_and_two_a_line() {
    let (mut client, mut server, _) = both(&[]);
    client.line("//etc/hosts");
    server.expect("/etc/hosts\n");
    client.line("/nonsense");
    client.until("There is no command /nonsense; /help lists them, and //nonsense would send /nonsense\n>");
    client.keys("/st\t");
    client.until("> /stats");
    client.line("");
    client.until_seen("sent         11 bytes in 1 message");
    client.line("/help");
    client.until_seen("/raw \"TEXT\"      send bytes, no newline");
    client.line("/quit");
    assert_eq!(client.end().0, 0);
    assert_eq!(server.rest(), b"");
}

#[test]
fn words_that_leave_elsewhere_are_sent_with_a_hint() {
    let (mut client, mut server, _) = both(&[]);
    for word in ["QUIT", "exit", ":q", "bye"] {
        client.line(word);
        server.expect(format!("{word}\n"));
        client.until(&format!(
            "> {word}\nThat was sent to the server; `quit`, in small letters and alone, leaves (as does Ctrl+C)\n>"
        ));
    }
    client.line("/exit");
    client.until("There is no command /exit; /quit leaves\n>");
    client.line("quit");
    assert_eq!(client.end().0, 0);
    assert_eq!(server.rest(), b"");
}

#[test]
fn stats_show_the_traffic_of_the_connection() {
    let (mut client, mut server, _) = both(&[]);
    client.line("four");
    server.expect("four\n");
    server.send("a\nb\n");
    client.until("Server: b\n>");
    client.line("/stats");
    let (near, far) = (server.0.local_addr().unwrap(), server.0.peer_addr().unwrap());
    client.until_seen(&format!("Connected to {near} from {far} for "));
    client.until_seen("sent         5 bytes in 1 message");
    client.until_seen("received     4 bytes in 2 lines");
    if cfg!(target_os = "linux") {
        client.until_seen("round trip   ");
        client.until_seen("retransmits  0 segments");
    }
}

#[test]
fn raw_bytes_and_files_go_as_they_are() {
    let (mut client, mut server, _) = both(&[]);
    client.line(r#"/raw "\x00\xff\n""#);
    server.expect(b"\x00\xff\n");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a file");
    let content = crate::harness::noise(5, 3_000_000);
    std::fs::write(&path, &content).unwrap();
    client.line(&format!("/send {}", path.display()));
    // The server's output arrives meanwhile, though the server does not read yet.
    server.send("patience\n");
    client.until_seen("Server: patience");
    client.line("behind it");
    server.expect(&content);
    server.expect("behind it\n");
    client.until_seen(&format!("Sent {}: 2.9 MiB in ", path.display()));
    client.line("/send /nowhere");
    client.until_seen("/nowhere cannot be sent: ");
    client.line("/send /");
    client.until_seen("/ cannot be sent: it is not a regular file");
}

#[test]
fn the_hexadecimal_view_has_offsets_and_directions() {
    let (mut client, mut server, _) = both(&[]);
    client.line("before");
    server.expect("before\n");
    client.line("/hex on");
    client.until("Hexadecimal from here on\n>");
    client.line("Hi");
    server.expect("Hi\n");
    client.until_seen("\n-> 00000007 48 69 0a                                         |Hi.|");
    server.send(b"\x00\xffpong");
    client.until_seen("\n<- 00000000 00 ff 70 6f 6e 67                                |..pong|");
    client.line("/hex");
    client.until("Text from here on\n>");
    server.send("text\n");
    client.until("Server: text\n>");
}

#[test]
fn close_half_closes_and_reset_resets() {
    let (mut client, mut server, _) = both(&[]);
    client.line("/close");
    assert_eq!(server.rest(), b"");
    client.until("leaves)\n>");
    client.line("/quit");
    assert_eq!(client.end().0, 0);

    let (mut client, mut server, _) = both(&[]);
    client.line("/reset");
    let (code, screen) = client.end();
    assert_eq!((code, screen.ends_with("> /reset\nDisconnected from server")), (0, true), "{screen}");
    let error = std::io::Read::read(&mut server.0, &mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_new_connection_can_be_requested() {
    let (mut client, mut first, listener) = both(&[]);
    client.line("/reconnect");
    assert_eq!(first.rest(), b"");
    let mut second = accept(&listener);
    client.until_seen("> /reconnect\nConnected to server at 127.0.0.1:");
    client.line("again");
    second.expect("again\n");
    drop(second);
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.ends_with("The server closed the connection\nDisconnected from server"), "{screen}");
}

#[test]
fn tls_is_described_on_a_tls_connection() {
    let (mut plain, _server, _) = both(&[]);
    plain.line("/tls");
    plain.until("This connection is not encrypted (--tls speaks TLS)\n>");

    let (mut server, address) = Program::server(&["--tls", "--alpn", "line/1"]);
    let line = server.stdout.until("TLS certificate");
    let print = line.split("SHA-256 ").nth(1).expect(&line);
    let mut client = Terminal::start(&["client", &address.to_string(), "--tls", "--pin", print, "--alpn", "line/1"]);
    client.until("\n>");
    client.line("/tls");
    client.until_seen("TLSv1.3");
    client.until_seen("X25519MLKEM768");
    client.until_seen("ALPN line/1");
    client.until_seen("full handshake");
    client.until_seen("  certificate 0: ");
    client.until_seen("    for localhost, 127.0.0.1");
    client.until_seen(&format!("SHA-256 {}", &print[..32]));
    client.line("still here");
    client.until("Server: Server received: still here\n>");
    client.line("quit");
    assert_eq!(client.end().0, 0);
}

#[test]
fn a_tls_server_is_detected_at_the_terminal() {
    let (_server, address) = Program::server(&["--tls"]);
    let mut client = Terminal::start(&["client", &address.to_string()]);
    client.until("\n>");
    client.line("hello");
    client.until_seen("Server: Error: this server speaks TLS");
    client.until_seen("tls: the server speaks TLS, and this connection does not");
    assert_eq!(client.end().0, 1);
}

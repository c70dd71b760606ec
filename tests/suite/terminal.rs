//! The program at a terminal: a pseudo-terminal, driven as a person would.

use std::io::{Read, Write};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::harness::{PATIENCE, Peer, Program};

struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    bytes: Receiver<Vec<u8>>,
    screen: String,
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    fn start(args: &[&str]) -> Self {
        let pty = native_pty_system().openpty(PtySize { rows: 40, cols: 120, ..PtySize::default() }).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_resound"));
        command.args(args);
        let child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let mut reader = pty.master.try_clone_reader().unwrap();
        let (send, bytes) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if send.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys: pty.master.take_writer().unwrap(), bytes, screen: String::new(), _master: pty.master }
    }

    fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until the screen ends so.
    fn until(&mut self, end: &str) {
        self.wait_for(end, |screen| screen.ends_with(end));
    }

    /// Waits until this is somewhere on the screen.
    fn until_seen(&mut self, part: &str) {
        self.wait_for(part, |screen| screen.contains(part));
    }

    fn wait_for(&mut self, what: &str, is_there: impl Fn(&str) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !is_there(&self.screen) {
            let left = limit.saturating_duration_since(Instant::now());
            let bytes = self.bytes.recv_timeout(left).unwrap_or_else(|_| panic!("no {what:?} on {:?}", self.screen));
            self.screen += &String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        }
    }

    /// Waits for the end: exit code, and all that was on the screen.
    fn end(mut self) -> (u32, String) {
        for bytes in self.bytes.iter() {
            self.screen += &String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        }
        (self.child.wait().unwrap().exit_code(), self.screen)
    }
}

#[test]
fn the_transcript_of_both_ends() {
    for engine in ["portable", "threads"] {
        let mut server = Terminal::start(&["server", "127.0.0.1", "0", "--engine", engine]);
        server.until("Waiting for client connections...\n");
        let address = server.screen.lines().next().unwrap().strip_prefix("TCP Server started on ").unwrap().to_string();
        let port = address.rsplit(':').next().unwrap().to_string();

        let mut client = Terminal::start(&["client", "127.0.0.1", &port]);
        client.until("> ");
        client.keys("Hello, server!\n");
        client.until("Server: Server received: Hello, server!\n> ");
        client.keys("quit\n");
        let (code, screen) = client.end();
        assert_eq!(code, 0);
        let want = format!(
            "Connected to server at {address}\n\
             Type messages to send to server (type 'quit' to exit):\n\
             > Hello, server!\n\
             Server: Server received: Hello, server!\n\
             > quit\n\
             Disconnected from server\n"
        );
        assert_eq!(screen, want);

        server.until_seen("Connection closed for (");
        server.until(")\n");
        server.keys("\x03");
        let (code, screen) = server.end();
        assert_eq!(code, 0, "{screen}");
        let peer = screen.split("from (").nth(1).unwrap().split(')').next().unwrap().to_string();
        let screen = screen.replace("^C", "");
        let (transcript, farewell) = screen.split_once("Shutting down").unwrap();
        let want = format!(
            "TCP Server started on {address}\n\
             Waiting for client connections...\n\
             New connection from ({peer})\n\
             Received from ({peer}): Hello, server!\n\
             Connection closed for ({peer})\n"
        );
        assert_eq!(transcript, want);
        assert!(
            farewell.ends_with("Server stopped: 1 connection, 1 message, 15 bytes in, 32 bytes out\n"),
            "{farewell}"
        );
    }
}

#[test]
fn what_the_server_sends_appears_while_nothing_is_typed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut client = Terminal::start(&["client", "127.0.0.1", &port]);
    let mut server = Peer(listener.accept().unwrap().0);
    client.until("> ");
    client.keys("half a li");
    client.until("half a li");
    server.send("news\n");
    client.until("\r\x1b[KServer: news\n> ");
    // A prompt without newline, and what would take the terminal over.
    server.send("login: ");
    client.until("Server: login: \n> ");
    server.send("\x1b[2Jgone\x07\n");
    client.until("Server: \\x1b[2Jgone\\x07\n> ");
    client.keys("ne\n");
    server.expect("half a line\n");
    server.finish();
    drop(server);
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.ends_with("The server closed the connection\nDisconnected from server\n"), "{screen:?}");
}

#[test]
fn the_end_of_input_half_closes_and_the_rest_is_read() {
    let (_server, address) = Program::server(&[]);
    let mut client = Terminal::start(&["client", &address.to_string()]);
    client.until("> ");
    client.keys("one\n");
    client.until("Server received: one\n> ");
    // The first ends the line that was begun, the second the input, as with `cat`.
    client.keys("two\x04");
    client.keys("\x04");
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    assert!(screen.contains("Server: Server received: two\n"), "{screen:?}");
    assert!(screen.ends_with("Disconnected from server\n"), "{screen:?}");
    assert!(!screen.contains("The server closed"), "it was asked to: {screen:?}");
}

#[test]
fn a_reset_is_said_at_the_terminal_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut client = Terminal::start(&["client", "127.0.0.1", &port]);
    let server = Peer(listener.accept().unwrap().0);
    client.until("> ");
    server.reset();
    let (code, screen) = client.end();
    assert_eq!(code, 1);
    assert!(screen.contains("Disconnected from server\n"), "{screen:?}");
    assert!(screen.contains("resound: reset: the server reset the connection"), "{screen:?}");
}

#[test]
fn colours_are_for_those_who_want_them() {
    let (_server, address) = Program::server(&[]);
    let (code, screen) = Terminal::start(&["test", &address.to_string()]).end();
    assert_eq!(code, 0);
    assert!(screen.contains("\x1b[32mpass\x1b[0m"), "{screen:?}");
}

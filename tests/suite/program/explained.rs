//! `--explain`: what a learner sees of each call, at both ends and for each ending.

mod sockets;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::child::{Program, run};
use crate::client::connecting::closed_port;
use crate::client::interactive::both;
use crate::client::pipe::both as piped;
use crate::engine::dialing::silent;
use crate::harness::{Peer, engines, eventually};
use crate::program::lab;
use crate::program::terminal::Terminal;

/// The parts stand in a text in this order.
#[track_caller]
fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("no {part:?} behind the others in\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

/// A server that explains its calls, with more flags. Its stderr goes to a file.
struct Explained {
    server: Program,
    address: SocketAddr,
    log: tempfile::NamedTempFile,
}

impl Explained {
    fn start(engine: &str, flags: &[&str]) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let start = ["server", "127.0.0.1", "0", "--explain", "--engine", engine];
        let mut command = Program::command(&[&start, flags].concat());
        command.stderr(log.reopen().unwrap());
        let mut server = Program::spawn(command);
        let line = server.stdout.next();
        let address = line.strip_prefix("TCP Server started on ").expect(&line).parse().expect(&line);
        Self { server, address, log }
    }

    fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits until the explanations hold this.
    fn until(&self, part: &str) {
        eventually(part, || self.text().contains(part));
    }

    /// Ends the server: what it has explained, and its stdout.
    fn end(mut self) -> (String, Vec<String>) {
        self.server.signal(Signal::INT);
        let stdout = self.server.stdout.rest();
        let log = self.log.into_temp_path();
        assert_eq!(self.server.end().0, Some(0));
        (std::fs::read_to_string(&log).unwrap(), stdout)
    }
}

/// Reads a client's stderr up to a line that holds this: what it was, and the rest.
fn until(child: &mut Child, part: &str) -> (String, impl BufRead + use<>) {
    let stderr = BufReader::new(child.stderr.take().unwrap());
    read_until(stderr, String::new(), part)
}

fn read_until<R: BufRead>(mut stderr: R, mut told: String, part: &str) -> (String, R) {
    while !told.contains(part) {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "{told}");
    }
    (told, stderr)
}

/// The calls of an engine.
fn calls(engine: &str) -> [&'static str; 3] {
    match engine {
        "uring" => ["IORING_OP_ACCEPT", "IORING_OP_RECV", "IORING_OP_SEND"],
        _ => ["accept()", "recv()", "send()"],
    }
}

#[test]
fn both_ends_explain_a_connection_that_the_client_ends_first() {
    for engine in engines() {
        let server = Explained::start(engine, &[]);
        let address = server.address.to_string();
        let (code, stdout, client) = run(&["client", &address, "--explain"], b"Hello\n");
        assert_eq!((code, stdout.as_slice()), (Some(0), &b"Server received: Hello\n"[..]), "{client}");
        in_order(
            &client,
            &[
                &format!("~ socket(), connect({address}): a SYN is sent\n"),
                &format!("~ connect({address}): SYN-ACK received, ACK sent: ESTABLISHED after "),
                "~   TCP_INFO: MSS ",
                "~ recv(): 0, the peer's FIN: CLOSED\n~   inferred: TIME_WAIT is on this side",
                "~ close(): the connection is over, nothing is sent (CLOSED before)\n",
                "~   TCP_INFO: 6 bytes sent, ",
            ],
        );
        in_order(&client, &["~ send(): 6 bytes queued", "~ shutdown(SHUT_WR): a FIN follows the last byte"]);
        in_order(&client, &["~ send(): 6 bytes queued", "~ recv(): 23 bytes\n", "~ recv(): 0"]);
        server.until("gone with the peer's ACK");
        let (server, transcript) = server.end();
        let [accept, receive, send] = calls(engine);
        in_order(
            &server,
            &[
                &format!("~ socket(), bind({address}), listen(): LISTEN"),
                &format!("~ engine {engine}: "),
                &format!(" {accept}: a connection from 127.0.0.1:"),
                &format!(" to {address}: "),
                "  inferred: before this call the kernel received the SYN, sent SYN-ACK and received the ACK\n",
                "  TCP_INFO: MSS ",
                &format!(" {receive}: 6 bytes\n"),
                " close(): a FIN is sent (CLOSE_WAIT before)\n",
                "  inferred: LAST_ACK now, gone with the peer's ACK; TIME_WAIT is on the peer's side",
            ],
        );
        in_order(&server, &[&format!(" {send}: 23 bytes queued"), " close()"]);
        in_order(&server, &[&format!(" {receive}: 0, the peer's FIN: CLOSE_WAIT\n"), " close()"]);
        // The transcript is the same as without.
        assert_eq!(transcript.len(), 6, "{transcript:?}");
        assert!(transcript.iter().all(|line| !line.starts_with('~')), "{transcript:?}");
    }
}

#[test]
fn a_client_explains_the_fin_of_a_server_that_ends_first() {
    let (child, mut server) = piped(&["--explain", "--recv-only"]);
    server.send("bye\n");
    server.finish();
    assert_eq!(server.rest(), b"");
    let (code, stderr) = Program::of(child).end();
    assert_eq!(code, Some(0), "{stderr}");
    in_order(
        &stderr,
        &[
            "~ recv(): 4 bytes\n~ recv(): 0, the peer's FIN: CLOSE_WAIT\n",
            "~ close(): a FIN is sent (CLOSE_WAIT before)\n",
            "~   inferred: LAST_ACK now, gone with the peer's ACK; TIME_WAIT is on the peer's side",
        ],
    );
}

#[test]
fn a_server_that_ends_first_explains_its_fin_and_who_keeps_time_wait() {
    for engine in engines() {
        let server = Explained::start(engine, &[]);
        let mut peer = server.connect();
        peer.ask("one");
        let name = peer.0.local_addr().unwrap();
        server.server.signal(Signal::INT);
        assert_eq!(peer.rest(), b"");
        server.until("shutdown(SHUT_WR)");
        drop(peer);
        server.until("close()");
        let text = server.text();
        in_order(
            &text,
            &[
                &format!(
                    "~ {name} {}: a connection from {name} to {}: ESTABLISHED\n",
                    calls(engine)[0],
                    server.address
                ),
                &format!("~ {name} shutdown(SHUT_WR): a FIN follows the last byte: FIN_WAIT_"),
                &format!("~ {name} {}: 0, the peer's FIN: CLOSED\n", calls(engine)[1]),
                "  inferred: TIME_WAIT is on this side, for a minute on Linux: its FIN came first\n",
                &format!("~ {name} close(): the connection is over, nothing is sent (CLOSED before)\n"),
            ],
        );
        assert_eq!(server.server.end().0, Some(0));
    }
}

#[test]
fn a_half_close_leaves_the_other_direction_open() {
    let (mut child, mut server) = piped(&["--explain"]);
    child.stdin.take().unwrap().write_all(b"ask\n").unwrap();
    let (mut told, mut stderr) = until(&mut child, "~ shutdown(SHUT_WR)");
    assert_eq!(server.rest(), b"ask\n");
    server.send("answer");
    drop(server);
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(crate::child::wait(&mut child).code(), Some(0), "{told}");
    in_order(
        &told,
        &[
            "~ send(): 4 bytes queued",
            "~ shutdown(SHUT_WR): a FIN follows the last byte: FIN_WAIT_",
            "~ recv(): 6 bytes\n~ recv(): 0, the peer's FIN: CLOSED\n",
            "~   inferred: TIME_WAIT is on this side",
        ],
    );
}

#[test]
fn a_reset_has_its_cause_where_that_is_known() {
    let (mut child, server) = piped(&["--explain", "--recv-only"]);
    let (mut told, mut stderr) = until(&mut child, "TCP_INFO: ");
    server.reset();
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(crate::child::wait(&mut child).code(), Some(1), "{told}");
    let reset = [
        "~ recv(): ECONNRESET: the peer's RST has come: CLOSED\n",
        "~   inferred: the peer has closed its socket with unread bytes, or with SO_LINGER 0, or",
        "~ close(): the connection is over, nothing is sent (CLOSED before)\n",
    ];
    in_order(&told, &reset);
    for engine in engines() {
        let [_, receive, send] = calls(engine);
        let server = Explained::start(engine, &["--fault", "2: reset@message=1"]);
        let mut peer = server.connect();
        peer.ask("one");
        peer.reset();
        server.until("close(): the connection is over, nothing is sent (CLOSED before)\n");
        let met = format!(" {receive} or {send}: ECONNRESET or EPIPE: the peer's RST has come: CLOSED\n");
        in_order(&server.text(), &[&met, "  inferred: the peer has closed its socket with unread bytes"]);
        // The second one is reset by this end.
        let mut peer = server.connect();
        peer.send("two\n");
        peer.0.read_to_end(&mut Vec::new()).unwrap_err();
        server.until("SO_LINGER is 0");
        let (text, _) = server.end();
        in_order(
            &text,
            &[
                "close(): SO_LINGER is 0, so an RST is sent, and unsent bytes are discarded (ESTABLISHED before)\n",
                "  inferred: the peer's next call fails (ECONNRESET); no TIME_WAIT on either side\n",
            ],
        );
    }
}

#[test]
fn what_was_sent_behind_the_peers_close_is_named_as_the_cause_of_its_reset() {
    let (mut child, server) = piped(&["--explain"]);
    drop(server);
    let (mut told, mut stderr) = until(&mut child, "recv(): 0, the peer's FIN: CLOSE_WAIT\n");
    // As long as input comes, the client sends it: the first is answered with an RST.
    let mut stdin = child.stdin.take().unwrap();
    while stdin.write_all(b"more\n").is_ok() && child.try_wait().unwrap().is_none() {}
    stderr.read_to_string(&mut told).unwrap();
    in_order(
        &told,
        &[
            "~ send(): ",
            ": the peer's RST has come: CLOSED\n",
            "~   inferred: the peer had closed its socket, and its system answers data with an RST\n",
        ],
    );
    crate::child::wait(&mut child);
}

#[test]
fn a_connection_that_is_not_made_has_its_reason() {
    let (_held, closed) = closed_port();
    let (code, _, stderr) = run(&["client", &closed.to_string(), "--explain"], b"");
    assert_eq!(code, Some(1));
    in_order(
        &stderr,
        &[
            &format!("~ socket(), connect({closed}): a SYN is sent\n~ connect({closed}): ECONNREFUSED after "),
            "~   inferred: an RST came in answer to the SYN: no socket listens there",
            "resound: cannot connect to ",
        ],
    );
    let (silent, _kept) = silent();
    let (code, _, stderr) = run(&["client", &silent.to_string(), "--explain", "--connect-timeout", "100ms"], b"");
    assert_eq!(code, Some(1));
    in_order(
        &stderr,
        &[
            &format!("~ connect({silent}): no answer after "),
            ": SYN_SENT, the SYN was sent again ",
            "~ close(): this end gives up (--connect-timeout",
            "~   inferred: the SYNs, or the answers, are dropped: ",
        ],
    );
    let (code, _, stderr) = run(&["client", "localhost", &closed.port().to_string(), "-4", "--explain"], b"");
    assert_eq!(code, Some(1));
    in_order(&stderr, &["~ getaddrinfo(localhost): 127.0.0.1:", "~ connect(127.0.0.1:", "ECONNREFUSED"]);
}

/// In a network of its own, where a neighbour does not answer.
#[test]
fn an_unreachable_host_is_shown_with_the_icmp_message_of_the_error_queue() {
    if !lab::has("ip", "an ICMP message in the error queue") {
        return;
    }
    let script = format!(
        "set -e; ip link add v0 type veth peer name v1; ip addr add 10.9.0.1/24 dev v0; ip link set v0 up; \
         ip link set v1 up; echo 1 > /proc/sys/net/ipv4/neigh/v0/mcast_solicit; \
         echo 20 > /proc/sys/net/ipv4/neigh/v0/retrans_time_ms; {} client 10.9.0.2 9 --explain",
        lab::program()
    );
    let (code, _, stderr) = run(&["lab", "-q", "--", "sh", "-c", &script], b"");
    assert_eq!(code, Some(1), "{stderr}");
    in_order(
        &stderr,
        &[
            "~ connect(10.9.0.2:9): EHOSTUNREACH after ",
            "~   error queue (IP_RECVERR): ICMP message from this machine itself: host unreachable (type 3, code 1)\n",
            "~   inferred: no neighbour has that address",
        ],
    );
}

#[test]
fn tls_is_explained_at_both_ends() {
    for engine in engines() {
        let mut server = Explained::start(engine, &["--tls", "--alpn", "echo"]);
        let trust = server.server.stdout.until("Trust it with: ");
        let pin = trust.rsplit(' ').next().unwrap();
        let address = server.address.to_string();
        let flags = ["--tls", "--pin", pin, "--alpn", "echo", "--explain"];
        let (code, _, client) = run(&[&["client", &address][..], &flags].concat(), b"Hello\n");
        assert_eq!(code, Some(0), "{client}");
        in_order(
            &client,
            &[
                "~ TLS: the handshake begins\n~ send(): ",
                " bytes queued (TLS: ClientHello)",
                "(TLS: ServerHello, change_cipher_spec, ",
                "(TLS: change_cipher_spec, encrypted record)",
                "~ TLS: the handshake is over: TLSv1.3, TLS_",
                ", ALPN echo",
                "~ TLS: a close_notify, and then the FIN: this side sends no more\n",
                "~ shutdown(SHUT_WR): a FIN follows the last byte",
                "~ TLS: the peer's close_notify: it sends no more, and nothing was cut off\n",
                "~ close(): ",
            ],
        );
        let (text, _) = server.end();
        let [_, receive, send] = calls(engine);
        in_order(
            &text,
            &[
                &format!(" {receive}: "),
                " bytes (TLS, its handshake is not over)\n",
                &format!(" {send}: "),
                " bytes queued (TLS, its handshake is not over)",
                " TLS: the handshake is over: TLSv1.3, TLS_",
                " bytes queued (in TLS records)",
                " TLS: a close_notify went before the FIN\n",
                " close(): ",
            ],
        );
    }
}

#[test]
fn each_line_about_a_connection_has_its_name() {
    for engine in engines() {
        let server = Explained::start(engine, &[]);
        let mut peers: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for round in 0..3 {
            peers.iter_mut().for_each(|peer| peer.ask(&format!("{round}")));
        }
        let names: Vec<_> = peers.iter().map(|peer| peer.0.local_addr().unwrap().to_string()).collect();
        drop(peers);
        let [accept, receive, _] = calls(engine);
        eventually("three ends", || server.text().matches(" close(): ").count() == 3);
        let (text, _) = server.end();
        let lines: Vec<_> = text.lines().skip(2).collect();
        for name in &names {
            let own: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix(&format!("~ {name} "))).collect();
            let of = |start: &str| own.iter().filter(|line| line.starts_with(start)).count();
            assert_eq!((of(accept), of(&format!("{receive}: 2 bytes")), of("close()")), (1, 3, 1), "{text}");
        }
        let is_named = |line: &&str| names.iter().any(|name| line.starts_with(&format!("~ {name} ")));
        assert!(lines.iter().all(is_named), "{text}");
    }
}

#[test]
fn the_default_engine_makes_the_calls_of_a_tutorial_and_keeps_them_in_order() {
    let mut command = Program::command(&["server", "127.0.0.1", "0", "--explain"]);
    let (reader, writer) = std::io::pipe().unwrap();
    // As with `2>&1`: one place for both.
    command.stdout(writer.try_clone().unwrap()).stderr(writer).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut lines = crate::child::Lines::of(reader);
    assert!(lines.next().starts_with("~ socket(), bind(127.0.0.1:"));
    assert_eq!(lines.next(), "~ engine threads: each connection has a thread, which waits in its calls");
    let address: SocketAddr = lines.next().strip_prefix("TCP Server started on ").unwrap().parse().unwrap();
    assert_eq!(lines.next(), "Waiting for client connections...");
    let mut peer = Peer::connect(address);
    peer.ask("one");
    let name = peer.0.local_addr().unwrap();
    drop(peer);
    let closed = format!("Connection closed for ('127.0.0.1', {})", name.port());
    let mut seen = vec![lines.next()];
    while seen.last() != Some(&closed) {
        seen.push(lines.next());
    }
    in_order(
        &seen.join("\n"),
        &[
            "New connection from ('127.0.0.1', ",
            &format!("~ {name} accept(): "),
            &format!("~ {name} recv(): 4 bytes\nReceived from ('127.0.0.1', {}): one\n", name.port()),
            &format!("~ {name} send(): 21 bytes queued"),
            &format!("~ {name} recv(): 0, the peer's FIN: CLOSE_WAIT\n"),
            &format!("~ {name} close(): a FIN is sent (CLOSE_WAIT before)\n"),
        ],
    );
    child.kill().unwrap();
    crate::child::wait(&mut child);
}

#[test]
fn in_a_conversation_the_lines_stand_above_the_one_being_typed_and_are_dim() {
    let (mut client, mut server, _listener) = both(&["--explain"]);
    assert!(client.screen().contains("ESTABLISHED after "), "{}", client.screen());
    client.keys("half");
    server.send("news\n");
    client.until("~ recv(): 5 bytes\nServer: news\n> half");
    assert!(client.written.contains("\x1b[2m~ recv(): 5 bytes\x1b[0m"), "{:?}", client.written);
    client.line("");
    server.expect("half\n");
    client.until_seen("~ send(): 5 bytes queued");
    client.line("/reset");
    let (code, screen) = client.end();
    assert_eq!(code, 0);
    in_order(
        &screen,
        &["~ close(): SO_LINGER is 0, so an RST is sent", "no TIME_WAIT on either side", "Disconnected from server"],
    );
    // Without colour.
    let state = tempfile::TempDir::new().unwrap();
    let (listener, port) = crate::client::interactive::stage();
    let flags = ["client", "127.0.0.1", &port, "--explain"];
    let mut client = Terminal::start_with(&flags, state.path(), &[("NO_COLOR", "1")]);
    let _server = crate::client::interactive::accept(&listener);
    client.until("\n>");
    assert!(client.written.contains("~ connect(") && !client.written.contains("\x1b[2m"), "{:?}", client.written);
    client.line("quit");
    assert_eq!(client.end().0, 0);
}

#[test]
fn without_the_flag_nothing_is_explained_and_a_test_takes_none() {
    let (_server, address) = Program::server(&[]);
    let (code, stdout, stderr) = run(&["client", &address.to_string()], b"Hello\n");
    assert_eq!((code, stdout.as_slice(), stderr.as_str()), (Some(0), &b"Server received: Hello\n"[..], ""));
    let (code, _, stderr) = run(&["client", &address.to_string(), "test", "--explain"], b"");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("--explain has no meaning"), "{stderr}");
}

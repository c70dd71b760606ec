//! Buffers that are full, acknowledgements, a client that listens, and unix sockets.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;

use super::{Explained, calls, in_order, read_until, until};
use crate::child::{Program, run};
use crate::client::pipe::both as piped;
use crate::harness::{Peer, engines, noise};

#[test]
fn a_full_send_buffer_is_shown() {
    let (mut child, mut server) = piped(&["--explain"]);
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(&noise(5, 16 << 20)).unwrap());
    let (told, mut stderr) = until(&mut child, "~ send(): EAGAIN, the send buffer is full: ");
    in_order(&told, &["~ send(): ", " bytes queued", "; not acknowledged yet: "]);
    // The rest of what it tells must not stop it.
    let reader = std::thread::spawn(move || stderr.read_to_end(&mut Vec::new()).unwrap());
    assert_eq!(server.rest().len(), 16 << 20);
    drop(server);
    feeder.join().unwrap();
    reader.join().unwrap();
    assert_eq!(crate::child::wait(&mut child).code(), Some(0));
}

#[test]
fn an_acknowledgement_is_shown_when_it_comes() {
    // A window for a part of what is sent.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&listener).set_recv_buffer_size(2048).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut child = Program::command(&["client", &address, "--explain"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut server = Peer(listener.accept().unwrap().0);
    child.stdin.take().unwrap().write_all(&noise(6, 12 << 10)).unwrap();
    let (told, stderr) = until(&mut child, "~ shutdown(SHUT_WR)");
    in_order(&told, &["~ send(): ", " bytes queued; not acknowledged yet: "]);
    assert_eq!(server.rest().len(), 12 << 10);
    let (told, mut stderr) = read_until(stderr, told, "~ ACK: ");
    in_order(&told, &["~ ACK: the peer's system has acknowledged all bytes sent so far, seen ", " after send()\n"]);
    drop(server);
    stderr.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(crate::child::wait(&mut child).code(), Some(0));
}

#[test]
fn a_client_that_listens_explains_what_it_accepts() {
    let mut child = Program::command(&["client", "127.0.0.1", "0", "--listen", "--explain"]).spawn().unwrap();
    let (told, mut stderr) = until(&mut child, "listening on ");
    let address: SocketAddr = told.trim_end().rsplit(' ').next().unwrap().parse().expect(&told);
    let peer = Peer::connect(address);
    let name = peer.0.local_addr().unwrap();
    drop(peer);
    let mut told = String::new();
    stderr.read_to_string(&mut told).unwrap();
    in_order(
        &told,
        &[&format!("~ accept(): a connection from {name} to {address}\n"), "  TCP_INFO: MSS ", "~ close()"],
    );
    assert_eq!(crate::child::wait(&mut child).code(), Some(0), "{told}");
}

/// A unix socket has no segments.
#[test]
fn a_unix_socket_is_explained_without_what_only_tcp_has() {
    let folder = tempfile::TempDir::new().unwrap();
    let address = format!("unix:{}", folder.path().join("socket").display());
    for engine in engines() {
        let server = Explained::start(engine, &["--listen", &address]);
        let (code, _, client) = run(&["client", &address, "--explain"], b"Hello\n");
        assert_eq!(code, Some(0), "{client}");
        let sent = ["~ socket(), connect(unix:", "~ connect(unix:", "connected after ", "~ send(): 6 bytes queued\n"];
        in_order(&client, &sent);
        in_order(&client, &["~ shutdown(SHUT_WR): the peer reads the end\n", "~ close()\n"]);
        server.until("close()");
        let (text, _) = server.end();
        let [accept, receive, _] = calls(engine);
        let parts = [
            &format!("~ connection 1 {accept}: a connection on unix:"),
            &format!("~ connection 1 {receive}: 6 bytes\n"),
            &format!("~ connection 1 {receive}: 0, the peer sends no more\n"),
        ];
        in_order(&text, &parts.map(|part| part.as_str()));
        for word in ["SYN ", "FIN", "TIME_WAIT", "TCP_INFO"] {
            assert!(!client.contains(word) && !text.lines().skip(3).any(|line| line.contains(word)), "{client}{text}");
        }
    }
}

//! The peers: minimal echo servers on other foundations.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::epoll;

pub(crate) fn serve(peer: &str, port: u16) {
    crate::server::raise_descriptor_limit();
    match peer {
        "epoll" => on_epoll(port),
        "splice" => on_splice(port),
        "tokio" => on_tokio(port),
        "monoio" => on_monoio(port),
        other => panic!("no peer '{other}'"),
    }
}

pub(crate) fn listen(port: u16) -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())
        .expect("the port");
    socket.set_tcp_nodelay(true).expect("an option"); // inherited
    socket.listen(4096).expect("a backlog");
    socket.set_nonblocking(true).expect("an option");
    socket.into()
}

/// One loop, one buffer, no backpressure: what does not leave at once is lost.
fn on_epoll(port: u16) {
    use rustix::io::{read, write};
    let mut buffer = vec![0; 64 * 1024];
    echo(port, true, |connection| match read(connection, &mut buffer) {
        Ok(n @ 1..) => {
            let _ = write(connection, &buffer[..n]);
            true
        }
        _ => false,
    });
}

/// The same, but no byte is copied: it waits until a connection has taken what is in the pipe.
fn on_splice(port: u16) {
    use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
    let new = || pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let mut pipe = new();
    echo(port, false, |connection| {
        let (from, to) = &pipe;
        let Ok(mut left @ 1..) = splice(connection, None, to, None, 64 * 1024, SpliceFlags::MOVE) else {
            return false;
        };
        while left > 0 {
            let Ok(n @ 1..) = splice(from, None, connection, None, left, SpliceFlags::MOVE) else {
                // The rest is for a connection that is lost.
                pipe = new();
                return false;
            };
            left -= n;
        }
        true
    });
}

/// Accepts, and calls `answer` for each connection that is readable, until that returns false.
fn echo(port: u16, is_nonblocking: bool, mut answer: impl FnMut(&OwnedFd) -> bool) {
    let listener = listen(port);
    let queue = epoll::create(epoll::CreateFlags::empty()).expect("an event queue");
    let key = |fd: &dyn AsRawFd| epoll::EventData::new_u64(fd.as_raw_fd() as u64);
    epoll::add(&queue, &listener, key(&listener), epoll::EventFlags::IN).expect("the listener");
    let mut connections: Vec<Option<OwnedFd>> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        let _ = epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), None);
        for event in &events {
            let number = event.data.u64() as usize;
            if number == listener.as_raw_fd() as usize {
                while let Ok((stream, _)) = listener.accept() {
                    let _ = stream.set_nonblocking(is_nonblocking);
                    let number = stream.as_raw_fd() as usize;
                    let _ = epoll::add(&queue, &stream, key(&stream), epoll::EventFlags::IN);
                    connections.resize_with(connections.len().max(number + 1), || None);
                    connections[number] = Some(stream.into());
                }
            } else if let Some(connection) = &connections[number]
                && !answer(connection)
            {
                connections[number] = None;
            }
        }
    }
}

fn on_tokio(port: u16) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listen(port)).expect("the listener");
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                continue;
            };
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn on_monoio(port: u16) {
    use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
    let runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(32_768)
        .build();
    runtime.expect("a runtime").block_on(async {
        let listener = monoio::net::TcpListener::from_std(listen(port)).expect("the listener");
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                continue;
            };
            monoio::spawn(async move {
                let mut buffer: Vec<u8> = Vec::with_capacity(16 * 1024);
                loop {
                    let (read, filled) = stream.read(buffer).await;
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                    let (written, emptied) = stream.write_all(filled).await;
                    buffer = emptied;
                    buffer.clear();
                    if written.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

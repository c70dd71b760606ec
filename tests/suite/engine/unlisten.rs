//! Listeners that are given up while their connections go on: for another process, or for later.

use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use resound::server::Listener;
use resound::{Address, Cx, Endpoint, Engine, Family, Handle, Reply, Server, Service};

use crate::harness::{PATIENCE, Peer, block_on, on_each_engine_plainly};

on_each_engine_plainly!(
    a_listener_is_given_up_and_taken_again_and_no_connection_is_lost,
    a_connection_that_waits_for_a_place_is_served_behind_the_listener,
    a_listener_without_an_owner_refuses,
    loops_show_that_they_turn,
);

mod blocked {
    use super::a_worker_that_a_service_blocks_does_not_turn;
    crate::harness::on_each_engine_with_workers!(a_worker_that_a_service_blocks_does_not_turn);
}

/// A server, and a share of its listener.
fn server(engine: Engine, settings: impl FnOnce(Server) -> Server) -> (Handle, Listener, SocketAddr) {
    let address = Address::tcp("127.0.0.1", "0").unwrap();
    let listener = Listener::bind(&address, Family::Any).unwrap().remove(0);
    let (share, address) = (listener.share(), listener.address().to_string().parse().unwrap());
    let settings =
        settings(Server::new().engine(engine)).inject_ring_faults(crate::harness::faults()).listener(listener);
    (settings.serve(|_| Reply::default()).unwrap(), share, address)
}

fn a_listener_is_given_up_and_taken_again_and_no_connection_is_lost(engine: Engine) {
    let (server, share, address) = server(engine, |settings| settings);
    let mut early = Peer::connect(address);
    early.ask("before");
    for accepted in 1..4 {
        block_on(server.unlisten());
        // In the backlog of the share.
        let mut late = Peer::connect(address);
        late.send("while nothing accepts\n");
        early.ask("still there");
        assert_eq!(server.totals().opened, accepted, "nothing is accepted");
        block_on(server.listen(vec![share.share()])).unwrap();
        late.expect("Server received: while nothing accepts\n");
        drop(late);
        early.ask("and after");
    }
    drop(early);
    block_on(server.idle());
    block_on(server.unlisten());
    block_on(server.idle());
    assert!(!server.is_finished(), "a server without a listener goes on until it drains");
    server.drain(PATIENCE);
    assert_eq!(server.wait().opened, 4);
}

fn a_connection_that_waits_for_a_place_is_served_behind_the_listener(engine: Engine) {
    let (server, share, address) = server(engine, |settings| settings.max_connections(1));
    let mut first = Peer::connect(address);
    first.ask("has the place");
    let mut second = Peer::connect(address);
    second.send("waits\n");
    crate::harness::eventually("it is accepted", || !is_queued(&share));
    block_on(server.unlisten());
    drop(share);
    first.ask("keeps it");
    drop(first);
    second.expect("Server received: waits\n");
    drop(second);
    block_on(server.idle());
    server.drain(PATIENCE);
    assert_eq!(server.wait().opened, 2);
}

/// Whether a connection is in the backlog.
fn is_queued(listener: &Listener) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&Timespec::default())).unwrap() > 0
}

fn a_listener_without_an_owner_refuses(engine: Engine) {
    let (server, share, address) = server(engine, |settings| settings);
    let mut peer = Peer::connect(address);
    peer.ask("hello");
    drop(share);
    block_on(server.unlisten());
    crate::harness::eventually("the port is closed", || TcpStream::connect(address).is_err());
    peer.ask("still there");
    drop(peer);
    server.drain(PATIENCE);
    server.wait();
}

fn loops_show_that_they_turn(engine: Engine) {
    let (server, _share, _) = server(engine, |settings| settings);
    for _ in 0..3 {
        block_on(server.heartbeat());
    }
    block_on(server.unlisten());
    block_on(server.heartbeat());
    server.stop();
    server.wait();
    block_on(server.heartbeat());
}

fn a_worker_that_a_service_blocks_does_not_turn(engine: Engine) {
    /// Blocks in the middle of a message, as no service may.
    struct Blocking(Sender<()>, Arc<Mutex<Receiver<()>>>);
    impl Service for Blocking {
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {
            self.0.send(()).unwrap();
            let _ = self.1.lock().unwrap().recv();
        }
    }
    let ((blocks, is_blocked), (release, released)) = (channel(), channel::<()>());
    let released = Arc::new(Mutex::new(released));
    let settings = Server::new().engine(engine).workers(NonZeroUsize::new(2).unwrap()).listen("127.0.0.1:0").unwrap();
    let server = settings.serve(move |_| Blocking(blocks.clone(), Arc::clone(&released))).unwrap();
    let Endpoint::Tcp(address) = server.addresses()[0] else { panic!("TCP was asked for") };
    let mut peer = Peer::connect(address);
    peer.send("x\n");
    is_blocked.recv_timeout(PATIENCE).unwrap();
    let heartbeat = block_on(async { tokio::time::timeout(Duration::from_millis(50), server.heartbeat()).await });
    assert!(heartbeat.is_err(), "a blocked worker turns");
    drop(release);
    block_on(server.heartbeat());
    drop(peer);
    server.stop();
    server.wait();
}

//! What an `Inspector` tells of a server that runs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use resound::inspect::Inspector;
use resound::{Cx, Engine, Handle, Server, Service};

use crate::harness::{PATIENCE, eventually, on_each_engine_once, server};

on_each_engine_once!(a_loop_that_stands_still_does_not_answer, each_listener_has_its_own_counts);

/// Answers each chunk once the test lets it.
struct Blocking(Arc<Mutex<Receiver<()>>>);

impl Service for Blocking {
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        self.0.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        cx.send(bytes);
    }
}

fn started(server: Server, service: impl Fn() -> Blocking + Send + Sync + 'static) -> (Handle, Inspector) {
    let handle =
        server.listen("127.0.0.1:0").unwrap().listen("127.0.0.1:0").unwrap().serve(move |_| service()).unwrap();
    let inspector = handle.inspector();
    (handle, inspector)
}

fn connect(inspector: &Inspector, listener: usize) -> TcpStream {
    let stream = TcpStream::connect(inspector.addresses()[listener].to_string()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn a_loop_that_stands_still_does_not_answer(engine: Engine) {
    let (go, wait) = channel();
    let wait = Arc::new(Mutex::new(wait));
    let (_handle, inspector) = started(server(engine), move || Blocking(Arc::clone(&wait)));
    if engine == Engine::Threads {
        assert!(inspector.heartbeats().is_empty(), "threads have no loops");
        return;
    }
    inspector.ask();
    eventually("each loop has responded", || inspector.heartbeats().iter().all(|heartbeat| heartbeat.beats == 1));
    let mut client = connect(&inspector, 0);
    client.write_all(b"stop").unwrap();
    eventually("the message has arrived", || inspector.totals_of_listener(0).bytes_in == 4);
    inspector.ask();
    let answered = || inspector.heartbeats().iter().filter(|heartbeat| heartbeat.beats == 2).count();
    eventually("the other loop has responded", || answered() == 1);
    // A further question changes nothing.
    inspector.ask();
    let still = inspector.heartbeats();
    assert_eq!(
        still.iter().filter(|heartbeat| heartbeat.beats == 1 && heartbeat.is_awaited).count(),
        1,
        "{engine:?} {still:?}"
    );
    go.send(()).unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    eventually("the loop turns again", || inspector.heartbeats().iter().all(|heartbeat| heartbeat.beats >= 2));
}

fn each_listener_has_its_own_counts(engine: Engine) {
    let (go, wait) = channel();
    let wait = Arc::new(Mutex::new(wait));
    let (handle, inspector) = started(server(engine), move || Blocking(Arc::clone(&wait)));
    let mut clients = [connect(&inspector, 0), connect(&inspector, 1), connect(&inspector, 1)];
    for client in &mut clients {
        go.send(()).unwrap();
        client.write_all(b"four").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
    }
    let counts = |listener: usize| {
        let totals = inspector.totals_of_listener(listener);
        [totals.started, totals.messages, totals.bytes_in, totals.bytes_out, totals.open()]
    };
    eventually("all is counted", || (counts(0), counts(1)) == ([1, 1, 4, 4, 1], [2, 2, 8, 8, 2]));
    let of_workers = |listener| (0..inspector.workers()).map(move |worker| (worker, listener));
    let messages = |listener| {
        of_workers(listener).map(|(worker, at)| inspector.totals_of_worker(worker, Some(at)).messages).sum::<u64>()
    };
    assert_eq!((messages(0), messages(1), messages(2)), (1, 2, 0), "{engine:?}");
    assert_eq!(handle.totals().messages, 3);
    assert_eq!(inspector.totals_dialled().started, 0);
    assert!(!inspector.is_draining());
    drop(clients);
    handle.drain(PATIENCE);
    assert!(inspector.is_draining());
    handle.wait();
    assert_eq!((inspector.totals_of_listener(1).open(), inspector.totals_of_listener(1).closed_in_all()), (0, 2));
}

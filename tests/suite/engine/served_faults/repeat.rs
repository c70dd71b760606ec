//! A seed gives the same events in a server as in a relay before one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;

use fastrand::Rng;
use resound::faults::{FaultEvent, FaultKind, FaultSpec, LiveFaults, StreamDirection};
use resound::relay::{Relay, RelayEvent, RelayTarget};
use resound::{Echo, Endpoint, Engine, Handle, Reply};

use crate::harness::{eventually, noise, on_each_engine_once, server, uninterrupted};

on_each_engine_once! {
    a_server_repeats_what_a_relay_does,
    the_faults_of_a_server_are_the_same_on_each_engine_and_in_other_pieces,
}

const SEEDS: u64 = 200;
const BYTES: usize = 6000;

/// A random specification of which both programs can cause all.
fn random_spec(dice: &mut Rng) -> FaultSpec {
    let faults = ["corrupt", "duplicate=100B", "duplicate=3KiB", "swap=64B", "swap=1KiB", "truncate"];
    let mut rules: Vec<_> = (0..=dice.u8(..4))
        .map(|_| {
            let direction = ["", "up: ", "down: "][dice.usize(..3)];
            let chance = ["", "", " 60%"][dice.usize(..3)];
            format!("{direction}{} @{}B{chance}", faults[dice.usize(..faults.len())], dice.usize(..BYTES / 2))
        })
        .collect();
    if dice.bool() {
        rules.push("corrupt 40%".into());
    }
    if dice.bool() {
        rules.push(format!("half-close @{}B 70%", dice.usize(..BYTES)));
    }
    let text = rules.join("; ");
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a client gets back of its bytes.
fn answer(at: &Handle, bytes: &[u8]) -> Vec<u8> {
    let Endpoint::Tcp(address) = at.addresses()[0] else { panic!("TCP was asked for") };
    let client = TcpStream::connect(address).unwrap();
    let mut answer = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A server whose input ends early closes, and may reset what comes then.
            let _ = uninterrupted(|| (&client).write_all(bytes));
            let _ = client.shutdown(Shutdown::Write);
        });
        let mut block = [0; 4096];
        while let Ok(n) = uninterrupted(|| (&client).read(&mut block)) {
            if n == 0 {
                break;
            }
            answer.extend(&block[..n]);
        }
    });
    answer
}

type Timeline = Vec<(u64, Option<StreamDirection>, u64, FaultKind)>;

/// The events of a run, and what its clients got.
fn run(handle: &Handle, faults: &LiveFaults, events: &mpsc::Receiver<FaultEvent>) -> (Timeline, Vec<Vec<u8>>) {
    let mut answers = Vec::new();
    for seed in 1..=SEEDS {
        faults.set(random_spec(&mut Rng::with_seed(seed)), seed).unwrap();
        answers.push(answer(handle, &noise(seed, BYTES)));
    }
    // All connections are over, and their events are there.
    handle.drain(crate::harness::PATIENCE);
    handle.wait_for_end();
    let event = |event: FaultEvent| (event.connection, event.direction, event.offset, event.kind);
    let mut events: Vec<_> = events.try_iter().map(event).collect();
    events.sort_unstable();
    (events, answers)
}

trait WaitForEnd {
    fn wait_for_end(&self);
}

impl WaitForEnd for Handle {
    fn wait_for_end(&self) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            tokio::time::timeout(crate::harness::PATIENCE, self.finished()).await.expect("an end");
        });
    }
}

fn a_server_repeats_what_a_relay_does(engine: Engine) {
    let (send, events) = mpsc::channel();
    let faults = LiveFaults::of_server();
    let served = server(engine).faults(&faults, move |_, event| drop(send.send(event.clone())));
    let served = served.listen("127.0.0.1:0").unwrap().serve(|_| Echo).unwrap();
    let of_server = run(&served, &faults, &events);

    let plain = server(Engine::Portable).listen("127.0.0.1:0").unwrap().serve(|_| Echo).unwrap();
    let target = RelayTarget::new(plain.addresses()[0].to_string().parse().unwrap()).unwrap();
    let (send, events) = mpsc::channel();
    let relay = Relay::new(server(Engine::Portable)).map("127.0.0.1:0", target).unwrap().observe(move |event| {
        if let RelayEvent::Fault { event, .. } = event {
            let _ = send.send((*event).clone());
        }
    });
    let faults = relay.faults();
    let of_relay = run(&relay.start().unwrap(), &faults, &events);

    for (one, other) in of_server.0.iter().zip(&of_relay.0) {
        assert_eq!(one, other);
    }
    assert_eq!(of_server.0.len(), of_relay.0.len());
    assert!(of_server.0.len() > 500, "{} events", of_server.0.len());
    for (index, (one, other)) in of_server.1.iter().zip(&of_relay.1).enumerate() {
        assert!(one == other, "client {}: {} bytes, {} bytes", index + 1, one.len(), other.len());
    }
}

/// Random faults that only a server has, of lines and bytes.
fn random_server_spec(dice: &mut Rng) -> FaultSpec {
    let faults =
        ["garbage", "wrong-answer", "duplicate-last-line", "late-answer=1ms", "half-close-first", "never-read"];
    // Most of them end nothing.
    let rules: Vec<_> = (0..=dice.u8(..6))
        .map(|_| {
            let fault = faults[if dice.u8(..4) > 0 { dice.usize(..4) } else { dice.usize(..faults.len()) }];
            let place = if dice.bool() { "message=" } else { "" };
            let unit = if place.is_empty() { "B" } else { "" };
            format!("{fault} @{place}{}{unit} 80%", 1 + dice.usize(..LINES_OF_RUN))
        })
        .collect();
    let text = rules.join("; ");
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

const LINES_OF_RUN: usize = 5000;

/// The events of random faults that only a server has, and what its clients got of their lines,
/// which they sent in pieces of this size at most. They stay until the server drains.
fn run_of_server(engine: Engine, piece: usize) -> (Timeline, Vec<Vec<u8>>) {
    let (send, events) = mpsc::channel();
    let faults = LiveFaults::of_server();
    let served = server(engine).faults(&faults, move |_, event| drop(send.send(event.clone())));
    let handle = served.listen("127.0.0.1:0").unwrap().serve(|_| Reply::default()).unwrap();
    let lines: String = (1..=LINES_OF_RUN).map(|number| format!("{number}\n")).collect();
    let (mut answers, mut clients) = (Vec::new(), Vec::new());
    for seed in 1..=SEEDS / 4 {
        let spec = random_server_spec(&mut Rng::with_seed(seed));
        let ends = !spec.to_string().contains("never-read");
        faults.set(spec, seed).unwrap();
        let Endpoint::Tcp(address) = handle.addresses()[0] else { panic!("TCP was asked for") };
        let client = TcpStream::connect(address).unwrap();
        for piece in lines.as_bytes().chunks(piece) {
            uninterrupted(|| (&client).write_all(piece)).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        // The next faults are for the next connection.
        eventually("its connection", || handle.totals().opened == seed);
        answers.push(if ends { rest_of(&client) } else { Vec::new() });
        clients.push(client);
    }
    handle.drain(crate::harness::PATIENCE);
    handle.wait_for_end();
    let event = |event: FaultEvent| (event.connection, event.direction, event.offset, event.kind);
    let mut events: Vec<_> = events.try_iter().map(event).collect();
    events.sort_unstable();
    (events, answers)
}

fn rest_of(mut client: &TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    uninterrupted(|| client.read_to_end(&mut answer)).unwrap();
    answer
}

fn the_faults_of_a_server_are_the_same_on_each_engine_and_in_other_pieces(engine: Engine) {
    let first = run_of_server(Engine::Portable, usize::MAX);
    assert!(first.0.len() > 100, "{} events", first.0.len());
    for piece in [usize::MAX, 1000, 77] {
        let other = run_of_server(engine, piece);
        assert_eq!(first.0, other.0, "in pieces of {piece}");
        for (index, (one, other)) in first.1.iter().zip(&other.1).enumerate() {
            assert!(one == other, "client {}: {} bytes, {} bytes", index + 1, one.len(), other.len());
        }
    }
}

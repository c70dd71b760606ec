//! The end of a server under load: what was received is answered or counted, and in time (Unix).

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::child::Program;
use crate::harness::{engines, eventually, noise};
use crate::program::admin::{admin_of, get};

/// What the clients have sent, and what has come back.
#[derive(Default)]
struct Talked {
    sent: AtomicU64,
    answers: AtomicU64,
    /// Clients that read nothing have not counted what they sent.
    stalled: AtomicBool,
}

/// How a client talks.
#[derive(Clone, Copy)]
enum Habit {
    /// So many lines, their answers, and again.
    Lines(u64),
    /// Lines without end, and answers are read only once the server has ended.
    Stalled,
}

/// One client, until the server ends the connection.
async fn talk(id: u64, address: SocketAddr, habit: Habit, talked: Arc<Talked>, mut ended: watch::Receiver<bool>) {
    // The server may stop before this one is there.
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let line = format!("client {id:05}\n");
    if let Habit::Stalled = habit {
        talked.stalled.store(true, SeqCst);
        let lines = line.repeat(1000);
        tokio::select! {
            () = async { while stream.write_all(lines.as_bytes()).await.is_ok() {} } => {}
            _ = ended.wait_for(|&ended| ended) => {}
        }
        let _ = ended.wait_for(|&ended| ended).await;
        read(&mut stream, &line, u64::MAX, &talked).await;
        return;
    }
    let Habit::Lines(n) = habit else { return };
    loop {
        if stream.write_all(line.repeat(n as usize).as_bytes()).await.is_err() {
            return;
        }
        talked.sent.fetch_add(n, SeqCst);
        if !read(&mut stream, &line, n, &talked).await {
            return;
        }
    }
}

/// Reads so many answers, or up to the end: that comes after a whole one, unless it is a reset. (A
/// reset that a write has met is none to a read.) Returns whether they came.
async fn read(stream: &mut TcpStream, line: &str, most: u64, talked: &Talked) -> bool {
    let want = format!("Server received: {line}");
    let mut part = Vec::new();
    let mut count = 0;
    while count < most {
        match stream.read_buf(&mut part).await {
            Ok(0) => {
                assert!(part.is_empty() || most == u64::MAX, "half an answer: {}", part.escape_ascii());
                return false;
            }
            Ok(_) => {}
            Err(_) => return false,
        }
        while part.len() >= want.len() {
            assert_eq!(part[..want.len()].escape_ascii().to_string(), want.as_bytes().escape_ascii().to_string());
            part.drain(..want.len());
            count += 1;
            talked.answers.fetch_add(1, SeqCst);
        }
    }
    true
}

/// A server and its clients.
struct Scene {
    server: Program,
    /// When the last signal was sent.
    signalled: Instant,
    /// When the process has ended, as its parent sees it.
    end_of_process: thread::JoinHandle<Instant>,
    talked: Arc<Talked>,
    clients: thread::JoinHandle<()>,
    end: watch::Sender<bool>,
}

impl Scene {
    fn new(args: &[&str], connections: u64, habit: impl Fn(u64) -> Habit + Send + 'static) -> Self {
        let args = [&["server", "127.0.0.1", "0", "--log-format", "json", "--log", "connections"], args].concat();
        let mut server = Program::spawn(Program::command(&args));
        let started: serde_json::Value = serde_json::from_str(&server.stdout.next()).unwrap();
        let address = started["address"].as_str().unwrap().parse().unwrap();
        let talked = Arc::new(Talked::default());
        let (end, ended) = watch::channel(false);
        let of_clients = Arc::clone(&talked);
        let clients = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut clients = tokio::task::JoinSet::new();
                for id in 0..connections {
                    clients.spawn(talk(id, address, habit(id), Arc::clone(&of_clients), ended.clone()));
                }
                clients.join_all().await;
            });
        });
        let end_of_process = end_of(&server);
        Self { server, signalled: Instant::now(), end_of_process, talked, clients, end }
    }

    fn signal(&mut self, signal: Signal) {
        self.signalled = Instant::now();
        self.server.signal(signal);
    }

    /// Waits for the end: exit code, how long it took from the last signal, and the event
    /// `stopped`, if there was one.
    fn ended(self) -> (Option<i32>, Duration, Option<serde_json::Value>, Arc<Talked>) {
        let Self { mut server, signalled, end_of_process, talked, clients, end } = self;
        let mut last = None;
        while let Some(line) = server.stdout.next_if_any() {
            last = Some(line);
        }
        let took = end_of_process.join().unwrap() - signalled;
        let code = server.end().0;
        let _ = end.send(true);
        clients.join().unwrap();
        let last = last.and_then(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
        (code, took, last.filter(|event| event["event"] == "stopped"), talked)
    }
}

/// Waits for the end of the process on a thread of its own, and leaves it to be reaped. The time
/// that its last lines take to be read does not count.
fn end_of(server: &Program) -> thread::JoinHandle<Instant> {
    let process = Pid::from_child(&server.child);
    thread::spawn(move || {
        // An error means that it is reaped already.
        let _ = waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        Instant::now()
    })
}

/// Every line that was received is answered, or counted as not answered.
fn assert_accounts(stopped: &serde_json::Value, talked: &Talked, what: &str) {
    let count = |name: &str| stopped[name].as_u64().unwrap_or(0);
    let (sent, answers) = (talked.sent.load(SeqCst), talked.answers.load(SeqCst));
    let (messages, unanswered) = (count("messages"), count("unanswered"));
    assert!(answers <= messages && messages - answers <= unanswered, "{what}: {answers} answers, {stopped}");
    if !talked.stalled.load(SeqCst) {
        assert!(answers + unanswered <= sent, "{what}: {sent} sent, {answers} answers, {stopped}");
    }
    if count("unanswered") == 0 {
        assert_eq!(messages, answers, "{what}");
    }
}

#[test]
fn each_line_received_is_answered_or_counted() {
    for engine in engines() {
        let mut scene = Scene::new(&["--engine", engine], 40, |id| Habit::Lines(1 + id % 3 * 10));
        eventually("they talk", || scene.talked.answers.load(SeqCst) > 2_000);
        scene.signal(Signal::TERM);
        let (code, _, stopped, talked) = scene.ended();
        let stopped = stopped.expect(engine);
        assert_eq!((code, &stopped["connections"]), (Some(0), &40.into()), "{engine}: {stopped}");
        assert_eq!(stopped["messages"], talked.answers.load(SeqCst), "{engine}: {stopped}");
        assert_accounts(&stopped, &talked, engine);
    }
}

#[test]
fn lines_of_peers_that_read_nothing_are_counted() {
    for engine in engines() {
        let flags = ["--engine", engine, "--drain-timeout", "300ms"];
        let mut scene = Scene::new(&flags, 8, |id| if id < 4 { Habit::Stalled } else { Habit::Lines(1) });
        eventually("they talk", || scene.talked.answers.load(SeqCst) > 200);
        scene.signal(Signal::TERM);
        let (code, _, stopped, talked) = scene.ended();
        let stopped = stopped.expect(engine);
        // Where all answers are in the hands of the system, a connection has ended in order.
        assert!(matches!(code, Some(0 | 130)), "{engine}: {code:?} {stopped}");
        assert!(stopped["unanswered"].as_u64().is_some_and(|n| n > 0), "{engine}: {stopped}");
        assert_accounts(&stopped, &talked, engine);
    }
}

/// A busy server may learn of two signals at once, and heeds both, unless they came within 20 ms.
#[test]
fn a_second_signal_is_heeded_however_soon_it_comes() {
    for engine in engines() {
        let flags = ["--engine", engine, "--drain-timeout", "1h"];
        let mut scene = Scene::new(&flags, 8, |id| if id < 4 { Habit::Stalled } else { Habit::Lines(1) });
        eventually("they talk", || scene.talked.answers.load(SeqCst) > 200);
        scene.signal(Signal::TERM);
        // A process that gets no processor meanwhile sees two signals at one time.
        let mut last = Instant::now();
        eventually("it ends", || {
            if last.elapsed() > Duration::from_millis(25) {
                scene.signal(Signal::INT);
                last = Instant::now();
            }
            scene.server.child.try_wait().unwrap().is_some()
        });
        assert_eq!(scene.ended().0, Some(130), "{engine}");
    }
}

/// With more connections than a server cuts one by one, the end of the process has to reset those
/// whose answers it still holds.
#[test]
fn a_second_signal_resets_those_that_have_only_a_part_of_an_answer() {
    /// More than the system takes for a peer that reads nothing.
    const LINES: usize = 8_000;
    let _ = resound::system::raise_descriptor_limit();
    for engine in engines() {
        let flags = ["--engine", engine, "--high-water", "64MiB", "--drain-timeout", "1h", "-q", "--admin", "0"];
        let mut server = Program::spawn(Program::command(&[&["server", "127.0.0.1", "0"], &flags[..]].concat()));
        let line = server.stdout.until("TCP Server started on ");
        let address: SocketAddr = line["TCP Server started on ".len()..].parse().expect(&line);
        let admin = admin_of(&server.stdout.until("Admin on "));
        let _silent: Vec<_> = (0..516).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let connect = |_| {
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            peer.write_all(&[[b'x'; 1023].as_slice(), b"\n"].concat().repeat(LINES)).unwrap();
            peer
        };
        let peers: Vec<_> = (0..4).map(connect).collect();
        eventually("the server has read all, and holds answers", || {
            let listing = get(admin, "/connections?limit=4&sort=messages").json();
            let waits = |row: &serde_json::Value| {
                row["messages"] == LINES && row["unsent_bytes"].as_u64().is_some_and(|unsent| unsent > 0)
            };
            listing["connections"].as_array().unwrap().iter().filter(|row| waits(row)).count() == 4
        });
        server.signal(Signal::TERM);
        let mut last = Instant::now();
        eventually("it ends", || {
            if last.elapsed() > Duration::from_millis(25) {
                server.signal(Signal::INT);
                last = Instant::now();
            }
            server.child.try_wait().unwrap().is_some()
        });
        assert_eq!(server.end().0, Some(130), "{engine}");
        for mut peer in peers {
            let end = peer.read_to_end(&mut Vec::new());
            assert!(end.is_err(), "{engine}: a FIN behind a part of the answers");
        }
    }
}

/// Waits, as nothing but a test behind `--ignored` may.
fn pause(time: Duration) {
    let (_never, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

#[test]
#[ignore = "20 servers of each engine with 10,000 connections each, ended at random moments"]
fn ending_ten_thousand_connections_at_random_moments() {
    const CONNECTIONS: u64 = 10_000;
    let _ = resound::system::raise_descriptor_limit();
    let seed = std::env::var("RESOUND_FAULTS").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("RESOUND_FAULTS={seed} repeats these moments");
    let dice = |round: u64, at: usize| u64::from(noise(seed ^ round << 8, 64)[at]);
    let drain = Duration::from_secs(2);
    let only = std::env::var("RESOUND_ENGINE").ok();
    for engine in engines().into_iter().filter(|engine| only.as_deref().is_none_or(|only| only == *engine)) {
        // What the system itself needs to close so many sockets is not the server's.
        let mut scene = Scene::new(&["--engine", engine], CONNECTIONS, |_| Habit::Lines(1));
        pause(Duration::from_secs(5));
        scene.signal(Signal::KILL);
        let (_, teardown, ..) = scene.ended();
        let (mut slowest, mut slowest_second) = (Duration::ZERO, Duration::ZERO);
        for round in 0..20 {
            // From the first connections up to all of them at work; a third of the rounds with
            // peers that read nothing, and another third with a second signal.
            let moment = Duration::from_millis(dice(round, 0) * 20);
            let (stalls, has_second) = (round % 3 == 1, round % 3 == 2);
            let habit = move |id| match id % 10 {
                0 if stalls => Habit::Stalled,
                1..=3 => Habit::Lines(20),
                _ => Habit::Lines(1),
            };
            let what = format!("{engine}, round {round}, after {moment:?}");
            let mut scene = Scene::new(&["--engine", engine, "--drain-timeout", "2s"], CONNECTIONS, habit);
            pause(moment);
            scene.signal(Signal::TERM);
            if has_second {
                pause(Duration::from_millis(25 + dice(round, 1)));
                scene.signal(Signal::TERM);
            }
            let (code, took, stopped, talked) = scene.ended();
            if has_second {
                // It may have ended before.
                assert!(matches!(code, Some(0 | 130)), "{what}: {code:?}");
                assert!(took <= Duration::from_millis(200) + teardown, "{what}: {took:?} from the second signal");
                slowest_second = slowest_second.max(took);
                continue;
            }
            assert!(took <= drain + Duration::from_millis(500) + teardown, "{what}: {took:?}");
            slowest = slowest.max(took);
            let stopped = stopped.expect(&what);
            assert_accounts(&stopped, &talked, &what);
            // A machine with more to do may not get through all of them in time.
            assert!(matches!(code, Some(0 | 130)), "{what}: {code:?} {stopped}");
        }
        println!(
            "{engine}: at most {slowest:?}, and {slowest_second:?} from a second signal; killed, it takes {teardown:?}"
        );
    }
}

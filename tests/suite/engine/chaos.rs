//! Peers that misbehave, for a minute: too long for every run, so behind `cargo test --release --
//! --ignored chaos`.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::child::Program;
use crate::harness::{Peer, engines, eventually, noise};

const CONNECTIONS: u64 = 5_000;
const MINUTE: Duration = Duration::from_secs(60);

/// What one connection does to an echo server. Its own bytes come back exactly, independent of the
/// others.
async fn misbehave(seed: u64, address: SocketAddr) -> std::io::Result<()> {
    let dice = noise(seed, 16);
    let length = 1 + usize::from(u16::from_le_bytes([dice[0], dice[1]])) * if dice[2] < 20 { 8 } else { 1 };
    let sent = noise(seed ^ 1, length);
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let reset = dice[3] < 64;
    let slow = dice[4] < 32;
    let stops_at = if reset { length * usize::from(dice[5]) / 256 } else { length };
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        // Down to a byte at a time, but at most a thousand times: half a million would be a test of
        // patience.
        let piece = (1 + usize::from(dice[6]) * 64).max(length / 1000);
        for part in sent[..stops_at].chunks(piece) {
            writer.write_all(part).await?;
        }
        // A reset comes with answers on their way, and a half-close before they are read.
        if reset { Ok(()) } else { writer.shutdown().await }
    };
    let reading = async {
        let (mut got, mut buffer) = (0, [0; 16 * 1024]);
        let enough = if reset { stops_at / 2 } else { usize::MAX };
        while got < enough {
            let room = if slow { 1024 } else { buffer.len() };
            let n = reader.read(&mut buffer[..room]).await?;
            if n == 0 {
                break;
            }
            assert!(buffer[..n] == sent[got..got + n], "seed {seed}: what came back is not what was sent");
            got += n;
            if slow && got < 64 * 1024 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert!(reset || got == length, "seed {seed}: {got} bytes came back of {length}");
        Ok(())
    };
    let ((), ()) = tokio::try_join!(writing, reading)?;
    if reset {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

#[test]
#[ignore = "a minute of 5,000 connections"]
fn chaos_leaves_nothing_behind_on_uring() {
    chaos("uring");
}

#[test]
#[ignore = "a minute of 5,000 connections"]
fn chaos_leaves_nothing_behind_on_portable() {
    chaos("portable");
}

#[test]
#[ignore = "a minute of 5,000 connections"]
fn chaos_leaves_nothing_behind_on_threads() {
    chaos("threads");
}

fn chaos(engine: &str) {
    // One at a time: the descriptors would not suffice for two.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !engines().contains(&engine) {
        return;
    }
    let limit = resound::system::raise_descriptor_limit().unwrap_or(u64::MAX);
    assert!(limit > CONNECTIONS + 100, "this needs more than {CONNECTIONS} descriptors, and {limit} are allowed");
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let (server, address) = Program::server(&["--quiet", "--mode", "echo", "--engine", engine]);
    let process = format!("/proc/{}", server.child.id());
    let descriptors = || std::fs::read_dir(format!("{process}/fd")).unwrap().count();
    let memory = || {
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let idle = descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let storm = |time: Duration, seed: u64| {
        let end = Instant::now() + time;
        runtime.block_on(async {
            let mut peers = tokio::task::JoinSet::new();
            for n in 0..CONNECTIONS {
                peers.spawn(async move {
                    let mut rounds = 0;
                    while Instant::now() < end {
                        let seed = seed.wrapping_add(n * 1_000_003 + rounds);
                        misbehave(seed, address).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                        rounds += 1;
                    }
                    rounds
                });
            }
            peers.join_all().await.into_iter().sum::<u64>()
        })
    };
    // Waits until the server has closed what its peers have.
    let settled = || {
        eventually("the server has closed what its peers have", || descriptors() <= idle);
        memory()
    };
    // What the first connections cost may stay, for the next ones.
    storm(MINUTE / 6, seed);
    let before = settled();
    let survived = storm(MINUTE, !seed);
    let after = settled();
    println!("{engine}: {survived} connections; {before} KiB before, {after} KiB after, {idle} descriptors");
    // The C library keeps 40 MiB of threads' stacks for the next ones.
    let kept = if engine == "threads" { 44 * 1024 } else { 4 * 1024 };
    assert!(after < before + before / 4 + kept, "{engine}: {before} KiB before, {after} KiB after");
}

/// The reader's system has more room all the time, and announces it every 64 s or more (a segment
/// of loopback's worth, or all of its buffer's): until then it looks stalled.
#[test]
#[ignore = "six minutes and a half"]
fn a_reader_of_one_kibibyte_a_second_survives() {
    let readers: Vec<_> = engines()
        .into_iter()
        .map(|engine| {
            std::thread::spawn(move || {
                let (server, address) = Program::server(&["--quiet", "--mode", "chargen", "--engine", engine]);
                let mut peer = Peer::connect(address);
                let mut got = Vec::new();
                let end = Instant::now() + 13 * MINUTE / 2;
                let mut next = Instant::now();
                while next < end {
                    got.extend(peer.read(1024));
                    next += Duration::from_secs(1);
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                // What the server had no room for then is still to come: it has lost neither the
                // connection nor its place.
                let before = got.len();
                got.extend(peer.read(16 * 1024 * 1024));
                let want = Peer::connect(address).read(got.len());
                assert!(got == want, "{engine}: what came is not the pattern");
                println!("{engine}: {before} bytes slowly, and {} more", got.len() - before);
                drop(server);
            })
        })
        .collect();
    for reader in readers {
        reader.join().expect("a reader");
    }
}

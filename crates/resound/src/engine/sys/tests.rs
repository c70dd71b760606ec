//! Tests of the ring at the limits of its queues and buffers: nothing is lost.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::engine::fault_config::RingFaultConfig;
use crate::not_tested::not_tested;

use super::{BufferKind, Done, Key, Ring, SendBlocking, SendBytes, Setup, Wait};

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test with a ring. A system that refuses one is reported.
fn with_ring(setup: Setup, test: impl FnOnce(&mut Ring<'_>)) {
    if let Err(error) = Ring::with(&setup, test) {
        assert!(std::env::var_os("RESOUND_REQUIRE_URING").is_none(), "{error}");
        not_tested("io_uring", &error.to_string());
    }
}

/// Enters until `count` operations have completed.
fn completions(ring: &mut Ring<'_>, count: usize) -> Vec<Done> {
    let (until, mut all) = (Instant::now() + PATIENCE, Vec::new());
    while all.len() < count {
        assert!(Instant::now() < until, "{} of {count} completions", all.len());
        ring.enter(Wait::AtMost(Duration::from_millis(100))).unwrap();
        while let Some(done) = ring.next() {
            all.push(done);
        }
    }
    all
}

#[test]
fn operations_that_overflow_a_queue_are_not_lost() {
    let small = Setup {
        faults: RingFaultConfig { queue_sizes: Some((2, 4)), ..RingFaultConfig::default() },
        ..Setup::default()
    };
    with_ring(small, |ring| {
        let mut pairs: Vec<_> = (0..100).map(|_| UnixStream::pair().unwrap()).collect();
        for (slot, (ours, _)) in pairs.iter().enumerate() {
            ring.multishot_recv(Key::first(slot as u32), ours.as_fd());
        }
        ring.enter(Wait::Not).unwrap();
        for (n, (_, theirs)) in pairs.iter_mut().enumerate() {
            theirs.write_all(format!("message {n}").as_bytes()).unwrap();
        }
        // A receive that finds the queue full may be split.
        let mut got: HashMap<u32, Vec<u8>> = HashMap::new();
        while got.len() < 100 {
            for done in completions(ring, 1) {
                let Done::Received { key, piece, more, .. } = done else { panic!("no other operation was submitted") };
                if let Some(piece) = piece {
                    got.entry(key.slot).or_default().extend(piece.bytes());
                }
                if !more {
                    ring.multishot_recv(key, pairs[key.slot as usize].0.as_fd());
                }
            }
        }
        assert!(got.iter().all(|(n, bytes)| *bytes == format!("message {n}").as_bytes()));
    });
}

#[test]
fn a_receive_without_a_buffer_fails_and_can_be_repeated() {
    with_ring(Setup::default(), |ring| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let key = Key::first(0);
        let sent = vec![7; 4 << 20];
        let copy = sent.clone();
        let sending = std::thread::spawn(move || theirs.write_all(&copy).map(|()| theirs));
        ring.multishot_recv(key, ours.as_fd());
        // The test keeps all buffers, so they run out.
        let (mut hoard, mut got) = (Vec::new(), 0);
        'full: loop {
            for done in completions(ring, 1) {
                match done {
                    Done::Received { piece: Some(piece), more, .. } => {
                        got += piece.len();
                        hoard.push(piece);
                        if !more {
                            ring.multishot_recv(key, ours.as_fd());
                        }
                    }
                    Done::Received { result, .. } => {
                        assert_eq!(result, -libc::ENOBUFS);
                        break 'full;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(got < sent.len());
        hoard.clear();
        assert!(ring.buffers() > 0);
        ring.multishot_recv(key, ours.as_fd());
        while got < sent.len() {
            for done in completions(ring, 1) {
                let Done::Received { piece, more, .. } = done else { panic!("no other operation was submitted") };
                got += piece.map_or(0, |piece| piece.len());
                if !more {
                    ring.multishot_recv(key, ours.as_fd());
                }
            }
        }
        drop(sending.join().unwrap().unwrap());
    });
}

#[test]
fn the_pools_grow_by_one_buffer_a_turn_up_to_a_limit() {
    with_ring(Setup::default(), |ring| {
        let first = ring.buffers();
        assert!(first > 0 && ring.has_few_buffers());
        let burst = |ring: &Ring<'_>| {
            [BufferKind::Multishot, BufferKind::SingleShot]
                .repeat(3)
                .into_iter()
                .for_each(|kind| ring.add_buffer(kind));
        };
        for turn in 1..=20 {
            burst(ring);
            assert_eq!(ring.buffers(), (first + turn).min(8), "in turn {turn}");
            ring.enter(Wait::Not).unwrap();
        }
        assert!(!ring.has_few_buffers());
    });
}

#[test]
fn an_accepted_connection_is_closed_with_its_ring() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = None;
    with_ring(Setup::default(), |ring| {
        ring.accept(0, listener.as_fd(), true);
        ring.enter(Wait::Not).unwrap();
        client = Some(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        // The ring ends with the connection accepted, or about to be.
        ring.cancel_accept(0);
    });
    drop(listener);
    if let Some(mut client) = client {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(
            client.read(&mut [0]).map_or_else(|error| error.kind() == std::io::ErrorKind::ConnectionReset, |n| n == 0)
        );
    }
}

#[test]
fn a_send_that_waits_keeps_its_bytes_until_it_is_cancelled() {
    with_ring(Setup::default(), |ring| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let key = Key::first(3);
        loop {
            ring.send(key, ours.as_fd(), SendBytes::Owned { bytes: vec![1; 100_000], from: 0 }, SendBlocking::Try);
            let Some(Done::Sent { result, .. }) = completions(ring, 1).pop() else { panic!("a send was submitted") };
            if result == -libc::EAGAIN {
                break;
            }
        }
        ring.send(key, ours.as_fd(), SendBytes::Owned { bytes: vec![2; 100_000], from: 0 }, SendBlocking::Wait);
        ring.enter(Wait::Not).unwrap();
        assert!(ring.next().is_none());
        ring.cancel_all(ours.as_fd());
        let Some(Done::Sent { key: owner, result, bytes }) = completions(ring, 1).pop() else {
            panic!("a send was cancelled")
        };
        assert_eq!((owner, result), (key, -libc::ECANCELED));
        bytes.each(&mut |bytes| assert!(bytes.iter().all(|&byte| byte == 2)));
        drop(theirs);
    });
}

#[test]
fn a_message_across_the_end_of_a_buffer_is_one_piece() {
    with_ring(Setup::default(), |ring| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ring.multishot_recv(Key::first(0), ours.as_fd());
        // The length divides no buffer, so some messages cross an end.
        let message = [b'm'; 999];
        for n in 0..100 {
            theirs.write_all(&message).unwrap();
            let Some(Done::Received { piece: Some(piece), .. }) = completions(ring, 1).pop() else {
                panic!("it was received")
            };
            assert_eq!(piece.bytes(), message, "message {n}");
        }
    });
}

//! Volume: too long for every run, so behind `cargo test --release -- --ignored volume`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::child::Program;
use crate::harness::engines;

const CONNECTIONS: u64 = 10_000;
const MESSAGES: u64 = 100;

async fn one(id: u64, address: SocketAddr, bytes_out: Arc<AtomicU64>) -> u64 {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.set_nodelay(true).unwrap();
    let mut sent = 0;
    for n in 0..MESSAGES {
        let line = format!("connection {id} message {n}\n");
        stream.write_all(line.as_bytes()).await.expect("send");
        let want = format!("Server received: {line}");
        let mut got = vec![0; want.len()];
        stream.read_exact(&mut got).await.expect("read");
        assert_eq!(String::from_utf8_lossy(&got), want);
        bytes_out.fetch_add(got.len() as u64, Relaxed);
        sent += line.len() as u64;
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "nothing behind the last answer");
    sent
}

#[test]
#[ignore = "a million messages over 10,000 connections"]
fn volume_ten_thousand_connections() {
    let limit = resound::system::raise_descriptor_limit().unwrap_or(u64::MAX);
    assert!(limit > CONNECTIONS + 100, "this needs more than {CONNECTIONS} descriptors, and {limit} are allowed");
    for engine in engines() {
        let mut server =
            Program::spawn(Program::command(&["server", "127.0.0.1", "0", "--engine", engine, "--log-format", "json"]));
        let started: serde_json::Value = serde_json::from_str(&server.stdout.next()).unwrap();
        let address = started["address"].as_str().unwrap().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let start = Instant::now();
        let bytes_out = Arc::new(AtomicU64::new(0));
        let bytes_in: u64 = runtime.block_on(async {
            let mut peers = tokio::task::JoinSet::new();
            for id in 0..CONNECTIONS {
                peers.spawn(one(id, address, Arc::clone(&bytes_out)));
            }
            peers.join_all().await.into_iter().sum()
        });
        server.signal(rustix::process::Signal::TERM);
        let stopped: serde_json::Value = loop {
            let line: serde_json::Value = serde_json::from_str(&server.stdout.next()).unwrap();
            if line["event"] == "stopped" {
                break line;
            }
        };
        assert_eq!(stopped["connections"], CONNECTIONS);
        assert_eq!(stopped["messages"], CONNECTIONS * MESSAGES);
        assert_eq!(stopped["bytes_in"], bytes_in);
        assert_eq!(stopped["bytes_out"], bytes_out.load(Relaxed));
        assert_eq!(stopped["closed"]["finished"], CONNECTIONS);
        assert_eq!(server.end().0, Some(0));
        println!("{engine}: {} messages checked in {:.1?}, counters agree", CONNECTIONS * MESSAGES, start.elapsed());
    }
}

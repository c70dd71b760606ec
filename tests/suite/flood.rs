//! A minute of handshakes beside connections that say nothing: those who behave must not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use resound::{Engine, Limits, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::{Running, engine, engines, server};
use crate::tunnel::{client, opening};

const SILENT: usize = 5_000;
const FLOODERS: usize = 200;
const ESTABLISHED: usize = 50;
const FLOOD: Duration = Duration::from_secs(60);

#[test]
#[ignore = "a minute of handshakes for each engine"]
fn flood_of_handshakes_keeps_nobody_out() {
    for name in engines() {
        flood(engine(name), name);
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    tokio_rustls::TlsConnector::from(client().config().clone()).connect(client().name().clone(), stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    stream.write_all(b"hello\n").await?;
    stream.flush().await?;
    let mut answer = [0; 23];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"Server received: hello\n");
    Ok(())
}

fn flood(engine: Engine, name: &str) {
    // The silent ones stay for the whole test.
    let limits = Limits { opening_timeout: Some(FLOOD * 3), ..Limits::default() };
    let running = Running::start(server(engine).limits(limits).opening(opening()), |_| Reply::default());
    let address = running.address();
    let silent: Vec<_> = (0..SILENT).map(|_| std::net::TcpStream::connect(address).expect("connect")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (over, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (mut waits, asked) = runtime.block_on(async {
        let mut established = Vec::new();
        for _ in 0..ESTABLISHED {
            established.push(connect(address).await.unwrap());
        }
        let talking: Vec<_> = established
            .into_iter()
            .map(|mut stream| {
                let over = Arc::clone(&over);
                tokio::spawn(async move {
                    let mut asked = 0_u64;
                    while !over.load(Relaxed) {
                        ask(&mut stream).await.expect("an established connection loses nothing");
                        asked += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    asked
                })
            })
            .collect();
        let flooding: Vec<_> = (0..FLOODERS)
            .map(|_| {
                let (over, handshakes) = (Arc::clone(&over), Arc::clone(&handshakes));
                tokio::spawn(async move {
                    while !over.load(Relaxed) {
                        drop(connect(address).await);
                        handshakes.fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        let (start, mut waits) = (Instant::now(), Vec::new());
        while start.elapsed() < FLOOD {
            let begun = Instant::now();
            let mut stream = connect(address).await.expect("whoever behaves gets in");
            ask(&mut stream).await.unwrap();
            waits.push(begun.elapsed());
        }
        over.store(true, Relaxed);
        for task in flooding {
            task.await.unwrap();
        }
        let mut asked = 0;
        for task in talking {
            asked += task.await.unwrap();
        }
        (waits, asked)
    });
    waits.sort();
    let p99 = waits[waits.len() * 99 / 100];
    println!(
        "{name}: {} handshakes beside {SILENT} silent connections; {} came in, p99 {p99:?}; {asked} answers on {ESTABLISHED} others",
        handshakes.load(Relaxed),
        waits.len()
    );
    assert!(p99 < Duration::from_secs(1), "{name}: {p99:?}");
    drop(silent);
}

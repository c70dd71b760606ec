//! A minute of handshakes beside silent connections: well-behaved clients must not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use resound::{Engine, Limits, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::harness::{Running, engine, engines, noise, server};
use crate::tunnel::{client, handshake};

const SILENT: usize = 5_000;
const FLOODERS: usize = 200;
const ESTABLISHED: usize = 50;
/// Clients that come in, ask once and leave, one after the other: together they are the samples of
/// the percentile.
const WELL_BEHAVED: usize = 8;
const PAUSE: Duration = Duration::from_millis(20);
const FLOOD: Duration = Duration::from_secs(60);

#[test]
#[ignore = "a minute of handshakes for each engine"]
fn flood_of_handshakes_keeps_no_client_out() {
    for name in engines() {
        flood(engine(name), name);
    }
}

type Secure = TlsStream<TcpStream>;

async fn connect(address: SocketAddr) -> std::io::Result<Secure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    tokio_rustls::TlsConnector::from(client().config().clone()).connect(client().name().clone(), stream).await
}

/// One question, no two alike, and its answer, byte for byte.
async fn ask(stream: &mut Secure, number: usize, n: u64) -> std::io::Result<()> {
    let noise = noise(n << 16 | number as u64, 1 + (n as usize * 37) % 400);
    let line: String = noise.iter().map(|byte| char::from(b'a' + byte % 26)).chain(['\n']).collect();
    stream.write_all(line.as_bytes()).await?;
    stream.flush().await?;
    let want = format!("Server received: {line}");
    let mut answer = vec![0; want.len()];
    stream.read_exact(&mut answer).await?;
    assert!(answer == want.as_bytes(), "connection {number}, question {n}: {}", answer.escape_ascii());
    Ok(())
}

fn on_a_thread<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> thread::JoinHandle<T> {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work)
    })
}

/// Handshakes, each of them complete, as fast as they come.
async fn hammer(address: SocketAddr, over: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut flooders = JoinSet::new();
    for _ in 0..FLOODERS {
        let (over, done) = (Arc::clone(&over), Arc::clone(&done));
        flooders.spawn(async move {
            while !over.load(Relaxed) {
                let stream = connect(address).await.expect("a handshake");
                done.fetch_add(1, Relaxed);
                // No wait in TIME_WAIT: the ports would not last.
                socket2::SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
    }
    flooders.join_all().await;
}

/// How long each answer took on connections that were there before, and ask all the while.
async fn talk(established: Vec<Secure>, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut talking = JoinSet::new();
    for (number, mut stream) in established.into_iter().enumerate() {
        let over = Arc::clone(&over);
        talking.spawn(async move {
            let mut waits = Vec::new();
            while !over.load(Relaxed) {
                let begun = Instant::now();
                ask(&mut stream, number, waits.len() as u64).await.expect("an established connection loses nothing");
                waits.push(begun.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "nothing more comes than the end");
            waits
        });
    }
    talking.join_all().await.concat()
}

/// How long it took each time to get in and be answered.
async fn come_and_go(address: SocketAddr, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut coming = JoinSet::new();
    for number in 0..WELL_BEHAVED {
        let over = Arc::clone(&over);
        coming.spawn(async move {
            let mut waits = Vec::new();
            while !over.load(Relaxed) {
                let begun = Instant::now();
                let mut stream = connect(address).await.expect("a well-behaved client gets in");
                ask(&mut stream, number, waits.len() as u64).await.expect("and is answered");
                waits.push(begun.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            waits
        });
    }
    coming.join_all().await.concat()
}

fn flood(engine: Engine, name: &str) {
    // The silent ones stay for the whole test.
    let limits = Limits { opening_timeout: Some(FLOOD * 3), ..Limits::default() };
    let running = Running::start(server(engine).limits(limits).handshake(handshake()), |_| Reply::default());
    let address = running.address();
    let silent: Vec<_> = (0..SILENT).map(|_| std::net::TcpStream::connect(address).expect("connect")).collect();
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (established, talking) = {
        let (send, established) = std::sync::mpsc::channel();
        let over = Arc::clone(&over);
        let talking = on_a_thread(async move {
            let mut streams = Vec::new();
            for _ in 0..ESTABLISHED {
                streams.push(connect(address).await.unwrap());
            }
            send.send(()).unwrap();
            talk(streams, over).await
        });
        (established, talking)
    };
    established.recv().expect("they are connected");
    let start = Instant::now();
    let flooding = on_a_thread(hammer(address, Arc::clone(&over), Arc::clone(&done)));
    let coming = on_a_thread(come_and_go(address, Arc::clone(&over)));
    while start.elapsed() < FLOOD && !flooding.is_finished() && !coming.is_finished() && !talking.is_finished() {
        thread::park_timeout(Duration::from_millis(100));
    }
    over.store(true, Relaxed);
    flooding.join().expect("the flood");
    let (mut came_in, mut answers) = (coming.join().expect("the well-behaved"), talking.join().expect("the others"));
    let live = running.handle.connections().iter().sum::<usize>();
    let percentile = |waits: &mut Vec<Duration>, percent: usize| {
        waits.sort();
        waits[(waits.len() * percent / 100).min(waits.len() - 1)]
    };
    let (p50, p99) = (percentile(&mut came_in, 50), percentile(&mut came_in, 99));
    println!(
        "{name}: {} handshakes beside {live} connections; {} came in, p50 {p50:?}, p99 {p99:?}, max {:?}; \
         {} answers on {ESTABLISHED} others, p99 {:?}, max {:?}",
        done.load(Relaxed),
        came_in.len(),
        percentile(&mut came_in, 100),
        answers.len(),
        percentile(&mut answers, 99),
        percentile(&mut answers, 100),
    );
    assert!(live >= SILENT, "{name}: the silent ones are no longer there: {live}");
    assert!(came_in.len() >= 500, "{name}: {} are too few for a percentile", came_in.len());
    assert!(p99 < Duration::from_secs(1), "{name}: {p99:?}");
    drop(silent);
}

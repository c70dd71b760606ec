//! Many connections on one worker: none holds it for long, whatever it has to say. Counted in bytes, not in time.

use std::io::{ErrorKind, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use resound::{CloseReason, ConnId, Cx, Engine, Limits, Reply, Service};

use crate::harness::{PATIENCE, Peer, Running, on_each_engine, server};

/// What one connection may be given while another waits. An engine's share of a turn is 64 KiB, and one read more; io_uring may have filled all
/// of its shared buffers, 256 KiB, before it is told that there is a flood.
const SHARE: usize = 512 * 1024;

/// Who was given how much, in order.
type Record = Arc<Mutex<Vec<(ConnId, usize)>>>;

/// Takes what comes, and writes down that it did.
struct Clerk {
    id: ConnId,
    record: Record,
}

impl Service for Clerk {
    fn data(&mut self, bytes: &[u8], _: &mut Cx<'_>) {
        self.record.lock().unwrap().push((self.id, bytes.len()));
    }
}

/// Holds the worker until it is let go.
struct Gate {
    reached: Sender<()>,
    open: Receiver<()>,
}

impl Service for Gate {
    fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {
        self.reached.send(()).unwrap();
        self.open.recv_timeout(PATIENCE).unwrap();
    }
}

/// Writes all that the system takes.
fn fill(peer: &mut Peer) -> usize {
    peer.0.set_nonblocking(true).unwrap();
    let (piece, mut sum) = (vec![b'x'; 64 * 1024], 0);
    loop {
        match peer.0.write(&piece) {
            Ok(n) => sum += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return sum,
            Err(error) => panic!("{error}"),
        }
    }
}

fn a_flood_gives_way_to_another(engine: Engine) {
    let (reached, is_reached) = channel();
    let (open, opened) = channel();
    let gate = Mutex::new(Some(Gate { reached, open: opened }));
    let record = Record::default();
    let written_down = Arc::clone(&record);
    let server = Running::start(server(engine).workers(NonZeroUsize::MIN), move |conn| -> Box<dyn Service> {
        match gate.lock().unwrap().take() {
            Some(gate) => Box::new(gate),
            None => Box::new(Clerk { id: conn.id, record: Arc::clone(&written_down) }),
        }
    });
    let mut keeper = server.connect();
    server.opened();
    let mut floods = [server.connect(), server.connect()];
    let ids = [server.opened(), server.opened()];
    keeper.send("x");
    is_reached.recv_timeout(PATIENCE).unwrap();
    // Nobody reads now. Both have plenty to say when somebody does.
    let written = [fill(&mut floods[0]), fill(&mut floods[1])];
    assert!(written.iter().all(|&sum| sum > 3 * SHARE), "{written:?} bytes are too few to show anything");
    open.send(()).unwrap();
    for flood in &floods {
        flood.0.set_nonblocking(false).unwrap();
        flood.0.shutdown(std::net::Shutdown::Write).unwrap();
    }
    for _ in &floods {
        server.closed();
    }

    let (mut given, mut run, mut last, mut longest) = ([0, 0], 0, None, 0);
    for &(id, bytes) in record.lock().unwrap().iter() {
        let who = ids.iter().position(|&other| other == id).unwrap();
        given[who] += bytes;
        run = if last == Some(who) { run + bytes } else { bytes };
        last = Some(who);
        // While the other has something left, too.
        if given[1 - who] < written[1 - who] {
            longest = longest.max(run);
        }
    }
    assert_eq!(given, written);
    assert!(longest <= SHARE, "{longest} bytes of one while the other waited");
}

/// Takes what comes, and has something to do every now and then.
struct Ticker(Sender<()>);

impl Service for Ticker {
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.wake_at(cx.now() + TICK);
    }
    fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
    fn wake(&mut self, cx: &mut Cx<'_>) {
        let _ = self.0.send(());
        cx.wake_at(cx.now() + TICK);
    }
}

const TICK: Duration = Duration::from_millis(5);

fn a_flood_does_not_keep_a_service_from_its_own_deadlines(engine: Engine) {
    let (tick, ticks) = channel();
    let server = Running::start(server(engine), move |_| Ticker(tick.clone()));
    let flood = server.connect();
    let mut writer = flood.0.try_clone().unwrap();
    let writing = thread::spawn(move || while writer.write_all(&[b'x'; 256 * 1024]).is_ok() {});
    for _ in 0..20 {
        ticks.recv_timeout(PATIENCE).expect("a deadline that is met");
    }
    flood.0.shutdown(std::net::Shutdown::Both).unwrap();
    writing.join().unwrap();
}

#[cfg(target_os = "linux")]
fn what_cannot_be_read_keeps_nobody_awake(engine: Engine) {
    use std::os::unix::net::UnixStream;
    let folder = crate::harness::Folder::new();
    let path = folder.0.join("socket");
    let limits = Limits { idle_timeout: Some(Duration::from_millis(200)), ..Limits::default() };
    let server = server(engine).limits(limits).listen(&format!("unix:{}", path.display())).unwrap();
    let server = Running::start_on(server, |_| Reply::default());
    let peer = UnixStream::connect(&path).unwrap();
    server.opened();
    // An urgent byte is counted among what can be read, and cannot.
    if socket2::SockRef::from(&peer).send_out_of_band(b"!").is_ok() {
        assert_eq!(server.closed(), CloseReason::IdleTimeout);
    }
}

on_each_engine!(a_flood_does_not_keep_a_service_from_its_own_deadlines);

#[cfg(target_os = "linux")]
mod unreadable {
    crate::harness::on_each_engine_plainly!(what_cannot_be_read_keeps_nobody_awake);
    use super::what_cannot_be_read_keeps_nobody_awake;
}

mod one_worker {
    #[test]
    fn a_flood_gives_way_to_another() {
        super::a_flood_gives_way_to_another(resound::Engine::Portable);
    }
}

#[cfg(target_os = "linux")]
mod one_ring {
    #[test]
    fn a_flood_gives_way_to_another() {
        crate::harness::on_uring("", super::a_flood_gives_way_to_another);
    }

    #[test]
    fn a_flood_gives_way_to_another_on_an_old_kernel() {
        crate::harness::on_uring("inc,sqarray,registered", super::a_flood_gives_way_to_another);
    }
}

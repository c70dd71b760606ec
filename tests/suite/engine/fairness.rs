//! Many connections on one worker: none occupies it for long. Counted in bytes, not in time.

use std::io::{ErrorKind, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use resound::{CloseReason, ConnId, ConnInfo, Cx, Echo, Engine, Limits, Server, Service};

#[cfg(target_os = "linux")]
use tempfile::TempDir;

#[cfg(target_os = "linux")]
use crate::child::Program;
#[cfg(target_os = "linux")]
use crate::harness::engines;
use crate::harness::{PATIENCE, Peer, Running, noise, on_each_engine, patient, server};
#[cfg(target_os = "linux")]
use crate::not_tested::not_tested;

/// Bytes that one connection may get while another waits. An engine's share of a turn is 64 KiB,
/// and one read more; io_uring may have filled all of its shared buffers, 256 KiB, before the
/// worker sees the flood.
const SHARE: usize = 512 * 1024;

/// Which connection got how many bytes, in order.
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

/// A server of one worker, and a peer that can stop it.
struct GatedServer {
    server: Running,
    keeper: Peer,
    reached: Receiver<()>,
    open: Sender<()>,
}

impl GatedServer {
    /// `service` serves all connections but the first.
    fn start(server: Server, service: impl Fn(&ConnInfo) -> Box<dyn Service> + Send + Sync + 'static) -> Self {
        let (reached, is_reached) = channel();
        let (open, opened) = channel();
        let gate = Mutex::new(Some(Gate { reached, open: opened }));
        let service = move |conn: &ConnInfo| match gate.lock().unwrap().take() {
            Some(gate) => Box::new(gate),
            None => service(conn),
        };
        let server = Running::start(server.workers(NonZeroUsize::MIN), service);
        let keeper = server.connect();
        server.opened();
        Self { server, keeper, reached: is_reached, open }
    }

    /// Also what its connections get.
    fn of_clerks(engine: Engine) -> (Self, Record) {
        let record = Record::default();
        let written_down = Arc::clone(&record);
        let clerk = move |conn: &ConnInfo| -> Box<dyn Service> {
            Box::new(Clerk { id: conn.id, record: Arc::clone(&written_down) })
        };
        (Self::start(server(engine), clerk), record)
    }

    /// Lets the worker go on until it has served all that these peers have sent.
    fn serve_to_the_end(&self, peers: &[Peer]) {
        self.go_on();
        for peer in peers {
            peer.0.set_nonblocking(false).unwrap();
            peer.0.shutdown(std::net::Shutdown::Write).unwrap();
        }
        for _ in peers {
            self.server.closed();
        }
    }

    /// Stops the worker.
    fn stop(&mut self) {
        self.keeper.send("x");
        self.reached.recv_timeout(PATIENCE).unwrap();
    }

    fn go_on(&self) {
        self.open.send(()).unwrap();
    }
}

/// Writes all that the system takes, up to `most` bytes.
fn fill(peer: &mut Peer, most: usize) -> usize {
    peer.0.set_nonblocking(true).unwrap();
    let (piece, mut sum) = (vec![b'x'; 64 * 1024], 0);
    loop {
        if sum >= most {
            return sum;
        }
        match peer.0.write(&piece) {
            Ok(n) => sum += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return sum,
            Err(error) => panic!("{error}"),
        }
    }
}

fn a_flood_gives_way_to_another(engine: Engine) {
    let (mut gated, record) = GatedServer::of_clerks(engine);
    let mut floods = [gated.server.connect(), gated.server.connect()];
    let ids = [gated.server.opened(), gated.server.opened()];
    gated.stop();
    // The only worker is blocked now, and both connections fill their buffers.
    let written = [fill(&mut floods[0], usize::MAX), fill(&mut floods[1], usize::MAX)];
    assert!(written.iter().all(|&sum| sum > 3 * SHARE), "{written:?} bytes are too few to show anything");
    gated.serve_to_the_end(&floods);

    let (mut given, mut run, mut last, mut longest) = ([0, 0], 0, None, 0);
    for &(id, bytes) in record.lock().unwrap().iter() {
        let connection = ids.iter().position(|&other| other == id).unwrap();
        given[connection] += bytes;
        run = if last == Some(connection) { run + bytes } else { bytes };
        last = Some(connection);
        // While the other has something left, too.
        if given[1 - connection] < written[1 - connection] {
            longest = longest.max(run);
        }
    }
    assert_eq!(given, written);
    assert!(longest <= SHARE, "{longest} bytes of one while the other waited");
}

/// More than there are shared buffers for bulk. None is served to its end while others wait.
fn many_floods_take_turns(engine: Engine) {
    let (mut gated, record) = GatedServer::of_clerks(engine);
    let mut floods: Vec<Peer> = (0..24).map(|_| gated.server.connect()).collect();
    let ids: Vec<ConnId> = floods.iter().map(|_| gated.server.opened()).collect();
    gated.stop();
    for flood in &mut floods {
        let written = fill(flood, 4 * SHARE);
        assert!(written > SHARE, "{written} bytes are too few to show anything");
    }
    gated.serve_to_the_end(&floods);
    let mut given = vec![0; ids.len()];
    for &(id, bytes) in record.lock().unwrap().iter() {
        given[ids.iter().position(|&other| other == id).unwrap()] += bytes;
        if !given.contains(&0) {
            break;
        }
    }
    let most = given.iter().max().unwrap();
    assert!(*most <= SHARE, "{most} bytes of one before another had its first: {given:?}");
}

/// All of them send before any answer is read: most find no shared buffer, and wait for one.
fn more_peers_than_buffers_are_all_answered(engine: Engine) {
    let running = Running::start(server(engine).workers(NonZeroUsize::MIN), |_| Echo);
    let mut peers: Vec<Peer> = (0..100).map(|_| running.connect()).collect();
    // Of new connections, of those that are known to send little, and of bulk.
    for len in [4 * 1024, 4 * 1024, 20 * 1024] {
        let message = noise(7, len);
        peers.iter_mut().for_each(|peer| peer.send(&message));
        peers.iter_mut().for_each(|peer| peer.expect(&message));
    }
}

/// The worker (or the thread of one connection) stands still for longer than the idle timeout. What
/// has arrived meanwhile comes first, also where most connections find no shared buffer.
fn input_that_waits_for_the_worker_is_not_idleness(engine: Engine) {
    let limits = Limits { idle_timeout: Some(Duration::from_secs(2)), ..patient() };
    let mut gated = GatedServer::start(server(engine).limits(limits), |_| Box::new(Echo));
    let mut peers: Vec<Peer> = (0..100).map(|_| gated.server.connect()).collect();
    for _ in &peers {
        gated.server.opened();
    }
    gated.stop();
    let message = noise(7, 4 * 1024);
    peers.iter_mut().for_each(|peer| peer.send(&message));
    gated.keeper.send("y");
    // A connection that was opened later becomes idle: the time of the others is over.
    let clock = Running::start(server(engine).limits(limits), |_| Echo);
    let _idle = clock.connect();
    assert_eq!(clock.closed(), CloseReason::IdleTimeout);
    gated.go_on();
    gated.reached.recv_timeout(PATIENCE).expect("the second message of the keeper");
    gated.go_on();
    peers.iter_mut().for_each(|peer| peer.expect(&message));
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

/// Processor time of a process so far, in the system's ticks of 10 ms.
#[cfg(target_os = "linux")]
fn ticks_of(process: &std::process::Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    // After the name, which stands in brackets, the 12th and 13th fields are user and system time.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn an_unreadable_byte_keeps_no_worker_awake() {
    use std::os::unix::net::UnixStream;
    for engine in engines() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("socket");
        let listen = format!("unix:{}", path.display());
        let mut server =
            Program::spawn(Program::command(&["server", &listen, "--engine", engine, "--idle-timeout", "600ms"]));
        server.stdout.until("Waiting for");
        let peer = UnixStream::connect(&path).unwrap();
        server.stdout.until("New connection");
        let before = ticks_of(&server.child);
        // The kernel counts an urgent byte among what can be read, and a read does not return it.
        if let Err(error) = socket2::SockRef::from(&peer).send_out_of_band(b"!") {
            return not_tested("urgent bytes on a unix socket", &error.to_string());
        }
        server.stdout.until("Connection closed");
        let ticks = ticks_of(&server.child) - before;
        assert!(ticks < 30, "{engine}: {ticks} ticks of 10 ms in 600 ms of silence");
    }
}

on_each_engine!(a_flood_does_not_keep_a_service_from_its_own_deadlines, more_peers_than_buffers_are_all_answered,);

mod one_worker {
    #[test]
    fn a_flood_gives_way_to_another() {
        super::a_flood_gives_way_to_another(resound::Engine::Portable);
    }

    #[test]
    fn input_that_waits_for_the_worker_is_not_idleness() {
        super::input_that_waits_for_the_worker_is_not_idleness(resound::Engine::Portable);
    }

    #[test]
    fn many_floods_take_turns() {
        super::many_floods_take_turns(resound::Engine::Portable);
    }

    #[test]
    fn input_that_waits_for_its_thread_is_not_idleness() {
        super::input_that_waits_for_the_worker_is_not_idleness(resound::Engine::Threads);
    }
}

#[cfg(target_os = "linux")]
mod one_ring {
    #[test]
    fn input_that_waits_for_the_worker_is_not_idleness() {
        let test = super::input_that_waits_for_the_worker_is_not_idleness;
        crate::harness::on_uring(resound::RingFaultConfig::NONE, test);
        crate::harness::on_uring(crate::harness::OLD_KERNEL, test);
    }

    #[test]
    fn a_flood_gives_way_to_another() {
        crate::harness::on_uring(resound::RingFaultConfig::NONE, super::a_flood_gives_way_to_another);
    }

    #[test]
    fn many_floods_take_turns() {
        crate::harness::on_uring(resound::RingFaultConfig::NONE, super::many_floods_take_turns);
        crate::harness::on_uring(crate::harness::OLD_KERNEL, super::many_floods_take_turns);
    }

    #[test]
    fn a_flood_gives_way_to_another_on_an_old_kernel() {
        crate::harness::on_uring(crate::harness::OLD_KERNEL, super::a_flood_gives_way_to_another);
    }
}

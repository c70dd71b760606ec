//! What the tests share: servers in this process, and peers to talk to them.
//!
//! Nothing sleeps: every wait is for an event, with a limit so long that only a defect reaches it.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::not_tested::not_tested;
use resound::proxy::{Addresses, Header, Proxies, Version};
use resound::relay::{Relay, RelayTarget};
use resound::{
    CloseReason, Closed, ConnId, ConnInfo, Dialer, Endpoint, Engine, Handle, Handshake, Limits, Observer, Reply,
    RingFaultConfig, Server, Service,
};

/// Only a defect takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) use crate::each_engine::{
    on_each_engine, on_each_engine_once, on_each_engine_plainly, on_each_engine_that_dials, on_each_engine_with_workers,
};

thread_local! {
    /// Faults of the io_uring engine in this test.
    static FAULTS: Cell<RingFaultConfig> = const { Cell::new(RingFaultConfig::NONE) };
    static UNREFUSED: Cell<bool> = const { Cell::new(false) };
    /// Servers and peers of this test use TLS.
    static SECURE: Cell<bool> = const { Cell::new(false) };
    /// Its peers reach the servers through a relay of this engine.
    static RELAY: Cell<Option<Engine>> = const { Cell::new(None) };
    /// Its peers begin with a PROXY header of this version, and its servers require one.
    static PROXY: Cell<Option<Version>> = const { Cell::new(None) };
}

/// Runs a test whose peers send a PROXY header first.
pub(crate) fn proxied(version: Version, test: impl FnOnce()) {
    PROXY.set(Some(version));
    test();
}

/// Runs a test whose peers reach its servers through a relay.
pub(crate) fn relayed(test: fn(Engine), engine: Engine) {
    RELAY.set(Some(engine));
    test(engine);
}

/// A relay to a server, on a free port.
fn relay_to(server: &Handle, engine: Engine) -> Handle {
    let target = RelayTarget::new(server.addresses()[0].to_string().parse().unwrap()).unwrap().timeout(PATIENCE);
    let settings = Server::new().engine(engine).inject_ring_faults(faults()).workers(NonZeroUsize::new(2).unwrap());
    Relay::new(settings.limits(patient())).map("127.0.0.1:0", target).unwrap().start().unwrap()
}

/// The header that a proxy would send for this connection.
fn header(stream: &TcpStream, version: Version) -> Vec<u8> {
    let addresses = Addresses::ip(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let checksum = version == Version::V2;
    Header { checksum, ..Header::new(version, addresses) }.encode().unwrap()
}

/// Runs a test with TLS between its servers and its peers.
pub(crate) fn with_tls(test: impl FnOnce()) {
    SECURE.set(true);
    test();
}

/// The kernel as it is.
#[cfg(target_os = "linux")]
pub(crate) const NO_FAULTS: RingFaultConfig = RingFaultConfig::NONE;
/// A kernel without the newer features of io_uring.
#[cfg(target_os = "linux")]
pub(crate) const OLD_KERNEL: RingFaultConfig = RingFaultConfig {
    no_incremental_buffers: true,
    no_sqarray: true,
    no_registered_ring: true,
    ..RingFaultConfig::NONE
};
/// Small queues, and faults from a seed that differs in each run.
#[cfg(target_os = "linux")]
pub(crate) const FAULTY: RingFaultConfig =
    RingFaultConfig { queue_sizes: Some((4, 8)), seed: Some(0), ..RingFaultConfig::NONE };

/// Runs a test on io_uring. A system that refuses it is reported, or fails the test under
/// RESOUND_REQUIRE_URING.
#[cfg(target_os = "linux")]
pub(crate) fn on_uring(mut faults: RingFaultConfig, test: fn(Engine)) {
    let probe = Server::new().engine(Engine::Uring).listen("127.0.0.1:0").unwrap().serve(|_| Reply::default());
    if let Err(error) = probe {
        assert!(std::env::var_os("RESOUND_REQUIRE_URING").is_none(), "{error}");
        return not_tested("io_uring", &error.to_string());
    }
    if let Some(seed) = &mut faults.seed {
        *seed = match std::env::var("RESOUND_FAULTS").map(|seed| seed.parse()) {
            Ok(Ok(seed)) => seed,
            _ => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64,
        };
        println!("the faults of this run again: RESOUND_FAULTS={seed}"); // shown when the test fails
    }
    FAULTS.set(faults);
    test(Engine::Uring);
}

/// The engines that this system has, as the program calls them.
pub(crate) fn engines() -> Vec<&'static str> {
    let mut engines = vec!["portable", "threads"];
    #[cfg(target_os = "linux")]
    on_uring(RingFaultConfig::NONE, |_| UNREFUSED.set(true));
    if UNREFUSED.get() {
        engines.insert(0, "uring");
    }
    engines
}

/// The engine of that name.
pub(crate) fn engine(name: &str) -> Engine {
    match name {
        "threads" => Engine::Threads,
        "uring" => Engine::Uring,
        _ => Engine::Portable,
    }
}

/// A server of two workers, where the engine has workers.
pub(crate) fn server(engine: Engine) -> Server {
    let server = Server::new().engine(engine).inject_ring_faults(faults()).workers(NonZeroUsize::new(2).unwrap());
    let server = server.limits(patient());
    let tls = SECURE.get().then(crate::tunnel::handshake);
    match (PROXY.get(), tls) {
        (None, None) => server,
        (None, Some(tls)) => server.handshake(tls),
        (Some(_), tls) => server.handshake(move |conn| {
            let handshake = tls.as_ref().map_or_else(Handshake::new, |tls| tls(conn));
            handshake.expect_header(Proxies::local().header_reader(conn))
        }),
    }
}

/// Limits that a busy machine does not reach: of a thousand handshakes at once the last one takes
/// long.
pub(crate) fn patient() -> Limits {
    Limits { opening_timeout: Some(PATIENCE), ..Limits::default() }
}

/// The faults of the io_uring engine in this test.
pub(crate) fn faults() -> RingFaultConfig {
    FAULTS.get()
}

/// What a connection that is dialled begins with, where the servers of this test want it.
pub(crate) fn begins() -> Option<Box<resound::server::HandshakeFactory>> {
    let (version, secure) = (PROXY.get(), SECURE.get());
    if version.is_none() && !secure {
        return None;
    }
    Some(Box::new(move |conn| {
        let mut handshake = Handshake::new();
        if let Some(version) = version {
            handshake =
                handshake.header(Header::new(version, Addresses::of(&conn.local, &conn.peer)).encode().unwrap());
        }
        if secure { handshake.tls_client(crate::tunnel::client()) } else { handshake }
    }))
}

/// A dialer of two workers.
pub(crate) fn dialer(engine: Engine) -> Dialer {
    Dialer::new().engine(engine).inject_ring_faults(faults()).workers(NonZeroUsize::new(2).unwrap())
}

/// One that replies.
pub(crate) fn replying(engine: Engine) -> Running {
    Running::start(server(engine), |_| Reply::default())
}

/// What happened to a connection. Messages are not kept: a test of bulk has more of them than
/// memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Opened(ConnId, Endpoint),
    Closed(ConnId, CloseReason),
    Unopened(CloseReason),
}

/// Sends what it sees to a channel.
#[derive(Clone)]
pub(crate) struct Tap(pub(crate) Sender<Event>);

impl Observer for Tap {
    fn opened(&mut self, conn: &ConnInfo) {
        let _ = self.0.send(Event::Opened(conn.id, conn.peer.clone()));
    }
    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        let _ = self.0.send(Event::Closed(conn.id, how.reason));
    }
    fn unopened(&mut self, _conn: &ConnInfo, how: &Closed) {
        let _ = self.0.send(Event::Unopened(how.reason));
    }
}

/// A server in this process, and what it does.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) events: Receiver<Event>,
    pub(crate) secure: bool,
    proxy: Option<Version>,
    /// What peers connect to instead.
    relay: Option<Handle>,
}

impl Running {
    /// Serves on a free port of 127.0.0.1.
    pub(crate) fn start<S: Service + 'static>(
        server: Server,
        service: impl Fn(&ConnInfo) -> S + Send + Sync + 'static,
    ) -> Self {
        Self::start_on(server.listen("127.0.0.1:0").unwrap(), service)
    }

    pub(crate) fn start_on<S: Service + 'static>(
        server: Server,
        service: impl Fn(&ConnInfo) -> S + Send + Sync + 'static,
    ) -> Self {
        // One process holds both ends of every connection.
        let _ = resound::system::raise_descriptor_limit();
        let (send, events) = mpsc::channel();
        let handle = server.observe(move |_| Tap(send.clone())).serve(service).unwrap();
        let relay = RELAY.get().map(|engine| relay_to(&handle, engine));
        Self { handle, events, secure: SECURE.get(), proxy: PROXY.get(), relay }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self.relay.as_ref().unwrap_or(&self.handle).addresses()[0] {
            Endpoint::Tcp(address) => address,
            ref other => panic!("not a TCP address: {other}"),
        }
    }

    pub(crate) fn connect(&self) -> Peer {
        Peer::of(self.address(), self.secure, self.proxy)
    }

    pub(crate) fn event(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    /// Waits for the next connection to be opened.
    pub(crate) fn opened(&self) -> ConnId {
        loop {
            if let Event::Opened(id, _) = self.event() {
                return id;
            }
        }
    }

    /// Waits for the next connection to end, and returns why it did.
    pub(crate) fn closed(&self) -> CloseReason {
        loop {
            if let Event::Closed(_, reason) = self.event() {
                return reason;
            }
        }
    }

    /// Waits for the next connection to end before it was opened, and returns why it did.
    pub(crate) fn unopened(&self) -> CloseReason {
        loop {
            if let Event::Unopened(reason) = self.event() {
                return reason;
            }
        }
    }

    /// Drains, and waits until it is done.
    pub(crate) fn drain(&self) -> resound::Totals {
        self.handle.drain(PATIENCE);
        self.wait()
    }

    /// Waits for the end, but not forever.
    pub(crate) fn wait(&self) -> resound::Totals {
        let start = Instant::now();
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            tokio::time::timeout(PATIENCE, self.handle.finished()).await.unwrap_or_else(|_| {
                panic!("the server has not ended after {:?}: {:?}", start.elapsed(), self.handle.totals())
            })
        })
    }
}

/// Connects. A RST right after the SYN-ACK is left to the first read, as one that comes a moment
/// later: a blocking connect would return it, and a server that refuses a peer is no failed test.
#[cfg(unix)]
pub(crate) fn connected(address: SocketAddr) -> TcpStream {
    use rustix::event::{PollFd, PollFlags, poll};
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    if let Err(error) = socket.connect(&address.into()) {
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::INPROGRESS.raw_os_error()), "connect: {error}");
        let limit = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&limit));
        assert_eq!(ready, Ok(1), "connect");
    }
    socket.set_nonblocking(false).unwrap();
    socket.into()
}

#[cfg(not(unix))]
pub(crate) fn connected(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("connect")
}

/// A raw client, on blocking sockets of the standard library.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(address, SECURE.get(), PROXY.get())
    }

    fn of(address: SocketAddr, secure: bool, proxy: Option<Version>) -> Self {
        let mut outside = connected(address);
        if let Some(version) = proxy {
            // The server may have reset it already.
            let _ = outside.write_all(&header(&outside, version));
        }
        let stream = match secure {
            true => crate::tunnel::through(outside),
            false => outside,
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("send");
    }

    pub(crate) fn finish(&mut self) {
        self.0.shutdown(Shutdown::Write).expect("half-close");
    }

    /// The next `n` bytes.
    pub(crate) fn read(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.0.read_exact(&mut bytes).expect("read");
        bytes
    }

    /// The next bytes must be these.
    pub(crate) fn expect(&mut self, want: impl AsRef<[u8]>) {
        let want = want.as_ref();
        let got = self.read(want.len());
        assert!(got == want, "got {:?}, not {:?}", shown(&got), shown(want));
    }

    /// Everything up to the server's FIN.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("read to the end");
        bytes
    }

    /// Does the server close it without a word? With a reset, perhaps, where it has not read what
    /// was sent.
    pub(crate) fn is_closed(&mut self) -> bool {
        match uninterrupted(|| self.0.read(&mut [0])) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Waits until the peer's system has acknowledged all bytes, where this system shows that.
    pub(crate) fn until_acknowledged(&self) {
        eventually("all was acknowledged", || self.unacknowledged().is_none_or(|bytes| bytes == 0));
    }

    /// Bytes that the peer's system has not acknowledged, where this system shows that.
    pub(crate) fn unacknowledged(&self) -> Option<usize> {
        let end = |address: SocketAddr| format!(":{:04X}", address.port());
        let (near, far) = (end(self.0.local_addr().unwrap()), end(self.0.peer_addr().unwrap()));
        let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
        // Of each socket: its number, its address, its peer's, its state, and the two queues.
        let of_ours = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_ours = fields.get(1).is_some_and(|local| local.ends_with(&near)) && fields[2].ends_with(&far);
            is_ours.then(|| usize::from_str_radix(fields[4].split(':').next().unwrap(), 16).unwrap())
        };
        Some(table.lines().find_map(of_ours).unwrap_or(0))
    }

    /// One question, one answer, in reply mode.
    pub(crate) fn ask(&mut self, line: &str) {
        self.send(format!("{line}\n"));
        self.expect(format!("Server received: {line}\n"));
    }

    /// Ends with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    if text.len() > 400 { format!("{}... ({} bytes)", &text[..400], bytes.len()) } else { text }
}

/// Bytes that look random and are the same each time.
pub(crate) fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    // A word at a time: tests are not optimized.
    let mut bytes = vec![0; n.next_multiple_of(8)];
    bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&next().to_le_bytes()));
    bytes.truncate(n);
    bytes
}

/// Makes a call that a ring interrupts which is torn down in this thread.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Shows what a machine hides that stalls for about as long as this takes: with more and more time,
/// until it does not.
pub(crate) fn longer<T>(first: Duration, mut show: impl FnMut(Duration) -> Option<T>) -> T {
    let mut time = first;
    loop {
        if let Some(shown) = show(time) {
            return shown;
        }
        time *= 3;
        assert!(time < PATIENCE, "this machine stalls for {time:?} and longer");
    }
}

/// Waits until something holds that has no event of its own. A poll each millisecond leaves the
/// processors to those it waits for.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not after {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("it does not come") })
}

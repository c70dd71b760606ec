//! What the system knows of a connection's socket, for its service.

use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};

use resound::{CloseReason, ConnInfo, Cx, Endpoint, Engine, Service, SocketReport};

use crate::harness::{PATIENCE, Running, eventually, on_each_engine, server};

on_each_engine!(
    a_report_follows_the_call_that_asks,
    a_report_counts_what_a_paused_service_leaves_unread,
    the_last_report_counts_what_a_reset_leaves_unread,
    a_service_that_asks_for_ever_hinders_nothing,
);

mod plainly {
    crate::harness::on_each_engine_plainly!(
        faults_stand_above_the_socket_of_a_report,
        a_unix_socket_has_a_report_without_tcp,
        without_saved_syns_there_are_none,
    );
    use super::{
        a_unix_socket_has_a_report_without_tcp, faults_stand_above_the_socket_of_a_report,
        without_saved_syns_there_are_none,
    };
}

/// `TCP_ESTABLISHED` and `TCP_CLOSE_WAIT` of the kernel's net/tcp_states.h.
const OPEN_STATES: [u8; 2] = [1, 8];

type Reported = (ConnInfo, SocketReport);

/// Asks in each call of this name (in the first one of those that follow what it sends), and
/// echoes.
struct Asking {
    call: &'static str,
    reports: Sender<Reported>,
    has_asked: bool,
}

impl Asking {
    fn new(call: &'static str, reports: &Sender<Reported>) -> Self {
        Self { call, reports: reports.clone(), has_asked: false }
    }

    fn called(&mut self, name: &str, cx: &mut Cx<'_>) {
        if self.call == name && !(name == "drained" && self.has_asked) {
            self.has_asked = true;
            cx.report_socket();
        }
    }
}

impl Service for Asking {
    fn open(&mut self, cx: &mut Cx<'_>) {
        self.called("open", cx);
    }
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
        self.called("data", cx);
    }
    fn drained(&mut self, cx: &mut Cx<'_>) {
        self.called("drained", cx);
    }
    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"w");
        self.called("wake", cx);
    }
    fn eof(&mut self, cx: &mut Cx<'_>) {
        cx.finish();
        self.called("eof", cx);
    }
    fn drain(&mut self, cx: &mut Cx<'_>) {
        match self.call {
            "drain" => self.called("drain", cx),
            _ => cx.finish(),
        }
    }
    fn socket(&mut self, report: &SocketReport, cx: &mut Cx<'_>) {
        self.reports.send((cx.conn().clone(), report.clone())).unwrap();
        cx.send(b"r");
        if self.call == "drain" {
            cx.close();
        }
    }
}

fn reports() -> (Sender<Reported>, Receiver<Reported>) {
    mpsc::channel()
}

fn next(reports: &Receiver<Reported>) -> Reported {
    reports.recv_timeout(PATIENCE).expect("a report")
}

/// Whether the ports in a SYN are those of the connection, and it is one.
fn check_syn(syn: &[u8], conn: &ConnInfo) {
    let header = match syn[0] >> 4 {
        4 => usize::from(syn[0] & 15) * 4,
        6 => 40,
        _ => panic!("no IP version: {syn:02x?}"),
    };
    let port = |at: usize| u16::from_be_bytes([syn[header + at], syn[header + at + 1]]);
    assert_eq!(syn[header + 13] & 0b1_0010, 2, "a SYN and no ACK: {syn:02x?}");
    // Behind a proxy the addresses of a connection are others.
    if conn.via.is_none() {
        let (Endpoint::Tcp(peer), Endpoint::Tcp(local)) = (&conn.peer, &conn.local) else { panic!("{conn:?}") };
        assert_eq!((port(0), port(2)), (peer.port(), local.port()));
    }
}

fn check(report: &SocketReport) {
    assert!(cfg!(not(unix)) || report.unread.is_some(), "{report:?}");
    if cfg!(target_os = "linux") {
        let tcp = report.tcp.expect("it is TCP");
        assert!(OPEN_STATES.contains(&tcp.state) && tcp.send_mss > 0 && tcp.path_mtu > 0, "{tcp:?}");
        assert!(tcp.congestion_window > 0 && tcp.advertised_mss > 0 && tcp.receive_mss > 0, "{tcp:?}");
        assert!(tcp.min_rtt <= tcp.rtt || tcp.rtt.is_zero(), "{tcp:?}");
        assert!(tcp.bytes_sent >= tcp.acknowledged.saturating_sub(1), "{tcp:?}");
        assert!(report.unacknowledged.is_some(), "{report:?}");
    }
}

fn a_report_follows_the_call_that_asks(engine: Engine) {
    for call in ["open", "data", "drained", "wake", "eof", "drain"] {
        let (send, reports) = reports();
        let service = move |_: &ConnInfo| Asking::new(call, &send);
        let running = Running::start(server(engine).save_syns(true), service);
        let mut peer = running.connect();
        let id = running.opened();
        match call {
            "open" => {}
            "data" | "drained" => peer.send("x"),
            "wake" => running.handle.wake(id),
            "eof" => peer.finish(),
            _ => running.handle.drain(PATIENCE),
        }
        let answer = match call {
            "open" | "drain" => "r",
            "data" => "xr",
            "wake" => "wr",
            // What a handshake sends has left before.
            "drained" => {
                assert!(matches!(peer.read(2).as_slice(), b"xr" | b"rx"));
                ""
            }
            // It has finished, and sends nothing more.
            _ => "",
        };
        peer.expect(answer);
        let (conn, report) = next(&reports);
        check(&report);
        if cfg!(target_os = "linux") {
            check_syn(report.syn.as_deref().unwrap_or_else(|| panic!("{call}: no SYN")), &conn);
        }
        if call == "data" {
            peer.send("y");
            peer.expect("yr");
            let (_, second) = next(&reports);
            check(&second);
            assert_eq!(second.syn, None, "the system gives it once");
            let received = |report: &SocketReport| report.tcp.map_or(0, |tcp| tcp.bytes_received);
            assert!(cfg!(not(target_os = "linux")) || received(&second) > received(&report));
        }
        // Some have ended by now.
        let _ = peer.0.shutdown(std::net::Shutdown::Write);
        assert_eq!(peer.rest(), b"", "{call}");
        assert!(reports.try_recv().is_err(), "{call}: one report for each call");
    }
}

fn a_report_counts_what_a_paused_service_leaves_unread(engine: Engine) {
    /// Never reads, and asks when it is woken.
    struct Paused(Sender<Reported>);
    impl Service for Paused {
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.pause(true);
        }
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
        fn wake(&mut self, cx: &mut Cx<'_>) {
            cx.report_socket();
        }
        fn socket(&mut self, report: &SocketReport, cx: &mut Cx<'_>) {
            self.0.send((cx.conn().clone(), report.clone())).unwrap();
        }
    }
    let (send, reports) = reports();
    let running = Running::start(server(engine), move |_| Paused(send.clone()));
    let mut peer = running.connect();
    let id = running.opened();
    peer.0.set_nonblocking(true).unwrap();
    eventually("unread input", || {
        // An engine takes some of it before it stops.
        let _ = peer.0.write(&[b'x'; 16 * 1024]);
        running.handle.wake(id);
        let (_, report) = next(&reports);
        check(&report);
        cfg!(not(unix)) || report.unread.is_some_and(|bytes| bytes > 0)
    });
}

fn the_last_report_counts_what_a_reset_leaves_unread(engine: Engine) {
    /// Never reads, and asks in each report for the next one.
    struct Paused(Sender<Reported>);
    impl Service for Paused {
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.pause(true);
            cx.report_socket();
        }
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
        fn socket(&mut self, report: &SocketReport, cx: &mut Cx<'_>) {
            self.0.send((cx.conn().clone(), report.clone())).unwrap();
            if cx.is_reset_by_peer() {
                // Too late: the reset is the reason of the end.
                cx.send(b"x");
                cx.close();
            }
            cx.report_socket();
        }
    }
    let (send, reports) = reports();
    let running = Running::start(server(engine), move |_| Paused(send.clone()));
    let mut peer = running.connect();
    let id = running.opened();
    let report = || next(&reports).1;
    assert_eq!(report().unread.unwrap_or(0), 0);
    peer.0.set_nonblocking(true).unwrap();
    eventually("unread input", || {
        let _ = peer.0.write(&[b'x'; 16 * 1024]);
        running.handle.wake(id);
        cfg!(not(unix)) || report().unread.is_some_and(|bytes| bytes > 0)
    });
    peer.reset();
    assert_eq!(running.closed(), CloseReason::Reset);
    let last = reports.try_iter().last().expect("a report").1;
    assert!(cfg!(not(unix)) || last.unread.is_some_and(|bytes| bytes > 0), "{last:?}");
    assert!(last.tcp.is_none_or(|tcp| !OPEN_STATES.contains(&tcp.state)), "the last report");
}

fn a_service_that_asks_for_ever_hinders_nothing(engine: Engine) {
    /// Asks in each report, or whenever what the last report sent has left.
    struct Restless {
        sends: bool,
        stopped: bool,
    }
    impl Service for Restless {
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.report_socket();
        }
        fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
            self.stopped |= bytes.contains(&b'!');
            if self.stopped {
                cx.finish();
            } else {
                cx.echo();
            }
        }
        fn drained(&mut self, cx: &mut Cx<'_>) {
            if self.sends {
                cx.report_socket();
            }
        }
        fn socket(&mut self, _: &SocketReport, cx: &mut Cx<'_>) {
            match self.sends {
                true => cx.send(b"."),
                false => cx.report_socket(),
            }
        }
    }
    let one_worker = || server(engine).workers(NonZeroUsize::MIN);
    let running = Running::start(one_worker(), |conn: &ConnInfo| Restless { sends: conn.id.0 == 2, stopped: false });
    let [mut asks, mut sends, mut other] = [(); 3].map(|()| {
        let peer = running.connect();
        running.opened();
        peer
    });
    for _ in 0..20 {
        asks.send("one");
        asks.expect("one");
        sends.expect("...");
        other.send("two");
        other.expect("two");
    }
    sends.send("!");
    assert!(sends.rest().iter().all(|byte| *byte == b'.'));
    asks.send("!");
    assert_eq!(asks.rest(), b"");
    drop(other);
    running.drain();
}

fn faults_stand_above_the_socket_of_a_report(engine: Engine) {
    let faults = resound::faults::LiveFaults::of_server();
    faults.set("1: delay=1ms".parse().unwrap(), 1).unwrap();
    let (send, reports) = reports();
    let faulted = server(engine).save_syns(true).faults(&faults, |_, _| {});
    let running = Running::start(faulted, move |_| Asking::new("data", &send));
    // With faults, and without.
    for _ in 0..2 {
        let mut peer = running.connect();
        peer.send("x");
        peer.expect("xr");
        let (conn, report) = next(&reports);
        check(&report);
        if cfg!(target_os = "linux") {
            check_syn(&report.syn.expect("the SYN"), &conn);
        }
        peer.send("y");
        peer.expect("yr");
        assert_eq!(next(&reports).1.syn, None);
        peer.finish();
        assert_eq!(peer.rest(), b"");
    }
}

fn without_saved_syns_there_are_none(engine: Engine) {
    let (send, reports) = reports();
    let running = Running::start(server(engine), move |_| Asking::new("open", &send));
    let mut peer = running.connect();
    peer.expect("r");
    let report = next(&reports).1;
    check(&report);
    assert_eq!(report.syn, None);
}

fn a_unix_socket_has_a_report_without_tcp(engine: Engine) {
    #[cfg(unix)]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (send, reports) = reports();
        let server = server(engine).save_syns(true).listen(&format!("unix:{}", path.display())).unwrap();
        let _running = Running::start_on(server, move |_| Asking::new("open", &send));
        let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        std::io::Read::read_exact(&mut peer, &mut [0]).unwrap();
        let report = next(&reports).1;
        assert_eq!((report.tcp, report.syn, report.unread), (None, None, Some(0)));
    }
    #[cfg(not(unix))]
    crate::not_tested::not_tested("unix sockets", &format!("{engine:?}: this system has none"));
}

/// What a client asks for on the way to a listener that serves by itself.
#[cfg(target_os = "linux")]
#[test]
fn sizes_that_a_client_asks_for_are_in_its_syn() {
    use resound::server::Listener;
    use resound::{Address, DialOptions, Family, dial};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (max_segment, receive_buffer) in [(Some(600), None), (None, Some(20_000)), (Some(700), Some(4096))] {
            let listeners = Listener::bind(&Address::tcp("127.0.0.1", "0").unwrap(), Family::Any).unwrap();
            listeners[0].save_syns().unwrap();
            let Endpoint::Tcp(at) = *listeners[0].address() else { panic!("TCP was asked for") };
            let address = Address::parse(&at.to_string(), 0).unwrap();
            let marks = Some(46 << 2);
            let how = DialOptions {
                max_segment,
                receive_buffer,
                traffic_class: marks,
                timeout: PATIENCE,
                ..DialOptions::default()
            };
            let (ours, theirs) = tokio::join!(dial(&address, how), Listener::accept_one(listeners));
            let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
            let (near, far) = (ours.report(), theirs.report());
            let syn = far.syn.expect("the SYN");
            assert_eq!(syn[1], 46 << 2, "the traffic class");
            // The SYN has been sent less than a minute before.
            let stamp = syn.windows(2).position(|option| option == [8, 10]).expect("timestamps") + 2;
            let stamp = u32::from_be_bytes(syn[stamp..stamp + 4].try_into().unwrap());
            let passed = near.timestamp_clock.expect("a clock").wrapping_add(1000).wrapping_sub(stamp);
            assert!(passed < 61_000, "{passed} ms");
            assert_eq!((near.syn, theirs.report().syn), (None, None));
            let tcp = &syn[usize::from(syn[0] & 15) * 4..];
            let options = &tcp[20..];
            if let Some(most) = max_segment {
                // Timestamps take their part of each segment.
                let sent = [near.tcp, far.tcp].map(|tcp| tcp.unwrap().send_mss);
                assert!(sent.iter().all(|mss| (u32::from(most) - 40..=most.into()).contains(mss)), "{sent:?}");
                assert_eq!(options[..4], [[2, 4], most.to_be_bytes()].concat(), "{options:?}");
            }
            if let Some(room) = receive_buffer {
                let window = u16::from_be_bytes([tcp[14], tcp[15]]);
                assert!(u32::from(window) <= 2 * room, "{window}");
                let scale = near.tcp.unwrap().options.window_scale.expect("both ends scale");
                assert_eq!(scale.1, 0, "little room needs no scale");
            }
        }
        // A size that the system refuses is the caller's mistake.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::parse(&listener.local_addr().unwrap().to_string(), 0).unwrap();
        let error = dial(&address, DialOptions { max_segment: Some(1), ..DialOptions::default() }).await.unwrap_err();
        assert_eq!(error.attempts[0].error.kind(), std::io::ErrorKind::InvalidInput, "{error:?}");
    });
}

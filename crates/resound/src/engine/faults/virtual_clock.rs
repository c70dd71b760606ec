//! Tests of a service with faults on a connection without a socket, by a clock of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use resound_faults::{ClientAdmission, FaultKind};
use resound_proto::{
    Action, Chargen, CloseReason, Conn, ConnId, ConnInfo, Cx, Endpoint, Framing, Limits, Observer, Reply, Service, Then,
};

use super::faulted::FaultedService;
use super::live::{ClientFaults, LiveFaults};
use super::permit::ClientPermit;

/// A connection whose service has faults.
struct VirtualConnection {
    conn: Conn,
    start: Instant,
    now: Instant,
    sent: Vec<u8>,
    then: Then,
    injected: Arc<Mutex<Vec<FaultKind>>>,
}

impl VirtualConnection {
    fn new(spec: &str, limits: Limits, service: impl Service + 'static) -> Self {
        // Long ago: a service that reads a clock of its own would see what is not due yet.
        let start = Instant::now().checked_sub(Duration::from_secs(60)).expect("this system runs for a minute");
        let info = ConnInfo::new(ConnId(1), Endpoint::Unix(None), Endpoint::Unix(None));
        let spec: resound_faults::FaultSpec = spec.parse().unwrap();
        let faults = spec.connection(7, 1, None, start).map(Box::new);
        let client = ClientFaults { faults, admission: ClientAdmission::Serve, events: Vec::new() };
        let injected = Arc::<Mutex<Vec<FaultKind>>>::default();
        let seen = Arc::clone(&injected);
        let observer = Arc::new(move |_: &ConnInfo, event: &resound_faults::FaultEvent| {
            seen.lock().push(event.kind);
        });
        let permit = ClientPermit::of(&LiveFaults::of_server());
        let service = FaultedService::new(client, Box::new(service), &info, limits, observer, permit);
        let conn = Conn::new(info, Box::new(service), limits);
        let mut this = Self { conn, start, now: start, sent: Vec::new(), then: Then::Go, injected };
        this.tell(&mut [], |conn, now, _, out, observer| conn.open(now, out, observer));
        this
    }

    fn tell(
        &mut self,
        wire: &mut [u8],
        event: impl FnOnce(&mut Conn, Instant, &mut [u8], &mut Vec<u8>, &mut dyn Observer) -> Action,
    ) {
        let mut out = Vec::new();
        let mut action = event(&mut self.conn, self.now, wire, &mut out, &mut ());
        let mut fresh = [&wire[action.echo.clone()], &out[..]].concat();
        while !fresh.is_empty() && action.then != Then::Reset {
            out.clear();
            action = self.conn.sent(self.now, fresh.len(), &mut out, &mut ());
            self.sent.append(&mut fresh);
            fresh.append(&mut out);
        }
        self.then = action.then;
    }

    fn received(&mut self, bytes: &[u8]) {
        self.tell(&mut bytes.to_vec(), |conn, now, wire, out, observer| conn.received(now, wire, out, observer));
    }

    fn received_eof(&mut self) {
        self.tell(&mut [], |conn, now, _, out, observer| conn.received_eof(now, out, observer));
    }

    fn drain(&mut self) {
        self.tell(&mut [], |conn, now, _, out, observer| conn.drain(now, out, observer));
    }

    /// `millis` after the start, by an engine that was late until now.
    fn late_at(&mut self, millis: u64) {
        self.now = self.start + Duration::from_millis(millis);
    }

    fn timed_out(&mut self) {
        self.tell(&mut [], |conn, now, _, out, observer| conn.timed_out(now, out, observer));
    }

    /// `millis` after the start, with each deadline before in its time.
    fn at(&mut self, millis: u64) {
        let end = self.start + Duration::from_millis(millis);
        for _ in 0..1000 {
            let due = self.conn.deadline().filter(|at| *at <= end && !matches!(self.then, Then::Close | Then::Reset));
            let Some(at) = due else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.timed_out();
        }
        panic!("a thousand deadlines before {millis} ms");
    }

    fn sent(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.sent)).unwrap()
    }

    fn injected(&self) -> Vec<FaultKind> {
        self.injected.lock().clone()
    }
}

fn idle(seconds: u64) -> Limits {
    Limits { idle_timeout: Some(Duration::from_secs(seconds)), ..Limits::default() }
}

struct CountsWakes;

impl Service for CountsWakes {
    fn data(&mut self, _bytes: &[u8], _cx: &mut Cx<'_>) {}

    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"!");
    }
}

#[test]
fn a_wake_from_outside_is_the_services_even_where_a_time_is_due() {
    let mut client = VirtualConnection::new("up: delay=50ms", Limits::default(), CountsWakes);
    client.received(b"x");
    client.late_at(60);
    client.tell(&mut [], |conn, now, _, out, observer| conn.woken(now, out, observer));
    assert_eq!(client.sent(), "!");
    client.timed_out();
    client.at(1000);
    assert_eq!(client.sent(), "", "that was the time of the fault");
}

#[test]
fn what_has_arrived_comes_before_the_pause_that_ends_a_message() {
    let reply = || Reply::new(&b"> "[..], Framing::Auto { max: 100 });
    let mut client = VirtualConnection::new("nagle", Limits::default(), reply());
    client.received(b"half of ");
    client.late_at(1000);
    assert!(client.conn.is_silence_due(client.now), "the engine reads first");
    client.received(b"a line\n");
    client.timed_out();
    assert_eq!(client.sent(), "> half of a line\n");
    assert!(!client.conn.is_silence_due(client.now));
    // The same where a fault holds it until then.
    let mut client = VirtualConnection::new("up: delay=400ms", Limits::default(), reply());
    client.received(b"half of ");
    client.at(200);
    client.received(b"a line\n");
    client.late_at(1000);
    client.timed_out();
    assert_eq!(client.sent(), "> half of a line\n");
}

#[test]
fn a_late_answer_keeps_none_before_it() {
    let spec = "down: stall=1s @connect; late-answer=10s @message=2";
    let mut client = VirtualConnection::new(spec, Limits::default(), Reply::default());
    client.received(b"one\ntwo\nthree\n");
    client.at(2000);
    assert_eq!(client.sent(), "Server received: one\n");
    client.at(9999);
    assert_eq!(client.sent(), "");
    client.at(10_000);
    assert_eq!(client.sent(), "Server received: two\nServer received: three\n");
}

#[test]
fn a_client_that_never_learns_of_the_end_is_reset_after_a_while() {
    for (spec, limits, millis) in [
        ("down: one-way", Limits::default(), 10_000),
        ("silent", Limits::default(), 10_000),
        ("down: one-way", idle(3), 3000),
        ("silent", idle(3), 3000),
    ] {
        let mut client = VirtualConnection::new(spec, limits, Reply::default());
        client.received(b"one\n");
        client.received_eof();
        client.at(millis - 1);
        assert_eq!(client.then, Then::Go, "{spec}");
        client.at(millis);
        assert_eq!((client.then, client.sent().as_str()), (Then::Reset, ""), "{spec}");
    }
    // The client has not finished, and the idle timeout has: the service waits a second for it.
    let mut client = VirtualConnection::new("down: one-way", idle(3), Reply::default());
    client.received(b"one\n");
    client.at(2999);
    assert_eq!(client.then, Then::Go);
    client.at(4000);
    assert_eq!((client.then, client.conn.reason()), (Then::Reset, Some(CloseReason::IdleTimeout)));
}

#[test]
fn a_connection_stays_where_only_a_message_is_lost() {
    let mut client = VirtualConnection::new("down: one-way", Limits::default(), Chargen);
    client.received(b"one\n");
    client.at(100);
    assert_eq!((client.then, client.sent().as_str()), (Then::Go, ""));
}

#[test]
fn a_drain_resets_what_has_no_end_of_its_own() {
    for spec in ["down: one-way", "silent", "never-read"] {
        let mut client = VirtualConnection::new(spec, Limits::default(), Reply::default());
        client.received(b"one\n");
        client.at(10);
        assert_eq!(client.then, Then::Go, "{spec}");
        client.drain();
        assert_eq!((client.then, client.sent().as_str()), (Then::Reset, ""), "{spec}");
    }
    // A client that the service does not hear has its end.
    let mut client = VirtualConnection::new("up: one-way", Limits::default(), Reply::default());
    client.received(b"one\n");
    client.received_eof();
    client.drain();
    assert_eq!((client.then, client.conn.reason()), (Then::Close, Some(CloseReason::Drained)));
}

#[test]
fn faults_whose_time_comes_behind_the_end_are_not_reported() {
    let mut client = VirtualConnection::new("nagle; reset @500ms", idle(1), Reply::default());
    client.conn.lost(client.now, CloseReason::Reset, &mut ());
    assert_eq!(client.injected(), [FaultKind::Nagle]);
}

#[test]
fn a_service_without_an_answer_has_no_fault_of_an_answer() {
    let spec = "wrong-answer; garbage @message=1; late-answer=1s @message=2";
    let mut client = VirtualConnection::new(spec, Limits::default(), resound_proto::Discard);
    client.received(b"one\ntwo\n");
    client.received_eof();
    assert_eq!((client.then, client.injected()), (Then::Close, vec![]));
}

#[test]
fn sockets_differ_as_the_faults_want() {
    for (spec, want) in [("nagle", (true, false)), ("no-keepalive", (false, true))] {
        let mut client = VirtualConnection::new(spec, Limits::default(), Reply::default());
        let requests = client.conn.take_socket_requests().expect("a request");
        assert_eq!((requests.nagle, requests.no_keepalive), want);
    }
}

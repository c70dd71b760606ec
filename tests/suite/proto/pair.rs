//! Two `Conn`s joined by a simulated link: bytes arrive late, in pieces, and in the two directions
//! at different speeds.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use resound::conn::{Action, Conn, Then};
use resound::tls::{TlsServer, TlsServerSettings};
use resound::{
    CloseReason, Closed, ConnId, ConnInfo, Cx, Endpoint, Framing, Handshake, Limits, Observer, Reply, Service,
};

use crate::harness::noise;
use crate::tunnel;

/// A pseudo-random sequence; a failure names its seed.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(noise(seed, 1 << 20).into_iter())
    }
    fn roll(&mut self, sides: usize) -> usize {
        let high = usize::from(self.0.next().expect("long enough"));
        let low = usize::from(self.0.next().expect("long enough"));
        (high << 8 | low) % sides
    }
}

/// One end: a `Conn`, and the engine's side of the contract.
struct End {
    conn: Conn,
    queue: VecDeque<u8>,
    then: Then,
    fin_sent: bool,
    over: Option<CloseReason>,
}

#[derive(Default)]
struct Why(Option<CloseReason>);

impl Observer for Why {
    fn closed(&mut self, _: &ConnInfo, how: &Closed) {
        assert!(self.0.replace(how.reason).is_none(), "closed twice");
    }
}

/// What travels in one direction.
#[derive(Default)]
struct Link {
    flying: VecDeque<(Instant, Vec<u8>)>,
    fin: Option<Instant>,
    fin_delivered: bool,
}

impl End {
    fn new(service: impl Service + 'static, limits: Limits, handshake: Option<Handshake>) -> Self {
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        let conn = match handshake {
            None => Conn::new(info, Box::new(service), limits),
            Some(handshake) => Conn::with_handshake(info, handshake, |_| Box::new(service), limits),
        };
        Self { conn, queue: VecDeque::new(), then: Then::Go, fin_sent: false, over: None }
    }

    fn call(&mut self, wire: &mut [u8], call: impl FnOnce(&mut Conn, &mut [u8], &mut Vec<u8>) -> Action) {
        let mut out = Vec::new();
        let action = call(&mut self.conn, wire, &mut out);
        self.queue.extend(&wire[action.echo]);
        self.queue.extend(out);
        self.then = action.then;
    }

    /// Sends a little, and obeys.
    fn step(&mut self, now: Instant, link: &mut Link, dice: &mut Dice) {
        if self.over.is_some() {
            return;
        }
        let n = dice.roll(700).min(self.queue.len());
        if n > 0 {
            let bytes: Vec<u8> = self.queue.drain(..n).collect();
            link.flying.push_back((now + Duration::from_millis(dice.roll(20) as u64), bytes));
            self.call(&mut [], |conn, _, out| conn.sent(now, n, out, &mut ()));
        }
        if self.conn.deadline().is_some_and(|deadline| deadline <= now) {
            self.call(&mut [], |conn, _, out| conn.timed_out(now, out, &mut ()));
        }
        if matches!(self.then, Then::HalfClose | Then::Close) && self.queue.is_empty() && !self.fin_sent {
            self.fin_sent = true;
            link.fin = Some(now);
        }
        if matches!(self.then, Then::Close | Then::Reset) {
            assert!(self.then == Then::Reset || self.queue.is_empty(), "closed with bytes unsent");
            let mut why = Why::default();
            self.conn.closed(now, &mut why);
            self.over = why.0;
        }
    }

    /// Takes what has arrived, in pieces.
    fn arrive(&mut self, now: Instant, link: &mut Link, dice: &mut Dice) {
        if self.over.is_some() || !self.conn.wants_read() {
            return;
        }
        if let Some((due, bytes)) = link.flying.front_mut() {
            if *due <= now {
                let n = (1 + dice.roll(500)).min(bytes.len());
                let mut piece: Vec<u8> = bytes.drain(..n).collect();
                if bytes.is_empty() {
                    link.flying.pop_front();
                }
                self.call(&mut piece, |conn, wire, out| conn.received(now, wire, out, &mut ()));
            }
        } else if link.fin.is_some_and(|at| at <= now) && !link.fin_delivered {
            link.fin_delivered = true;
            self.call(&mut [], |conn, _, out| conn.received_eof(now, out, &mut ()));
        }
    }
}

/// The client's side: sends all its lines at once, collects the answers, and half-closes.
struct Asker {
    lines: Vec<u8>,
    got: Rc<RefCell<Vec<u8>>>,
}

impl Service for Asker {
    fn framing(&self) -> Framing {
        Framing::Chunk
    }
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.send(&self.lines);
        cx.finish();
    }
    fn data(&mut self, bytes: &[u8], _: &mut Cx<'_>) {
        self.got.borrow_mut().extend_from_slice(bytes);
    }
}

fn converse(seed: u64, tls: Option<&TlsServer>) {
    let mut dice = Dice::new(seed);
    let lines: Vec<u8> =
        noise(seed + 1, 200 + dice.roll(4000)).into_iter().map(|byte| if byte < 30 { b'\n' } else { byte }).collect();
    let want: Vec<u8> =
        lines.split_inclusive(|&byte| byte == b'\n').flat_map(|line| [b"Server received: ", line].concat()).collect();
    let got = Rc::new(RefCell::new(Vec::new()));
    let limits = Limits { high_water: 1 + dice.roll(2000), ..Limits::default() };
    let mut client = End::new(
        Asker { lines, got: Rc::clone(&got) },
        Limits::default(),
        tls.map(|_| Handshake::new().tls_client(tunnel::client())),
    );
    let mut server = End::new(Reply::default(), limits, tls.map(|tls| Handshake::new().tls_server(tls)));
    let (mut there, mut back) = (Link::default(), Link::default());
    let mut now = Instant::now();
    client.call(&mut [], |conn, _, out| conn.open(now, out, &mut ()));
    server.call(&mut [], |conn, _, out| conn.open(now, out, &mut ()));
    for _ in 0..200_000 {
        client.step(now, &mut there, &mut dice);
        server.step(now, &mut back, &mut dice);
        server.arrive(now, &mut there, &mut dice);
        client.arrive(now, &mut back, &mut dice);
        if client.over.is_some() && server.over.is_some() {
            break;
        }
        now += Duration::from_millis(1);
    }
    assert_eq!((client.over, server.over), (Some(CloseReason::Finished), Some(CloseReason::Finished)), "seed {seed}");
    assert!(*got.borrow() == want, "seed {seed}: the answers differ");
}

#[test]
fn two_ends_agree_over_any_link() {
    for seed in 0..100 {
        converse(seed, None);
    }
}

#[test]
fn two_ends_agree_through_tls_over_any_link() {
    let tls = TlsServer::new(&TlsServerSettings::new(tunnel::identity().clone())).unwrap();
    for seed in 0..100 {
        converse(seed, Some(&tls));
    }
}

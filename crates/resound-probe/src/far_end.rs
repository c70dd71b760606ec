//! [`FarEnd`]: a service that plays the other end of a check when a client asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use resound::{CloseReason, ConnInfo, Cx, Framing, Service, SocketReport};

use super::facts::hex;
use super::facts::{FarHello, FarTls, ProbeAnswer, ProxiedClient, SocketFacts};
use super::pattern::{Pattern, PatternCheck};
use super::request::{BadRequest, ProbeRequest, Step};
use super::sessions::{PlayedSession, Sessions};

/// The most bytes that wait to be sent.
const MOST_UNSENT: usize = super::request::LARGEST_PIECE as usize;
/// How many small reads of a session are noted with their times.
const MOST_ARRIVALS: usize = 64;
/// The most bytes of a small read.
const SMALL_READ: usize = 512;
/// How often a held session looks whether it may go on.
const LOOK: Duration = Duration::from_millis(20);
/// The same of one that is held for long.
const LATE_LOOK: Duration = Duration::from_millis(250);

/// A service, and in its place the far end of a check for connections that begin with a line of
/// `resound-probe/1`.
#[derive(Debug)]
pub struct FarEnd<S> {
    inner: S,
    sessions: Sessions,
    state: FarState,
}

#[derive(Debug)]
enum FarState {
    /// Nothing has come.
    New,
    /// The connection is the service's.
    Served,
    Playing(Box<Player>),
    /// A question was answered.
    Answered,
}

impl<S: Service> FarEnd<S> {
    /// `inner` serves all other connections.
    pub fn new(inner: S, sessions: Sessions) -> Self {
        Self { inner, sessions, state: FarState::New }
    }

    fn begin(&mut self, request: Result<ProbeRequest, BadRequest>, cx: &mut Cx<'_>) {
        let now = cx.now();
        let answer = match request {
            Ok(ProbeRequest { play: Some(steps), session, seed, brief, .. }) => {
                let session = self.sessions.begin(session.as_deref(), now);
                let player = Player { is_brief: brief, ..Player::new(steps, seed, session) };
                self.state = FarState::Playing(Box::new(player));
                cx.framing(Framing::Stream);
                return cx.report_socket();
            }
            Ok(ProbeRequest { ask: Some(name), .. }) => ProbeAnswer::Session(Box::new(self.sessions.log(&name, now))),
            Ok(ProbeRequest { go: Some(name), .. }) => {
                self.sessions.go(&name);
                ProbeAnswer::Session(Box::new(self.sessions.log(&name, now)))
            }
            Ok(_) => ProbeAnswer::Error("a request has one of play, ask and go".into()),
            Err(BadRequest::Wrong(wrong)) => ProbeAnswer::Error(wrong),
            Err(BadRequest::Garbled) => ProbeAnswer::Garbled,
        };
        self.state = FarState::Answered;
        cx.framing(Framing::Stream);
        cx.send(answer.line().as_bytes());
        cx.finish();
    }
}

impl<S: Service> Service for FarEnd<S> {
    fn framing(&self) -> Framing {
        self.inner.framing()
    }

    fn open(&mut self, cx: &mut Cx<'_>) {
        self.inner.open(cx);
    }

    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        match &mut self.state {
            FarState::New => match ProbeRequest::parse(bytes) {
                Some(request) => self.begin(request, cx),
                None => {
                    self.state = FarState::Served;
                    self.inner.data(bytes, cx);
                }
            },
            FarState::Served => self.inner.data(bytes, cx),
            FarState::Playing(player) => player.received(bytes, cx),
            FarState::Answered => {}
        }
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        match &mut self.state {
            FarState::New | FarState::Served => self.inner.drained(cx),
            FarState::Playing(player) => player.play(cx),
            FarState::Answered => {}
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        match &mut self.state {
            FarState::New | FarState::Served => self.inner.wake(cx),
            FarState::Playing(player) => player.play(cx),
            FarState::Answered => {}
        }
    }

    fn socket(&mut self, report: &SocketReport, cx: &mut Cx<'_>) {
        match &mut self.state {
            FarState::New | FarState::Served => self.inner.socket(report, cx),
            FarState::Playing(player) => player.reported(report, &self.sessions, cx),
            FarState::Answered => {}
        }
    }

    fn eof(&mut self, cx: &mut Cx<'_>) {
        match &mut self.state {
            FarState::New | FarState::Served => self.inner.eof(cx),
            FarState::Playing(player) => player.ended(cx),
            FarState::Answered => cx.finish(),
        }
    }

    fn drain(&mut self, cx: &mut Cx<'_>) {
        match &mut self.state {
            FarState::New | FarState::Served => self.inner.drain(cx),
            FarState::Playing(_) | FarState::Answered => cx.finish(),
        }
    }

    fn closed(&mut self, why: &CloseReason) {
        match &mut self.state {
            FarState::New | FarState::Served => self.inner.closed(why),
            FarState::Playing(player) => {
                let age = player.session.age_ms(Instant::now());
                let is_held = player.is_held();
                let mut log = player.session.log();
                if is_held && *why == CloseReason::Reset {
                    log.unread = log.socket.unread.unwrap_or(0);
                }
                log.closed = Some(why.name().into());
                log.closed_at_ms = Some(age);
            }
            FarState::Answered => {}
        }
    }
}

/// A request that is being played.
#[derive(Debug)]
struct Player {
    steps: Vec<Step>,
    /// The step that is next, or under way.
    at: usize,
    /// The step has begun.
    has_begun: bool,
    up: PatternCheck,
    down: Pattern,
    /// Of what is received, the part that earlier steps and this one account for.
    accounted: u64,
    /// Bytes that this step has yet to send.
    to_send: u64,
    sent: u64,
    /// The next piece, or the end of a wait.
    due: Option<Instant>,
    has_said_hello: bool,
    /// A report is being given.
    is_reporting: bool,
    /// The hello is short.
    is_brief: bool,
    has_fin: bool,
    is_over: bool,
    session: Arc<PlayedSession>,
}

impl Player {
    fn new(steps: Vec<Step>, seed: u64, session: Arc<PlayedSession>) -> Self {
        Self {
            steps,
            at: 0,
            has_begun: false,
            up: PatternCheck::new(Pattern::up(seed)),
            down: Pattern::down(seed),
            accounted: 0,
            to_send: 0,
            sent: 0,
            due: None,
            has_said_hello: false,
            is_reporting: false,
            is_brief: false,
            has_fin: false,
            is_over: false,
            session,
        }
    }

    fn received(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        self.up.received(bytes);
        {
            let now_ms = self.session.age_ms(cx.now());
            let mut log = self.session.log();
            log.received = self.up.count();
            log.reads += 1;
            if bytes.len() <= SMALL_READ && log.arrivals.len() < MOST_ARRIVALS {
                let arrival = ((now_ms * 10.0).round() / 10.0, log.received);
                log.arrivals.push(arrival);
            }
            log.first_at_ms = log.first_at_ms.or(Some(now_ms));
            log.last_at_ms = Some(now_ms);
            log.sent = self.sent;
            if log.wrong.is_none() {
                log.wrong = self.up.wrong();
            }
        }
        self.play(cx);
    }

    /// The client's FIN has come.
    fn ended(&mut self, cx: &mut Cx<'_>) {
        self.has_fin = true;
        {
            let now_ms = self.session.age_ms(cx.now());
            let mut log = self.session.log();
            log.fin_at_ms = Some(now_ms);
            log.wrong = self.up.wrong();
        }
        self.play(cx);
    }

    fn reported(&mut self, report: &SocketReport, sessions: &Sessions, cx: &mut Cx<'_>) {
        let mut facts = SocketFacts::of(report);
        // A system gives the SYN once.
        facts.syn = facts.syn.or_else(|| self.session.log().socket.syn.clone());
        let now_ms = self.session.age_ms(cx.now());
        self.session.log().socket_at_ms = Some(now_ms);
        if self.has_said_hello && (self.is_held() || cx.is_reset_by_peer()) {
            self.session.log().socket = facts;
            // The next report tells what waits unread meanwhile, and at last what a reset leaves.
            cx.report_socket();
            return;
        }
        let answer = if self.has_said_hello {
            let mut log = self.session.log();
            log.socket = facts;
            ProbeAnswer::Session(Box::new(super::facts::SessionLog { now_ms, ..log.clone() }))
        } else {
            self.session.log().socket = facts.clone();
            let facts = if self.is_brief { SocketFacts::default() } else { facts };
            ProbeAnswer::Hello(Box::new(hello(cx.conn(), facts, sessions)))
        };
        cx.send(answer.line().as_bytes());
        if self.has_said_hello {
            self.next();
        }
        self.has_said_hello = true;
        self.is_reporting = true;
        self.play(cx);
        self.is_reporting = false;
    }

    /// Nothing is read.
    fn is_held(&self) -> bool {
        matches!(self.steps.get(self.at), Some(Step::Hold(_)))
    }

    fn next(&mut self) {
        self.at += 1;
        self.has_begun = false;
        self.due = None;
        let mut log = self.session.log();
        log.steps = u32::try_from(self.at).unwrap_or(u32::MAX);
        log.sent = self.sent;
    }

    /// Goes on as far as it can.
    fn play(&mut self, cx: &mut Cx<'_>) {
        if !self.has_said_hello || self.is_over {
            return;
        }
        while let Some(&step) = self.steps.get(self.at) {
            let begins = !std::mem::replace(&mut self.has_begun, true);
            if !self.step(step, begins, cx) {
                return;
            }
            self.next();
            if self.is_over {
                return;
            }
        }
        if self.has_fin {
            self.is_over = true;
            cx.finish();
        }
    }

    /// Does what a step still has to do. Returns whether it is done.
    fn step(&mut self, step: Step, begins: bool, cx: &mut Cx<'_>) -> bool {
        match step {
            Step::Tell => {
                if begins && self.is_reporting {
                    // Asked for in that call, a report would wait until something else happens.
                    self.has_begun = false;
                    cx.wake_at(cx.now());
                } else if begins {
                    cx.report_socket();
                }
                // It is done when the report has come.
                false
            }
            Step::Read(bytes) => {
                self.accounted += if begins { bytes } else { 0 };
                self.has_read(cx)
            }
            Step::Send(bytes) => {
                self.to_send += if begins { bytes } else { 0 };
                self.send(u64::MAX, cx)
            }
            Step::Both(bytes) => {
                if begins {
                    self.accounted += bytes;
                    self.to_send += bytes;
                }
                let credit = self.up.count().saturating_add(super::CREDIT).saturating_sub(self.sent);
                self.send(credit, cx) & self.has_read(cx)
            }
            Step::Answers { count, ask, bytes } => self.answers(count, ask, bytes, begins, cx),
            Step::Pieces { count, bytes, every_ms } => self.pieces(count, bytes, every_ms, begins, cx),
            Step::Halves { count, ask, bytes, gap_ms } => {
                if begins {
                    self.accounted += u64::from(ask) * u64::from(count);
                    self.to_send += u64::from(bytes) * u64::from(count);
                }
                self.halves(ask, bytes, gap_ms, cx)
            }
            Step::Wait(ms) => self.wait(ms, false, begins, cx),
            Step::Hold(ms) => self.wait(ms, true, begins, cx),
            Step::Eof => self.has_fin,
            Step::Finish => {
                cx.finish();
                true
            }
            Step::Close => {
                self.is_over = true;
                cx.close();
                true
            }
            Step::Reset => {
                self.is_over = true;
                cx.reset_after_delivery();
                true
            }
        }
    }

    /// Whether all has come that the steps so far wait for. What a FIN has cut off never will.
    fn has_read(&mut self, cx: &mut Cx<'_>) -> bool {
        let has_come = self.up.count() >= self.accounted;
        if !has_come && self.has_fin {
            self.is_over = true;
            cx.finish();
        }
        has_come
    }

    /// Sends what is left of this step, at most `credit` bytes and what the socket keeps up with.
    fn send(&mut self, credit: u64, cx: &mut Cx<'_>) -> bool {
        let bytes = self.to_send.min(credit).min(room(cx));
        if bytes > 0 {
            cx.send(&self.down.bytes(self.sent, usize::try_from(bytes).unwrap_or(0)));
            self.to_send -= bytes;
            self.sent += bytes;
        }
        self.to_send == 0
    }

    fn pieces(&mut self, count: u32, bytes: u32, every_ms: u64, begins: bool, cx: &mut Cx<'_>) -> bool {
        let piece = u64::from(bytes);
        if begins {
            self.to_send += piece * u64::from(count);
        } else if self.due.is_some_and(|due| cx.now() < due) {
            return false;
        }
        if room(cx) < piece {
            return false;
        }
        self.send_part(self.to_send.min(piece), cx);
        if self.to_send > 0 {
            let due = cx.now() + Duration::from_millis(every_ms);
            self.due = Some(due);
            cx.wake_at(due);
        }
        self.to_send == 0
    }

    fn answers(&mut self, count: u32, ask: u32, bytes: u32, begins: bool, cx: &mut Cx<'_>) -> bool {
        if begins {
            self.accounted += u64::from(ask) * u64::from(count);
            self.to_send += u64::from(bytes) * u64::from(count);
        }
        // The number of questions that are still to come; the last of them ends where this step
        // does.
        let open = self.accounted.saturating_sub(self.up.count()).div_ceil(u64::from(ask.max(1)));
        let is_sent = self.send(self.to_send.saturating_sub(open * u64::from(bytes)), cx);
        self.has_read(cx) && is_sent
    }

    /// Of the answers that are left, each second one is sent in halves, the last one too.
    fn halves(&mut self, ask: u32, bytes: u32, gap_ms: u64, cx: &mut Cx<'_>) -> bool {
        let whole = u64::from(bytes.max(1));
        if room(cx) < whole {
            return false;
        }
        if let Some(due) = self.due {
            if cx.now() < due {
                return false;
            }
            self.due = None;
            self.send_part(self.to_send % whole, cx);
        }
        let open = self.accounted.saturating_sub(self.up.count()).div_ceil(u64::from(ask.max(1)));
        let left = self.to_send / whole;
        if left > open {
            let is_halved = left % 2 == 1 && whole > 1;
            self.send_part(if is_halved { whole / 2 } else { whole }, cx);
            let due = cx.now() + Duration::from_millis(if is_halved { gap_ms } else { 0 });
            if is_halved || left - 1 > open {
                self.due = Some(due);
                cx.wake_at(due);
            }
        }
        self.has_read(cx) && self.to_send == 0
    }

    fn send_part(&mut self, n: u64, cx: &mut Cx<'_>) {
        cx.send(&self.down.bytes(self.sent, usize::try_from(n).unwrap_or(0)));
        self.to_send -= n;
        self.sent += n;
    }

    fn wait(&mut self, ms: u64, may_end: bool, begins: bool, cx: &mut Cx<'_>) -> bool {
        let now = cx.now();
        if begins {
            cx.pause(true);
            self.due = Some(now + Duration::from_millis(ms));
        }
        let due = self.due.unwrap_or(now);
        if now >= due || (may_end && self.session.goes()) {
            cx.pause(false);
            return true;
        }
        let held = Duration::from_millis(ms).saturating_sub(due.saturating_duration_since(now));
        let look = (held / 50).clamp(LOOK, LATE_LOOK);
        cx.wake_at(if may_end { due.min(now + look) } else { due });
        if may_end && begins {
            // Each report asks for the next one: others ask meanwhile what waits unread.
            cx.report_socket();
        }
        false
    }
}

/// How many more bytes may wait to be sent.
fn room(cx: &Cx<'_>) -> u64 {
    MOST_UNSENT.saturating_sub(cx.unsent()) as u64
}

fn hello(conn: &ConnInfo, socket: SocketFacts, sessions: &Sessions) -> FarHello {
    let via = conn.via.as_ref();
    FarHello {
        resound: env!("CARGO_PKG_VERSION").into(),
        instance: sessions.instance().into(),
        connection: conn.id.0,
        peer: via.map_or(&conn.peer, |via| &via.peer).to_string(),
        local: via.map_or(&conn.local, |via| &via.local).to_string(),
        proxied: via.map(|via| ProxiedClient { client: conn.peer.to_string(), proxy: via.peer.to_string() }),
        tls: conn.tls.as_ref().map(|tls| FarTls {
            version: tls.version.into(),
            server_name: tls.server_name.as_ref().map(ToString::to_string),
            exporter: tls.exporter.map(|value| hex(&value)),
        }),
        socket,
        limits_connections: sessions.has_limits(),
        idle_timeout_ms: sessions.idle_timeout().map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
    }
}

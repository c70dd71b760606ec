//! [`ServerCalls`]: the calls of a server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use resound::server::Listener;
use resound::{CloseReason, Closed, ConnId, ConnInfo, Endpoint, Engine, Observer, Server, SocketReport, SocketStep};
use resound_console::Console;
use resound_console::printer::{EventWeight, FinalFlush, Printer, SkippedEvents};
use resound_console::tls_summary::TlsSummary;

use super::facts::{TcpState, address, agreed};
use super::story::{CallNames, SocketStory};
use super::{errors, marked};
use crate::colour::Colour;
use crate::stdio::StdStream;

/// Lines of workers that wait in lanes of their own.
const LANES: usize = 64;

/// A server that explains its calls.
pub(crate) struct ExplainedServer {
    engine: Engine,
    is_tls: bool,
    flush: Option<FinalFlush>,
}

impl ExplainedServer {
    pub(crate) fn new(engine: Engine, is_tls: bool) -> Self {
        Self { engine, is_tls, flush: None }
    }

    /// The server listens. `console` prints with `--quiet` too.
    pub(crate) fn start<'a>(
        &mut self,
        console: &Console,
        listeners: impl Iterator<Item = &'a Listener>,
    ) -> ServerCalls {
        let sink = match StdStream::outputs_are_one() {
            true => CallSink::Console(console.clone()),
            false => {
                let skipped = |skipped: SkippedEvents| {
                    let lines = skipped.messages + skipped.events + skipped.lines;
                    format!("resound: ... and {lines} more events of --explain\n")
                };
                // There is no other stream to report a failing stderr on.
                let (printer, flush) = Printer::new(StdStream::Stderr, LANES, skipped, |_| {});
                self.flush = Some(flush);
                CallSink::Stderr(printer)
            }
        };
        let names = if self.engine == Engine::Uring { &CallNames::RING } else { &CallNames::SYSTEM };
        let calls = ServerCalls { sink, colour: Colour::of(&std::io::stderr()), names, is_tls: self.is_tls };
        calls.print(0, None, &listening(self.engine, listeners));
        calls
    }

    /// Writes the rest.
    pub(crate) fn finish(self, patience: Duration) {
        self.flush.map(|flush| flush.finish(patience));
    }
}

/// Where a server listens, and which calls its engine makes.
fn listening<'a>(engine: Engine, listeners: impl Iterator<Item = &'a Listener>) -> Vec<String> {
    let engine = match engine {
        Engine::Uring => "engine uring: IORING_OP_RECV does what recv(2) would do, and so on",
        Engine::Portable => "engine portable: the system tells when a call would not wait (epoll on Linux)",
        _ => "engine threads: each connection has a thread, which waits in its calls",
    };
    let lines = listeners.map(|listener| match listener.address() {
        Endpoint::Tcp(tcp) => format!("socket(), bind({tcp}), listen(): LISTEN, the kernel answers SYNs from now on"),
        other => format!("socket(), bind({}), listen()", address(other)),
    });
    lines.chain([engine.to_string()]).collect()
}

/// Explains the calls of a server; cheap to clone.
#[derive(Clone)]
pub(crate) struct ServerCalls {
    sink: CallSink,
    colour: Colour,
    names: &'static CallNames,
    is_tls: bool,
}

/// Where the lines of a server go.
#[derive(Clone)]
enum CallSink {
    /// Stdout and stderr lead to the same place: between the console's lines, in order.
    Console(Console),
    Stderr(Arc<Printer>),
}

impl ServerCalls {
    /// Sets the observers of a server, with the explanations between what they print.
    pub(crate) fn observe<O: Observer + 'static>(
        calls: Option<Self>,
        server: Server,
        observers: impl Fn(usize) -> O + Send + Sync + 'static,
    ) -> Server {
        let Some(calls) = calls else { return server.observe(observers) };
        server.observe(move |worker| {
            let inner = observers(worker);
            ExplainedObserver { inner, calls: calls.clone(), lane: worker + 1, sockets: HashMap::new() }
        })
    }

    fn print(&self, lane: usize, name: Option<&str>, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let text = marked(self.colour, name, lines);
        match &self.sink {
            CallSink::Console(console) => console.explanation(lane, &text),
            CallSink::Stderr(printer) => {
                printer.print(lane, EventWeight::Message, |to| to.extend_from_slice(text.as_bytes()));
            }
        }
    }
}

/// An observer, and the explanations of what it sees.
struct ExplainedObserver<O> {
    inner: O,
    calls: ServerCalls,
    lane: usize,
    sockets: HashMap<ConnId, ServedSocket>,
}

/// One accepted socket.
struct ServedSocket {
    name: String,
    story: SocketStory,
    is_accepted: bool,
    /// Its TLS handshake is over.
    is_secure: bool,
    /// What has happened since the last report.
    pending: Vec<PendingCall>,
}

/// A call that is explained with the next report.
enum PendingCall {
    Sent(usize),
    PeerFin,
}

impl ServedSocket {
    fn of(conn: &ConnInfo, names: &'static CallNames) -> Self {
        let name = match &conn.peer {
            Endpoint::Tcp(tcp) => tcp.to_string(),
            _ => format!("connection {}", conn.id),
        };
        let story = SocketStory::new(names, matches!(conn.peer, Endpoint::Tcp(_)));
        Self { name, story, is_accepted: false, is_secure: false, pending: Vec::new() }
    }

    /// What the bytes of a call are.
    fn kind(&self, is_tls: bool) -> &'static str {
        match (is_tls, self.is_secure) {
            (false, _) => "",
            (true, false) => " (TLS, its handshake is not over)",
            (true, true) => " (in TLS records)",
        }
    }

    fn accepted(&mut self, conn: &ConnInfo, names: &CallNames, report: &SocketReport) -> Vec<String> {
        self.is_accepted = true;
        let (accept, peer, local) = (names.accept, address(&conn.peer), address(&conn.local));
        let Endpoint::Tcp(_) = conn.peer else { return vec![format!("{accept}: a connection on {local}")] };
        let state = report.tcp.map(|info| format!(": {}", TcpState::of(&info).name())).unwrap_or_default();
        let mut lines = vec![
            format!("{accept}: a connection from {peer} to {local}{state}"),
            "  inferred: before this call the kernel received the SYN, sent SYN-ACK and received the ACK".into(),
        ];
        lines.extend(report.tcp.as_ref().map(agreed));
        lines
    }

    /// Explains what waits for a report.
    fn explain_pending(&mut self, is_tls: bool, report: &SocketReport) -> Vec<String> {
        let pending = std::mem::take(&mut self.pending);
        let mut lines = Vec::new();
        if !pending.iter().any(|call| matches!(call, PendingCall::Sent(_))) {
            lines.extend(self.story.acknowledged(report, ""));
        }
        for call in pending {
            match call {
                PendingCall::Sent(n) => lines.push(self.story.sent(n, self.kind(is_tls), report)),
                PendingCall::PeerFin => lines.extend(self.story.peer_fin(report)),
            }
        }
        lines
    }

    /// Why the socket is closed, where that is no end in order.
    fn failed(&mut self, names: &CallNames, failure: CloseReason, report: &SocketReport) -> Vec<String> {
        let call = format!("{} or {}", names.receive, names.send);
        match failure {
            CloseReason::Reset => self.story.reset(&format!("{call}: ECONNRESET or EPIPE"), report),
            CloseReason::PeerVanished => self.story.vanished(&call, report),
            CloseReason::Failed(kind) => vec![format!("{call}: {}", errors::name(&kind.into()))],
            other => vec![format!("this end gives the connection up: {other}")],
        }
    }
}

impl<O> ExplainedObserver<O> {
    fn socket(&mut self, conn: &ConnInfo) -> &mut ServedSocket {
        let names = self.calls.names;
        self.sockets.entry(conn.id).or_insert_with(|| ServedSocket::of(conn, names))
    }

    /// Explains what `explain` makes of a socket.
    fn tell(&mut self, conn: &ConnInfo, explain: impl FnOnce(&mut ServedSocket, &ServerCalls) -> Vec<String>) {
        let (calls, lane) = (self.calls.clone(), self.lane);
        let socket = self.socket(conn);
        let lines = explain(socket, &calls);
        calls.print(lane, Some(&socket.name), &lines);
    }
}

impl<O: Observer> Observer for ExplainedObserver<O> {
    fn opened(&mut self, conn: &ConnInfo) {
        self.tell(conn, |socket, _| {
            let mut lines = Vec::new();
            if let Some(tls) = &conn.tls {
                socket.is_secure = true;
                lines.push(format!("TLS: the handshake is over: {}", TlsSummary(tls)));
            }
            if conn.via.is_some() {
                lines.push(format!("PROXY header: it speaks for the client {}", address(&conn.peer)));
            }
            lines
        });
        self.inner.opened(conn);
    }

    fn handshaken(&mut self, conn: &ConnInfo, took: Duration) {
        self.inner.handshaken(conn, took);
    }

    fn received(&mut self, conn: &ConnInfo, bytes: usize) {
        self.tell(conn, |socket, calls| {
            // Only a report that comes late leaves something pending here.
            let mut lines = match socket.pending.is_empty() {
                true => Vec::new(),
                false => socket.explain_pending(calls.is_tls, &SocketReport::default()),
            };
            lines.push(socket.story.received(bytes, socket.kind(calls.is_tls)));
            lines
        });
        self.inner.received(conn, bytes);
    }

    fn received_fin(&mut self, conn: &ConnInfo) {
        self.socket(conn).pending.push(PendingCall::PeerFin);
        self.inner.received_fin(conn);
    }

    fn message(&mut self, conn: &ConnInfo, message: &[u8]) {
        self.inner.message(conn, message);
    }

    fn unterminated(&mut self, conn: &ConnInfo, pause: Duration) {
        self.inner.unterminated(conn, pause);
    }

    fn sent(&mut self, conn: &ConnInfo, bytes: usize) {
        self.socket(conn).pending.push(PendingCall::Sent(bytes));
        self.inner.sent(conn, bytes);
    }

    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        self.sockets.remove(&conn.id);
        self.inner.closed(conn, how);
    }

    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        self.tell(conn, |_, _| vec![format!("it ended before it was open: {}", how.reason)]);
        self.sockets.remove(&conn.id);
        self.inner.unopened(conn, how);
    }

    fn wants_steps(&self) -> bool {
        true
    }

    fn step(&mut self, conn: &ConnInfo, step: SocketStep, report: &dyn Fn() -> SocketReport) {
        self.tell(conn, |socket, calls| {
            let is_news = !socket.is_accepted || !socket.pending.is_empty() || socket.story.waits_for_acknowledgement();
            if step == SocketStep::Event && !is_news {
                return Vec::new();
            }
            let report = report();
            let mut lines = match socket.is_accepted {
                true => Vec::new(),
                false => socket.accepted(conn, calls.names, &report),
            };
            lines.extend(socket.explain_pending(calls.is_tls, &report));
            let ends_tls = match step {
                SocketStep::HalfClosed => true,
                SocketStep::Closing { failure, resets } => failure.is_none() && !resets && !socket.story.has_sent_fin(),
                _ => false,
            };
            if ends_tls && socket.is_secure {
                lines.push("TLS: a close_notify went before the FIN".into());
            }
            match step {
                SocketStep::HalfClosing => socket.story.half_closing(&report),
                SocketStep::HalfClosed => lines.extend(socket.story.half_closed(&report)),
                SocketStep::Closing { failure, resets } => {
                    lines.extend(failure.into_iter().flat_map(|why| socket.failed(calls.names, why, &report)));
                    lines.extend(socket.story.closing(resets, &report));
                }
                _ => {}
            }
            lines
        });
    }
}

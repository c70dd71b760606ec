//! [`ClientCalls`]: the calls of a client.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use resound::client::{CallObserver, IcmpError, StreamCall, TcpInfo};
use resound::{Endpoint, SocketReport, Stream};
use resound_console::escape;
use resound_console::tls_summary::TlsSummary;
use tokio::sync::Notify;

use super::facts::{TcpState, address, agreed};
use super::records::{RecordScanner, listed};
use super::story::{CallNames, SocketStory};
use super::{errors, marked};
use crate::colour::Colour;
use crate::stdio::StdStream;
use crate::units::{counted, elapsed};

/// The shortest and the longest pause between two looks for an acknowledgement.
const LOOKS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// Explains the calls of a client: on stderr, or where a conversation has the terminal, above the
/// line being typed.
pub(crate) struct ClientCalls {
    told: Mutex<ToldCalls>,
    /// Something was sent that is not acknowledged, or a line is held.
    news: Notify,
}

struct ToldCalls {
    story: SocketStory,
    /// Since the last send.
    since: Instant,
    tls: Option<TlsRecords>,
    is_closing_tls: bool,
    is_closed_by_tls: bool,
    /// Lines that a conversation shows.
    held: Option<String>,
}

#[derive(Default)]
struct TlsRecords {
    sent: RecordScanner,
    received: RecordScanner,
}

impl ClientCalls {
    pub(crate) fn new() -> Self {
        let told = ToldCalls {
            story: SocketStory::new(&CallNames::SYSTEM, true),
            since: Instant::now(),
            tls: None,
            is_closing_tls: false,
            is_closed_by_tls: false,
            held: None,
        };
        Self { told: Mutex::new(told), news: Notify::new() }
    }

    /// A conversation has the terminal: from now on it shows the lines, where stderr is a terminal
    /// too.
    pub(crate) fn hold(&self) {
        if io::stderr().is_terminal() {
            self.told.lock().held = Some(String::new());
        }
    }

    /// The lines to show since the last call.
    pub(crate) fn take(&self) -> String {
        self.told.lock().held.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Waits until it is time to [look](Self::look) for an acknowledgement, or there are lines to
    /// [take](Self::take). May be given up.
    pub(crate) async fn due(&self) {
        loop {
            let (is_held, waits, since) = {
                let told = self.told.lock();
                let is_held = told.held.as_ref().is_some_and(|held| !held.is_empty());
                (is_held, told.story.waits_for_acknowledgement(), told.since)
            };
            if is_held {
                return;
            }
            let look = (since.elapsed() / 2).clamp(LOOKS[0], LOOKS[1]);
            tokio::select! {
                () = tokio::time::sleep(look), if waits => return,
                () = self.news.notified() => {}
            }
        }
    }

    /// Acknowledgements cause no event: this looks whether what was sent is acknowledged by now.
    pub(crate) fn look(&self, stream: &Stream) {
        let mut told = self.told.lock();
        let when = format!(", seen {} after send()", elapsed(told.since.elapsed()));
        let line = told.story.acknowledged(&stream.report(), &when);
        told.print(line.into_iter().collect());
    }
}

impl CallObserver for ClientCalls {
    fn called(&self, call: &StreamCall<'_>, report: &dyn Fn() -> SocketReport) {
        let mut told = self.told.lock();
        let lines = told.explain(call, report);
        told.print(lines);
        if told.held.is_some() || told.story.waits_for_acknowledgement() {
            self.news.notify_one();
        }
    }
}

impl ToldCalls {
    fn print(&mut self, lines: Vec<String>) {
        if lines.is_empty() {
            return;
        }
        let text = marked(Colour::of(&io::stderr()), None, &lines);
        match &mut self.held {
            Some(held) => *held += &text,
            // Without a reader of stderr nothing remains to do.
            None => drop(StdStream::Stderr.write_all(text.as_bytes())),
        }
    }

    fn explain(&mut self, call: &StreamCall<'_>, report: &dyn Fn() -> SocketReport) -> Vec<String> {
        match call {
            StreamCall::Resolved { host, addresses, took } => {
                let listed: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                let host = escape::text(host.as_bytes());
                vec![format!("getaddrinfo({host}): {} after {}", listed.join(", "), elapsed(*took))]
            }
            StreamCall::Connecting { target } => {
                let sends = if is_tcp(target) { ": a SYN is sent" } else { "" };
                vec![format!("socket(), connect({}){sends}", address(target))]
            }
            StreamCall::Connected { target, local, took } => {
                self.begins(target);
                connected(target, local, *took, report().tcp.as_ref())
            }
            StreamCall::NotConnected { target, error, icmp, took } => {
                not_connected(target, *error, icmp.as_ref(), *took, report().tcp.as_ref())
            }
            StreamCall::Accepted { peer, local } => {
                self.begins(peer);
                let mut lines = vec![format!("accept(): a connection from {} to {}", address(peer), address(local))];
                lines.extend(report().tcp.as_ref().map(agreed));
                lines
            }
            StreamCall::Sent(bytes) => {
                self.since = Instant::now();
                let what = self.tls.as_mut().map(|tls| tls.sent.scan(bytes));
                let what = records(what.as_deref());
                vec![self.story.sent(bytes.len(), &what, &report())]
            }
            StreamCall::SendFailed(error) if error.kind() == io::ErrorKind::WouldBlock => self.story.blocked(&report()),
            StreamCall::SendFailed(error) => self.failed("send()", error, &report()),
            StreamCall::Received([]) => self.story.peer_fin(&report()),
            StreamCall::Received(bytes) => {
                let what = self.tls.as_mut().map(|tls| tls.received.scan(bytes));
                vec![self.story.received(bytes.len(), &records(what.as_deref()))]
            }
            StreamCall::ReceiveFailed(error) => self.failed("recv()", error, &report()),
            StreamCall::HalfClosing => {
                self.story.half_closing(&report());
                Vec::new()
            }
            StreamCall::HalfClosed(None) => self.story.half_closed(&report()),
            StreamCall::HalfClosed(Some(error)) => vec![format!("shutdown(SHUT_WR): {}", errors::name(error))],
            StreamCall::Closing { resets } => self.story.closing(*resets, &report()),
            other => self.of_tls(other),
        }
    }

    fn of_tls(&mut self, call: &StreamCall<'_>) -> Vec<String> {
        let line = match call {
            StreamCall::TlsBegun => {
                self.tls = Some(TlsRecords::default());
                "TLS: the handshake begins".into()
            }
            StreamCall::TlsEstablished(tls) => format!("TLS: the handshake is over: {}", TlsSummary(tls)),
            StreamCall::ClosingTls if !std::mem::replace(&mut self.is_closing_tls, true) => {
                "TLS: a close_notify, and then the FIN: this side sends no more".into()
            }
            StreamCall::TlsClosedByPeer if !std::mem::replace(&mut self.is_closed_by_tls, true) => {
                "TLS: the peer's close_notify: it sends no more, and nothing was cut off".into()
            }
            _ => return Vec::new(),
        };
        vec![line]
    }

    /// A connection begins.
    fn begins(&mut self, peer: &Endpoint) {
        self.story = SocketStory::new(&CallNames::SYSTEM, is_tcp(peer));
        (self.tls, self.is_closing_tls, self.is_closed_by_tls) = (None, false, false);
    }

    fn failed(&mut self, call: &str, error: &io::Error, report: &SocketReport) -> Vec<String> {
        use io::ErrorKind as E;
        match error.kind() {
            E::ConnectionReset | E::BrokenPipe => self.story.reset(&format!("{call}: {}", errors::name(error)), report),
            E::TimedOut => self.story.vanished(call, report),
            _ => vec![format!("{call}: {}", errors::name(error))],
        }
    }
}

fn is_tcp(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Tcp(_))
}

/// The TLS records that begin in the bytes of a call.
fn records(names: Option<&[&str]>) -> String {
    match names {
        None => String::new(),
        Some([]) => " (the rest of a TLS record)".into(),
        Some(names) => format!(" (TLS: {})", listed(names)),
    }
}

fn connected(target: &Endpoint, local: &Endpoint, took: Duration, info: Option<&TcpInfo>) -> Vec<String> {
    let took = elapsed(took);
    if !is_tcp(target) {
        return vec![format!("connect({}): connected after {took}", address(target))];
    }
    let again = info.filter(|info| info.retransmits > 0);
    let again = again.map(|info| format!(", the SYN was sent again {}", times(info))).unwrap_or_default();
    let state = info.map_or("connected", |info| TcpState::of(info).name());
    let mut lines = vec![format!(
        "connect({}): SYN-ACK received, ACK sent: {state} after {took}{again}; this end is {}",
        address(target),
        address(local)
    )];
    lines.extend(info.map(agreed));
    lines
}

fn times(info: &TcpInfo) -> String {
    counted(info.retransmits.into(), "time")
}

fn not_connected(
    target: &Endpoint,
    error: Option<&io::Error>,
    icmp: Option<&IcmpError>,
    took: Duration,
    info: Option<&TcpInfo>,
) -> Vec<String> {
    let took = elapsed(took);
    let Some(error) = error else {
        let mut line = format!("connect({}): no answer after {took}", address(target));
        if let Some(info) = info {
            line += &format!(": {}, the SYN was sent again {}", TcpState::of(info).name(), times(info));
        }
        let mut lines = vec![line];
        lines.extend(queued(icmp));
        lines.push("close(): this end gives up (--connect-timeout, --timeout, or another address was faster)".into());
        lines.push(format!("  inferred: {NO_ANSWER}"));
        return lines;
    };
    let again = info.filter(|info| info.retransmits > 0);
    let again = again.map(|info| format!(", the SYN was sent again {}", times(info))).unwrap_or_default();
    let mut lines = vec![format!("connect({}): {} after {took}{again}", address(target), errors::name(error))];
    if !is_tcp(target) {
        return lines;
    }
    lines.extend(queued(icmp));
    let cause = match (error.kind(), icmp) {
        (io::ErrorKind::ConnectionRefused, None) => {
            "an RST came in answer to the SYN: no socket listens there, or a firewall says so"
        }
        (io::ErrorKind::TimedOut, None) => NO_ANSWER,
        (io::ErrorKind::ConnectionReset, _) => "the peer's SYN-ACK had come, and then its RST: it was reset at once",
        (io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable, None) => "this machine has no route there",
        (io::ErrorKind::HostUnreachable, Some(IcmpError { is_own: true, .. })) => {
            "no neighbour has that address (ARP, or neighbour discovery): no SYN has left this machine"
        }
        _ => return lines,
    };
    lines.push(format!("  inferred: {cause}"));
    lines
}

const NO_ANSWER: &str =
    "the SYNs, or the answers, are dropped: no such host, a firewall, or a listener whose backlog is full";

/// What the error queue holds.
fn queued(icmp: Option<&IcmpError>) -> Option<String> {
    icmp.map(|message| format!("  error queue (IP_RECVERR): {}", errors::icmp(message)))
}

//! The console of a server: text, or one JSON object a line. Both are results, and go to stdout.

mod faults;
mod relay;
mod reload;
mod upgrade;

use std::cell::Cell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use resound::server::Refusal;
use resound::tls::Certificate;
use resound::{Address, CloseReason, Closed, ConnInfo, Endpoint, Observer, Totals};
use resound_load::figures::{bytes, count, counted};

pub use self::faults::{fault_json, setting_json};
pub use self::relay::{RelayConsole, RelayTotals, event_json};
use crate::escape;
use crate::json::JsonObject;
use crate::printer::{EventWeight, Printer, SkippedEvents};
use crate::proxied::{self, ProxiedText};
use crate::settings::{ConsoleSettings, Format, is_own_error};
use crate::tls_summary::{self, TlsSummary};

/// Bytes of a message that the console shows; the rest is only counted.
const SHOWN: usize = 1024;

/// Lanes that connections with a thread each take in turn.
pub const LANES_OF_THREADS: usize = 64;

thread_local! {
    /// The lane of this thread, on the threads engine.
    static OF_THREAD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Bytes of most events.
const EVENT: usize = 256;

/// The time that a drain waits for the console, to keep its lines in order.
const ORDER: Duration = Duration::from_millis(50);

/// The console of a worker, or of the server itself; cheap to clone.
#[derive(Clone)]
pub struct Console {
    printer: Option<Arc<Printer>>,
    settings: ConsoleSettings,
    lane: usize,
    /// The next lane, where each connection has a thread of its own.
    next: Option<Arc<AtomicUsize>>,
    /// What a service receives and the console counts: `message`, or `read`.
    noun: &'static str,
    /// The hint about newlines has been printed.
    explained: Arc<AtomicBool>,
}

impl Console {
    /// The console of the server itself, over a printer with a lane more than workers: lanes are
    /// written in order, the server, then each worker. `noun` is what a message is called:
    /// `message` or `read`.
    pub fn new(printer: Arc<Printer>, settings: ConsoleSettings, noun: &'static str) -> Self {
        Self { printer: Some(printer), settings, lane: 0, next: None, noun, explained: Arc::default() }
    }

    /// The same console, for connections that have a thread each: they take the lanes in turn.
    /// Thousands of threads that want one lock would wait longer for it than they work.
    pub fn of_threads(self) -> Self {
        Self { next: Some(Arc::default()), ..self }
    }

    /// The text in place of events that a slow output has not taken.
    pub fn skipped(settings: &ConsoleSettings, skipped: SkippedEvents, noun: &str) -> String {
        let mut text = match settings.format {
            Format::Text => skipped_text(skipped, noun).into_bytes(),
            Format::Json => skipped_json(skipped).into_bytes(),
        };
        settings.stamp(&mut text, 0);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The same console, for a worker. On the threads engine that is the thread of a connection:
    /// its consoles share a lane, so that its lines keep their order.
    pub fn of_worker(&self, worker: usize) -> Self {
        let of_thread = |next: &Arc<AtomicUsize>| {
            let lane = OF_THREAD.get().unwrap_or_else(|| next.fetch_add(1, Relaxed) % LANES_OF_THREADS);
            OF_THREAD.set(Some(lane));
            lane
        };
        Self { lane: 1 + self.next.as_ref().map_or(worker, of_thread), ..self.clone() }
    }

    /// Prints lines of `--explain` in this lane.
    pub fn explanation(&self, lane: usize, text: &str) {
        let text = |to: &mut Vec<u8>| to.extend_from_slice(text.as_bytes());
        self.printer.iter().for_each(|printer| printer.print(lane, EventWeight::Message, text));
    }

    /// The same console, silent.
    pub fn silent(&self) -> Self {
        Self { printer: None, ..self.clone() }
    }

    /// Prints each address, and where a relay leads from there.
    pub fn started<'a>(&self, addresses: impl Iterator<Item = (&'a Endpoint, Option<&'a Address>)>) {
        for (address, target) in addresses {
            self.event(
                |to| match (address, target) {
                    (Endpoint::Tcp(tcp), None) => writeln!(to, "TCP Server started on {tcp}"),
                    (other, None) => writeln!(to, "Server started on {other}"),
                    (Endpoint::Tcp(tcp), Some(target)) => writeln!(to, "TCP Relay started on {tcp}, to {target}"),
                    (other, Some(target)) => writeln!(to, "Relay started on {other}, to {target}"),
                },
                || {
                    let event = JsonObject::event("started").with("address", address.to_string());
                    event.with_some("target", target.map(Address::to_string))
                },
            );
        }
    }

    /// Prints the certificates, and for those made for `development` (`how`) the flag that trusts
    /// them.
    pub fn certificates(&self, how: &'static str, certificates: &[Certificate]) {
        for certificate in certificates {
            self.event(
                |to| {
                    let until = humantime::format_rfc3339_seconds(certificate.not_after);
                    let names = match certificate.names.is_empty() {
                        true => "no name".into(),
                        false => escape::text(certificate.names.join(", ").as_bytes()),
                    };
                    writeln!(
                        to,
                        "TLS certificate ({how}) for {names} until {until}, SHA-256 {}",
                        certificate.fingerprint
                    )?;
                    match how {
                        "development" => {
                            writeln!(to, "Trust it with: resound client ... --tls --pin {}", certificate.fingerprint)
                        }
                        _ => Ok(()),
                    }
                },
                || {
                    JsonObject::event("certificate")
                        .with("how", how)
                        .with("subject", &certificate.subject)
                        .with("names", &certificate.names)
                        .with("not_after", humantime::format_rfc3339_seconds(certificate.not_after).to_string())
                        .with("sha256", certificate.fingerprint.to_string())
                },
            );
        }
    }

    /// Prints where the control API listens.
    pub fn control(&self, address: SocketAddr) {
        self.event(
            |to| writeln!(to, "Control on http://{address}"),
            || JsonObject::event("control").with("address", address.to_string()),
        );
    }

    /// Prints where metrics and health checks are.
    pub fn admin(&self, address: SocketAddr) {
        self.event(
            |to| writeln!(to, "Admin on http://{address}"),
            || JsonObject::event("admin").with("address", address.to_string()),
        );
    }

    /// Prints that the server waits; JSON has the event `started` for that.
    pub fn waiting(&self) {
        if self.settings.format == Format::Text {
            self.event(|to| writeln!(to, "Waiting for client connections..."), JsonObject::default);
        }
    }

    /// Prints the start of the drain after earlier events and before those that it causes.
    pub async fn draining(&self, open: usize, timeout: Duration) {
        let Some(printer) = &self.printer else { return };
        printer.settled(ORDER).await;
        let timeout = humantime::format_duration(timeout);
        let connections = counted(open as u64, "open connection");
        self.event(
            |to| writeln!(to, "Shutting down: {connections}, {timeout} at most (Ctrl+C again exits at once)"),
            || JsonObject::event("draining").with("open", open),
        );
        printer.settled(ORDER).await;
    }

    /// Prints the totals, after all other lines.
    pub fn stopped(&self, totals: &Totals) {
        let Some(printer) = &self.printer else { return };
        let text = |to: &mut Vec<u8>| {
            write!(
                to,
                "Server stopped: {}, {}, {} in, {} out",
                counted(totals.opened, "connection"),
                counted(totals.messages, self.noun),
                bytes(totals.bytes_in),
                bytes(totals.bytes_out),
            )?;
            for (name, n) in totals.closed_by_reason() {
                if n > 0 && !is_usual(name) {
                    write!(to, ", {}: {}", name.replace('_', " "), count(n))?;
                }
            }
            if totals.refused_in_all() > 0 {
                write!(to, ", {} refused", counted(totals.refused_in_all(), "connection"))?;
            }
            if totals.unanswered > 0 {
                write!(to, ", {} not answered", counted(totals.unanswered, self.noun))?;
            }
            writeln!(to)
        };
        let json = || {
            let refused = not_zero(totals.refused_by_reason());
            JsonObject::event("stopped")
                .with("connections", totals.opened)
                .with("messages", totals.messages)
                .with("bytes_in", totals.bytes_in)
                .with("bytes_out", totals.bytes_out)
                .with("closed", not_zero(totals.closed_by_reason()))
                .with_some("refused", Some(refused).filter(|refused| !refused.is_empty()))
                .with_some("unanswered", Some(totals.unanswered).filter(|&unanswered| unanswered > 0))
        };
        printer.last_lines(self.line(text, json));
    }

    fn event(&self, text: impl FnOnce(&mut Vec<u8>) -> io::Result<()>, json: impl FnOnce() -> JsonObject) {
        if let Some(printer) = &self.printer {
            print_event(printer, self.lane, self.line(text, json));
        }
    }

    /// Prints an event of a connection, unless such leave no lines.
    fn event_of(
        &self,
        conn: &ConnInfo,
        name: &str,
        text: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        json: impl FnOnce(JsonObject) -> JsonObject,
    ) {
        if !self.settings.leaves_out(conn) {
            self.event_of_any(conn, name, text, json);
        }
    }

    /// The same with the end of a connection, which is always printed if it is an error of this
    /// end.
    fn end_of(
        &self,
        conn: &ConnInfo,
        name: &str,
        reason: CloseReason,
        text: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        json: impl FnOnce(JsonObject) -> JsonObject,
    ) {
        if is_own_error(reason) || !self.settings.leaves_out(conn) {
            self.event_of_any(conn, name, text, json);
        }
    }

    fn event_of_any(
        &self,
        conn: &ConnInfo,
        name: &str,
        text: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        json: impl FnOnce(JsonObject) -> JsonObject,
    ) {
        if let Some(printer) = &self.printer {
            let line = self.line(text, || json(event_of(name, conn)));
            match name {
                "message" => printer.print(self.lane, EventWeight::Message, line),
                _ => print_event(printer, self.lane, line),
            }
        }
    }

    /// The peer, with --verbose also the proxy.
    fn origin(&self, conn: &ConnInfo) -> String {
        let via = if self.settings.verbose { ProxiedText(conn).to_string() } else { String::new() };
        format!("{}{via}", AddressTuple(conn))
    }

    /// Appends the line of an event.
    fn line(
        &self,
        text: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        json: impl FnOnce() -> JsonObject,
    ) -> impl FnOnce(&mut Vec<u8>) {
        |to| match self.settings.format {
            Format::Text => {
                let from = to.len();
                // Writing to memory cannot fail.
                drop(text(to));
                self.settings.stamp(to, from);
            }
            Format::Json => to.extend(json().line()),
        }
    }
}

/// Prints an event whose line is made before the lane is locked: while a line is made a thread may
/// lose the processor, and others wait for the lane. A message is made in its place, since a slow
/// output leaves most of them out.
fn print_event(printer: &Arc<Printer>, lane: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let mut line = Vec::with_capacity(EVENT);
    write(&mut line);
    printer.print(lane, EventWeight::Event, |to| to.extend_from_slice(&line));
}

/// An event of a connection, with its number and its peer.
fn event_of(name: &str, conn: &ConnInfo) -> JsonObject {
    JsonObject::event(name).with("conn", conn.id.0).with("peer", conn.peer.to_string())
}

/// A connection that is up, as an event.
pub fn opened_json(conn: &ConnInfo) -> JsonObject {
    opened(event_of("opened", conn), conn)
}

/// A connection that is over, as an event.
pub fn closed_json(conn: &ConnInfo, how: &Closed) -> JsonObject {
    closed(event_of("closed", conn), how)
}

fn opened(event: JsonObject, conn: &ConnInfo) -> JsonObject {
    let tls = conn.tls.as_deref().map(tls_summary::json);
    let event = event.with("local", conn.local.to_string());
    event.with_object("via", proxied::json(conn)).with_object("tls", tls)
}

fn closed(event: JsonObject, how: &Closed) -> JsonObject {
    let detail = Some(how.reason).filter(|reason| !reason.is_orderly());
    event
        .with("reason", how.reason.name())
        .with_some("detail", detail.map(|reason| reason.to_string()))
        .with("messages", how.messages)
        .with("bytes_in", how.bytes_in)
        .with("bytes_out", how.bytes_out)
        .with("seconds", how.lasted.as_secs_f64())
}

/// The counts above zero, by name.
fn not_zero(counts: impl Iterator<Item = (&'static str, u64)>) -> serde_json::Map<String, serde_json::Value> {
    counts.filter(|(_, n)| *n > 0).map(|(name, n)| (name.into(), n.into())).collect()
}

/// Is this the start of a ClientHello (RFC 8446, 4.1.2), in a record, or in the form of SSL 2.0
/// (RFC 5246, E.2)?
fn is_hello(message: &[u8]) -> bool {
    matches!(message, [22, 3, 0..=4, _, _, 1, ..] | [0x80..=0xbf, _, 1, 3, 0..=4, ..])
}

/// Reasons that the text leaves out; refusals have their own lines.
fn is_usual(reason: &str) -> bool {
    let refused = CloseReason::Refused(Refusal::Denied);
    let usual = [CloseReason::Finished, CloseReason::ServiceClosed, CloseReason::Drained, refused];
    usual.iter().any(|usual| usual.name() == reason)
}

impl Observer for Console {
    fn opened(&mut self, conn: &ConnInfo) {
        self.event_of(
            conn,
            "opened",
            |to| {
                write!(to, "New connection from {}", self.origin(conn))?;
                match &conn.tls {
                    Some(tls) => writeln!(to, " ({})", TlsSummary(tls)),
                    None => writeln!(to),
                }
            },
            |event| opened(event, conn),
        );
    }

    fn message(&mut self, conn: &ConnInfo, message: &[u8]) {
        if self.printer.is_none() || !self.settings.has_messages() {
            return;
        }
        let shown = &message[..message.len().min(SHOWN)];
        self.event_of(
            conn,
            "message",
            |to| {
                write!(to, "Received from {}: ", AddressTuple(conn))?;
                if shown.len() < message.len() {
                    escape::append(to, shown);
                    writeln!(to, "... ({})", counted(message.len() as u64, "byte"))?;
                } else {
                    escape::append(to, escape::without_ending(shown));
                    to.push(b'\n');
                }
                if conn.tls.is_none() && is_hello(message) {
                    writeln!(to, "(that is how TLS begins, and this server speaks plain text: start it with --tls)")?;
                }
                Ok(())
            },
            |event| {
                let event = event.with("bytes", message.len());
                let event = match std::str::from_utf8(shown) {
                    Ok(text) => event.with("text", text),
                    Err(_) => event.with("escaped", escape::text(shown)),
                };
                event.with_some("truncated", (shown.len() < message.len()).then_some(true))
            },
        );
    }

    fn unterminated(&mut self, conn: &ConnInfo, pause: Duration) {
        // The hint appears once.
        let settings = &self.settings;
        if settings.leaves_out(conn)
            || !settings.has_messages()
            || settings.format == Format::Text && self.explained.swap(true, Relaxed)
        {
            return;
        }
        self.event_of(
            conn,
            "unterminated",
            |to| {
                let pause = humantime::format_duration(pause);
                writeln!(to, "(a message should end with a newline: this one had none, and was answered {pause} later)")
            },
            |event| event.with("pause_ms", u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
        );
    }

    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        let detail = Some(how.reason).filter(|reason| !reason.is_orderly());
        self.end_of(
            conn,
            "closed",
            how.reason,
            |to| match detail {
                None => writeln!(to, "Connection closed for {}", AddressTuple(conn)),
                Some(reason) => writeln!(to, "Connection closed for {}: {reason}", AddressTuple(conn)),
            },
            |event| closed(event, how),
        );
    }

    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        if self.settings.format == Format::Text && matches!(how.reason, CloseReason::Refused(_)) {
            // Warnings on stderr report refusals, at a limited rate.
            return;
        }
        self.end_of(
            conn,
            "unopened",
            how.reason,
            |to| writeln!(to, "No connection from {}: {}", self.origin(conn), how.reason),
            |event| {
                let event = event.with_object("via", proxied::json(conn));
                event.with("reason", how.reason.name()).with("detail", how.reason.to_string())
            },
        );
    }
}

/// A peer in the form of the transcript: `('127.0.0.1', 54321)`.
struct AddressTuple<'a>(&'a ConnInfo);

impl std::fmt::Display for AddressTuple<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.peer {
            Endpoint::Tcp(SocketAddr::V6(v6)) if v6.scope_id() != 0 => {
                write!(f, "('{}%{}', {})", v6.ip(), v6.scope_id(), v6.port())
            }
            Endpoint::Tcp(address) => write!(f, "('{}', {})", address.ip(), address.port()),
            // Most unix clients are unnamed: the number of the connection distinguishes them.
            Endpoint::Unix(None) => write!(f, "('unix', {})", self.0.id),
            Endpoint::Unknown => f.write_str("unknown"),
            other => write!(f, "('{}', {})", escape::text(other.to_string().as_bytes()), self.0.id),
        }
    }
}

fn skipped_text(skipped: SkippedEvents, noun: &str) -> String {
    let parts =
        [(skipped.messages, noun, ""), (skipped.events, "event", " of connections"), (skipped.lines, "line", "")];
    let parts = parts.into_iter().filter(|(n, ..)| *n > 0);
    parts.map(|(n, noun, of)| format!("... and {}{of}\n", counted(n, &format!("more {noun}")))).collect()
}

fn skipped_json(skipped: SkippedEvents) -> String {
    let event = JsonObject::event("skipped").with("messages", skipped.messages);
    let line = event.with("events", skipped.events).with("lines", skipped.lines).line();
    String::from_utf8_lossy(&line).into_owned()
}

#[cfg(test)]
mod tests;

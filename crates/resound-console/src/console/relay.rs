//! What the console of a relay prints.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use resound::relay::{DirectionReport, RelayEvent, RelayReport};
use resound::{CloseReason, Closed, ConnInfo, Observer};
use resound_load::figures::{bytes, counted, elapsed};

use super::faults::fault_json;
use super::{AddressTuple, Console, event_of, opened, proxied};
use crate::attempts;
use crate::json::JsonObject;

/// The counts of a relay.
#[derive(Default)]
pub struct RelayTotals {
    /// Clients that were connected to the target.
    connected: AtomicU64,
    /// The others.
    unanswered: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    /// Of the connected.
    cut: AtomicU64,
}

/// The console of a relay: connections with `--verbose` and in JSON, failures always.
#[derive(Clone)]
pub struct RelayConsole {
    /// Where the lines go.
    pub console: Console,
    /// What the last line counts; the workers share it.
    pub totals: Arc<RelayTotals>,
}

impl RelayConsole {
    /// The same console, for a worker.
    pub fn of_worker(&self, worker: usize) -> Self {
        Self { console: self.console.of_worker(worker), ..self.clone() }
    }

    /// Counts an event, and prints it if the settings want that.
    pub fn note(&self, event: &RelayEvent<'_>) {
        let totals = &self.totals;
        let json = || event_json(event).map(|(_, object)| object).unwrap_or_default();
        match event {
            RelayEvent::Opened { client, target, took } => {
                totals.connected.fetch_add(1, Relaxed);
                let text = |to: &mut Vec<u8>| {
                    writeln!(to, "Connected {} to {target} in {}", self.console.origin(client), elapsed(*took))
                };
                self.shown(client, text, json);
            }
            RelayEvent::Failed { client, error } => {
                totals.unanswered.fetch_add(1, Relaxed);
                let text = |to: &mut Vec<u8>| {
                    writeln!(to, "Reset {}: {error}", self.console.origin(client))?;
                    attempts::lines(error).try_for_each(|line| to.write_all(line.as_bytes()))
                };
                self.console.event(text, json);
            }
            RelayEvent::Closed { client, report } => {
                totals.up.fetch_add(report.up.bytes, Relaxed);
                totals.down.fetch_add(report.down.bytes, Relaxed);
                match (&report.target, report.ended) {
                    (None, _) => totals.unanswered.fetch_add(1, Relaxed),
                    (Some(_), ended) => totals.cut.fetch_add(u64::from(ended.is_some()), Relaxed),
                };
                let text = |to: &mut Vec<u8>| closed(to, client, report);
                match report.ended {
                    Some((_, why)) if is_failure(why) => self.printed(client, text, json),
                    _ => self.shown(client, text, json),
                }
            }
            RelayEvent::Fault { client, event } => self.console.fault(client, event),
            _ => {}
        }
    }

    fn shown(
        &self,
        client: &ConnInfo,
        text: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        json: impl FnOnce() -> JsonObject,
    ) {
        if self.console.settings.has_relayed() {
            self.printed(client, text, json);
        }
    }

    fn printed(
        &self,
        client: &ConnInfo,
        text: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        json: impl FnOnce() -> JsonObject,
    ) {
        if !self.console.settings.leaves_out(client) {
            self.console.event(text, json);
        }
    }
}

/// An event as an object, and the connection that it is of.
pub fn event_json(event: &RelayEvent<'_>) -> Option<(u64, JsonObject)> {
    let (client, object) = match event {
        RelayEvent::Opened { client, target, took } => {
            let opened = opened(event_of("opened", client), client);
            (client, opened.with("target", target.to_string()).with("seconds", took.as_secs_f64()))
        }
        RelayEvent::Failed { client, error } => {
            let unanswered = event_of("unanswered", client).with_object("via", proxied::json(client));
            let unanswered = unanswered.with("target", &error.target);
            let class = error.class.map(|class| class.name());
            (client, unanswered.with_some("class", class).with("detail", error.to_string()))
        }
        RelayEvent::Closed { client, report } => (client, ended(client, report)),
        RelayEvent::Fault { client, event } => (client, fault_json(client, event)),
        _ => return None,
    };
    Some((client.id.0, object))
}

impl RelayTotals {
    /// Prints the end of a relay.
    pub fn stopped(&self, console: &Console) {
        let Some(printer) = &console.printer else { return };
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let text = |to: &mut Vec<u8>| {
            let (up, down) = (bytes(count(&self.up)), bytes(count(&self.down)));
            write!(to, "Relay stopped: {}, {up} up, {down} down", counted(count(&self.connected), "connection"))?;
            for (n, what) in [(count(&self.cut), "reset or cut"), (count(&self.unanswered), "without an answer")] {
                if n > 0 {
                    write!(to, ", {n} {what}")?;
                }
            }
            writeln!(to)
        };
        let json = || {
            JsonObject::event("stopped")
                .with("connections", count(&self.connected))
                .with("unanswered", count(&self.unanswered))
                .with("bytes_up", count(&self.up))
                .with("bytes_down", count(&self.down))
                .with("cut", count(&self.cut))
        };
        printer.last_lines(console.line(text, json));
    }
}

/// `Connection closed for (...): up 14 B, FIN; down 31 B, no FIN: the target was reset by the
/// peer`.
fn closed(to: &mut Vec<u8>, client: &ConnInfo, report: &RelayReport) -> io::Result<()> {
    let direction = |direction: DirectionReport| {
        format!("{}, {}", bytes(direction.bytes), if direction.fin { "FIN" } else { "no FIN" })
    };
    let (up, down) = (direction(report.up), direction(report.down));
    write!(to, "Connection closed for {}: up {up}; down {down}", AddressTuple(client))?;
    match report.ended {
        Some((_, why)) if is_own(why) => writeln!(to, "; ended by the relay"),
        Some((end, why)) => writeln!(to, "; {end}: {why}"),
        None => writeln!(to),
    }
}

fn ended(client: &ConnInfo, report: &RelayReport) -> JsonObject {
    let direction =
        |direction: DirectionReport| JsonObject::default().with("bytes", direction.bytes).with("fin", direction.fin);
    event_of("closed", client)
        .with_some("target", report.target.as_ref().map(ToString::to_string))
        .with_object("up", Some(direction(report.up)))
        .with_object("down", Some(direction(report.down)))
        .with_some(
            "ended_by",
            report.ended.map(|(end, why)| if is_own(why) { "relay".into() } else { end.to_string() }),
        )
        .with_some("reason", report.ended.map(|(_, why)| why.name()))
        .with("seconds", report.lasted.as_secs_f64())
}

/// Whether the relay itself has ended a connection: a fault wanted that, or a drain.
fn is_own(why: CloseReason) -> bool {
    matches!(why, CloseReason::Aborted | CloseReason::ServiceClosed)
}

/// Whether a connection has ended by a failure: of a limit, the path or the drain. A reset of one
/// end passes through like its bytes.
fn is_failure(why: CloseReason) -> bool {
    !is_own(why) && why != CloseReason::Reset
}

/// A relay reports its connections by itself, but for those whose handshake fails.
impl Observer for RelayConsole {
    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        if !conn.id.is_dialled_by_relay() {
            self.totals.unanswered.fetch_add(u64::from(how.reason == CloseReason::Cut), Relaxed);
            self.console.unopened(conn, how);
        }
    }
}

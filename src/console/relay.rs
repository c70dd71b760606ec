//! What the console of a relay prints.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use resound::relay::{DirectionReport, RelayEvent, RelayReport};
use resound::{Closed, ConnInfo, Observer, Totals};

use super::event::{LogEvent, RelayedBytes};
use super::{AddressTuple, Console, Format};
use crate::units::{bytes, counted, elapsed};

/// The counts of a relay.
#[derive(Default)]
pub(crate) struct RelayTotals {
    connected: AtomicU64,
    unanswered: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    cut: AtomicU64,
}

/// The console of a relay: connections with `--verbose` and in JSON, failures always.
#[derive(Clone)]
pub(crate) struct RelayConsole {
    console: Console,
    totals: Arc<RelayTotals>,
}

impl RelayConsole {
    pub(crate) fn new(console: Console, totals: Arc<RelayTotals>) -> Self {
        Self { console, totals }
    }

    /// The same console, for a worker.
    pub(crate) fn of_worker(&self, worker: usize) -> Self {
        Self { console: self.console.of_worker(worker), totals: Arc::clone(&self.totals) }
    }

    pub(crate) fn note(&self, event: &RelayEvent<'_>) {
        let totals = &self.totals;
        match event {
            RelayEvent::Opened { client, target, took } => {
                totals.connected.fetch_add(1, Relaxed);
                self.shown(
                    client,
                    |to| writeln!(to, "Connected {} to {target} in {}", AddressTuple(client), elapsed(*took)),
                    || LogEvent::Relayed {
                        conn: client.id.0,
                        peer: client.peer.to_string(),
                        local: client.local.to_string(),
                        target: target.to_string(),
                        seconds: took.as_secs_f64(),
                    },
                );
            }
            RelayEvent::Failed { client, error } => {
                totals.unanswered.fetch_add(1, Relaxed);
                self.console.event(
                    |to| {
                        writeln!(to, "Reset {}: {error}", AddressTuple(client))?;
                        error.attempts.iter().filter(|_| error.attempts.len() > 1).try_for_each(|attempt| {
                            writeln!(
                                to,
                                "  {:<40} {} after {}",
                                attempt.address,
                                attempt.cause(),
                                elapsed(attempt.took)
                            )
                        })
                    },
                    || LogEvent::Unanswered {
                        conn: client.id.0,
                        peer: client.peer.to_string(),
                        target: error.target.clone(),
                        class: error.class.map(|class| class.name()),
                        detail: error.to_string(),
                    },
                );
            }
            RelayEvent::Closed { client, report } => {
                totals.up.fetch_add(report.up.bytes, Relaxed);
                totals.down.fetch_add(report.down.bytes, Relaxed);
                totals.cut.fetch_add(u64::from(report.ended.is_some()), Relaxed);
                self.shown(client, |to| closed(to, client, report), || ended(client, report));
            }
            _ => {}
        }
    }

    fn shown(
        &self,
        client: &ConnInfo,
        text: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        json: impl FnOnce() -> LogEvent,
    ) {
        let console = &self.console;
        if (console.verbose || console.format == Format::Json) && !console.leaves_out(client) {
            console.event(text, json);
        }
    }
}

impl RelayTotals {
    /// Prints the end of a relay.
    pub(crate) fn stopped(&self, console: &Console, _of_sockets: &Totals) {
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
        let json = || LogEvent::RelayStopped {
            connections: count(&self.connected),
            unanswered: count(&self.unanswered),
            bytes_up: count(&self.up),
            bytes_down: count(&self.down),
            cut: count(&self.cut),
        };
        printer.last_lines(|to| {
            let _ = console.write(to, text, json);
        });
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
        Some((end, why)) => writeln!(to, "; {end}: {why}"),
        None => writeln!(to),
    }
}

fn ended(client: &ConnInfo, report: &RelayReport) -> LogEvent {
    let direction = |direction: DirectionReport| RelayedBytes { bytes: direction.bytes, fin: direction.fin };
    LogEvent::Ended {
        conn: client.id.0,
        peer: client.peer.to_string(),
        target: report.target.as_ref().map(ToString::to_string),
        up: direction(report.up),
        down: direction(report.down),
        ended_by: report.ended.map(|(end, _)| end.to_string()),
        reason: report.ended.map(|(_, why)| why.name()),
        seconds: report.lasted.as_secs_f64(),
    }
}

/// A relay reports its connections by itself, but for those whose handshake fails.
impl Observer for RelayConsole {
    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        if !conn.dialled {
            self.console.unopened(conn, how);
        }
    }
}

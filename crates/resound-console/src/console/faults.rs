//! What the console prints of faults on purpose.

use std::io::Write;

use resound::ConnInfo;
use resound::faults::FaultEvent;

use super::{AddressTuple, Console, event_of};
use crate::json::JsonObject;

impl Console {
    /// Prints the faults that hold from a connection on.
    pub fn faults(&self, from: u64, faults: &str, seed: u64) {
        self.event(
            |to| match faults {
                "" => writeln!(to, "No faults from connection {from} on"),
                _ => writeln!(to, "Faults from connection {from} on, seed {seed}: {faults}"),
            },
            || setting_json(from, faults, seed),
        );
    }

    /// Prints a fault that was injected.
    pub fn fault(&self, client: &ConnInfo, event: &FaultEvent) {
        if self.settings.leaves_out(client) {
            return;
        }
        let text = |to: &mut Vec<u8>| {
            write!(to, "Fault on {}", AddressTuple(client))?;
            if let Some(direction) = event.direction {
                write!(to, ", {direction} at byte {}", event.offset)?;
            }
            writeln!(to, ": {} ({})", event.kind.word(), event.detail)
        };
        self.event(text, || fault_json(client, event));
    }
}

/// The faults that hold from a connection on, as an event.
pub fn setting_json(from: u64, faults: &str, seed: u64) -> JsonObject {
    JsonObject::event("faults").with("from", from).with("seed", seed).with("faults", faults)
}

/// A fault that was injected, as an event.
pub fn fault_json(client: &ConnInfo, event: &FaultEvent) -> JsonObject {
    let fault = event_of("fault", client).with("direction", event.direction);
    let fault = fault.with("offset", event.offset).with("seconds", event.at.as_secs_f64());
    fault.with("kind", event.kind).with("detail", &event.detail)
}

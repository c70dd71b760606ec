//! What the console prints of an upgrade.

use std::io::Write;
use std::time::Duration;

use resound_load::figures::counted;

use super::Console;
use crate::json::JsonObject;

impl Console {
    /// Another process was started to replace this one.
    pub fn upgrading(&self, pid: u32) {
        self.event(
            |to| writeln!(to, "Upgrading: process {pid} starts"),
            || JsonObject::event("upgrading").with("pid", pid),
        );
    }

    /// That process has replaced this one, which goes on with what is open.
    pub fn upgraded(&self, pid: u32, open: usize, timeout: Option<Duration>) {
        self.event(
            |to| {
                let open = counted(open as u64, "open connection");
                let most = timeout.map(|time| format!(", {} at most", humantime::format_duration(time)));
                writeln!(to, "Upgraded: process {pid} serves, this one ends with {open}{}", most.unwrap_or_default())
            },
            || JsonObject::event("upgraded").with("pid", pid).with("open", open),
        );
    }
}

//! What the console prints of a reload.

use std::io::Write;
use std::path::Path;

use super::Console;
use crate::escape;
use crate::json::JsonObject;

impl Console {
    /// Prints which flags a reload has changed, and which need a restart.
    pub fn reloaded(&self, file: &Path, changed: &[String], needs_restart: &[String]) {
        let file = escape::text(file.display().to_string().as_bytes());
        self.event(
            |to| {
                write!(to, "Configuration reloaded from {file}: ")?;
                match changed {
                    [] => write!(to, "no change")?,
                    changed => write!(to, "changed {}", changed.join(", "))?,
                }
                match needs_restart {
                    [] => writeln!(to),
                    names => writeln!(to, "; {} as before, until a restart", names.join(", ")),
                }
            },
            || {
                let event = JsonObject::event("reloaded").with("file", &file);
                event.with("changed", changed).with("needs_restart", needs_restart)
            },
        );
    }
}

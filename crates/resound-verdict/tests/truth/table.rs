//! The faults of a relay, and what must be found.

use std::collections::BTreeSet;

use resound_verdict::Path;

/// One planted defect.
pub(crate) struct Row {
    pub(crate) faults: &'static str,
    /// `fail integrity in`, `warn nagle`, ...
    found: &'static [&'static str],
    /// The far end can be spoken with.
    is_relayed: bool,
}

/// What is true of each path through a relay: it is one.
const RELAYED: [&str; 2] = ["warn address", "warn split-tcp"];

impl Row {
    pub(crate) fn wanted(&self) -> BTreeSet<String> {
        let relayed = if self.is_relayed { &RELAYED[..] } else { &[] };
        relayed.iter().chain(self.found).map(ToString::to_string).collect()
    }

    pub(crate) fn path(&self, path: Path) -> Path {
        path
    }
}

const fn row(faults: &'static str, found: &'static [&'static str]) -> Row {
    Row { faults, found, is_relayed: true }
}

/// One behind which the far end is never met.
const fn wall(faults: &'static str, found: &'static [&'static str]) -> Row {
    Row { faults, found, is_relayed: false }
}

pub(crate) const ROWS: &[Row] = &[
    row("", &[]),
    row("delay=20ms", &[]),
    row("delay=20ms+-5ms", &[]),
    row("rate=4MiB/s", &[]),
    row("drip=4KiB/10ms", &[]),
    row("stall=1s", &[]),
    row("stall-then-burst=1s", &[]),
    row("slice=1..7", &[]),
    row("up: corrupt @1KiB", &["fail integrity out"]),
    row("down: corrupt @1KiB", &["fail integrity in"]),
    row("up: corrupt @100B", &["fail integrity out"]),
    row("down: corrupt @100B", &["fail integrity in"]),
    wall("corrupt", &["fail integrity both"]),
    wall("up: corrupt", &["fail integrity"]),
    wall("down: corrupt", &["fail integrity in"]),
    row("up: truncate @1KiB", &["fail integrity out"]),
    row("down: truncate @1KiB", &["fail integrity in"]),
    row("up: duplicate=100B @1KiB", &["fail integrity out"]),
    row("down: duplicate=100B @1KiB", &["fail integrity in"]),
    row("up: swap=100B @1KiB", &["fail integrity out"]),
    row("down: swap=100B @1KiB", &["fail integrity in"]),
    row("reset @8KiB", &["fail spurious-reset"]),
    wall("reset", &["fail accept-truth"]),
    row("close @8KiB", &["fail integrity both"]),
    row("up: half-close @1KiB", &["fail integrity out"]),
    row("down: half-close @1KiB", &["fail integrity in"]),
    row("up: eat-fin", &["fail half-close-out out"]),
    row("down: eat-fin", &["fail half-close-in in"]),
    row("up: close-on-eof", &["fail half-close-out out"]),
    row("down: close-on-eof", &["fail half-close-in in"]),
    row("up: one-way @8KiB", &["fail integrity out"]),
    row("down: one-way @8KiB", &["fail integrity in"]),
    row("silent @8KiB", &["fail integrity both"]),
    wall("accept-then-close", &["fail accept-truth"]),
    wall("accept-then-reset", &["fail accept-truth"]),
    row("accept-late=300ms", &[]),
    row("rst-to-fin", &["fail reset-out out", "fail reset-in in"]),
    row("up: rst-to-fin", &["fail reset-out out"]),
    row("down: rst-to-fin", &["fail reset-in in"]),
    row("up: rst-eats-tail", &["warn reset-out"]),
    row("down: rst-eats-tail", &["warn reset-in"]),
    row("up: fin-to-rst", &["fail close-tail out", "fail half-close-out out"]),
    row("down: fin-to-rst", &["fail close-tail in", "fail half-close-in in"]),
    row("reset @64KiB", &["fail spurious-reset"]),
    row("up: reset-one-side @1KiB", &["fail spurious-reset out"]),
    row("down: reset-one-side @64KiB", &["fail spurious-reset in"]),
    row("connect-rate=5/s", &["warn churn"]),
    row("hold=1MiB", &[]),
    row("hold=8MiB", &["warn hidden-buffer"]),
    row("no-backpressure", &["fail hidden-buffer out"]),
    row("no-keepalive", &[]),
];

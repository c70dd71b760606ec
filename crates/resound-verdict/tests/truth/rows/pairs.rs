//! Two defects at once: both are named, and nothing else.

use crate::row::{Row, early, row};

pub(super) const ROWS: &[Row] = &[
    row("up: close-on-eof; down: corrupt @70KiB", &["fail half-close-out out", "fail integrity in"])
        .tls(&["fail integrity in", "unknown half-close-out out"])
        .short(),
    row("nagle; up: eat-fin", &["warn nagle", "fail half-close-out out"]).tls(&["warn nagle"]).timed(),
    row("hold=16MiB; down: rst-to-fin", &["fail hidden-buffer out", "warn reset-in"]),
    row("coalesce=40ms; down: close-on-eof", &["warn segmentation", "fail half-close-in in"]).timed(),
    row("up: corrupt @70KiB; down: truncate @8KiB", &["fail integrity both"]),
    row("up: fin-to-rst; down: rst-to-fin", &["fail close-tail out", "fail half-close-out out", "warn reset-in"])
        .tls(&["fail half-close-out out", "warn reset-in"]),
    row("up: rst-to-fin; down: eat-fin", &["warn reset-out", "fail half-close-in in"]).tls(&["warn reset-out"]),
    row("delay=20ms; up: close-on-eof", &["fail half-close-out out"]),
    row("rate=4MiB/s; down: corrupt @70KiB", &["fail integrity in"]),
    row("connect-rate=5/s; up: eat-fin", &["warn churn", "fail half-close-out out"]).tls(&["warn churn"]),
    row("up: rst-eats-tail; down: fin-to-rst", &["warn reset-out", "fail close-tail in", "fail half-close-in in"])
        .tls(&["warn reset-out", "fail half-close-in in"]),
    row("idle-reset=4s; up: close-on-eof", &["warn idle", "fail half-close-out out"]).idle(8),
    early("close-on-eof; reset @64KiB", &["fail spurious-reset"]),
    row("slice=100; up: duplicate=1KiB @8KiB", &["fail integrity out"]),
];

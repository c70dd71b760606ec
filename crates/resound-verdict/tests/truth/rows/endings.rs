//! How connections end.

use crate::row::{Row, UNMET, early, row, wall};

const OUT: &[&str] = &["fail integrity out"];
const IN: &[&str] = &["fail integrity in"];
const BOTH: &[&str] = &["fail integrity both"];
const RESET: &[&str] = &["fail spurious-reset"];
const CHANCE: &[&str] = &["flaky spurious-reset"];
const WALL: &[&str] = &["fail accept-truth"];
/// The handshake gets no answer, by the server or by the path.
const LOST: &[&str] = &["unknown accept-truth", UNMET];

pub(super) const ROWS: &[Row] = &[
    wall("reset", WALL).tls(LOST).short(),
    wall("reset @connect", WALL),
    wall("reset @500B", RESET).tls(LOST),
    early("reset @1KiB", RESET).tls(LOST),
    early("reset @8KiB", RESET).short(),
    early("reset @64KiB", RESET),
    early("up: reset @64KiB", &["fail spurious-reset out"]),
    row("down: reset @64KiB", &["fail spurious-reset in"]),
    row("reset @2KiB 25%", CHANCE).plain(),
    row("reset @20KiB 40%", CHANCE),
    row("every 5th: reset @1KiB", CHANCE).plain(),
    row("1-2: reset", &["flaky accept-truth", "flaky spurious-reset"]).plain().short(),
    early("up: reset-one-side @1KiB", &["fail spurious-reset out"]),
    early("down: reset-one-side @1KiB", &["fail spurious-reset in"]).tls(LOST),
    early("up: reset-one-side @64KiB", &["fail spurious-reset out"]),
    early("down: reset-one-side @64KiB", &["fail spurious-reset in"]).short(),
    wall("close", WALL).tls(LOST),
    wall("close @500B", IN).tls(LOST),
    row("close @1KiB", BOTH).tls(LOST),
    row("close @8KiB", BOTH).short(),
    row("close @64KiB", BOTH),
    row("close @20KiB 33%", &["flaky integrity"]),
    row("up: half-close @1KiB", OUT),
    row("down: half-close @1KiB", IN).tls(LOST),
    row("up: half-close @8KiB", OUT),
    row("down: half-close @8KiB", IN).short(),
    row("up: half-close @64KiB", OUT),
    row("down: half-close @64KiB", IN),
    row("up: eat-fin", &["fail half-close-out out"]).tls(&[]),
    row("down: eat-fin", &["fail half-close-in in"]).tls(&[]).short(),
    row("eat-fin", &["fail half-close-out out", "fail half-close-in in"]).tls(&[]),
    row("up: close-on-eof", &["fail half-close-out out"]).short(),
    row("down: close-on-eof", &["fail half-close-in in"]),
    row("close-on-eof", &["fail half-close-out out", "fail half-close-in in"]),
    row("up: fin-to-rst", &["fail close-tail out", "fail half-close-out out"]).tls(&["fail half-close-out out"]),
    row("down: fin-to-rst", &["fail close-tail in", "fail half-close-in in"]).tls(&["fail half-close-in in"]).short(),
    row("fin-to-rst", &["fail close-tail both", "fail half-close-out out", "fail half-close-in in"])
        .tls(&["fail half-close-out out", "fail half-close-in in"]),
    row("up: rst-to-fin", &["warn reset-out"]),
    row("down: rst-to-fin", &["warn reset-in"]).short(),
    row("rst-to-fin", &["warn reset-out", "warn reset-in"]),
    row("up: rst-eats-tail", &["warn reset-out"]),
    row("down: rst-eats-tail", &["warn reset-in"]).short(),
    row("rst-eats-tail", &["warn reset-out", "warn reset-in"]),
    wall("silent", &["unknown accept-truth"]),
    wall("silent @connect", &["fail accept-truth"]).tls(&["unknown accept-truth"]),
    wall("silent @500B", IN).tls(LOST),
    row("silent @1KiB", BOTH).tls(LOST),
    row("silent @8KiB", BOTH),
    row("silent @64KiB", BOTH).short(),
    wall("up: one-way", &["unknown accept-truth"]),
    wall("down: one-way", &["unknown accept-truth"]),
    row("up: one-way @1KiB", OUT),
    row("down: one-way @1KiB", IN).tls(LOST),
    row("up: one-way @8KiB", OUT).short(),
    row("down: one-way @8KiB", IN),
    row("up: one-way @64KiB", OUT),
    row("down: one-way @64KiB", IN),
    row("split-hello-drop", &[]).tls(&["fail tls-split-hello out"]),
];

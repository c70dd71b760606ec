//! How connections are made.

use crate::row::{Row, row, wall};

pub(super) const ROWS: &[Row] = &[
    wall("refuse", &["fail connect"]).short(),
    wall("never-accept", &["fail connect"]),
    wall("accept-then-close", &["fail accept-truth"]).short(),
    wall("accept-then-reset", &["fail accept-truth"]),
    row("accept-late=300ms", &[]),
    row("accept-late=2s", &[]),
    wall("accept-liar", &["unknown accept-truth"]).short(),
    row("cap=200", &[]),
    row("connect-rate=5/s", &["warn churn"]),
    row("connect-rate=1000/s", &[]),
];

//! The faults of a relay that concern a path, in the order of `docs/faults.md`.

mod bytes;
mod connecting;
mod endings;
mod pairs;
mod timers;

use crate::row::Row;

/// All rows.
pub(crate) fn all() -> Vec<Row> {
    [bytes::ROWS, endings::ROWS, connecting::ROWS, timers::ROWS, pairs::ROWS].concat()
}

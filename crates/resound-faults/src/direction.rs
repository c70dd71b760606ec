//! The two directions of a relayed connection.

use std::fmt;

use serde::Serialize;

/// A direction of a relayed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamDirection {
    /// From the client to the target.
    Up,
    /// From the target to the client.
    Down,
}

impl StreamDirection {
    /// Both, `Up` first.
    pub const BOTH: [StreamDirection; 2] = [StreamDirection::Up, StreamDirection::Down];

    /// The other one.
    pub fn opposite(self) -> Self {
        match self {
            StreamDirection::Up => StreamDirection::Down,
            StreamDirection::Down => StreamDirection::Up,
        }
    }
}

impl fmt::Display for StreamDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamDirection::Up => "up",
            StreamDirection::Down => "down",
        })
    }
}

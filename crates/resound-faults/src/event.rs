//! What was done to a connection, and when.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::direction::StreamDirection;
use crate::kind::FaultKind;

/// One injected fault. As JSON it is one object: `connection`, `direction`, `offset`, `at` in
/// seconds, `kind` and `detail`.
///
/// A fault that lasts has one event, where it begins; those that wait for a FIN, a RST or an idle
/// time have one when that comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultEvent {
    /// The number of the connection, from 1.
    pub connection: u64,
    /// The direction; absent where the fault concerns both at once.
    pub direction: Option<StreamDirection>,
    /// How many bytes of the direction the sender had sent before the place of the fault; 0 where
    /// both directions are concerned at once.
    pub offset: u64,
    /// Since the connection opened.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// The fault.
    pub kind: FaultKind,
    /// What it does, as a short sentence without its full stop.
    pub detail: String,
}

/// To the microsecond.
fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_micros() as f64 / 1e6)
}

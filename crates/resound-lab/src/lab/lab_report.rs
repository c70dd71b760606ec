//! What a lab reports at its end.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::Summary;

/// Lateness above this means that the router did not keep up.
const KEPT: Duration = Duration::from_micros(100);

/// What passed a lab, and how its router kept up.
#[derive(Clone, Debug, Serialize)]
pub struct LabReport {
    /// What passed, and what each defect did.
    pub summary: Summary,
    /// How the router kept up.
    pub router: RouterReport,
}

/// How a lab's router kept up with its packets. It prints as one line.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RouterReport {
    /// Frames that the router's input ring dropped: losses that no defect has made.
    pub lost: u64,
    /// Packets that the kernel refused to send, such as those larger than the link's MTU.
    pub refused: u64,
    /// Frames that could not be read.
    pub unreadable: u64,
    /// How late packets left that a defect had delayed: 99 of 100 no later, in microseconds.
    #[serde(rename = "late_p99_us", serialize_with = "microseconds")]
    pub late_p99: Duration,
    /// The latest one, in microseconds.
    #[serde(rename = "late_max_us", serialize_with = "microseconds")]
    pub late_max: Duration,
}

fn microseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_nanos() as f64 / 1e3)
}

impl RouterReport {
    /// Did the router change what the defects alone would have done?
    pub fn was_bottleneck(&self) -> bool {
        self.lost > 0 || self.late_p99 > KEPT
    }
}

impl fmt::Display for RouterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lost, self.was_bottleneck()) {
            (0, false) => write!(f, "router: kept up")?,
            (0, true) => write!(f, "router: late (a bottleneck, or a busy machine)")?,
            (lost, _) => write!(f, "router: the bottleneck: its input ring dropped {lost} packets")?,
        }
        if !self.late_max.is_zero() {
            let us = |time: Duration| time.as_nanos() as f64 / 1e3;
            write!(f, "; delays kept within {:.0} us at p99 (at most {:.0} us)", us(self.late_p99), us(self.late_max))?;
        }
        if self.refused + self.unreadable > 0 {
            write!(f, "; {} packets could not be sent, {} not be read", self.refused, self.unreadable)?;
        }
        Ok(())
    }
}

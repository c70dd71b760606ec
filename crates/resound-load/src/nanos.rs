//! Times of a run are nanoseconds in a `u64`, which reaches 584 years.

use std::time::Duration;

/// A duration in nanoseconds, saturated.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

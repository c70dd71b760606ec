//! Limits on the time that a run takes.

use std::time::Duration;

use anyhow::Result;
use resound::client::FailureClass;
use tokio::time::{Instant, sleep_until};

use super::failure::ClientFailure;

/// Runs the work within the limit on the whole run.
pub(super) async fn within<T>(limit: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(limit) = limit else { return work.await };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late(limit)))
}

/// The error of a run that exceeds its limit.
pub(super) fn late(limit: Duration) -> anyhow::Error {
    ClientFailure::new(FailureClass::Timeout, format!("not done after {}", humantime::format_duration(limit))).into()
}

/// Waits for an instant; forever without one.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

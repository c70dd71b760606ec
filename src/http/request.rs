//! The body of a request, and the time that a request has.

use std::pin::Pin;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::answer::HttpAnswer;

/// How long a client may take for the head of a request, from the end of the one before, and for
/// its body.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The longest body.
const MOST_BODY: usize = 64 * 1024;

/// Reads a body, or returns the refusal of it.
pub(crate) async fn read_body(body: Incoming) -> Result<Vec<u8>, HttpAnswer> {
    match timeout(PATIENCE, collect(body)).await {
        Ok(read) => read,
        Err(_) => Err(HttpAnswer::error(StatusCode::REQUEST_TIMEOUT, "the body took longer than 10 seconds").last()),
    }
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, HttpAnswer> {
    let mut bytes = Vec::new();
    let refused = |status, reason| HttpAnswer::error(status, reason).last();
    let too_long = || refused(StatusCode::PAYLOAD_TOO_LARGE, "a body has at most 64 KiB");
    if body.size_hint().lower() > MOST_BODY as u64 {
        return Err(too_long());
    }
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| refused(StatusCode::BAD_REQUEST, "the body is cut short or has wrong chunks"))?;
        let part = frame.into_data().unwrap_or_default();
        if bytes.len() + part.len() > MOST_BODY {
            return Err(too_long());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

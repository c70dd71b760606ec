//! [`AdminAnswer`]: what a client gets.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use resound_console::json::JsonObject;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::activity::RequestUnderWay;
use super::replacement::Replacement;

/// What a page of this server may do: use what comes from here. Nothing else may do anything.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                           img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const NO_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// An answer, before it is sent.
pub(super) struct AdminAnswer {
    status: StatusCode,
    content_type: &'static str,
    allow: Option<&'static str>,
    /// The connection ends behind it.
    is_last: bool,
    content: AnswerContent,
}

enum AnswerContent {
    Whole(Bytes),
    Live(LiveEvents),
}

impl AdminAnswer {
    pub(super) fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let content = AnswerContent::Whole(body.into());
        Self { status: StatusCode::OK, content_type, allow: None, is_last: false, content }
    }

    pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Self {
        Self { status, ..Self::ok("application/json", body) }
    }

    /// A refusal, and the reason as a sentence.
    pub(super) fn error(status: StatusCode, reason: &str) -> Self {
        Self::json(status, JsonObject::default().with("error", reason).line())
    }

    pub(super) fn allowing(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    pub(super) fn last(self) -> Self {
        Self { is_last: true, ..self }
    }

    /// An answer that goes on for as long as the client takes it, and no other process has taken
    /// over.
    pub(super) fn live(events: watch::Receiver<Bytes>, replacement: Replacement, place: OwnedSemaphorePermit) -> Self {
        let next = Box::pin(next(events, replacement));
        let content = AnswerContent::Live(LiveEvents { next, _place: place });
        Self { content, ..Self::ok("text/event-stream", Bytes::new()) }
    }

    /// The answer to a request, which is under way until all of the answer is sent.
    pub(super) fn during(self, under_way: RequestUnderWay) -> Response<AdminBody> {
        let is_page = self.content_type.starts_with("text/html");
        let mut response = Response::new(AdminBody { content: Some(self.content), _under_way: under_way });
        *response.status_mut() = self.status;
        let policy = if is_page { PAGE_POLICY } else { NO_POLICY };
        let fixed = [
            (header::CONTENT_TYPE, self.content_type),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        let more = self.allow.map(|methods| (header::ALLOW, methods)).into_iter();
        let more = more.chain(self.is_last.then_some((header::CONNECTION, "close")));
        for (name, value) in fixed.into_iter().chain(more) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// The body of an answer.
pub(super) struct AdminBody {
    content: Option<AnswerContent>,
    _under_way: RequestUnderWay,
}

/// Events, as server-sent events. A client that is slow misses some.
struct LiveEvents {
    next: Pin<Box<dyn Future<Output = NextEvent> + Send>>,
    _place: OwnedSemaphorePermit,
}

/// An event, and where the others come from; `None` at the end.
type NextEvent = Option<(Bytes, watch::Receiver<Bytes>, Replacement)>;

async fn next(mut events: watch::Receiver<Bytes>, mut replacement: Replacement) -> NextEvent {
    loop {
        tokio::select! {
            changed = events.changed() => changed.ok()?,
            () = replacement.completed() => return None,
        }
        let event = events.borrow_and_update().clone();
        if !event.is_empty() {
            return Some((event, events, replacement));
        }
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            None => Poll::Ready(None),
            Some(AnswerContent::Whole(bytes)) => {
                let bytes = std::mem::take(bytes);
                self.content = None;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Some(AnswerContent::Live(live)) => {
                Poll::Ready(ready!(live.next.as_mut().poll(cx)).map(|(event, events, replacement)| {
                    live.next = Box::pin(next(events, replacement));
                    Ok(Frame::data(event))
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            None => true,
            Some(AnswerContent::Whole(bytes)) => bytes.is_empty(),
            Some(AnswerContent::Live(_)) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            None => SizeHint::with_exact(0),
            Some(AnswerContent::Whole(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Some(AnswerContent::Live(_)) => SizeHint::default(),
        }
    }
}

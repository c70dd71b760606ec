//! [`HttpAnswer`]: what a client gets.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use resound_console::json::JsonObject;
use tokio::sync::mpsc;

use super::activity::RequestUnderWay;

/// What a page of this server may do: use what comes from here. Nothing else may do anything.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                           img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const NO_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// An answer, before it is sent.
pub(crate) struct HttpAnswer {
    status: StatusCode,
    content_type: &'static str,
    allow: Option<&'static str>,
    /// The connection ends after it.
    is_last: bool,
    /// A client has as much time as it wants to take it.
    may_stall: bool,
    content: AnswerContent,
}

enum AnswerContent {
    Whole(Bytes),
    Parts(AnswerParts),
}

impl HttpAnswer {
    pub(crate) fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let content = AnswerContent::Whole(body.into());
        Self { status: StatusCode::OK, content_type, allow: None, is_last: false, may_stall: false, content }
    }

    pub(crate) fn json(status: StatusCode, body: Vec<u8>) -> Self {
        Self { status, ..Self::ok("application/json", body) }
    }

    /// A refusal, and the reason as a sentence.
    pub(crate) fn error(status: StatusCode, reason: &str) -> Self {
        Self::json(status, JsonObject::default().with("error", reason).line())
    }

    pub(crate) fn allowing(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    pub(crate) fn last(self) -> Self {
        Self { is_last: true, ..self }
    }

    /// An answer in parts, which `make` sends: no faster than the client takes them, and for as
    /// long as it is there.
    pub(crate) fn parts<F>(content_type: &'static str, make: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, parts) = mpsc::channel(1);
        let content = AnswerContent::Parts(AnswerParts { maker: Some(Box::pin(make(sender))), parts });
        Self { content, ..Self::ok(content_type, Bytes::new()) }
    }

    /// Gives the client as much time as it wants to take the answer.
    pub(crate) fn allowing_stalls(self) -> Self {
        Self { may_stall: true, ..self }
    }

    /// The answer to a request, which is under way until all of the answer is sent.
    pub(super) fn during(self, under_way: RequestUnderWay) -> Response<HttpBody> {
        if self.may_stall {
            under_way.allow_stalls();
        }
        let is_page = self.content_type.starts_with("text/html");
        let mut response = Response::new(HttpBody { content: Some(self.content), _under_way: under_way });
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
pub(super) struct HttpBody {
    content: Option<AnswerContent>,
    _under_way: RequestUnderWay,
}

struct AnswerParts {
    /// Makes the parts; `None` when it has ended.
    maker: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    parts: mpsc::Receiver<Bytes>,
}

impl AnswerParts {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let next = self.parts.poll_recv(cx);
        let Some(maker) = self.maker.as_mut().filter(|_| next.is_pending()) else { return next };
        if maker.as_mut().poll(cx).is_ready() {
            self.maker = None;
        }
        self.parts.poll_recv(cx)
    }
}

impl Body for HttpBody {
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
            Some(AnswerContent::Parts(parts)) => parts.poll_next(cx).map(|part| part.map(|part| Ok(Frame::data(part)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            None => true,
            Some(AnswerContent::Whole(bytes)) => bytes.is_empty(),
            Some(AnswerContent::Parts(_)) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            None => SizeHint::with_exact(0),
            Some(AnswerContent::Whole(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Some(AnswerContent::Parts(_)) => SizeHint::default(),
        }
    }
}

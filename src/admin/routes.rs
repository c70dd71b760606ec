//! [`AdminApi`]: the paths, and what each answers.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};

use super::connections::{ConnectionCollector, ConnectionQuery};
use super::live::{self, LiveFeed, MOST_READERS};
use super::{health, metrics};
use crate::http::{HostRule, HttpAnswer, HttpApi};

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const PATHS: &str = "there is no such path: there are /, /metrics, /healthz, /readyz, /connections and /live";

/// What answers requests.
pub(super) struct AdminApi {
    pub(super) host: HostRule,
    pub(super) feed: Arc<LiveFeed>,
    pub(super) collector: ConnectionCollector,
}

impl HttpApi for AdminApi {
    async fn answer(&self, request: Request<Incoming>) -> HttpAnswer {
        if let Err(refusal) = self.check(&request) {
            return refusal;
        }
        let LiveFeed { subject, loops, replacement, .. } = &*self.feed;
        let query = request.uri().query().unwrap_or_default();
        match request.uri().path() {
            "/" => HttpAnswer::ok("text/html; charset=utf-8", PAGE),
            "/page.css" => HttpAnswer::ok("text/css; charset=utf-8", STYLE),
            "/page.js" => HttpAnswer::ok("text/javascript; charset=utf-8", SCRIPT),
            "/healthz" => health::healthz(loops),
            "/readyz" => health::readyz(&subject.inspector, replacement, loops),
            "/metrics" => metrics::scraped(&self.feed, wants_openmetrics(request.headers())),
            "/connections" => match ConnectionQuery::parse(query) {
                Ok(query) => self.collector.answer(&subject.inspector, query).await,
                Err(reason) => HttpAnswer::error(StatusCode::BAD_REQUEST, &reason),
            },
            "/live" if request.method() == Method::HEAD => HttpAnswer::ok("text/event-stream", ""),
            "/live" => match Arc::clone(&self.feed.readers).try_acquire_owned() {
                Ok(permit) => HttpAnswer::parts("text/event-stream", |parts| {
                    live::send(self.feed.subscribe(), replacement.clone(), parts, permit)
                }),
                Err(_) => {
                    let reason = format!("{MOST_READERS} clients read /live already");
                    HttpAnswer::error(StatusCode::SERVICE_UNAVAILABLE, &reason)
                }
            },
            _ => HttpAnswer::error(StatusCode::NOT_FOUND, PATHS),
        }
    }
}

impl AdminApi {
    /// Is the request meant for this server, and one that it takes?
    fn check(&self, request: &Request<Incoming>) -> Result<(), HttpAnswer> {
        self.host.check(request)?;
        let headers = request.headers();
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let answer = HttpAnswer::error(StatusCode::METHOD_NOT_ALLOWED, "there is GET and HEAD only");
            return Err(answer.allowing("GET, HEAD").last());
        }
        let has_length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
        if has_length || headers.contains_key(header::TRANSFER_ENCODING) {
            let answer = HttpAnswer::error(StatusCode::PAYLOAD_TOO_LARGE, "a request has no body here");
            return Err(answer.last());
        }
        Ok(())
    }
}

/// A scraper that takes the text format of Prometheus, and not OpenMetrics, says so.
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accepted: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let names = |kind: &str| accepted.iter().any(|value| value.contains(kind));
    names("application/openmetrics-text") || !names("text/plain")
}

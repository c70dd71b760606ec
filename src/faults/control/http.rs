//! HTTP/1.1 as far as the control API needs it: requests with a bounded head and body, and replies
//! of a known length or in chunks. The parser of the head is httparse.

use std::time::Duration;

use resound_console::json::JsonObject;
use time::OffsetDateTime;
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest head of a request.
const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
/// The longest body.
const MOST_BODY: usize = 64 * 1024;
/// How long a client may take for a request, from the end of the one before, or to take a reply.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client that is disconnected may still send.
const LINGER: Duration = Duration::from_secs(1);

/// A request with its body.
pub(super) struct HttpRequest {
    pub(super) method: String,
    /// The path and the query.
    pub(super) target: String,
    pub(super) host: String,
    pub(super) body: Vec<u8>,
    /// The connection stays open for another request.
    pub(super) keeps_alive: bool,
    /// HTTP/1.1, whose replies may come in chunks.
    pub(super) takes_chunks: bool,
}

/// A reply with a body of JSON.
pub(super) struct HttpReply {
    status: u16,
    allow: Option<&'static str>,
    body: Vec<u8>,
}

impl HttpReply {
    pub(super) fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, allow: None, body }
    }

    /// A refusal, and the reason as a sentence.
    pub(super) fn error(status: u16, reason: &str) -> Self {
        Self::json(status, JsonObject::default().with("error", reason).line())
    }

    pub(super) fn allowing(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }
}

/// What comes from a client.
pub(super) enum Incoming {
    Request(HttpRequest),
    /// No request: the reply to it, after which the connection ends.
    Refused(HttpReply),
    /// The client has left, or says nothing more.
    End,
}

/// The connection of one client.
pub(super) struct HttpStream {
    stream: TcpStream,
    /// Received, and not parsed yet.
    received: Vec<u8>,
}

/// The head of a request, parsed.
struct RequestHead {
    request: HttpRequest,
    head: usize,
    body: usize,
    wants_continue: bool,
}

impl HttpStream {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    pub(super) async fn request(&mut self) -> Incoming {
        match timeout(PATIENCE, self.read_request()).await {
            Ok(incoming) => incoming,
            Err(_) if self.received.is_empty() => Incoming::End,
            Err(_) => Incoming::Refused(HttpReply::error(408, "the request took longer than 10 seconds")),
        }
    }

    async fn read_request(&mut self) -> Incoming {
        // A head is parsed when it may be complete: one that comes byte by byte costs no more.
        let mut seen = 0;
        let parsed = loop {
            let news = &self.received[usize::saturating_sub(seen, 2)..];
            let is_complete = seen == 0 || holds(news, b"\n\n") || holds(news, b"\n\r\n");
            seen = self.received.len();
            match RequestHead::parse(&self.received) {
                Ok(Some(parsed)) => break parsed,
                _ if !is_complete && seen < MOST_HEAD => {}
                Ok(None) if seen >= MOST_HEAD => {
                    return Incoming::Refused(HttpReply::error(431, "the head of a request has at most 16 KiB"));
                }
                Ok(None) => {}
                Err(refusal) => return Incoming::Refused(refusal),
            }
            if !self.receive().await {
                return Incoming::End;
            }
        };
        let RequestHead { mut request, head, body, wants_continue } = parsed;
        if wants_continue && self.received.len() == head {
            let _ = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        while self.received.len() < head + body {
            if !self.receive().await {
                return Incoming::End;
            }
        }
        request.body = self.received.drain(..head + body).skip(head).collect();
        Incoming::Request(request)
    }

    /// Returns whether bytes have come.
    async fn receive(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.received).await, Ok(1..))
    }

    /// Sends a reply. An error is a client that has left or takes nothing.
    pub(super) async fn reply(&mut self, reply: &HttpReply, keeps_alive: bool) -> io::Result<()> {
        let mut bytes = head(reply.status, "application/json", keeps_alive);
        if let Some(methods) = reply.allow {
            bytes += &format!("Allow: {methods}\r\n");
        }
        bytes += &format!("Content-Length: {}\r\n\r\n", reply.body.len());
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&reply.body);
        timeout(PATIENCE, self.stream.write_all(&bytes)).await?
    }

    /// Begins a reply that comes in parts.
    pub(super) async fn begin(&mut self, content_type: &str, request: &HttpRequest) -> io::Result<()> {
        let mut bytes = head(200, content_type, request.keeps_alive && request.takes_chunks);
        bytes += if request.takes_chunks { "Transfer-Encoding: chunked\r\n\r\n" } else { "\r\n" };
        self.stream.write_all(bytes.as_bytes()).await
    }

    /// Sends a part. Waits for a slow client as long as it is there.
    pub(super) async fn part(&mut self, part: &[u8], request: &HttpRequest) -> io::Result<()> {
        if !request.takes_chunks {
            return self.stream.write_all(part).await;
        }
        let mut bytes = format!("{:x}\r\n", part.len()).into_bytes();
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
        self.stream.write_all(&bytes).await
    }

    /// Ends a reply that came in parts.
    pub(super) async fn end(&mut self, request: &HttpRequest) -> io::Result<()> {
        if request.takes_chunks { self.stream.write_all(b"0\r\n\r\n").await } else { Ok(()) }
    }

    /// Completes when the client has left. What it sends is discarded.
    pub(super) async fn left(&mut self) {
        let mut discarded = [0; 1024];
        while matches!(self.stream.read(&mut discarded).await, Ok(1..)) {}
    }

    /// Ends the connection so that the last reply arrives: unread bytes would make it a reset.
    pub(super) async fn finish(mut self) {
        if self.stream.shutdown().await.is_ok() {
            let _ = timeout(LINGER, self.left()).await;
        }
    }
}

impl RequestHead {
    /// The head, if it is complete.
    fn parse(received: &[u8]) -> Result<Option<Self>, HttpReply> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let head = match parsed.parse(&received[..received.len().min(MOST_HEAD)]) {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(HttpReply::error(431, "a request has at most 64 headers"));
            }
            Err(error) => return Err(HttpReply::error(400, &format!("this is no HTTP request: {error}"))),
        };
        let is_11 = parsed.version == Some(1);
        let values = |name: &str| {
            let named = parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| String::from_utf8_lossy(header.value).trim().to_string()).collect::<Vec<_>>()
        };
        let has = |name, word: &str| {
            values(name).iter().any(|value| value.split(',').any(|each| each.trim().eq_ignore_ascii_case(word)))
        };
        let host = match &values("host")[..] {
            [host] => host.clone(),
            [] => return Err(HttpReply::error(400, "the Host header is missing")),
            _ => return Err(HttpReply::error(400, "a request has one Host header")),
        };
        if !values("transfer-encoding").is_empty() {
            return Err(HttpReply::error(411, "a body needs a Content-Length here, and no Transfer-Encoding"));
        }
        let body = match &values("content-length")[..] {
            [] => 0,
            [length] if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
                length.parse().unwrap_or(usize::MAX)
            }
            _ => return Err(HttpReply::error(400, "a request has one Content-Length, a number")),
        };
        if body > MOST_BODY {
            return Err(HttpReply::error(413, "a body has at most 64 KiB"));
        }
        let request = HttpRequest {
            method: parsed.method.unwrap_or_default().into(),
            target: parsed.path.unwrap_or_default().into(),
            host,
            body: Vec::new(),
            keeps_alive: is_11 && !has("connection", "close"),
            takes_chunks: is_11,
        };
        Ok(Some(Self { request, head, body, wants_continue: is_11 && has("expect", "100-continue") }))
    }
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// The start of a reply's head.
fn head(status: u16, content_type: &str, keeps_alive: bool) -> String {
    let now = OffsetDateTime::now_utc();
    let (day, month) = (now.weekday().to_string(), now.month().to_string());
    let connection = if keeps_alive { "" } else { "Connection: close\r\n" };
    format!(
        "HTTP/1.1 {status} {}\r\nDate: {}, {:02} {} {} {:02}:{:02}:{:02} GMT\r\nContent-Type: {content_type}\r\n\
         Cache-Control: no-store\r\n{connection}",
        reason(status),
        &day[..3],
        now.day(),
        &month[..3],
        now.year(),
        now.hour(),
        now.minute(),
        now.second(),
    )
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> u16 {
        RequestHead::parse(text.as_bytes()).err().map_or(200, |reply| reply.status)
    }

    #[test]
    fn a_head_is_parsed_once_it_is_complete() {
        let text = "PUT /faults?x=1 HTTP/1.1\r\nhost: a:1\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n";
        for end in 0..text.len() {
            assert!(matches!(RequestHead::parse(&text.as_bytes()[..end]), Ok(None)), "{end}");
        }
        let Ok(Some(parsed)) = RequestHead::parse(format!("{text}abc").as_bytes()) else { panic!() };
        assert_eq!((parsed.head, parsed.body, parsed.wants_continue), (text.len(), 12, true));
        let request = parsed.request;
        assert_eq!((&*request.method, &*request.target, &*request.host), ("PUT", "/faults?x=1", "a:1"));
        assert!(request.keeps_alive && request.takes_chunks);
    }

    #[test]
    fn no_head_is_a_panic() {
        let mut random = fastrand::Rng::with_seed(1);
        let request = b"PATCH /events?from=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n";
        for _ in 0..20_000 {
            let mut bytes = request.to_vec();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, *random.choice(b"\r\n:, \0\xff9").unwrap()),
                }
            }
            if let Ok(Some(parsed)) = RequestHead::parse(&bytes) {
                assert!(parsed.head <= bytes.len() && parsed.body <= MOST_BODY);
            }
        }
    }

    #[test]
    fn a_wrong_head_has_its_status() {
        for (text, want) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("\u{1}\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
            (&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS)), 431),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n", 200),
        ] {
            assert_eq!(status(text), want, "{text:?}");
        }
    }
}

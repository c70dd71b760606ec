//! [`ControlApi`]: the routes of the control API, and what each answers. It has a description in
//! OpenAPI, which the API serves.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use resound::Error;
use resound::faults::{FaultSpec, SpecError};
use resound_console::json;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::super::events::{EventLog, LogReader};
use super::super::setter::FaultSetter;
use crate::http::{HostRule, HttpAnswer, HttpApi, read_body};

/// The description of the API.
const OPENAPI: &str = include_str!("../../../schema/control.openapi.json");
/// Connections that are listed at a time.
const MOST_LISTED: usize = 10_000;

/// The API of a server or a relay.
pub(super) struct ControlApi {
    pub(super) setter: FaultSetter,
    pub(super) log: Arc<EventLog>,
    pub(super) connections: OpenConnections,
    pub(super) host: HostRule,
}

/// The body of PUT and PATCH.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultChange {
    faults: Option<String>,
    seed: Option<u64>,
}

/// The body of a refused specification; `start` and `end` count the bytes of `text`.
#[derive(Serialize)]
struct RefusedSpec<'a> {
    error: String,
    text: &'a str,
    start: usize,
    end: usize,
    meant: Option<&'a str>,
}

/// The open connections with the lowest numbers, at most the given number, and how many there are
/// in all.
pub(crate) type OpenConnections = Arc<dyn Fn(usize) -> (Vec<ListedConnection>, usize) + Send + Sync>;

#[derive(Serialize)]
struct ConnectionList {
    open: usize,
    connections: Vec<ListedConnection>,
}

/// A connection that is open; of a relay, a pair.
#[derive(Serialize)]
pub(crate) struct ListedConnection {
    pub(crate) conn: u64,
    pub(crate) peer: String,
    /// Of a relay, the address that has answered.
    pub(crate) target: Option<String>,
    pub(crate) seconds: f64,
    /// Bytes from the client.
    pub(crate) up: u64,
    /// Bytes to the client.
    pub(crate) down: u64,
}

impl HttpApi for ControlApi {
    async fn answer(&self, request: Request<Incoming>) -> HttpAnswer {
        if let Err(refusal) = self.host.check(&request) {
            return refusal.last();
        }
        let (head, body) = request.into_parts();
        match read_body(body).await {
            Ok(body) => self.route(&head.method, head.uri.path(), head.uri.query().unwrap_or_default(), &body),
            Err(refusal) => refusal,
        }
    }
}

impl ControlApi {
    fn route(&self, method: &Method, path: &str, query: &str, body: &[u8]) -> HttpAnswer {
        let allowed = match path {
            "/faults" => "GET, PUT, PATCH",
            "/events" | "/connections" | "/openapi.json" => "GET",
            _ => {
                let reason = "there is no such path; /openapi.json describes those that there are";
                return HttpAnswer::error(StatusCode::NOT_FOUND, reason);
            }
        };
        match (path, method.as_str()) {
            ("/faults", "GET") => self.faults(),
            ("/faults", "PUT") => self.replace(body).unwrap_or_else(|refusal| refusal),
            ("/faults", "PATCH") => self.append(body).unwrap_or_else(|refusal| refusal),
            ("/events", "GET") => match events_query(query) {
                Ok((from, waits)) => self.events(from, waits),
                Err(reason) => wrong(&reason),
            },
            ("/connections", "GET") => self.connections(),
            ("/openapi.json", "GET") => HttpAnswer::ok("application/json", OPENAPI),
            _ => {
                let reason = format!("{path} takes {allowed}");
                HttpAnswer::error(StatusCode::METHOD_NOT_ALLOWED, &reason).allowing(allowed)
            }
        }
    }

    /// Events that are waited for come when they happen: a client has as much time as it wants to
    /// take them.
    fn events(&self, from: u64, waits: bool) -> HttpAnswer {
        let reader = LogReader::new(&self.log, from, waits);
        let answer = HttpAnswer::parts("application/x-ndjson", |parts| send(reader, parts));
        if waits { answer.allowing_stalls() } else { answer }
    }

    fn faults(&self) -> HttpAnswer {
        answer(&self.setter.holds())
    }

    fn replace(&self, body: &[u8]) -> Result<HttpAnswer, HttpAnswer> {
        let FaultChange { faults, seed } = change(body)?;
        let faults = faults.ok_or_else(|| wrong("\"faults\" is missing"))?;
        self.set(parsed(&faults)?, seed.unwrap_or_else(|| self.setter.holds().seed))
    }

    /// Adds rules after those that hold. No other change comes between: all changes are made on
    /// this thread, and nothing is awaited here.
    fn append(&self, body: &[u8]) -> Result<HttpAnswer, HttpAnswer> {
        let FaultChange { faults, seed } = change(body)?;
        if faults.is_none() && seed.is_none() {
            return Err(wrong("\"faults\" or \"seed\" is missing"));
        }
        let holds = self.setter.holds();
        // First by itself: the place of a mistake is then one in the text that came.
        let added = parsed(&faults.unwrap_or_default())?.to_string();
        let gap = if holds.faults.is_empty() || added.is_empty() { "" } else { "; " };
        let all = format!("{}{gap}{added}", holds.faults);
        self.set(parsed(&all)?, seed.unwrap_or(holds.seed))
    }

    fn set(&self, spec: FaultSpec, seed: u64) -> Result<HttpAnswer, HttpAnswer> {
        match self.setter.set(spec, seed) {
            Ok(setting) => Ok(answer(&setting)),
            Err(Error::Faults(error)) => Err(refused(&error)),
            Err(error) => Err(HttpAnswer::error(StatusCode::CONFLICT, &error.to_string())),
        }
    }

    fn connections(&self) -> HttpAnswer {
        let (connections, open) = (self.connections)(MOST_LISTED);
        answer(&ConnectionList { open, connections })
    }
}

/// Sends events until there are no more, or the client has left.
async fn send(mut reader: LogReader, parts: mpsc::Sender<Bytes>) {
    loop {
        let log = reader.log();
        let mut news = pin!(log.news());
        // Before the log is read, so that no event comes between.
        news.as_mut().enable();
        match reader.next() {
            None => return,
            Some(lines) if lines.is_empty() => news.await,
            Some(lines) => {
                if parts.send(lines.into()).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn answer(content: &impl Serialize) -> HttpAnswer {
    HttpAnswer::json(StatusCode::OK, json::object(content))
}

fn wrong(reason: &str) -> HttpAnswer {
    HttpAnswer::error(StatusCode::BAD_REQUEST, reason)
}

fn change(body: &[u8]) -> Result<FaultChange, HttpAnswer> {
    // An array would be taken for the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(wrong("the body is not an object of JSON, such as {\"faults\": \"1: reset\"}"));
    }
    serde_json::from_slice(body).map_err(|error| wrong(&format!("the body is wrong: {error}")))
}

fn parsed(text: &str) -> Result<FaultSpec, HttpAnswer> {
    text.parse().map_err(|error| refused(&error))
}

fn refused(error: &SpecError) -> HttpAnswer {
    let range = error.range();
    let refusal = RefusedSpec {
        error: error.sentence(),
        text: error.text(),
        start: range.start,
        end: range.end,
        meant: error.meant(),
    };
    HttpAnswer::json(StatusCode::UNPROCESSABLE_ENTITY, json::object(&refusal))
}

/// From which connection on, and whether the reply waits for more events.
fn events_query(query: &str) -> Result<(u64, bool), String> {
    let (mut from, mut waits) = (0, true);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("from", number)) => {
                from = number.parse().map_err(|_| format!("from={number} is not the number of a connection"))?;
            }
            Some(("wait", "0")) => waits = false,
            Some(("wait", "1")) => waits = true,
            _ => return Err(format!("'{parameter}' is none of from=N, wait=0 and wait=1")),
        }
    }
    Ok((from, waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_two_parameters() {
        assert_eq!(events_query(""), Ok((0, true)));
        assert_eq!(events_query("wait=0&from=7"), Ok((7, false)));
        for wrong in ["from=", "from=-1", "wait=2", "wait", "form=1"] {
            assert!(events_query(wrong).is_err(), "{wrong}");
        }
    }
}

//! [`ControlApi`]: the routes of the control API, and what each answers. It has a description in
//! OpenAPI, which the API serves.

use std::sync::Arc;

use resound::Error;
use resound::faults::{FaultSpec, SpecError};
use resound_console::json;
use serde::{Deserialize, Serialize};

use super::super::events::{EventLog, LogReader};
use super::super::setter::FaultSetter;
use super::http::{HttpReply, HttpRequest};
use crate::http_host::HostRule;

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

/// What a request gets.
pub(super) enum ApiAnswer {
    Reply(HttpReply),
    Events(LogReader),
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

/// The open connections with the lowest numbers, so many at most, and how many there are in all.
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

impl ControlApi {
    pub(super) fn answer(&self, request: &HttpRequest) -> ApiAnswer {
        if !self.host.is_meant(&request.host) {
            let reason = "the Host header names another host: connect to the address itself, or to localhost";
            return ApiAnswer::Reply(HttpReply::error(403, reason));
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let allowed = match path {
            "/faults" => "GET, PUT, PATCH",
            "/events" | "/connections" | "/openapi.json" => "GET",
            _ => {
                let reason = "there is no such path; /openapi.json describes those that there are";
                return ApiAnswer::Reply(HttpReply::error(404, reason));
            }
        };
        ApiAnswer::Reply(match (path, &*request.method) {
            ("/faults", "GET") => self.faults(),
            ("/faults", "PUT") => self.replace(&request.body).unwrap_or_else(|refusal| refusal),
            ("/faults", "PATCH") => self.append(&request.body).unwrap_or_else(|refusal| refusal),
            ("/events", "GET") => match events_query(query) {
                Ok((from, waits)) => return ApiAnswer::Events(LogReader::new(&self.log, from, waits)),
                Err(reason) => HttpReply::error(400, &reason),
            },
            ("/connections", "GET") => self.connections(),
            ("/openapi.json", "GET") => HttpReply::json(200, OPENAPI.into()),
            _ => HttpReply::error(405, &format!("{path} takes {allowed}")).allowing(allowed),
        })
    }

    fn faults(&self) -> HttpReply {
        HttpReply::json(200, json::object(&self.setter.holds()))
    }

    fn replace(&self, body: &[u8]) -> Result<HttpReply, HttpReply> {
        let FaultChange { faults, seed } = change(body)?;
        let faults = faults.ok_or_else(|| HttpReply::error(400, "\"faults\" is missing"))?;
        self.set(parsed(&faults)?, seed.unwrap_or_else(|| self.setter.holds().seed))
    }

    /// Adds rules behind those that hold. No other change comes between: all changes are made on
    /// this thread, and nothing is awaited here.
    fn append(&self, body: &[u8]) -> Result<HttpReply, HttpReply> {
        let FaultChange { faults, seed } = change(body)?;
        if faults.is_none() && seed.is_none() {
            return Err(HttpReply::error(400, "\"faults\" or \"seed\" is missing"));
        }
        let holds = self.setter.holds();
        // First by itself: the place of a mistake is then one in the text that came.
        let added = parsed(&faults.unwrap_or_default())?.to_string();
        let gap = if holds.faults.is_empty() || added.is_empty() { "" } else { "; " };
        let all = format!("{}{gap}{added}", holds.faults);
        self.set(parsed(&all)?, seed.unwrap_or(holds.seed))
    }

    fn set(&self, spec: FaultSpec, seed: u64) -> Result<HttpReply, HttpReply> {
        match self.setter.set(spec, seed) {
            Ok(setting) => Ok(HttpReply::json(200, json::object(&setting))),
            Err(Error::Faults(error)) => Err(refused(&error)),
            Err(error) => Err(HttpReply::error(409, &error.to_string())),
        }
    }

    fn connections(&self) -> HttpReply {
        let (connections, open) = (self.connections)(MOST_LISTED);
        let list = ConnectionList { open, connections };
        HttpReply::json(200, json::object(&list))
    }
}

fn change(body: &[u8]) -> Result<FaultChange, HttpReply> {
    // An array would be taken for the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(HttpReply::error(400, "the body is not an object of JSON, such as {\"faults\": \"1: reset\"}"));
    }
    serde_json::from_slice(body).map_err(|error| HttpReply::error(400, &format!("the body is wrong: {error}")))
}

fn parsed(text: &str) -> Result<FaultSpec, HttpReply> {
    text.parse().map_err(|error| refused(&error))
}

fn refused(error: &SpecError) -> HttpReply {
    let range = error.range();
    let refusal = RefusedSpec {
        error: error.sentence(),
        text: error.text(),
        start: range.start,
        end: range.end,
        meant: error.meant(),
    };
    HttpReply::json(422, json::object(&refusal))
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

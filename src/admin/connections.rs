//! `/connections`: the connections that are open, as their workers tell of them.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use resound::client::TcpInfo;
use resound::inspect::{ConnectionRow, Inspector};
use resound::{ConnId, Endpoint};
use resound_console::json;
use serde::Serialize;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

use crate::http::HttpAnswer;

const DEFAULT_LISTED: usize = 100;
/// Connections that are listed at a time.
const MOST_LISTED: usize = 1000;
/// Requests that wait for a list, or get it.
const MOST_WAITING: usize = 8;
/// How long a worker may take for some of its connections.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause after a list, as a multiple of the time that the list took.
const PAUSES: u32 = 3;
const MOST_PAUSE: Duration = Duration::from_secs(1);

/// Collects one list at a time.
pub(super) struct ConnectionCollector {
    /// For those who wait for their turn, and the one who has it.
    places: Semaphore,
    /// When the next one may begin.
    next: Mutex<Option<Instant>>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionQuery {
    limit: usize,
    sort: SortKey,
}

/// What the first connections of the list have most of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SortKey {
    /// The lowest number first.
    Number,
    Age,
    Idle,
    Bytes,
    BytesIn,
    BytesOut,
    Messages,
    Rtt,
    Retransmits,
    /// Bytes that the peer has not taken.
    Queue,
    Unread,
}

const SORTS: [(&str, SortKey); 11] = [
    ("conn", SortKey::Number),
    ("age", SortKey::Age),
    ("idle", SortKey::Idle),
    ("bytes", SortKey::Bytes),
    ("bytes_in", SortKey::BytesIn),
    ("bytes_out", SortKey::BytesOut),
    ("messages", SortKey::Messages),
    ("rtt", SortKey::Rtt),
    ("retransmits", SortKey::Retransmits),
    ("queue", SortKey::Queue),
    ("unread", SortKey::Unread),
];

impl ConnectionQuery {
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self { limit: DEFAULT_LISTED, sort: SortKey::Number };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("limit", number)) => {
                    let limit = number.parse().ok().filter(|limit| (1..=MOST_LISTED).contains(limit));
                    parsed.limit = limit.ok_or(format!("limit={number} is no number from 1 to {MOST_LISTED}"))?;
                }
                Some(("sort", word)) => {
                    let sort = SORTS.iter().find(|(name, _)| *name == word);
                    let names = || SORTS.map(|(name, _)| name).join(", ");
                    parsed.sort = sort.ok_or_else(|| format!("sort={word} is none of {}", names()))?.1;
                }
                _ => return Err(format!("'{parameter}' is neither limit=N nor sort=NAME")),
            }
        }
        Ok(parsed)
    }
}

#[derive(Serialize)]
struct ConnectionListing<'a> {
    /// In all.
    open: u64,
    sort: &'a str,
    /// Each worker has listed all its connections.
    complete: bool,
    connections: Vec<ListedRow<'a>>,
}

#[derive(Serialize)]
struct ListedRow<'a> {
    conn: u64,
    direction: &'a str,
    /// Of a relay, the client's connection: the same at both ends of a pair.
    pair: Option<u64>,
    peer: String,
    local: String,
    listener: Option<String>,
    worker: usize,
    state: &'a str,
    age_seconds: f64,
    idle_seconds: f64,
    bytes_in: u64,
    bytes_out: u64,
    messages: u64,
    /// Bytes that the program holds for the peer.
    unsent_bytes: usize,
    receive_queue_bytes: Option<u64>,
    send_queue_bytes: Option<u64>,
    tcp: Option<ListedTcp>,
}

#[derive(Serialize)]
struct ListedTcp {
    rtt_seconds: f64,
    rtt_variation_seconds: f64,
    min_rtt_seconds: f64,
    retransmits: u32,
    timeouts: u32,
    lost: u32,
    congestion_window: u32,
    unacknowledged_segments: u32,
    send_mss: u32,
    path_mtu: u32,
}

impl Default for ConnectionCollector {
    fn default() -> Self {
        Self { places: Semaphore::new(MOST_WAITING), next: Mutex::default() }
    }
}

impl ConnectionCollector {
    pub(super) async fn answer(&self, inspector: &Inspector, query: ConnectionQuery) -> HttpAnswer {
        let busy = || HttpAnswer::error(StatusCode::SERVICE_UNAVAILABLE, "other clients ask for connections already");
        let Ok(_place) = self.places.try_acquire() else { return busy() };
        let Ok(mut next) = timeout(PATIENCE, self.next.lock()).await else { return busy() };
        if let Some(at) = *next {
            sleep(at.saturating_duration_since(Instant::now())).await;
        }
        let begun = Instant::now();
        let (rows, complete) = collect(inspector, query).await;
        *next = Some(Instant::now() + (begun.elapsed() * PAUSES).min(MOST_PAUSE));
        drop(next);
        let accepted = (0..inspector.addresses().len()).map(|at| inspector.totals_of_listener(at).open());
        let list = ConnectionListing {
            open: accepted.sum::<u64>() + inspector.totals_dialled().open(),
            sort: SORTS.iter().find(|(_, sort)| *sort == query.sort).map_or("conn", |(name, _)| name),
            complete,
            connections: rows.iter().map(|row| listed(row, inspector.addresses(), begun)).collect(),
        };
        HttpAnswer::json(StatusCode::OK, json::object(&list))
    }
}

/// The first connections in the order that is asked for, and whether all were seen.
async fn collect(inspector: &Inspector, query: ConnectionQuery) -> (Vec<ConnectionRow>, bool) {
    let (now, mut rows, mut complete) = (Instant::now(), Vec::new(), true);
    for worker in 0..inspector.workers() {
        let mut from = Some(0);
        while let Some(at) = from {
            let Ok(batch) = timeout(PATIENCE, inspector.connections(worker, at)).await else {
                complete = false;
                break;
            };
            from = batch.next;
            rows.extend(batch.rows);
            if rows.len() >= 2 * MOST_LISTED {
                shorten(&mut rows, query, now);
            }
        }
    }
    shorten(&mut rows, query, now);
    (rows, complete)
}

fn shorten(rows: &mut Vec<ConnectionRow>, query: ConnectionQuery, now: Instant) {
    rows.sort_by_cached_key(|row| (Reverse(value(row, query.sort, now)), row.conn));
    rows.truncate(query.limit);
}

fn value(row: &ConnectionRow, sort: SortKey, now: Instant) -> u128 {
    let tcp = |of: fn(&TcpInfo) -> u128| row.tcp.as_ref().map_or(0, of);
    let status = &row.status;
    match sort {
        SortKey::Number => 0,
        SortKey::Age => since(status.since, now).as_nanos(),
        SortKey::Idle => since(status.progress, now).as_nanos(),
        SortKey::Bytes => (status.bytes_in + status.bytes_out).into(),
        SortKey::BytesIn => status.bytes_in.into(),
        SortKey::BytesOut => status.bytes_out.into(),
        SortKey::Messages => status.messages.into(),
        SortKey::Rtt => tcp(|tcp| tcp.rtt.as_nanos()),
        SortKey::Retransmits => tcp(|tcp| tcp.retransmits.into()),
        SortKey::Queue => u128::from(row.unacknowledged.unwrap_or(0)) + status.unsent as u128,
        SortKey::Unread => row.unread.unwrap_or(0).into(),
    }
}

fn since(at: Option<Instant>, now: Instant) -> Duration {
    at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
}

fn listed<'a>(row: &'a ConnectionRow, addresses: &[Endpoint], now: Instant) -> ListedRow<'a> {
    let status = &row.status;
    let is_dialled = row.listener.is_none();
    let tcp = row.tcp.as_ref().map(|tcp| ListedTcp {
        rtt_seconds: tcp.rtt.as_secs_f64(),
        rtt_variation_seconds: tcp.rtt_variation.as_secs_f64(),
        min_rtt_seconds: tcp.min_rtt.as_secs_f64(),
        retransmits: tcp.retransmits,
        timeouts: tcp.timeouts,
        lost: tcp.lost,
        congestion_window: tcp.congestion_window,
        unacknowledged_segments: tcp.unacknowledged,
        send_mss: tcp.send_mss,
        path_mtu: tcp.path_mtu,
    });
    ListedRow {
        // Those of a relay would be too large for a number in JavaScript.
        conn: row.conn.0 - if row.conn.is_dialled_by_relay() { ConnId::FIRST_DIALLED } else { 0 },
        direction: if is_dialled { "dialled" } else { "accepted" },
        pair: status.pair.map(|client| client.0),
        peer: row.peer.to_string(),
        local: row.local.to_string(),
        listener: row.listener.and_then(|at| addresses.get(at)).map(ToString::to_string),
        worker: row.worker,
        state: status.state,
        age_seconds: since(status.since, now).as_secs_f64(),
        idle_seconds: since(status.progress, now).as_secs_f64(),
        bytes_in: status.bytes_in,
        bytes_out: status.bytes_out,
        messages: status.messages,
        unsent_bytes: status.unsent,
        receive_queue_bytes: row.unread,
        send_queue_bytes: row.unacknowledged,
        tcp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_a_limit_and_an_order() {
        let query = |limit, sort| Ok(ConnectionQuery { limit, sort });
        assert_eq!(ConnectionQuery::parse(""), query(100, SortKey::Number));
        assert_eq!(ConnectionQuery::parse("sort=rtt&limit=1000"), query(1000, SortKey::Rtt));
        for wrong in ["limit=0", "limit=1001", "limit=", "limit=-1", "sort=", "sort=size", "sort", "top=1"] {
            assert!(ConnectionQuery::parse(wrong).is_err(), "{wrong}");
        }
    }
}

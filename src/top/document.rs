//! What the admin server tells, as its JSON has it. Unknown fields are left out, and all that is
//! read takes memory in proportion to the text.

use std::collections::BTreeMap;

use resound_console::escape;
use serde::Deserialize;

/// Characters of a text that are kept.
const KEPT: usize = 200;

/// An event of `/live`.
#[derive(Clone, Debug)]
pub(super) struct LiveNews {
    pub(super) about: LiveAbout,
    pub(super) rates: TopRates,
    /// When the program started, in seconds since 1970 by its own clock.
    pub(super) started: Option<f64>,
}

/// All of an event but its rates.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct LiveAbout {
    time: String,
    pub(super) uptime_seconds: f64,
    pub(super) command: String,
    pub(super) version: String,
    pub(super) engine: String,
    pub(super) status: String,
    pub(super) loop_lag_seconds: Option<f64>,
    pub(super) totals: TopTotals,
    pub(super) dialled: Option<TopRates>,
    pub(super) workers: Vec<WorkerNews>,
    pub(super) listeners: Vec<ListenerNews>,
    pub(super) process: ProcessNews,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct TopRates {
    pub(super) open: u64,
    pub(super) accepted_per_second: f64,
    pub(super) closed_per_second: f64,
    pub(super) messages_per_second: f64,
    pub(super) bytes_in_per_second: f64,
    pub(super) bytes_out_per_second: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct TopTotals {
    pub(super) refused: u64,
    pub(super) faults: u64,
    /// Those above zero.
    #[serde(default)]
    pub(super) faults_by_kind: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct WorkerNews {
    pub(super) worker: usize,
    pub(super) open: u64,
    pub(super) accepted_per_second: f64,
    pub(super) messages_per_second: f64,
    pub(super) bytes_in_per_second: f64,
    pub(super) bytes_out_per_second: f64,
    pub(super) loop_lag_seconds: Option<f64>,
    pub(super) stuck: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ListenerNews {
    pub(super) listener: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct ProcessNews {
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) processors: Option<f64>,
}

/// The answer of `/connections`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct TopList {
    pub(super) open: u64,
    pub(super) complete: bool,
    pub(super) connections: Vec<TopRow>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct TopRow {
    pub(super) conn: u64,
    pub(super) direction: String,
    pub(super) peer: String,
    pub(super) local: String,
    pub(super) worker: u64,
    pub(super) state: String,
    pub(super) age_seconds: f64,
    pub(super) idle_seconds: f64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) messages: u64,
    pub(super) unsent_bytes: u64,
    pub(super) receive_queue_bytes: Option<u64>,
    pub(super) send_queue_bytes: Option<u64>,
    pub(super) tcp: Option<TcpNews>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct TcpNews {
    pub(super) rtt_seconds: f64,
    pub(super) retransmits: u64,
}

impl LiveNews {
    pub(super) fn parse(json: &[u8]) -> serde_json::Result<Self> {
        let (mut about, rates): (LiveAbout, _) = (serde_json::from_slice(json)?, serde_json::from_slice(json)?);
        for text in [&mut about.command, &mut about.version, &mut about.engine, &mut about.status] {
            clean(text);
        }
        about.listeners.iter_mut().for_each(|each| clean(&mut each.listener));
        let time = humantime::parse_rfc3339(&about.time).ok();
        let time = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let started = time.map(|time| time.as_secs_f64() - about.uptime_seconds);
        Ok(Self { about, rates, started })
    }
}

impl TopList {
    pub(super) fn parse(json: &[u8]) -> serde_json::Result<Self> {
        let mut list: Self = serde_json::from_slice(json)?;
        for row in &mut list.connections {
            for text in [&mut row.peer, &mut row.local, &mut row.state, &mut row.direction] {
                clean(text);
            }
        }
        Ok(list)
    }
}

/// Peers choose names of sockets, and another program may answer.
fn clean(text: &mut String) {
    *text = cleaned(text);
}

/// A text that cannot do anything to a terminal.
pub(super) fn cleaned(text: &str) -> String {
    let kept = text.char_indices().nth(KEPT).map_or(text, |(end, _)| &text[..end]);
    escape::text(kept.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn what_is_unknown_is_left_out_and_what_is_missing_is_an_error() {
        let live = LiveNews::parse(samples::live().as_bytes()).unwrap();
        assert_eq!((live.rates.open, live.about.workers.len(), live.about.totals.refused), (24, 3, 7));
        assert_eq!(live.about.totals.faults_by_kind["reset"], 3);
        let before_kinds = samples::live().replace("faults_by_kind", "else");
        assert!(LiveNews::parse(before_kinds.as_bytes()).unwrap().about.totals.faults_by_kind.is_empty());
        for wrong in ["", "{}", "[]", "null", "{\"open\":1}", &samples::live().replace("24", "-24")] {
            assert!(LiveNews::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let deep = format!("{{\"x\":{}", "[".repeat(1_000_000));
        assert!(LiveNews::parse(deep.as_bytes()).is_err() && TopList::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn what_peers_choose_is_escaped_and_short() {
        let list = samples::list(1).replace("127.0.0.1:40000", "unix:/\\u001b[31m\\u202e");
        assert_eq!(TopList::parse(list.as_bytes()).unwrap().connections[0].peer, "unix:/\\x1b[31m\\u{202e}");
        assert!(cleaned(&"\u{7f}".repeat(1_000_000)).len() <= 6 * KEPT);
    }
}

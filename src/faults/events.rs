//! [`EventLog`]: the last events of a server or a relay, for readers that come and go.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use resound_console::json::JsonObject;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The number of events that are kept.
const KEPT: usize = 10_000;
/// The bytes of those events: a long specification is a long event.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that a reader takes at a time; the line that crosses this limit is taken whole.
const BATCH: usize = 64 * 1024;
/// Events that a reader looks at in one turn, which holds the lock.
const TURN: usize = 1024;

/// The last events, as lines of JSON. Workers append; a reader has a position and no buffer of its
/// own, so a slow one delays nothing and costs nothing.
#[derive(Default)]
pub(crate) struct EventLog {
    ring: Mutex<EventRing>,
    news: Notify,
}

#[derive(Default)]
struct EventRing {
    lines: VecDeque<(u64, Box<[u8]>)>,
    /// Of all lines.
    bytes: usize,
    /// The position of the first line that is kept.
    first: u64,
    /// The highest connection among the events that are not kept any more.
    latest_dropped: u64,
}

impl EventLog {
    /// Appends an event of a connection, or of the connections from this one on.
    pub(crate) fn append(&self, conn: u64, event: JsonObject) {
        let _ = self.append_with(|| Ok::<_, std::convert::Infallible>(((), conn, event)));
    }

    /// Appends the event of what `act` does, if it succeeds: an event that this causes elsewhere
    /// comes after it.
    pub(crate) fn append_with<T, E>(&self, act: impl FnOnce() -> Result<(T, u64, JsonObject), E>) -> Result<T, E> {
        let result = {
            let ring = &mut *self.ring.lock();
            let (result, conn, event) = act()?;
            ring.push(conn, event.line().into(), KEPT, KEPT_BYTES);
            result
        };
        self.news.notify_waiters();
        Ok(result)
    }

    /// Completes at an event that comes after this call.
    pub(crate) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }
}

impl EventRing {
    fn push(&mut self, conn: u64, line: Box<[u8]>, most: usize, most_bytes: usize) {
        while (self.lines.len() >= most || self.bytes + line.len() > most_bytes)
            && let Some((dropped, line)) = self.lines.pop_front()
        {
            self.bytes -= line.len();
            self.first += 1;
            self.latest_dropped = self.latest_dropped.max(dropped);
        }
        self.bytes += line.len();
        self.lines.push_back((conn, line));
    }

    fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    /// The next lines of connections from this one on, up to a position; and the position after
    /// them.
    fn batch(&self, position: u64, from: u64, until: u64) -> (Vec<u8>, u64) {
        let mut text = Vec::new();
        let mut position = position;
        if position < self.first {
            let skipped = self.first - position;
            position = self.first;
            if self.latest_dropped >= from {
                text.extend(JsonObject::event("skipped").with("events", skipped).line());
            }
        }
        let start = usize::try_from(position - self.first).unwrap_or(usize::MAX).min(self.lines.len());
        for (conn, line) in self.lines.range(start..).take(TURN) {
            if position >= until || text.len() >= BATCH {
                break;
            }
            position += 1;
            if *conn >= from {
                text.extend_from_slice(line);
            }
        }
        (text, position)
    }
}

/// A reader of the log, from its oldest event on.
pub(crate) struct LogReader {
    log: Arc<EventLog>,
    position: u64,
    /// Only events of connections from this one on.
    from: u64,
    /// Where it ends, if it does not wait for more.
    until: Option<u64>,
}

impl LogReader {
    pub(crate) fn new(log: &Arc<EventLog>, from: u64, waits: bool) -> Self {
        let until = (!waits).then(|| log.ring.lock().end());
        Self { log: Arc::clone(log), position: 0, from, until }
    }

    /// The next lines; none if there are none yet. `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let ring = self.log.ring.lock();
            if self.until.is_some_and(|until| self.position >= until) {
                return None;
            }
            let until = self.until.unwrap_or_else(|| ring.end());
            let (lines, position) = ring.batch(self.position, self.from, until);
            self.position = position;
            if !lines.is_empty() || self.until.is_none() && position == until {
                return Some(lines);
            }
        }
    }

    pub(crate) fn log(&self) -> Arc<EventLog> {
        Arc::clone(&self.log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(events: u64, most: usize) -> EventRing {
        let mut ring = EventRing::default();
        for number in 1..=events {
            ring.push(number, format!("{number}\n").into_bytes().into(), most, 100_000);
        }
        ring
    }

    fn text(ring: &EventRing, position: u64, from: u64) -> (String, u64) {
        let (text, position) = ring.batch(position, from, ring.end());
        (String::from_utf8(text).unwrap(), position)
    }

    #[test]
    fn a_reader_that_was_too_slow_gets_a_line_with_the_number_of_lost_events() {
        let ring = filled(7, 3);
        let (lines, position) = text(&ring, 1, 0);
        let (skipped, rest) = lines.split_once('\n').unwrap();
        let skipped: serde_json::Value = serde_json::from_str(skipped).unwrap();
        assert_eq!((&skipped["event"], &skipped["events"]), (&"skipped".into(), &3.into()));
        assert_eq!((rest, position), ("5\n6\n7\n", 7));
        assert_eq!(text(&ring, position, 0), (String::new(), 7));
    }

    #[test]
    fn long_events_are_kept_up_to_their_bytes() {
        let mut ring = EventRing::default();
        for (conn, bytes) in [(1, 10), (2, 10), (3, 80), (4, 20), (5, 200), (6, 1)] {
            ring.push(conn, vec![b'x'; bytes].into(), 100, 100);
            assert!(ring.lines.len() == 1 || ring.bytes <= 100, "{conn}");
            assert_eq!(ring.bytes, ring.lines.iter().map(|(_, line)| line.len()).sum::<usize>());
        }
        assert_eq!((ring.first, ring.end(), ring.latest_dropped), (5, 6, 5));
    }

    #[test]
    fn connections_before_the_first_wanted_one_are_not_missed() {
        let ring = filled(7, 3);
        assert_eq!(text(&ring, 0, 6), ("6\n7\n".into(), 7));
        assert!(text(&ring, 0, 4).0.contains("skipped"));
    }

    #[test]
    fn a_long_log_is_read_in_turns() {
        let ring = filled(3000, 3000);
        assert_eq!(text(&ring, 0, 0).1, TURN as u64);
        let log = EventLog { ring: Mutex::new(ring), ..EventLog::default() };
        let mut reader = LogReader::new(&Arc::new(log), 2999, false);
        assert_eq!(reader.next(), Some(b"2999\n3000\n".to_vec()));
        assert_eq!(reader.next(), None);
    }
}

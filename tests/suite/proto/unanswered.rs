//! Messages that get no answer are counted, on a virtual clock.

use std::time::Instant;

use resound::conn::Conn;
use resound::{Chargen, CloseReason, ConnId, ConnInfo, Discard, Endpoint, Limits, Observer, Reply, Service};

/// What the observer has learned.
#[derive(Default)]
struct Unanswered(u64);

impl Observer for Unanswered {
    fn unanswered(&mut self, _: &ConnInfo, messages: u64) {
        self.0 += messages;
    }
}

struct Talk {
    conn: Conn,
    now: Instant,
    seen: Unanswered,
}

impl Talk {
    fn new(service: impl Service + 'static, limits: Limits) -> Self {
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        let mut talk =
            Self { conn: Conn::new(info, Box::new(service), limits), now: Instant::now(), seen: Unanswered::default() };
        let _ = talk.conn.open(talk.now, &mut Vec::new(), &mut talk.seen);
        talk
    }

    /// Receives, and returns how many bytes the answers have.
    fn receive(&mut self, text: &str) -> usize {
        let mut out = Vec::new();
        let _ = self.conn.received(self.now, &mut text.as_bytes().to_vec(), &mut out, &mut self.seen);
        out.len()
    }

    fn sent(&mut self, bytes: usize) {
        let _ = self.conn.sent(self.now, bytes, &mut Vec::new(), &mut self.seen);
    }

    /// Ends with so many bytes unacknowledged and unread.
    fn cut(mut self, unacknowledged: usize, unread: usize) -> u64 {
        self.conn.abandon(unacknowledged, unread, &mut self.seen);
        self.conn.lost(self.now, CloseReason::Cut, &mut self.seen);
        self.conn.abandon(unacknowledged, unread, &mut self.seen);
        self.seen.0
    }
}

const ANSWER: usize = "Server received: x\n".len();

#[test]
fn lines_behind_a_drain_are_counted() {
    let mut talk = Talk::new(Reply::default(), Limits::default());
    let answers = talk.receive("one\ntwo\n");
    talk.sent(answers);
    let _ = talk.conn.drain(talk.now, &mut Vec::new(), &mut talk.seen);
    assert_eq!(talk.seen.0, 0);
    assert_eq!(talk.receive("three\nfour\nfi"), 0);
    assert_eq!(talk.seen.0, 2);
    talk.receive("ve\n");
    assert_eq!((talk.seen.0, talk.cut(0, 0)), (3, 3));
}

#[test]
fn lines_whose_answers_a_cut_destroys_are_counted() {
    // Ten lines, of whose answers so many bytes have left, so many of these were not acknowledged.
    let cases = [(10 * ANSWER, 0, 0), (0, 0, 10), (5 * ANSWER, 0, 5), (5 * ANSWER + 1, 0, 5), (10 * ANSWER, ANSWER, 1)];
    for (sent, unacknowledged, want) in cases {
        let mut talk = Talk::new(Reply::default(), Limits::default());
        assert_eq!(talk.receive(&"x\n".repeat(10)), 10 * ANSWER);
        if sent > 0 {
            talk.sent(sent);
        }
        assert_eq!(talk.cut(unacknowledged, 0), want, "{sent} {unacknowledged}");
    }
}

#[test]
fn lines_that_had_to_wait_are_counted() {
    let mut talk = Talk::new(Reply::default(), Limits { high_water: 1, ..Limits::default() });
    assert_eq!(talk.receive(&format!("{}x", "x\n".repeat(10))), ANSWER);
    // One is delivered, nine are held, and six are in the socket.
    talk.conn.undelivered(b"\nx\nx\nx\n", &mut talk.seen);
    assert_eq!(talk.seen.0, 4);
    let unread = 2 * 2;
    assert_eq!(talk.cut(0, unread), 4 + 10 + 2);
}

#[test]
fn a_service_without_messages_leaves_none_unanswered() {
    for is_generator in [true, false] {
        let limits = Limits::default();
        let mut talk = if is_generator { Talk::new(Chargen, limits) } else { Talk::new(Discard, limits) };
        talk.receive("x\nx\n");
        if is_generator {
            // What it has sent has left, and it sends more.
            talk.sent(6 * 95 * 74);
            talk.receive("x");
            talk.sent(10_000);
        }
        talk.conn.undelivered(b"x\n", &mut talk.seen);
        assert_eq!(talk.cut(1000, 1000), 0, "what is lost of its output answers nothing: {is_generator}");
    }
}

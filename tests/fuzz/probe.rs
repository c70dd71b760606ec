//! What must hold of the far end of a check, for any request and any bytes after it: the body of
//! the fuzz target, and of the test that replays its corpus.

use std::time::Instant;

use resound::conn::{Action, Conn, Then};
use resound::{ConnId, ConnInfo, Endpoint, Framing, Limits, Reply, SocketReport};
use resound_probe::{CREDIT, FarEnd, Sessions};

/// Lines of the far end: a hello, one for each step, an error.
const LINES: u64 = 18;
/// The longest of them.
const LINE: u64 = 4096;
/// What the far end hands over in one call, at most.
const AT_ONCE: usize = 256 * 1024 + LINE as usize;

/// Panics where the far end sends more than it may, or never comes to rest.
pub(crate) fn probe(data: &[u8]) {
    let mut end = End::new();
    let line_end = data.iter().position(|&byte| byte == b'\n').map_or(data.len(), |at| at + 1);
    let (line, payload) = data.split_at(line_end);
    end.receive(line);
    for &byte in payload {
        // A few bytes of input stand for many.
        end.receive(&vec![byte; usize::from(byte) * 64]);
    }
    end.is_open = end.is_open && {
        end.call(|conn, now, out| conn.received_eof(now, out, &mut ()));
        end.is_open
    };
    for _ in 0..200 {
        let Some(deadline) = end.conn.deadline().filter(|_| end.is_open) else { break };
        end.now = end.now.max(deadline);
        end.call(|conn, now, out| conn.timed_out(now, out, &mut ()));
    }
}

/// The connection, over a transport that takes everything at once.
struct End {
    conn: Conn,
    now: Instant,
    sent: u64,
    received: u64,
    is_open: bool,
}

impl End {
    fn new() -> Self {
        let service = FarEnd::new(Reply::new(Reply::PREFIX.as_bytes(), Framing::auto()), Sessions::new(None));
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        let conn = Conn::new(info, Box::new(service), Limits::default());
        let mut end = Self { conn, now: Instant::now(), sent: 0, received: 0, is_open: true };
        end.call(|conn, now, out| conn.open(now, out, &mut ()));
        end
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.is_open && self.conn.wants_read() && !bytes.is_empty() {
            self.received += bytes.len() as u64;
            let mut wire = bytes.to_vec();
            self.call(|conn, now, out| conn.received(now, &mut wire, out, &mut ()));
        }
    }

    fn call(&mut self, call: impl FnOnce(&mut Conn, Instant, &mut Vec<u8>) -> Action) {
        let mut out = Vec::new();
        let mut action = call(&mut self.conn, self.now, &mut out);
        for _ in 0..4096 {
            let n = out.len() + action.echo.len();
            // A message is answered with as much, and a prefix.
            assert!(n <= AT_ONCE.max(2 * usize::try_from(self.received).unwrap() + 64), "{n} bytes at once");
            self.sent += n as u64;
            assert!(self.sent <= 2 * self.received + CREDIT + LINES * LINE, "{} of {}", self.sent, self.received);
            out.clear();
            if matches!(action.then, Then::Close | Then::Reset) {
                self.is_open = false;
                self.conn.closed(self.now, &mut ());
                return;
            }
            let asks = self.conn.take_socket_requests().is_some_and(|requests| requests.report);
            action = match (asks, n) {
                (true, _) => self.conn.socket(self.now, &SocketReport::default(), &mut out, &mut ()),
                (false, 0) => return,
                (false, n) => self.conn.sent(self.now, n, &mut out, &mut ()),
            };
        }
        panic!("the far end never comes to rest");
    }
}

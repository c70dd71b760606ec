//! [`InnerConnection`]: the service behind the faults, on a connection without a socket.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use resound_faults::{End, StreamDirection};
use resound_proto::{Action, CloseReason, Closed, Conn, ConnInfo, Cx, Limits, Observer, Service, SocketReport, Then};

use super::pending::PendingAnswers;
use super::report::ReportedFaults;

/// The most bytes that the faults take from a service in one turn. They mostly stop it earlier, but
/// discarded bytes always find room.
const TURN: usize = 256 * 1024;
/// What the faults get at a time.
const PORTION: usize = 16 * 1024;
/// What the service gets at a time, at most.
const MOST: usize = 64 * 1024;
/// The pause after a turn that was not enough.
const REST: Duration = Duration::from_millis(10);

/// The service, and the bytes on their way from it to the faults. It is a whole [`Conn`]: framing,
/// limits and the order of an end are those of a server without faults.
pub(super) struct InnerConnection {
    /// `None` once it is over.
    conn: Option<Conn>,
    /// What the service has sent, and the faults have not taken.
    pending: PendingAnswers,
    /// Lines of the client behind one that `conn` holds, where each is to have its own answer.
    lines: VecDeque<u8>,
    /// How many of these bytes `conn` counts as unsent. Faults may have added others.
    unsent: usize,
    /// The next turn, where the last one was not enough.
    next_turn: Option<Instant>,
    then: Then,
    /// Its FIN is on its way.
    is_finished: bool,
    /// The client's FIN has arrived.
    at_eof: bool,
    /// It came, or will come, before the end of what the client sent.
    is_truncated: bool,
    /// Why it has ended.
    reason: Option<CloseReason>,
}

/// Observers see the messages of the inner connection as those of the real one.
struct MessagesOnly<'c, 'cx> {
    cx: &'c mut Cx<'cx>,
    reason: &'c mut Option<CloseReason>,
}

impl Observer for MessagesOnly<'_, '_> {
    fn message(&mut self, _conn: &ConnInfo, message: &[u8]) {
        self.cx.report_message(message);
    }
    fn unterminated(&mut self, _conn: &ConnInfo, pause: Duration) {
        self.cx.report_unterminated(pause);
    }
    fn closed(&mut self, _conn: &ConnInfo, how: &Closed) {
        *self.reason = Some(how.reason);
    }
}

impl InnerConnection {
    pub(super) fn new(info: &ConnInfo, service: Box<dyn Service>, limits: Limits) -> Self {
        Self {
            conn: Some(Conn::new(info.clone(), service, limits).reporting_unacknowledged()),
            pending: PendingAnswers::default(),
            lines: VecDeque::new(),
            unsent: 0,
            next_turn: None,
            then: Then::Go,
            is_finished: false,
            at_eof: false,
            is_truncated: false,
            reason: None,
        }
    }

    /// Why it ends, once that is decided.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        self.reason.or_else(|| self.conn.as_ref()?.reason())
    }

    pub(super) fn is_paused(&self) -> bool {
        self.conn.as_ref().is_none_or(Conn::is_paused)
    }

    /// Is nothing more to come of the service?
    pub(super) fn is_over(&self) -> bool {
        self.conn.is_none() && self.pending.is_empty()
    }

    /// Do bytes become a message unless more comes?
    pub(super) fn waits_for_silence(&self) -> bool {
        self.conn.as_ref().is_some_and(Conn::waits_for_silence)
    }

    /// Does nothing wait here for the service?
    pub(super) fn has_taken_all(&self) -> bool {
        self.lines.is_empty()
    }

    /// The client's FIN comes before the end of what it sent.
    pub(super) fn truncate(&mut self) {
        self.is_truncated = true;
    }

    pub(super) fn open(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>) {
        self.tell(faults, cx, &mut [], |conn, now, _, out, observer| conn.open(now, out, observer));
    }

    pub(super) fn woken(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>) {
        self.tell(faults, cx, &mut [], |conn, now, _, out, observer| conn.woken(now, out, observer));
    }

    /// Whether the service has asked for a report of the client's socket.
    pub(super) fn wants_report(&mut self) -> bool {
        // Asked in a report, the client's connection lets the next one wait.
        self.conn.as_mut().is_some_and(Conn::wants_last_report)
    }

    /// The client has reset its connection.
    pub(super) fn last_report(&mut self, now: Instant, report: &SocketReport) {
        if let Some(conn) = &mut self.conn {
            conn.last_report(now, report, &mut ());
        }
    }

    pub(super) fn socket(&mut self, report: &SocketReport, faults: &mut ReportedFaults, cx: &mut Cx<'_>) {
        self.tell(faults, cx, &mut [], |conn, now, _, out, observer| conn.socket(now, report, out, observer));
    }

    pub(super) fn drain(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>) {
        self.tell(faults, cx, &mut [], |conn, now, _, out, observer| conn.drain(now, out, observer));
    }

    /// The connection with the client is over.
    pub(super) fn lost(&mut self, now: Instant, reason: CloseReason) {
        if let Some(mut conn) = self.conn.take() {
            conn.lost(now, reason, &mut ());
        }
    }

    /// When to call [`advance`](Self::advance) again, if nothing comes before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let of_conn = self.conn.as_ref().and_then(Conn::deadline);
        [of_conn, self.pending.deadline(), self.next_turn].into_iter().flatten().min()
    }

    /// Lets bytes and ends pass between the service and the faults, as far as both allow now.
    pub(super) fn advance(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>) {
        self.next_turn = None;
        let mut left = TURN;
        self.pass(faults, cx, &mut left);
        // After the received bytes, and once per call: a service may ask for a time that has
        // passed.
        if self.keep_time(faults, cx) {
            self.pass(faults, cx, &mut left);
        }
        if left == 0 {
            self.next_turn = cx.now().checked_add(REST);
        }
    }

    fn pass(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>, left: &mut usize) {
        while *left > 0 {
            let sent = self.send(faults, cx);
            let has_taken = self.take(faults, cx);
            if sent == 0 && !has_taken {
                return;
            }
            *left = left.saturating_sub(sent);
        }
    }

    fn tell(
        &mut self,
        faults: &mut ReportedFaults,
        cx: &mut Cx<'_>,
        wire: &mut [u8],
        event: impl FnOnce(&mut Conn, Instant, &mut [u8], &mut Vec<u8>, &mut dyn Observer) -> Action,
    ) {
        let Some(conn) = &mut self.conn else { return };
        let (now, mut out) = (cx.now(), Vec::new());
        let action = event(conn, now, wire, &mut out, &mut MessagesOnly { cx, reason: &mut self.reason });
        self.then = action.then;
        let mut answer = [&wire[action.echo], &out[..]].concat();
        self.unsent += answer.len();
        let late = faults.answer(&mut answer);
        self.pending.push(answer, if late.is_zero() { None } else { now.checked_add(late) });
    }

    /// Returns whether the time of the service had come.
    fn keep_time(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>) -> bool {
        let is_due = self.conn.as_ref().and_then(Conn::deadline).is_some_and(|at| at <= cx.now());
        if is_due {
            self.tell(faults, cx, &mut [], |conn, now, _, out, observer| {
                if conn.wants_unacknowledged(now) {
                    // What the faults have taken, they deliver.
                    conn.unacknowledged(now, 0);
                }
                conn.timed_out(now, out, observer)
            });
        }
        is_due
    }

    /// Gives the faults what the service has sent, and its end. Returns how many bytes they took.
    fn send(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>) -> usize {
        let (now, down) = (cx.now(), StreamDirection::Down);
        let ready = self.pending.ready(now, PORTION);
        let portion = if faults.wants_input(down) { ready.len() } else { 0 };
        if portion > 0 {
            faults.received(now, down, ready);
            self.pending.pass(portion);
            let sent = self.unsent.saturating_sub(self.pending.len());
            if sent > 0 {
                self.unsent -= sent;
                self.tell(faults, cx, &mut [], |conn, now, _, out, observer| conn.sent(now, sent, out, observer));
            }
        }
        self.apply_faults(faults, cx);
        portion
    }

    /// Ends as the last action said.
    fn apply_faults(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>) {
        let (now, down) = (cx.now(), StreamDirection::Down);
        match self.then {
            Then::Go => {}
            Then::HalfClose | Then::Close if self.pending.is_empty() => {
                if !std::mem::replace(&mut self.is_finished, true) {
                    faults.received_fin(now, down);
                }
                if self.then == Then::Close {
                    self.close(cx);
                }
            }
            Then::HalfClose | Then::Close => {}
            Then::Reset => {
                self.pending.clear();
                if self.conn.is_some() {
                    faults.received_reset(now, down);
                }
                self.close(cx);
            }
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(mut conn) = self.conn.take() {
            conn.closed(cx.now(), &mut MessagesOnly { cx, reason: &mut self.reason });
        }
    }

    /// Takes what the client's bytes have become, as far as the service takes it. Returns whether
    /// anything came.
    fn take(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>) -> bool {
        let has_fed = self.feed(faults, cx);
        let room = match &self.conn {
            Some(_) if self.waits_for_answers() => 0,
            Some(conn) if conn.wants_read() => conn.read_limit().min(MOST),
            // An end comes even where no byte has room.
            Some(_) => 0,
            None => MOST,
        };
        faults.holds_answers(!self.pending.is_empty());
        let mut bytes = Vec::new();
        let polled = faults.poll(cx.now(), StreamDirection::Up, room, &mut bytes);
        faults.report();
        let is_new = has_fed || !bytes.is_empty();
        self.received(faults, cx, bytes);
        match polled.end {
            End::Open | End::Silent => is_new,
            // It repeats.
            End::HalfClose | End::Close if !self.lines.is_empty() => is_new,
            End::HalfClose | End::Close => {
                let is_first = !std::mem::replace(&mut self.at_eof, true);
                if is_first {
                    if let Some(conn) = self.conn.as_mut().filter(|_| self.is_truncated) {
                        conn.truncate_input();
                    }
                    self.tell(faults, cx, &mut [], |conn, now, _, out, observer| conn.received_eof(now, out, observer));
                }
                is_new || is_first
            }
            End::Reset | End::ResetNow => {
                self.lost(cx.now(), CloseReason::Reset);
                is_new
            }
        }
    }

    fn received(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>, mut bytes: Vec<u8>) {
        if faults.takes_lines() {
            self.lines.extend(bytes);
            self.feed(faults, cx);
        } else if !bytes.is_empty() {
            self.tell(faults, cx, &mut bytes, |conn, now, wire, out, observer| conn.received(now, wire, out, observer));
        }
    }

    /// One line after the other, as far as the service takes them, so that each answer is that of
    /// one line. Returns whether it took any.
    fn feed(&mut self, faults: &mut ReportedFaults, cx: &mut Cx<'_>) -> bool {
        let mut has_fed = false;
        while !self.lines.is_empty() && self.conn.as_ref().is_some_and(Conn::wants_read) && !self.holds_input() {
            let newline = self.lines.iter().position(|byte| *byte == b'\n');
            let mut line: Vec<u8> = self.lines.drain(..newline.map_or(self.lines.len(), |at| at + 1)).collect();
            self.tell(faults, cx, &mut line, |conn, now, wire, out, observer| conn.received(now, wire, out, observer));
            has_fed = true;
        }
        if self.conn.is_none() {
            self.lines.clear();
        }
        has_fed
    }

    /// Does anything that the service has not seen wait for it?
    fn waits_for_answers(&self) -> bool {
        !self.lines.is_empty() || self.holds_input()
    }

    fn holds_input(&self) -> bool {
        self.conn.as_ref().is_some_and(Conn::holds_input)
    }
}

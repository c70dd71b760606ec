//! [`SocketStory`]: what the calls on one socket mean, in the order in which they come.

use resound::SocketReport;

use super::facts::{TcpState, carried};
use crate::units::{count, counted};

/// The names of the calls of an engine.
pub(super) struct CallNames {
    pub(super) accept: &'static str,
    pub(super) receive: &'static str,
    pub(super) send: &'static str,
}

impl CallNames {
    /// System calls.
    pub(super) const SYSTEM: Self = Self { accept: "accept()", receive: "recv()", send: "send()" };
    /// Operations of io_uring, which do the same.
    pub(super) const RING: Self =
        Self { accept: "IORING_OP_ACCEPT", receive: "IORING_OP_RECV", send: "IORING_OP_SEND" };
}

/// The end whose FIN came first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstFin {
    Own,
    Peers,
}

pub(super) struct SocketStory {
    names: &'static CallNames,
    is_tcp: bool,
    /// Bytes that were not acknowledged at the last look.
    waiting: u64,
    fin_sent: bool,
    fin_received: bool,
    first_fin: Option<FirstFin>,
    /// Bytes were sent after the peer's FIN.
    sent_late: bool,
    is_reset: bool,
}

impl SocketStory {
    pub(super) fn new(names: &'static CallNames, is_tcp: bool) -> Self {
        Self {
            names,
            is_tcp,
            waiting: 0,
            fin_sent: false,
            fin_received: false,
            first_fin: None,
            sent_late: false,
            is_reset: false,
        }
    }

    /// Bytes were not acknowledged at the last look.
    pub(super) fn waits_for_acknowledgement(&self) -> bool {
        self.waiting > 0
    }

    pub(super) fn received(&self, n: usize, what: &str) -> String {
        format!("{}: {}{what}", self.names.receive, counted(n as u64, "byte"))
    }

    /// `what` describes the bytes.
    pub(super) fn sent(&mut self, n: usize, what: &str, report: &SocketReport) -> String {
        self.sent_late |= self.fin_received;
        let fate = match self.look(report) {
            None => String::new(),
            Some(0) => "; acknowledged by the time the call returned".into(),
            Some(waiting) => {
                let unsent = u64::from(report.tcp.map_or(0, |info| info.unsent)).min(waiting);
                let unsent = if unsent > 0 { format!(", {} not even sent", count(unsent)) } else { String::new() };
                format!("; not acknowledged yet: {}{unsent}", counted(waiting, "byte"))
            }
        };
        format!("{}: {} queued{what}{fate}", self.names.send, counted(n as u64, "byte"))
    }

    /// Looks for acknowledgements. Returns how many bytes lack one, where that is known.
    fn look(&mut self, report: &SocketReport) -> Option<u64> {
        if report.tcp.is_none() {
            self.waiting = 0;
            return None;
        }
        // A FIN takes a number as a byte does.
        self.waiting = report.unacknowledged?.saturating_sub(self.fin_sent.into());
        Some(self.waiting)
    }

    /// A line where what was sent before is acknowledged by now.
    pub(super) fn acknowledged(&mut self, report: &SocketReport, when: &str) -> Option<String> {
        let before = std::mem::take(&mut self.waiting);
        let is_over = report.tcp.is_some_and(|info| TcpState::of(&info) == TcpState::Closed);
        let is_all = before > 0 && self.look(report) == Some(0) && !is_over;
        is_all.then(|| format!("ACK: the peer's system has acknowledged all bytes sent so far{when}"))
    }

    /// The socket takes no byte for now.
    pub(super) fn blocked(&mut self, report: &SocketReport) -> Vec<String> {
        let waiting = match self.look(report) {
            Some(waiting) => format!(": {} are not acknowledged", counted(waiting, "byte")),
            None => String::new(),
        };
        vec![
            format!("{}: EAGAIN, the send buffer is full{waiting}", self.names.send),
            "  inferred: the peer, or the path to it, takes no more for now (its window, the congestion window)".into(),
        ]
    }

    /// A read has returned 0.
    pub(super) fn peer_fin(&mut self, report: &SocketReport) -> Vec<String> {
        self.fin_received = true;
        if !self.is_tcp {
            return vec![format!("{}: 0, the peer sends no more", self.names.receive)];
        }
        let mut lines = vec![format!("{}: 0, the peer's FIN{}", self.names.receive, state_text(report))];
        if !self.fin_sent {
            self.first_fin = Some(FirstFin::Peers);
        }
        if self.fin_sent {
            lines.extend(self.time_wait());
        }
        lines
    }

    /// Where TIME_WAIT is, once both FINs have come.
    fn time_wait(&self) -> Option<String> {
        let place = match self.first_fin? {
            FirstFin::Own => "on this side, for a minute on Linux",
            FirstFin::Peers => "on the peer's side",
        };
        Some(format!("  inferred: TIME_WAIT is {place}: its FIN came first"))
    }

    /// The sending direction is shut down next.
    pub(super) fn half_closing(&mut self, report: &SocketReport) {
        // The kernel may know of a FIN that was not read yet.
        let first = match report.tcp.map(|info| TcpState::of(&info)) {
            Some(TcpState::Established) => Some(FirstFin::Own),
            Some(TcpState::CloseWait) => Some(FirstFin::Peers),
            _ => None,
        };
        self.first_fin = self.first_fin.or(first);
    }

    pub(super) fn has_sent_fin(&self) -> bool {
        self.fin_sent
    }

    /// The sending direction was shut down.
    pub(super) fn half_closed(&mut self, report: &SocketReport) -> Vec<String> {
        self.fin_sent = true;
        if !self.is_tcp {
            return vec!["shutdown(SHUT_WR): the peer reads the end".into()];
        }
        let state = report.tcp.map(|info| TcpState::of(&info));
        if state == Some(TcpState::LastAck) {
            // It came between the two.
            self.first_fin = Some(FirstFin::Peers);
        }
        let acknowledged = match state {
            Some(TcpState::FinWait2) => ", it is acknowledged",
            Some(TcpState::Closed) => ", the peer has ended it meanwhile",
            _ => "",
        };
        let mut lines =
            vec![format!("shutdown(SHUT_WR): a FIN follows the last byte{}{acknowledged}", state_text(report))];
        if self.fin_received {
            lines.extend(self.time_wait());
        }
        lines
    }

    /// The peer has reset the connection: `call` has met that.
    pub(super) fn reset(&mut self, call: &str, report: &SocketReport) -> Vec<String> {
        self.is_reset = true;
        let cause = match self.fin_received && self.sent_late {
            true => "the peer had closed its socket, and its system answers data with an RST",
            false => {
                "the peer has closed its socket with unread bytes, or with SO_LINGER 0, or its system knows no \
                      such connection"
            }
        };
        vec![format!("{call}: the peer's RST has come{}", state_text(report)), format!("  inferred: {cause}")]
    }

    /// The peer's system answers nothing more.
    pub(super) fn vanished(&mut self, call: &str, report: &SocketReport) -> Vec<String> {
        let again = report.tcp.map(|info| counted(info.retransmits.into(), "segment"));
        let again = again.map(|again| format!("; sent again: {again}")).unwrap_or_default();
        vec![format!("{call}: ETIMEDOUT, the peer's system answers no more{again}")]
    }

    /// The socket is closed next.
    pub(super) fn closing(&mut self, resets: bool, report: &SocketReport) -> Vec<String> {
        if !self.is_tcp {
            return vec!["close()".into()];
        }
        let (state, is_known) = match &report.tcp {
            Some(info) => (TcpState::of(info), true),
            None => (self.guessed(), false),
        };
        let unread = report.unread.unwrap_or(0);
        let name = state.name();
        let (what, then) = match state {
            TcpState::Closed => ("the connection is over, nothing is sent".to_string(), None),
            _ if resets => {
                ("SO_LINGER is 0, so an RST is sent, and unsent bytes are discarded".into(), Some(NO_TIME_WAIT))
            }
            _ if unread > 0 => {
                (format!("{} unread, so an RST is sent instead of a FIN", were(unread)), Some(NO_TIME_WAIT))
            }
            TcpState::Established => (
                "a FIN is sent".into(),
                Some("FIN_WAIT_1 now; TIME_WAIT comes to this side with the peer's FIN: this side closes first"),
            ),
            TcpState::CloseWait => (
                "a FIN is sent".into(),
                Some("LAST_ACK now, gone with the peer's ACK; TIME_WAIT is on the peer's side: its FIN came first"),
            ),
            TcpState::FinWait1 | TcpState::FinWait2 => (
                "nothing is sent, the FIN was sent before".into(),
                Some("the kernel waits for the peer's FIN, a minute at most; then TIME_WAIT is on this side"),
            ),
            TcpState::LastAck => (
                "nothing is sent, the FIN was sent before".into(),
                Some("gone with the peer's ACK; TIME_WAIT is on the peer's side: its FIN came first"),
            ),
            TcpState::Closing => {
                ("nothing is sent, the FIN was sent before".into(), Some("TIME_WAIT follows on both sides"))
            }
            TcpState::SynSent | TcpState::Other => ("nothing more is sent".into(), None),
        };
        let basis = if is_known { format!("{name} before") } else { format!("inferred, {name} before") };
        let mut lines = vec![format!("close(): {what} ({basis})")];
        lines.extend(then.map(|then| format!("  inferred: {then}")));
        lines.extend(report.tcp.filter(|_| !self.is_reset).map(|info| carried(&info)));
        lines
    }

    /// The state, where the system does not tell it.
    fn guessed(&self) -> TcpState {
        match (self.is_reset, self.fin_sent, self.fin_received) {
            (true, ..) | (_, true, true) => TcpState::Closed,
            (_, true, false) => TcpState::FinWait2,
            (_, false, true) => TcpState::CloseWait,
            (_, false, false) => TcpState::Established,
        }
    }
}

const NO_TIME_WAIT: &str = "the peer's next call fails (ECONNRESET); no TIME_WAIT on either side";

fn were(unread: u64) -> String {
    format!("{} {}", counted(unread, "byte"), if unread == 1 { "is" } else { "are" })
}

/// The state after a call, where the system tells it.
fn state_text(report: &SocketReport) -> String {
    report.tcp.map(|info| format!(": {}", TcpState::of(&info).name())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use resound::client::TcpInfo;

    use super::*;

    fn report(state: u8, unread: u64) -> SocketReport {
        let mut report = SocketReport::default();
        let mut info = TcpInfo::default();
        info.state = state;
        (report.tcp, report.unread, report.unacknowledged) = (Some(info), Some(unread), Some(0));
        report
    }

    fn story() -> SocketStory {
        SocketStory::new(&CallNames::SYSTEM, true)
    }

    #[test]
    fn a_close_says_what_the_kernel_sends() {
        for (state, unread, resets, want, then) in [
            (
                1,
                0,
                false,
                "close(): a FIN is sent (ESTABLISHED before)",
                "FIN_WAIT_1 now; TIME_WAIT comes to this side",
            ),
            (8, 0, false, "close(): a FIN is sent (CLOSE_WAIT before)", "LAST_ACK now"),
            (5, 0, false, "close(): nothing is sent, the FIN was sent before (FIN_WAIT_2 before)", "the kernel waits"),
            (9, 0, false, "close(): nothing is sent, the FIN was sent before (LAST_ACK before)", "gone with"),
            (
                1,
                1,
                false,
                "close(): 1 byte is unread, so an RST is sent instead of a FIN (ESTABLISHED before)",
                "the peer's",
            ),
            (
                8,
                3,
                false,
                "close(): 3 bytes are unread, so an RST is sent instead of a FIN (CLOSE_WAIT before)",
                "the peer's",
            ),
            (
                1,
                0,
                true,
                "close(): SO_LINGER is 0, so an RST is sent, and unsent bytes are discarded (ESTABLISHED before)",
                "the peer's",
            ),
            (7, 3, true, "close(): the connection is over, nothing is sent (CLOSED before)", ""),
        ] {
            let lines = story().closing(resets, &report(state, unread));
            assert_eq!(lines[0], want);
            let inferred = lines.get(1).filter(|line| line.starts_with("  inferred: ")).map_or("", |line| &line[12..]);
            assert!(inferred.starts_with(then) && inferred.is_empty() == then.is_empty(), "{want}: {inferred}");
        }
    }

    #[test]
    fn time_wait_is_on_the_side_whose_fin_came_first_and_is_not_guessed() {
        let told = |lines: Vec<String>| lines.join("\n");
        let mut own = story();
        own.half_closing(&report(1, 0));
        assert!(told(own.half_closed(&report(5, 0))).ends_with(": FIN_WAIT_2, it is acknowledged"));
        assert!(told(own.peer_fin(&report(7, 0))).contains("TIME_WAIT is on this side"));
        let mut peers = story();
        assert!(!told(peers.peer_fin(&report(8, 0))).contains("TIME_WAIT"));
        peers.half_closing(&report(8, 0));
        assert!(told(peers.half_closed(&report(9, 0))).contains("TIME_WAIT is on the peer's side"));
        // The peer's FIN came between two looks, or an RST did.
        let mut unknown = story();
        unknown.half_closing(&report(7, 0));
        unknown.half_closed(&report(7, 0));
        assert!(!told(unknown.peer_fin(&report(7, 0))).contains("TIME_WAIT"));
    }

    #[test]
    fn acknowledgements_are_told_where_the_kernel_shows_them() {
        let mut story = story();
        let mut waiting = report(1, 0);
        waiting.unacknowledged = Some(14);
        assert_eq!(story.sent(14, "", &waiting), "send(): 14 bytes queued; not acknowledged yet: 14 bytes");
        assert_eq!(story.acknowledged(&waiting, ""), None);
        let line = story.acknowledged(&report(1, 0), ", seen 1.0 ms after send()");
        let want = "ACK: the peer's system has acknowledged all bytes sent so far, seen 1.0 ms after send()";
        assert_eq!(line.as_deref(), Some(want));
        assert_eq!(story.acknowledged(&report(1, 0), ""), None, "once");
        // A system that does not tell it.
        assert_eq!(story.sent(14, "", &SocketReport::default()), "send(): 14 bytes queued");
        assert!(!story.waits_for_acknowledgement());
    }
}

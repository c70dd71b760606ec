//! [`TopColumn`]: the columns of the table of connections.

use std::cmp::Ordering;

use clap::ValueEnum;

use super::document::TopRow;
use super::figures;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopColumn {
    Conn,
    Peer,
    State,
    Age,
    Idle,
    In,
    Out,
    Messages,
    Rtt,
    Retransmits,
    Queue,
    Unread,
    Worker,
}

/// What a column has for a connection.
enum TopValue<'a> {
    Text(&'a str),
    Number(f64),
    Missing,
}

/// The smallest and the greatest width of an address.
const PEER: [usize; 2] = [15, 47];

impl TopColumn {
    /// In the order in which they stand.
    pub(super) const ALL: [Self; 13] = [
        Self::Conn,
        Self::Peer,
        Self::State,
        Self::Age,
        Self::Idle,
        Self::In,
        Self::Out,
        Self::Messages,
        Self::Rtt,
        Self::Retransmits,
        Self::Queue,
        Self::Unread,
        Self::Worker,
    ];
    /// The first ones stay the longest in a window that becomes narrow.
    const IMPORTANT: [Self; 13] = [
        Self::Peer,
        Self::In,
        Self::Out,
        Self::Age,
        Self::Idle,
        Self::Messages,
        Self::Rtt,
        Self::State,
        Self::Retransmits,
        Self::Queue,
        Self::Unread,
        Self::Worker,
        Self::Conn,
    ];

    /// The key that chooses it, its head, and what it means.
    pub(super) fn words(self) -> (char, &'static str, &'static str) {
        match self {
            Self::Conn => ('c', "conn", "number, in the order of arrival"),
            Self::Peer => ('a', "peer", "address of the peer"),
            Self::State => ('s', "state", "handshake, open, half-closed, closing; > dialled"),
            Self::Age => ('g', "age", "time since it was opened"),
            Self::Idle => ('d', "idle", "time since something moved"),
            Self::In => ('i', "in", "bytes received"),
            Self::Out => ('o', "out", "bytes sent"),
            Self::Messages => ('m', "msgs", "messages received"),
            Self::Rtt => ('t', "rtt", "round-trip time"),
            Self::Retransmits => ('x', "retr", "segments sent again"),
            Self::Queue => ('y', "queue", "bytes that wait for the peer"),
            Self::Unread => ('u', "unread", "bytes that wait for the server"),
            Self::Worker => ('w', "wrk", "its worker"),
        }
    }

    pub(super) fn by_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.words().0 == letter)
    }

    /// The neighbour to the left or to the right; past the last one it is the first.
    pub(super) fn beside(self, is_right: bool) -> Self {
        let count = Self::ALL.len();
        let at = Self::ALL.iter().position(|column| *column == self).unwrap_or_default();
        Self::ALL[(at + if is_right { 1 } else { count - 1 }) % count]
    }

    /// The order in which the server lists those that have most.
    pub(super) fn server_sort(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Idle => "idle",
            Self::In => "bytes_in",
            Self::Out => "bytes_out",
            Self::Messages => "messages",
            Self::Rtt => "rtt",
            Self::Retransmits => "retransmits",
            Self::Queue => "queue",
            Self::Unread => "unread",
            Self::Conn | Self::Peer | Self::State | Self::Worker => "conn",
        }
    }

    pub(super) fn is_left_aligned(self) -> bool {
        matches!(self, Self::Peer | Self::State)
    }

    fn value(self, row: &TopRow) -> TopValue<'_> {
        let number = |value: u64| TopValue::Number(value as f64);
        match self {
            Self::Peer => TopValue::Text(&row.peer),
            Self::State => TopValue::Text(&row.state),
            Self::Conn => number(row.conn),
            Self::Age => TopValue::Number(row.age_seconds),
            Self::Idle => TopValue::Number(row.idle_seconds),
            Self::In => number(row.bytes_in),
            Self::Out => number(row.bytes_out),
            Self::Messages => number(row.messages),
            Self::Rtt => row.tcp.map_or(TopValue::Missing, |tcp| TopValue::Number(tcp.rtt_seconds)),
            Self::Retransmits => row.tcp.map_or(TopValue::Missing, |tcp| number(tcp.retransmits)),
            Self::Queue => number(row.unsent_bytes.saturating_add(row.send_queue_bytes.unwrap_or(0))),
            Self::Unread => row.receive_queue_bytes.map_or(TopValue::Missing, number),
            Self::Worker => number(row.worker),
        }
    }

    /// The text of a cell.
    pub(super) fn text(self, row: &TopRow) -> String {
        let mark = if self == Self::State && row.direction == "dialled" { ">" } else { "" };
        match (self, self.value(row)) {
            (_, TopValue::Text(text)) => format!("{mark}{text}"),
            (_, TopValue::Missing) => "-".into(),
            (Self::Age | Self::Idle | Self::Rtt, TopValue::Number(seconds)) => figures::time(seconds),
            (Self::In | Self::Out | Self::Queue | Self::Unread, TopValue::Number(size)) => figures::bytes(size),
            (Self::Conn, _) => row.conn.to_string(),
            (_, TopValue::Number(number)) => figures::count(number as u64),
        }
    }

    /// The order of two connections: most of it first; texts and numbers of connections from the
    /// first on; what is missing last, in the reverse order too.
    pub(super) fn order(self, one: &TopRow, other: &TopRow, is_reversed: bool) -> Ordering {
        let turned = |order: Ordering| if is_reversed { order.reverse() } else { order };
        let order = match (self.value(one), self.value(other)) {
            (TopValue::Text(one), TopValue::Text(other)) => turned(one.cmp(other)),
            (TopValue::Number(one), TopValue::Number(other)) if matches!(self, Self::Conn | Self::Worker) => {
                turned(one.total_cmp(&other))
            }
            (TopValue::Number(one), TopValue::Number(other)) => turned(other.total_cmp(&one)),
            (TopValue::Missing, TopValue::Missing) => Ordering::Equal,
            (TopValue::Missing, _) => Ordering::Greater,
            _ => Ordering::Less,
        };
        order.then_with(|| (one.conn, &one.direction).cmp(&(other.conn, &other.direction)))
    }

    fn width(self) -> usize {
        match self {
            Self::Peer => PEER[0],
            Self::State => 12,
            Self::Conn => 7,
            Self::In | Self::Out | Self::Queue | Self::Unread => 7,
            Self::Worker => 4,
            _ => 5,
        }
    }

    /// The columns that fit, with their widths. The sorted one is among them.
    pub(super) fn that_fit(columns: usize, sorted: Self, longest_peer: usize) -> Vec<(Self, usize)> {
        let peer = longest_peer.clamp(PEER[0], PEER[1]).min(columns.max(1));
        let width = |column: Self| if column == Self::Peer { peer } else { column.width() };
        let (mut chosen, mut left) = (Vec::new(), columns);
        let others = Self::IMPORTANT.into_iter().filter(|column| ![Self::Peer, sorted].contains(column));
        for column in [Self::Peer].into_iter().chain((sorted != Self::Peer).then_some(sorted)).chain(others) {
            let takes = width(column) + usize::from(!chosen.is_empty());
            if takes > left {
                break;
            }
            left -= takes;
            chosen.push(column);
        }
        Self::ALL.into_iter().filter(|column| chosen.contains(column)).map(|column| (column, width(column))).collect()
    }
}

//! What the far end says: of itself, of its sockets, and of a session.

use std::fmt::Write;

use resound::SocketReport;
use resound::client::TcpInfo;
use serde::{Deserialize, Serialize};

use super::pattern::WrongBytes;
use super::request::{FAMILY, PREFIX, checked, line_of};

/// An answer of the far end: one line, the prefix and JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeAnswer {
    /// The first answer to a request that is played.
    Hello(Box<FarHello>),
    /// What became of a session.
    Session(Box<SessionLog>),
    /// The request cannot be served.
    Error(String),
    /// The request was changed on its way.
    Garbled,
}

impl ProbeAnswer {
    /// The whole line, with its newline.
    #[must_use]
    pub fn line(&self) -> String {
        line_of(&serde_json::to_string(self).unwrap_or_default())
    }

    /// The answer in a line. `None` if it is none of the protocol, or was changed on its way.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let json = checked(line.strip_prefix(PREFIX.as_bytes())?)?;
        let unknown = |_| Self::Error("its answer is not resound-probe/1: another server or version answered".into());
        Some(serde_json::from_slice(json).unwrap_or_else(unknown))
    }

    /// Whether a line may become one of the protocol: it begins as one, or has not come that far.
    #[must_use]
    pub fn may_be(line: &[u8]) -> bool {
        let n = line.len().min(FAMILY.len());
        line[..n] == FAMILY.as_bytes()[..n]
    }
}

/// Who the far end is, and how this connection came to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FarHello {
    /// Version of the program.
    pub resound: String,
    /// Drawn when the program started: two backends have two.
    pub instance: String,
    /// The number of the connection, in the order of acceptance.
    pub connection: u64,
    /// Who connected, as the far end's socket says.
    pub peer: String,
    /// Where to, as the far end's socket says.
    pub local: String,
    /// The client that a PROXY header has named.
    pub proxied: Option<ProxiedClient>,
    /// Its TLS.
    pub tls: Option<FarTls>,
    /// Its socket.
    pub socket: SocketFacts,
    /// Idle connections are closed after this many milliseconds.
    pub idle_timeout_ms: Option<u64>,
    /// The far end refuses connections by itself, or lets them wait, where there are many.
    pub limits_connections: bool,
}

/// What a PROXY header has said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxiedClient {
    /// The client.
    pub client: String,
    /// Where the proxy's own connection came from.
    pub proxy: String,
}

/// What TLS has negotiated at the far end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FarTls {
    /// Its version, such as `TLSv1.3`.
    pub version: String,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// The channel binding (RFC 9266), in hexadecimal digits: equal at both ends of one session.
    pub exporter: Option<String>,
}

/// Bytes in hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the system knows of a socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SocketFacts {
    /// Its TCP.
    pub tcp: Option<TcpFacts>,
    /// The SYN as it arrived.
    pub syn: Option<SynFacts>,
    /// Bytes that have arrived and were not read.
    pub unread: Option<u64>,
    /// Bytes that were sent and are not acknowledged.
    pub unacknowledged: Option<u64>,
}

impl SocketFacts {
    /// Of what an engine or a stream reports.
    #[must_use]
    pub fn of(report: &SocketReport) -> Self {
        Self {
            tcp: report.tcp.as_ref().map(TcpFacts::of),
            syn: report.syn.as_deref().and_then(SynFacts::read),
            unread: report.unread,
            unacknowledged: report.unacknowledged,
        }
    }
}

/// A part of `TCP_INFO` (tcp(7)). Times are in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpFacts {
    /// Smoothed round-trip time.
    pub rtt_us: u64,
    /// The shortest round-trip time.
    pub min_rtt_us: u64,
    /// Segments that were sent again.
    pub retransmits: u32,
    /// Timeouts in a row, without an acknowledgement since.
    pub timeouts: u32,
    /// The largest segment that is sent.
    pub send_mss: u32,
    /// The largest segment that came.
    pub receive_mss: u32,
    /// The MSS that this end has announced.
    pub advertised_mss: u32,
    /// What the system takes for the path's MTU.
    pub path_mtu: u32,
    /// Segments that are not acknowledged.
    pub unacknowledged: u32,
    /// Bytes that the other end's system has acknowledged.
    pub acknowledged: u64,
    /// Bytes that have arrived in order, records of TLS included.
    pub received: u64,
    /// Segments that have arrived.
    pub segments_received: u32,
    /// Both ends use timestamps.
    pub timestamps: bool,
    /// Both ends use selective acknowledgements.
    pub sack: bool,
    /// The window scales that the other end and this end announce; `None` unless both do.
    pub window_scale: Option<(u8, u8)>,
    /// Both ends use explicit congestion notification.
    pub ecn: bool,
}

impl TcpFacts {
    fn of(info: &TcpInfo) -> Self {
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            rtt_us: micros(info.rtt),
            min_rtt_us: micros(info.min_rtt),
            retransmits: info.retransmits,
            timeouts: info.timeouts,
            send_mss: info.send_mss,
            receive_mss: info.receive_mss,
            advertised_mss: info.advertised_mss,
            path_mtu: info.path_mtu,
            unacknowledged: info.unacknowledged,
            acknowledged: info.acknowledged,
            received: info.bytes_received,
            segments_received: info.segments_received,
            timestamps: info.options.timestamps,
            sack: info.options.sack,
            window_scale: info.options.window_scale,
            ecn: info.options.ecn,
        }
    }
}

/// A SYN, as one end sends it or the other receives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SynFacts {
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Differentiated services code point (RFC 2474).
    pub dscp: u8,
    /// It asks for explicit congestion notification (RFC 3168).
    pub ecn: bool,
    /// The largest segment that its sender accepts.
    pub mss: Option<u16>,
    /// The scale of its sender's window.
    pub window_scale: Option<u8>,
    /// Selective acknowledgements are permitted.
    pub sack: bool,
    /// It has timestamps.
    pub timestamps: bool,
    /// The clock of its sender's timestamps.
    pub timestamp_clock: Option<u32>,
    /// Kinds of further options.
    pub others: Vec<u8>,
}

impl SynFacts {
    /// Reads a SYN from its IP header on.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        let (ttl, class, tcp) = match first >> 4 {
            4 => (*packet.get(8)?, *packet.get(1)?, packet.get(usize::from(first & 15) * 4..)?),
            6 => (*packet.get(7)?, first << 4 | packet.get(1)? >> 4, packet.get(40..)?),
            _ => return None,
        };
        let flags = *tcp.get(13)?;
        let header = usize::from(*tcp.get(12)? >> 4) * 4;
        let mut facts = Self { ttl, dscp: class >> 2, ecn: flags & 0xc0 == 0xc0, ..Self::default() };
        let mut rest = tcp.get(20..header)?;
        while let [kind, after @ ..] = rest {
            match kind {
                0 => break,
                1 => rest = after,
                _ => {
                    let length = usize::from(*after.first()?);
                    let option = rest.get(..length).filter(|option| option.len() >= 2)?;
                    match (kind, &option[2..]) {
                        (2, [high, low]) => facts.mss = Some(u16::from_be_bytes([*high, *low])),
                        (3, [scale]) => facts.window_scale = Some(*scale),
                        (4, []) => facts.sack = true,
                        (8, value) => {
                            facts.timestamps = true;
                            facts.timestamp_clock = value.first_chunk().map(|clock| u32::from_be_bytes(*clock));
                        }
                        _ => facts.others.push(*kind),
                    }
                    rest = &rest[length..];
                }
            }
        }
        Some(facts)
    }
}

/// What became of a session. Times are in milliseconds since its request came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionLog {
    /// The far end's own name.
    pub instance: String,
    /// Whether the session is known; the other fields say nothing otherwise.
    pub known: bool,
    /// Steps that are done.
    pub steps: u32,
    /// Bytes that arrived after the request.
    pub received: u64,
    /// Reads in which they came.
    pub reads: u64,
    /// Of the first small reads: when, and how many bytes had arrived by then.
    pub arrivals: Vec<(f64, u64)>,
    /// The first wrong byte among them.
    pub wrong: Option<WrongBytes>,
    /// Bytes handed to the system after the hello.
    pub sent: u64,
    /// When the first byte after the request came.
    pub first_at_ms: Option<f64>,
    /// When the last byte came.
    pub last_at_ms: Option<f64>,
    /// When the client's FIN came.
    pub fin_at_ms: Option<f64>,
    /// When the connection was over.
    pub closed_at_ms: Option<f64>,
    /// Why it ended, in the words of the server's log.
    pub closed: Option<String>,
    /// Bytes of the socket (with TLS, of its records) that had arrived before a reset ended a
    /// [`Step::Hold`](super::Step::Hold), and were not read.
    pub unread: u64,
    /// The session's age now.
    pub now_ms: f64,
    /// The socket, when the far end looked last.
    pub socket: SocketFacts,
    /// When that was.
    pub socket_at_ms: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_is_read_from_its_ip_header_on() {
        let mut packet = vec![0x45, 0x28, 0, 60, 0, 0, 0x40, 0, 63, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x30, 0x39, 0x22, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend([2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]);
        let facts = SynFacts::read(&packet).unwrap();
        let wanted = SynFacts {
            ttl: 63,
            dscp: 10,
            mss: Some(1460),
            window_scale: Some(7),
            sack: true,
            timestamps: true,
            timestamp_clock: Some(1),
            ..SynFacts::default()
        };
        assert_eq!(facts, wanted);
        for n in 0..packet.len() {
            let _ = SynFacts::read(&packet[..n]);
        }
        assert_eq!(SynFacts::read(b"\x15abc"), None);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for answer in [
            ProbeAnswer::Hello(Box::default()),
            ProbeAnswer::Session(Box::default()),
            ProbeAnswer::Error("no such step".into()),
            ProbeAnswer::Garbled,
        ] {
            assert_eq!(ProbeAnswer::parse(answer.line().as_bytes()), Some(answer));
        }
        assert_eq!(ProbeAnswer::parse(b"Hello\n"), None);
        let unknown = line_of("{\"dance\":1}");
        assert!(matches!(ProbeAnswer::parse(unknown.as_bytes()), Some(ProbeAnswer::Error(_))));
        assert_eq!(ProbeAnswer::parse(unknown.replace('d', "b").as_bytes()), None);
        assert!(ProbeAnswer::may_be(b"resou") && !ProbeAnswer::may_be(b"SSH-2.0"));
    }
}

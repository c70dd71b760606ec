//! [`SocketReport`]: what the system knows of a connection's socket.

use std::time::Duration;

/// What the system knows of a socket ([`Cx::report_socket`](super::Cx::report_socket)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketReport {
    /// The state of the TCP connection; `None` on a unix socket, and on systems other than Linux.
    pub tcp: Option<TcpInfo>,
    /// The peer's SYN as it arrived, from its IP header to the end of its TCP header (Linux,
    /// `TCP_SAVED_SYN`). The system keeps it where the listener was to save it
    /// (`resound::Server::save_syns`), and gives it once: only the first report has it. `None` as
    /// well where the SYN was answered with a cookie.
    pub syn: Option<Box<[u8]>>,
    /// Bytes that have arrived, and that this end has not read from its socket (`SIOCINQ`, tcp(7)).
    pub unread: Option<u64>,
    /// Bytes that this end has written to its socket, and that the peer's system has not
    /// acknowledged (`SIOCOUTQ`, tcp(7)).
    pub unacknowledged: Option<u64>,
    /// The clock of this end's timestamps (RFC 7323; tcp(7), `TCP_TIMESTAMP`): what its segments
    /// have in that option now, whether the peer takes it or not. It tells apart a SYN of this
    /// connection and one that a proxy has sent. Linux alone has it.
    pub timestamp_clock: Option<u32>,
}

/// The state of one TCP connection (`TCP_INFO`, tcp(7)). What an older kernel does not report is
/// zero or false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Smoothed round-trip time (RFC 6298); zero before the first measurement.
    pub rtt: Duration,
    /// Smoothed mean deviation of the round-trip time.
    pub rtt_variation: Duration,
    /// The shortest round-trip time of the last minutes (`tcpi_min_rtt`; the system's
    /// `net.ipv4.tcp_min_rtt_wlen`); zero before the first measurement.
    pub min_rtt: Duration,
    /// Segments sent again, since the connection began.
    pub retransmits: u32,
    /// Retransmission timeouts in a row, until the peer acknowledges something
    /// (`tcpi_retransmits`).
    pub timeouts: u32,
    /// Segments that this end takes for lost at the moment (`tcpi_lost`).
    pub lost: u32,
    /// Congestion window, in segments.
    pub congestion_window: u32,
    /// Largest segment that this end sends, in bytes.
    pub send_mss: u32,
    /// Largest segment that has arrived, as this end estimates it, in bytes (`tcpi_rcv_mss`).
    pub receive_mss: u32,
    /// Largest segment that this end has announced to take, in bytes (`tcpi_advmss`).
    pub advertised_mss: u32,
    /// Largest packet on the path to the peer, as far as this end knows, in bytes (`tcpi_pmtu`).
    pub path_mtu: u32,
    /// Segments sent and not yet acknowledged, a FIN included.
    pub unacknowledged: u32,
    /// Bytes that wait to be sent for the first time.
    pub unsent: u32,
    /// Bytes that the peer's system has acknowledged, since the connection began.
    pub acknowledged: u64,
    /// Bytes that have arrived in order, since the connection began (`tcpi_bytes_received`).
    pub bytes_received: u64,
    /// Bytes sent, those sent again included, since the connection began (`tcpi_bytes_sent`).
    pub bytes_sent: u64,
    /// Bytes sent again, since the connection began (`tcpi_bytes_retrans`).
    pub bytes_retransmitted: u64,
    /// Segments that have arrived, the SYN of the peer and its repetitions included
    /// (`tcpi_segs_in`).
    pub segments_received: u32,
    /// The state of the connection (`tcpi_state`), by the kernel's numbers: 1 is ESTABLISHED, 8 is
    /// CLOSE_WAIT.
    pub state: u8,
    /// The options that both ends have agreed on.
    pub options: TcpOptions,
}

/// The options of one TCP connection (`tcpi_options` of `TCP_INFO`, tcp(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Segments have timestamps (RFC 7323).
    pub timestamps: bool,
    /// Acknowledgements are selective (RFC 2018).
    pub sack: bool,
    /// By how many bits windows are scaled (RFC 7323): those that the peer announces, which limit
    /// what this end sends, and then those that this end announces.
    pub window_scale: Option<(u8, u8)>,
    /// Routers may mark packets instead of dropping them (RFC 3168).
    pub ecn: bool,
    /// The data in the SYN was acknowledged (TCP Fast Open, RFC 7413).
    pub syn_data: bool,
}

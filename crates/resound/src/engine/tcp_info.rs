//! [`TcpInfo`]: the state of a TCP connection.

use std::time::Duration;

/// The state of one TCP connection (`TCP_INFO`, tcp(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Smoothed round-trip time (RFC 6298); zero before the first measurement.
    pub rtt: Duration,
    /// Smoothed mean deviation of the round-trip time.
    pub rtt_variation: Duration,
    /// Segments sent again, since the connection began.
    pub retransmits: u32,
    /// Congestion window, in segments.
    pub congestion_window: u32,
    /// Largest segment that this end sends, in bytes.
    pub send_mss: u32,
    /// Segments sent and not yet acknowledged, a FIN included.
    pub unacknowledged: u32,
    /// Bytes that wait to be sent for the first time.
    pub unsent: u32,
    /// Bytes that the peer's system has acknowledged, since the connection began.
    pub acknowledged: u64,
}

#[cfg(target_os = "linux")]
impl TcpInfo {
    pub(super) fn of(socket: &impl std::os::fd::AsRawFd) -> Option<Self> {
        let info = super::sys::tcp_info(socket.as_raw_fd())?;
        let micros = |n: u32| Duration::from_micros(n.into());
        Some(Self {
            rtt: micros(info.tcpi_rtt),
            rtt_variation: micros(info.tcpi_rttvar),
            retransmits: info.tcpi_total_retrans,
            congestion_window: info.tcpi_snd_cwnd,
            send_mss: info.tcpi_snd_mss,
            unacknowledged: info.tcpi_unacked,
            unsent: info.tcpi_notsent_bytes,
            acknowledged: info.tcpi_bytes_acked,
        })
    }
}

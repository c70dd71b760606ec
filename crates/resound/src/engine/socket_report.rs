//! Reads a [`SocketReport`] from a socket.

use resound_proto::{SocketReport, TcpInfo};
use socket2::SockRef;

use super::socket::{unacknowledged, unread};

/// What the system knows of a socket now. The saved SYN is in the first report only.
pub(super) fn socket_report(socket: &SockRef<'_>) -> SocketReport {
    #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "only Linux has the rest"))]
    let mut report = plain_report(socket);
    #[cfg(target_os = "linux")]
    if report.tcp.is_some() {
        report.syn = super::sys::saved_syn(socket);
        report.timestamp_clock = super::sys::timestamp_clock(socket);
    }
    report
}

/// The same without the SYN, which the system gives only once.
pub(super) fn plain_report(socket: &SockRef<'_>) -> SocketReport {
    let mut report = SocketReport::default();
    report.tcp = tcp_info(socket);
    // Elsewhere the count would end with what one peek shows.
    report.unread = cfg!(unix).then(|| unread(socket) as u64);
    report.unacknowledged = unacknowledged(socket).map(|bytes| bytes as u64);
    report
}

/// `None` if the socket is not TCP, and on systems other than Linux.
pub(super) fn tcp_info(socket: &SockRef<'_>) -> Option<TcpInfo> {
    #[cfg(target_os = "linux")]
    return super::sys::tcp_info(std::os::fd::AsRawFd::as_raw_fd(&**socket)).map(|info| read(&info));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        None
    }
}

#[cfg(target_os = "linux")]
fn read(info: &libc::tcp_info) -> TcpInfo {
    use std::time::Duration;
    let micros = |n: u32| Duration::from_micros(n.into());
    let mut read = TcpInfo::default();
    read.rtt = micros(info.tcpi_rtt);
    read.rtt_variation = micros(info.tcpi_rttvar);
    // All bits before the first measurement.
    read.min_rtt = micros(if info.tcpi_min_rtt == u32::MAX { 0 } else { info.tcpi_min_rtt });
    read.retransmits = info.tcpi_total_retrans;
    read.timeouts = info.tcpi_retransmits.into();
    read.lost = info.tcpi_lost;
    read.congestion_window = info.tcpi_snd_cwnd;
    read.send_mss = info.tcpi_snd_mss;
    read.receive_mss = info.tcpi_rcv_mss;
    read.advertised_mss = info.tcpi_advmss;
    read.path_mtu = info.tcpi_pmtu;
    read.unacknowledged = info.tcpi_unacked;
    read.unsent = info.tcpi_notsent_bytes;
    read.acknowledged = info.tcpi_bytes_acked;
    read.bytes_received = info.tcpi_bytes_received;
    read.bytes_sent = info.tcpi_bytes_sent;
    read.bytes_retransmitted = info.tcpi_bytes_retrans;
    read.segments_received = info.tcpi_segs_in;
    read.state = info.tcpi_state;
    read.options = options(info.tcpi_options, info.tcpi_snd_rcv_wscale);
    read
}

/// `scales` are two bit fields of four bits, in the order in which this processor's C has them.
#[cfg(target_os = "linux")]
fn options(options: u8, scales: u8) -> resound_proto::TcpOptions {
    // Of the kernel's include/uapi/linux/tcp.h (`TCPI_OPT_TIMESTAMPS`, and so on).
    const TIMESTAMPS: u8 = 1;
    const SACK: u8 = 2;
    const WINDOW_SCALE: u8 = 4;
    const ECN: u8 = 8;
    const SYN_DATA: u8 = 32;
    let has = |option: u8| options & option != 0;
    let (low, high) = (scales & 15, scales >> 4);
    let mut agreed = resound_proto::TcpOptions::default();
    agreed.timestamps = has(TIMESTAMPS);
    agreed.sack = has(SACK);
    let both = if cfg!(target_endian = "little") { (low, high) } else { (high, low) };
    agreed.window_scale = has(WINDOW_SCALE).then_some(both);
    agreed.ecn = has(ECN);
    agreed.syn_data = has(SYN_DATA);
    agreed
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_kernels_bits() {
        let none = options(16, 0xff);
        assert_eq!(none, Default::default(), "an ECN mark that was seen is no option");
        let some = options(1 | 4, if cfg!(target_endian = "little") { 0x97 } else { 0x79 });
        assert_eq!((some.timestamps, some.sack, some.window_scale), (true, false, Some((7, 9))));
        let others = options(2 | 8 | 32, 0);
        assert_eq!((others.sack, others.ecn, others.syn_data, others.window_scale), (true, true, true, None));
    }
}

//! What the kernel tells of a connection (`TCP_INFO`), as text.

use std::time::Duration;

use resound::Endpoint;
use resound::client::TcpInfo;
use resound_console::escape;

use crate::units::{counted, elapsed};

/// A state of TCP (RFC 9293, 3.3.2), by the kernel's numbers (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TcpState {
    Established,
    SynSent,
    FinWait1,
    FinWait2,
    Closed,
    CloseWait,
    LastAck,
    Closing,
    Other,
}

impl TcpState {
    pub(super) fn of(info: &TcpInfo) -> Self {
        match info.state {
            1 => Self::Established,
            2 => Self::SynSent,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            7 => Self::Closed,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            11 => Self::Closing,
            _ => Self::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::Closed => "CLOSED",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Closing => "CLOSING",
            Self::Other => "another state",
        }
    }
}

/// What both ends have agreed on, and what the path looks like.
pub(super) fn agreed(info: &TcpInfo) -> String {
    let mut parts = vec![format!("MSS {}", counted(info.send_mss.into(), "byte"))];
    let options = info.options;
    parts.extend(options.window_scale.map(|(peer, own)| format!("window scale {own}, the peer's {peer}")));
    let names = [
        (options.sack, "SACK"),
        (options.timestamps, "timestamps"),
        (options.ecn, "ECN"),
        (options.syn_data, "data in the SYN"),
    ];
    parts.extend(names.iter().filter(|(has, _)| *has).map(|(_, name)| name.to_string()));
    parts.push(format!("cwnd {}", info.congestion_window));
    if info.rtt > Duration::ZERO {
        parts.push(format!("round trip {}", elapsed(info.rtt)));
    }
    format!("  TCP_INFO: {}", parts.join(", "))
}

/// What a connection has sent, and what the path was like.
pub(super) fn carried(info: &TcpInfo) -> String {
    let (sent, again) = (counted(info.bytes_sent, "byte"), counted(info.retransmits.into(), "segment"));
    let mut text = format!("  TCP_INFO: {sent} sent, {again} sent again");
    if info.rtt > Duration::ZERO {
        text += &format!(", round trip {} +/- {}", elapsed(info.rtt), elapsed(info.rtt_variation));
    }
    text
}

/// An address as text. The path of a unix socket may hold any byte.
pub(super) fn address(endpoint: &Endpoint) -> String {
    escape::text(endpoint.to_string().as_bytes())
}

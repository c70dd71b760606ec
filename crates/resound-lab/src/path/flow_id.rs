//! The names of flows.

use std::fmt;

use serde::{Serialize, Serializer};

use super::packet::{ICMP, ICMPV6, TCP, UDP};

/// A flow's name: its protocol, and its number among the flows of that protocol, in the order of
/// their first packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId {
    /// By the number that IP has for it.
    pub protocol: u8,
    /// From 1.
    pub number: u64,
}

impl FlowId {
    /// Of the draws of the flow.
    pub(super) fn draw_number(self) -> u64 {
        u64::from(self.protocol) << 56 | self.number
    }
}

/// As `tcp 3`.
impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            TCP => f.write_str("tcp")?,
            UDP => f.write_str("udp")?,
            ICMP => f.write_str("icmp")?,
            ICMPV6 => f.write_str("icmpv6")?,
            other => write!(f, "protocol-{other}")?,
        }
        write!(f, " {}", self.number)
    }
}

impl Serialize for FlowId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

//! The two ends of a lab, and their addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::Side;

/// Of both ends: the router alone is behind each link.
pub(super) const PREFIX_V4: u8 = 24;
pub(super) const PREFIX_V6: u8 = 64;
/// The name of each end's link, inside.
pub(super) const LINK: &str = "eth0";

impl Side {
    /// Both, the near one first.
    pub const BOTH: [Side; 2] = [Side::Near, Side::Far];

    /// The IPv4 address of this end: 10.77.0.1 or 10.77.0.2.
    pub fn ipv4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number())
    }

    /// The IPv6 address of this end: fd77::1 or fd77::2.
    pub fn ipv6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(self.number()))
    }

    /// `near` or `far`: its name in /etc/hosts, and that of the router's link to it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Near => "near",
            Side::Far => "far",
        }
    }

    pub(super) fn number(self) -> u8 {
        match self {
            Side::Near => 1,
            Side::Far => 2,
        }
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::BOTH.into_iter().find(|side| side.number() == number)
    }

    /// The Ethernet address of the end's link.
    pub(super) fn link_address(self) -> [u8; 6] {
        [0x02, 0, 0, 0, 0x77, self.number()]
    }
}

//! Reads the headers of a packet. Whatever the bytes are, a view is right or there is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
const FRAGMENT: u8 = 44;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

pub(super) const V4_HEADER: usize = 20;
pub(super) const V6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;

/// What the headers of an IP packet say.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketView {
    pub(super) is_v6: bool,
    /// Of the whole packet; what is behind is padding.
    pub(super) length: usize,
    /// Where the header after that of IP and its extensions starts.
    pub(super) transport: usize,
    /// Where the byte is that names the protocol.
    pub(super) next_header: usize,
    pub(super) protocol: u8,
    /// Is it one of several fragments?
    pub(super) is_fragment: bool,
    /// Is it one without the transport header?
    pub(super) is_later_fragment: bool,
    /// Of TCP and UDP: from and to.
    pub(super) ports: Option<(u16, u16)>,
    /// Of an ICMP echo.
    pub(super) echo: Option<u16>,
    pub(super) tcp: Option<TcpView>,
    /// Where the payload of TCP, UDP or the protocol starts.
    pub(super) payload: usize,
}

/// What a TCP header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpView {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
}

impl TcpView {
    pub(super) fn has(self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// A SYN that asks for a connection.
    pub(super) fn opens(self) -> bool {
        self.flags & (SYN | ACK | RST) == SYN
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16_at(bytes, at)?) << 16 | u32::from(u16_at(bytes, at + 2)?))
}

impl PacketView {
    /// `None` if this is no whole IP packet.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes, false)
    }

    /// Of the beginning of a packet, as an ICMP error quotes it.
    pub(super) fn of_quoted(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes, true)
    }

    fn read(bytes: &[u8], may_be_cut: bool) -> Option<Self> {
        let most = if may_be_cut { bytes.len() } else { usize::MAX };
        let mut view = match bytes.first()? >> 4 {
            4 => Self::v4(bytes, most)?,
            6 => Self::v6(bytes, most)?,
            _ => return None,
        };
        if !view.is_later_fragment {
            view.transport(&bytes[..view.length]);
        }
        Some(view)
    }

    fn v4(bytes: &[u8], most: usize) -> Option<Self> {
        let header = usize::from(bytes[0] & 0xf) * 4;
        let length = usize::from(u16_at(bytes, 2)?).min(most);
        if header < V4_HEADER || length < header || length > bytes.len() {
            return None;
        }
        let offset = u16_at(bytes, 6)?;
        Some(Self {
            is_fragment: offset & 0x3fff != 0,
            is_later_fragment: offset & 0x1fff != 0,
            ..Self::plain(false, length, header, 9, bytes[9])
        })
    }

    fn v6(bytes: &[u8], most: usize) -> Option<Self> {
        let length = (V6_HEADER + usize::from(u16_at(bytes, 4)?)).min(most);
        if length > bytes.len() || length < V6_HEADER {
            return None;
        }
        let bytes = &bytes[..length];
        let mut view = Self::plain(true, length, V6_HEADER, 6, bytes[6]);
        // Hop-by-hop options, routing, destination options and the fragment header (RFC 8200).
        while [0, 43, 60, FRAGMENT].contains(&view.protocol) && !view.is_later_fragment {
            let at = view.transport;
            let Some(&[next, units, ..]) = bytes.get(at..at + 8) else { break };
            let size = if view.protocol == FRAGMENT { 8 } else { (usize::from(units) + 1) * 8 };
            if at + size > length {
                break;
            }
            if view.protocol == FRAGMENT {
                let offset = u16_at(bytes, at + 2)?;
                view.is_fragment = true;
                view.is_later_fragment = offset & !7 != 0;
            }
            (view.protocol, view.next_header, view.transport) = (next, at, at + size);
            view.payload = view.transport;
        }
        Some(view)
    }

    fn plain(is_v6: bool, length: usize, transport: usize, next_header: usize, protocol: u8) -> Self {
        Self {
            is_v6,
            length,
            transport,
            next_header,
            protocol,
            is_fragment: false,
            is_later_fragment: false,
            ports: None,
            echo: None,
            tcp: None,
            payload: transport,
        }
    }

    fn transport(&mut self, bytes: &[u8]) {
        let own = &bytes[self.transport..];
        match self.protocol {
            TCP if own.len() >= TCP_HEADER => {
                let header = usize::from(own[12] >> 4) * 4;
                if header < TCP_HEADER || header > own.len() {
                    return;
                }
                self.ports = u16_at(own, 0).zip(u16_at(own, 2));
                self.tcp = (|| {
                    let (seq, ack) = (u32_at(own, 4)?, u32_at(own, 8)?);
                    Some(TcpView { seq, ack, flags: own[13] })
                })();
                self.payload = self.transport + header;
            }
            UDP if own.len() >= UDP_HEADER => {
                self.ports = u16_at(own, 0).zip(u16_at(own, 2));
                self.payload = self.transport + UDP_HEADER;
            }
            ICMP | ICMPV6 if own.len() >= ICMP_HEADER => {
                let echoes = if self.protocol == ICMP { [0, 8] } else { [128, 129] };
                self.echo = u16_at(own, 4).filter(|_| echoes.contains(&own[0]));
                self.payload = self.transport + ICMP_HEADER;
            }
            _ => {}
        }
    }

    /// The bytes of the payload.
    pub(super) fn payload_length(&self) -> u64 {
        (self.length - self.payload) as u64
    }

    /// How many sequence numbers a segment takes.
    pub(super) fn sequence_length(&self) -> u32 {
        let flags = self.tcp.map_or(0, |tcp| tcp.flags);
        self.payload_length() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0)
    }

    /// Is it an ICMP error, which quotes a packet?
    pub(super) fn quotes(&self, bytes: &[u8]) -> bool {
        let kind = bytes.get(self.transport).copied().unwrap_or_default();
        !self.is_later_fragment
            && match self.protocol {
                ICMP => [3, 4, 5, 11, 12].contains(&kind),
                ICMPV6 => (1..=127).contains(&kind),
                _ => false,
            }
    }

    /// Where the checksum of the transport header is, if the packet has it.
    pub(super) fn checksum(&self) -> Option<usize> {
        let at = match self.protocol {
            _ if self.is_later_fragment => return None,
            TCP if self.tcp.is_some() => 16,
            UDP if self.ports.is_some() => 6,
            ICMP | ICMPV6 => 2,
            _ => return None,
        };
        Some(self.transport + at).filter(|at| at + 2 <= self.length)
    }

    /// Where the source and the destination address start, and their length.
    pub(super) fn addresses(&self) -> (usize, usize, usize) {
        if self.is_v6 { (8, 24, 16) } else { (12, 16, 4) }
    }

    pub(super) fn source(&self, bytes: &[u8]) -> IpAddr {
        address(bytes, self.addresses().0, self.is_v6)
    }

    pub(super) fn destination(&self, bytes: &[u8]) -> IpAddr {
        address(bytes, self.addresses().1, self.is_v6)
    }
}

/// An address in a packet, of which a view says that it is there.
fn address(bytes: &[u8], at: usize, is_v6: bool) -> IpAddr {
    let mut octets = [0; 16];
    let length = if is_v6 { 16 } else { 4 };
    if let Some(own) = bytes.get(at..at + length) {
        octets[..length].copy_from_slice(own);
    }
    match is_v6 {
        true => IpAddr::V6(Ipv6Addr::from(octets)),
        false => IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
    }
}

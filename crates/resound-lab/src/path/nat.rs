//! A box that translates addresses, and forgets.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use resound_faults::StreamDirection;
use resound_faults::draws::{Draws, below, sequel};

use super::checksum::change;
use super::flows::FlowKey;
use super::made::router_address;
use super::packet::{FIN, ICMP, ICMPV6, PacketView, RST, TCP, u16_at};
use super::rule::{IdleEnd, NatTerms};

/// The connections that it knows at once; packets of further ones are dropped.
pub(super) const MOST_MAPPINGS: usize = 16_384;

/// The times of Linux's connection tracking, where the rule says nothing else.
const TCP_IDLE: Duration = Duration::from_secs(5 * 24 * 60 * 60);
const OTHER_IDLE: Duration = Duration::from_secs(180);
const CLOSED: Duration = Duration::from_secs(10);

/// The first port that a translation uses, if it changes ports.
const FIRST_PORT: u16 = 1024;

/// A connection as the far end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FarKey {
    protocol: u8,
    /// The translated port, or the identifier of an echo.
    port: u16,
    far: IpAddr,
    far_port: u16,
}

#[derive(Debug)]
struct Mapping {
    port: u16,
    last: Duration,
    /// When its timer fires; earlier timers of it are void.
    armed: (Duration, u64),
    fins: [bool; 2],
    is_reset: bool,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Translation {
    /// From this port to that one, where it is another.
    Done(Option<(u16, u16)>),
    /// It is dropped: why.
    Refused(&'static str),
}

/// A connection that is to be forgotten, and whether its ends receive a RST.
#[derive(Debug)]
pub(super) struct Expired {
    pub(super) key: FlowKey,
    pub(super) resets: bool,
}

#[derive(Debug)]
pub(super) struct Nat {
    terms: NatTerms,
    seed: u64,
    /// Of the rule, for draws.
    index: usize,
    mappings: HashMap<FlowKey, Mapping>,
    back: HashMap<FarKey, FlowKey>,
    timers: BTreeMap<(Duration, u64), FlowKey>,
    /// The near end's addresses, as they were last seen: what has no port goes there.
    near: [Option<IpAddr>; 2],
    made: u64,
}

impl Nat {
    pub(super) fn new(terms: NatTerms, index: usize, seed: u64) -> Self {
        Self {
            terms,
            seed,
            index,
            mappings: HashMap::new(),
            back: HashMap::new(),
            timers: BTreeMap::new(),
            near: [None; 2],
            made: 0,
        }
    }

    /// A packet leaves for the far end.
    pub(super) fn outbound(
        &mut self,
        bytes: &mut [u8],
        view: &PacketView,
        key: &FlowKey,
        now: Duration,
    ) -> Translation {
        let source = view.source(bytes);
        if !matches!(source, IpAddr::V6(address) if address.is_unicast_link_local()) {
            self.near[usize::from(view.is_v6)] = Some(source);
        }
        let outside = router_address(view.is_v6);
        if view.quotes(bytes) {
            return self.quoted(bytes, view, StreamDirection::Up, outside);
        }
        if key.addresses.is_none() {
            change(bytes, view, |bytes| put_address(bytes, view.addresses().0, outside));
            return Translation::Done(None);
        }
        let is_known = self.mappings.contains_key(key);
        if !is_known {
            if view.tcp.is_some_and(|tcp| !tcp.opens()) {
                return Translation::Refused("no connection that it remembers");
            }
            if self.mappings.len() >= MOST_MAPPINGS || !self.map(key, now) {
                return Translation::Refused("its table is full");
            }
        }
        let Some(port) = self.used(key, view, StreamDirection::Up, now) else {
            return Translation::Refused("no connection that it remembers");
        };
        change(bytes, view, |bytes| {
            put_address(bytes, view.addresses().0, outside);
            put_port(bytes, view, true, port);
        });
        Translation::Done((port != key.near_port).then_some((key.near_port, port)))
    }

    /// A packet comes from the far end.
    pub(super) fn inbound(&mut self, bytes: &mut [u8], view: &PacketView, now: Duration) -> Translation {
        if view.destination(bytes) != router_address(view.is_v6) {
            return Translation::Refused("not for its address");
        }
        let Some(near) = self.near[usize::from(view.is_v6)] else {
            return Translation::Refused("no connection that it remembers");
        };
        if view.quotes(bytes) {
            return self.quoted(bytes, view, StreamDirection::Down, near);
        }
        let Some((far_port, port)) = view.ports.or(view.echo.map(|echo| (echo, echo))) else {
            change(bytes, view, |bytes| put_address(bytes, view.addresses().1, near));
            return Translation::Done(None);
        };
        let far_port = if view.echo.is_some() { 0 } else { far_port };
        let far = FarKey { protocol: view.protocol, port, far: view.source(bytes), far_port };
        let Some(key) = self.back.get(&far).copied() else {
            return Translation::Refused("no connection that it remembers");
        };
        self.used(&key, view, StreamDirection::Down, now);
        let near = key.addresses.map_or(near, |(near, _)| near);
        change(bytes, view, |bytes| {
            put_address(bytes, view.addresses().1, near);
            put_port(bytes, view, false, key.near_port);
        });
        Translation::Done((port != key.near_port).then_some((port, key.near_port)))
    }

    /// An ICMP error: what it quotes is translated as well. `address` is the new source (up) or
    /// destination (down) of the message, and the other one of what it quotes.
    fn quoted(
        &mut self,
        bytes: &mut [u8],
        view: &PacketView,
        direction: StreamDirection,
        address: IpAddr,
    ) -> Translation {
        let unknown = Translation::Refused("an ICMP error of no connection that it remembers");
        let start = view.transport + 8;
        let Some(inner) = bytes.get(start..view.length).and_then(PacketView::of_quoted) else { return unknown };
        let quoted = &bytes[start..view.length];
        let Some((from, to)) = (match inner.echo {
            Some(echo) => Some((echo, echo)),
            None => u16_at(quoted, inner.transport).zip(u16_at(quoted, inner.transport + 2)),
        }) else {
            return unknown;
        };
        let (source, destination) = (inner.source(quoted), inner.destination(quoted));
        let is_up = direction == StreamDirection::Up;
        // Up, the quoted packet had come down; down, it had gone up and was translated.
        let found = if is_up {
            let key = FlowKey {
                protocol: inner.protocol,
                addresses: Some((destination, source)),
                near_port: to,
                far_port: from,
            };
            self.mappings.get(&key).map(|mapping| (mapping.port, address))
        } else {
            let far_port = if inner.echo.is_some() { 0 } else { to };
            let far = FarKey { protocol: inner.protocol, port: from, far: destination, far_port };
            let near = |key: &FlowKey| (key.near_port, key.addresses.map_or(address, |(near, _)| near));
            self.back.get(&far).map(near)
        };
        let Some((port, own)) = found else { return unknown };
        let (outer_at, inner_at) = match is_up {
            true => (view.addresses().0, inner.addresses().1),
            false => (view.addresses().1, inner.addresses().0),
        };
        change(bytes, view, |bytes| {
            put_address(bytes, outer_at, own);
            change(&mut bytes[start..view.length], &inner, |quoted| {
                put_address(quoted, inner_at, own);
                put_port(quoted, &inner, !is_up, port);
            });
        });
        Translation::Done(None)
    }

    /// Makes a mapping; false where no port is left.
    fn map(&mut self, key: &FlowKey, now: Duration) -> bool {
        let Some((_, far)) = key.addresses else { return false };
        self.made += 1;
        let far_port = far_port(key);
        let bits = Draws { seed: self.seed, number: u64::from(key.protocol) }.bits(None, self.index, self.made);
        let many = u64::from(u16::MAX - FIRST_PORT) + 1;
        let wanted = match self.terms.changes_ports {
            true => FIRST_PORT + below(sequel(bits, 0), many) as u16,
            false => key.near_port,
        };
        let taken = |port: u16| {
            let is_kept = self.terms.changes_ports && port == key.near_port;
            is_kept || self.back.contains_key(&FarKey { protocol: key.protocol, port, far, far_port })
        };
        let candidates = (0..u32::from(u16::MAX)).map(|step| {
            let port = u32::from(wanted) + step;
            if port > u32::from(u16::MAX) { (port - many as u32) as u16 } else { port as u16 }
        });
        let Some(port) = candidates.take(MOST_MAPPINGS + 2).find(|port| !taken(*port)) else { return false };
        self.back.insert(FarKey { protocol: key.protocol, port, far, far_port }, *key);
        let mut mapping = Mapping { port, last: now, armed: (now, self.made), fins: [false; 2], is_reset: false };
        mapping.armed.0 = mapping.deadline(self.terms, key.protocol);
        self.timers.insert(mapping.armed, *key);
        self.mappings.insert(*key, mapping);
        true
    }

    /// Takes note of a packet; the mapping's port.
    fn used(&mut self, key: &FlowKey, view: &PacketView, direction: StreamDirection, now: Duration) -> Option<u16> {
        let terms = self.terms;
        let mapping = self.mappings.get_mut(key)?;
        mapping.last = now;
        if let Some(tcp) = view.tcp {
            if tcp.opens() && direction == StreamDirection::Up && mapping.is_closed() {
                (mapping.fins, mapping.is_reset) = ([false; 2], false);
            }
            mapping.fins[direction as usize] |= tcp.has(FIN);
            mapping.is_reset |= tcp.has(RST);
        }
        // A timer that fires too early is armed anew; only one that would fire too late matters.
        let deadline = mapping.deadline(terms, key.protocol);
        if deadline < mapping.armed.0 {
            mapping.armed.0 = deadline;
            self.timers.insert(mapping.armed, *key);
        }
        Some(mapping.port)
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.timers.first_key_value().map(|((time, _), _)| *time)
    }

    /// One connection whose time has come; [`remove`](Self::remove) forgets it.
    pub(super) fn expired(&mut self, now: Duration) -> Option<Expired> {
        while let Some(((time, number), key)) = self.timers.first_key_value().map(|(place, key)| (*place, *key)) {
            if time > now {
                return None;
            }
            self.timers.pop_first();
            let Some(mapping) = self.mappings.get_mut(&key).filter(|mapping| mapping.armed == (time, number)) else {
                continue;
            };
            let deadline = mapping.deadline(self.terms, key.protocol);
            if deadline <= now {
                let is_told = matches!(self.terms.idle, Some((_, IdleEnd::Reset)));
                return Some(Expired { key, resets: is_told && key.protocol == TCP && !mapping.is_closed() });
            }
            mapping.armed.0 = deadline;
            self.timers.insert(mapping.armed, key);
        }
        None
    }

    pub(super) fn remove(&mut self, key: &FlowKey) {
        if let (Some(mapping), Some((_, far))) = (self.mappings.remove(key), key.addresses) {
            let far_port = far_port(key);
            self.back.remove(&FarKey { protocol: key.protocol, port: mapping.port, far, far_port });
        }
    }
}

impl Mapping {
    fn is_closed(&self) -> bool {
        self.is_reset || self.fins == [true; 2]
    }

    fn deadline(&self, terms: NatTerms, protocol: u8) -> Duration {
        let idle = terms.idle.map(|(time, _)| time);
        let usual = idle.unwrap_or(if protocol == TCP { TCP_IDLE } else { OTHER_IDLE });
        let time = if self.is_closed() {
            CLOSED.min(usual)
        } else if self.fins.contains(&true) {
            terms.half_closed_idle.unwrap_or(usual)
        } else {
            usual
        };
        self.last.saturating_add(time)
    }
}

/// An echo has an identifier, and no port of the far end.
fn far_port(key: &FlowKey) -> u16 {
    if [ICMP, ICMPV6].contains(&key.protocol) { 0 } else { key.far_port }
}

fn put_address(bytes: &mut [u8], at: usize, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes[at..at + 4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes[at..at + 16].copy_from_slice(&address.octets()),
    }
}

/// The port from or to, or the identifier of an echo.
fn put_port(bytes: &mut [u8], view: &PacketView, is_source: bool, port: u16) {
    let at = match (view.echo, is_source) {
        (Some(_), _) => 4,
        (None, true) => 0,
        (None, false) => 2,
    };
    if let Some(field) = bytes.get_mut(view.transport + at..view.transport + at + 2) {
        field.copy_from_slice(&port.to_be_bytes());
    }
}

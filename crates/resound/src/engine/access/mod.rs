//! [`Access`]: which peers may connect, how many connections each may have, and how often each may
//! connect.
//!
//! The rules apply right after accept(2), before a connection has cost anything but its descriptor;
//! behind a proxy once its header has named the client.

mod control;
mod list;
mod rate;
mod sources;

use std::num::NonZeroU32;

use ipnet::IpNet;

pub(crate) use control::AccessControl;
pub use rate::ConnectRate;

use self::list::AccessList;

/// Which peers may connect. The server resets a refused connection at once, counts it
/// ([`Totals::refused`](crate::Totals::refused)) and logs it, at most once a second.
///
/// The rules concern the peer's address, or behind proxies the client's
/// ([`Access::behind_proxies`]). Every peer of a unix socket may connect: the file's mode restricts
/// those.
///
/// ```
/// use resound::server::{Access, ConnectRate};
///
/// let access = Access::new()
///     .allow("10.0.0.0/8".parse().unwrap())
///     .deny("10.66.0.0/16".parse().unwrap())
///     .max_per_ip(100.try_into().unwrap())
///     .connect_rate(ConnectRate::per_second(20.try_into().unwrap()));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Access {
    list: AccessList,
    max_per_ip: Option<NonZeroU32>,
    connect_rate: Option<ConnectRate>,
    behind_proxies: bool,
}

impl Access {
    /// No rules: every peer may connect, as often as it likes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows a network. The longest prefix that contains an address decides; of two equally long
    /// ones the one that denies. An address in no network may connect unless the list allows any
    /// network.
    ///
    /// IPv4 written as IPv6 (`::ffff:10.0.0.0/104`) is IPv4. No other network of IPv6 contains an
    /// IPv4 address, `::/0` included.
    pub fn allow(mut self, network: IpNet) -> Self {
        self.list.add(network, true);
        self
    }

    /// Denies a network, by the same rule as [`Access::allow`].
    pub fn deny(mut self, network: IpNet) -> Self {
        self.list.add(network, false);
        self
    }

    /// How many connections one source may have at once. A source is one IPv4 address, or one IPv6
    /// network of 64 bits, which one host or site usually has to itself.
    pub fn max_per_ip(mut self, most: NonZeroU32) -> Self {
        self.max_per_ip = Some(most);
        self
    }

    /// How often one source, as in [`Access::max_per_ip`], may connect.
    pub fn connect_rate(mut self, rate: ConnectRate) -> Self {
        self.connect_rate = Some(rate);
        self
    }

    /// Applies the rules to the clients that PROXY headers name
    /// ([`Proxies`](crate::proxy::Proxies)), once the server has read the header, and not to the
    /// proxies, which need only be trusted. A connection that is refused then was accepted, and
    /// ends unopened ([`CloseReason::Refused`](crate::CloseReason::Refused)).
    ///
    /// The proxy's own connections (`LOCAL`) are always allowed. For a connection whose client the
    /// proxy does not know (`UNKNOWN`), and for one without a header, the peer's own address
    /// counts.
    pub fn behind_proxies(mut self) -> Self {
        self.behind_proxies = true;
        self
    }

    /// Whether an address that no network in the list contains may connect.
    #[must_use]
    pub fn admits_unlisted(&self) -> bool {
        !self.list.allows_any()
    }

    /// Whether one source has a limit on its rate of connections, or on their number.
    #[must_use]
    pub fn limits_sources(&self) -> bool {
        self.max_per_ip.is_some() || self.connect_rate.is_some()
    }

    /// Are there no rules?
    pub(crate) fn is_open(&self) -> bool {
        self.list.is_empty() && self.max_per_ip.is_none() && self.connect_rate.is_none()
    }
}

//! Access: who may connect, how many at once, and how often. Decided right after accept(2), before a connection has cost anything but its
//! descriptor; behind a proxy once it is known who the client is.

mod admission;
mod control;
mod list;
mod rate;
mod sources;

use std::num::NonZeroU32;

use ipnet::IpNet;

pub(crate) use admission::Admission;
pub(crate) use control::AccessControl;
pub use rate::ConnectRate;
pub(crate) use sources::{SourceIndex, SourcePermit};

use self::list::AccessList;

/// Who may connect. What it refuses is reset at once, counted ([`Totals::refused`](crate::Totals::refused)) and, in bounded amount, logged.
///
/// It looks at the transport's far end, unless it is told that this is a proxy ([`Access::behind_proxies`]). Whoever comes over a unix socket is
/// let in: the file's mode says who that is.
///
/// ```
/// use resound::{Access, ConnectRate};
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
    networks: AccessList,
    max_per_ip: Option<NonZeroU32>,
    connect_rate: Option<ConnectRate>,
    behind_proxies: bool,
}

impl Access {
    /// Everybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets these addresses in. The longest prefix that holds an address decides, and of two that are equally long the one that denies.
    /// Where none holds it, it is let in unless anything is allowed.
    ///
    /// IPv4 written as IPv6 (`::ffff:10.0.0.0/104`) is IPv4. No other network of IPv6 holds an IPv4
    /// address, `::/0` included.
    pub fn allow(mut self, network: IpNet) -> Self {
        self.networks.add(network, true);
        self
    }

    /// Keeps these addresses out, by the same rule as [`Access::allow`].
    pub fn deny(mut self, network: IpNet) -> Self {
        self.networks.add(network, false);
        self
    }

    /// How many connections one source may have at once: one IPv4 address, or one IPv6 network of 64 bits, which is what one host or site
    /// usually has to itself.
    pub fn max_per_ip(mut self, most: NonZeroU32) -> Self {
        self.max_per_ip = Some(most);
        self
    }

    /// How often one source, as in [`Access::max_per_ip`], may connect.
    pub fn connect_rate(mut self, rate: ConnectRate) -> Self {
        self.connect_rate = Some(rate);
        self
    }

    /// Looks at the clients that PROXY headers name ([`Proxies`](crate::proxy::Proxies)), once they have been read, and not at the proxies, which need
    /// only be believed. Who is refused then has been accepted, and ends unopened
    /// ([`CloseReason::Refused`](crate::CloseReason::Refused)).
    ///
    /// A connection of the proxy's own (`LOCAL`) is let in. Of one whose client the proxy does not know (`UNKNOWN`), and of one that no header comes
    /// before, it is the transport's far end that counts.
    pub fn behind_proxies(mut self) -> Self {
        self.behind_proxies = true;
        self
    }

    /// May addresses come in that nobody has named?
    #[must_use]
    pub fn admits_strangers(&self) -> bool {
        !self.networks.are_listed()
    }

    /// Does it let in everybody, always?
    pub(crate) fn is_open(&self) -> bool {
        self.networks.is_empty() && self.max_per_ip.is_none() && self.connect_rate.is_none()
    }
}

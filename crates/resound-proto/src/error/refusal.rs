//! [`Refusal`]: why an address may not connect.

use std::fmt;

/// Why a connection was refused (`resound::server::Access`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Its address is denied, or not allowed.
    Denied,
    /// Its source has as many connections as one source may have.
    MaxPerIp,
    /// Its source connects too often.
    ConnectRate,
}

impl Refusal {
    /// Names fit for a metric's label, in the order of the variants.
    pub const NAMES: &'static [&'static str] = &["denied", "max_per_ip", "connect_rate"];
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "it is not allowed to connect",
            Self::MaxPerIp => "it has as many connections as it may",
            Self::ConnectRate => "it connects too often",
        })
    }
}

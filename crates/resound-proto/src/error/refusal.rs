//! [`Refusal`]: why an address may not connect.

/// Why a connection was refused (`resound::server::Access`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Its address is denied, or not allowed.
    #[error("it is not allowed to connect")]
    Denied,
    /// Its source has as many connections as one source may have.
    #[error("it has as many connections as one source may have")]
    MaxPerIp,
    /// Its source connects too often.
    #[error("it connects too often")]
    ConnectRate,
}

impl Refusal {
    /// Names fit for a metric's label, in the order of the variants.
    pub const NAMES: &'static [&'static str] = &["denied", "max_per_ip", "connect_rate"];
}

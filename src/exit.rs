//! The exit codes of the program; docs/exit-codes.md explains them.

/// A network failure.
pub(crate) const NETWORK: u8 = 1;
/// Wrong usage, or an environment that does not allow the command.
pub(crate) const USAGE: u8 = 2;
/// A check failed.
pub(crate) const VERDICT: u8 = 3;
/// Nothing failed, but the run cannot answer one of the questions asked.
pub(crate) const CANNOT_TELL: u8 = 4;
/// A signal ended the command early.
pub(crate) const SIGNAL: u8 = 130;

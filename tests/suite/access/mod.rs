//! Which peers may connect, how many at once, how often.

#[cfg(unix)]
pub(crate) mod program;
mod rules;

//! Which peers may connect, how many at once, how often.

mod live;
#[cfg(unix)]
pub(crate) mod program;
mod rules;

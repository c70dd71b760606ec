//! `resound client` and `resound test`.

pub(crate) mod basics;
#[cfg(unix)]
mod commands;
pub(crate) mod connecting;
#[cfg(unix)]
pub(crate) mod interactive;
pub(crate) mod pipe;
#[cfg(unix)]
mod resets;
#[cfg(unix)]
mod resizing;

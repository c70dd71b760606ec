//! All of the crate's `unsafe`: what the kernel reads and writes behind the compiler's back.
//!
//! The rest of the crate sees safe types. What makes them so: memory that the kernel may touch belongs to the [`Ring`] while it may (a
//! [`SendBytes`] until its send has completed, a buffer of a `BufferPool` until the kernel has said which part of it it has filled), and
//! [`Ring::with`] frees it only behind the last completion.

mod ask;
mod bytes;
mod done;
mod faults;
mod memory;
mod pool;
mod ring;
mod setup;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use ask::{bind_address_no_port, peer_name, processor_time, tcp_info, unacknowledged, watch, watch_socket};
pub(crate) use bytes::{Received, SendBytes};
pub(crate) use done::{Done, SendBlocking, Wait};
pub(crate) use memory::Pages;
pub(crate) use ring::Ring;
pub(crate) use setup::Setup;
pub(crate) use tokens::Key;

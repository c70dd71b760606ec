//! All `unsafe` code of the crate: memory that the kernel reads and writes, and calls without a
//! safe wrapper.
//!
//! The rest of the crate sees safe types. Memory that the kernel may touch belongs to the [`Ring`]:
//! a [`SendBytes`] until its send has completed, a part of a `BufferPool` until the kernel has
//! filled it. [`Ring::with`] frees it only after the last completion.

mod ask;
mod bytes;
mod done;
mod faults;
mod memory;
mod pool;
mod pools;
mod ring;
mod setup;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use ask::{
    bind_address_no_port, peer_name, processor_time, save_syns, saved_syn, tcp_info, timestamp_clock, unacknowledged,
    watch,
};
pub(crate) use bytes::{Received, SendBytes};
pub(crate) use done::{BufferKind, Done, SendBlocking, Wait};
pub(crate) use memory::Pages;
pub(crate) use ring::Ring;
pub(crate) use setup::Setup;
pub(crate) use tokens::Key;

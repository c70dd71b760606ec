//! HOW it moves: [`Server`], [`Handle`], listening, dialling, and the engines that drive a [`Conn`](crate::Conn).
//!
//! An engine owns sockets, clocks and threads, and knows nothing of what is said on them. Engines never import each other.

mod accept;
mod address;
mod descriptors;
mod dial;
mod listener;
mod portable;
mod recorder;
mod room;
mod server;
mod shared;
mod socket;
mod stream;
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "memory that the kernel reads and writes, and calls that nobody has wrapped; all of it is in this room"
)]
mod sys;
mod tcp_info;
mod threads;
#[cfg(target_os = "linux")]
mod uring;

pub use address::{Address, Family};
pub use descriptors::raise_descriptor_limit;
pub use dial::{Dial, dial};
pub use listener::Listener;
pub use server::{Handle, MAX_WORKERS, Server};
pub use stream::Stream;
pub use tcp_info::TcpInfo;

/// Which engine moves the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// The io_uring engine where the system allows it, the portable one elsewhere. [`Handle::engine`] says which it became, and
    /// [`Handle::refusal`] why.
    #[default]
    Auto,
    /// io_uring: one ring per worker, in which a batch of messages costs one call. Linux 6.1 and later.
    Uring,
    /// tokio: one current-thread runtime per worker, one task per connection.
    Portable,
    /// The reference: one blocking thread per connection, in about a hundred lines of the standard library.
    Threads,
}

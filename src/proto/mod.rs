//! HOW it is said: [`Conn`], the connection as a state machine without I/O, and its [`Limits`].
//!
//! Nothing here holds a socket, a clock or a thread. Time is an argument; bytes are slices; an engine does the rest.

mod conn;
mod delivery;
mod first_bytes;
mod framing;
mod handshake;
mod input_queue;
mod limits;
mod observer;
mod ordered;
pub mod proxy;
mod silence;
mod tls;
mod verdict;

pub use conn::Conn;
pub(crate) use handshake::MakeService;
pub use handshake::{Handshake, HeaderProgress, ProxyHeader};
pub use limits::Limits;
pub use observer::{Closed, Observer};
pub(crate) use tls::agreed;
pub use verdict::{Then, Verdict};

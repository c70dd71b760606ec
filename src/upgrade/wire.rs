//! What two processes say to each other when one replaces the other.
//!
//! Over a socket that the new process inherits: the old one begins with a line of JSON, a list of
//! [`PassedListeners`]. The new one names each unix socket that it is about to bind, in lines that
//! begin with [`BINDS`]: if it is killed, the old one removes what it has left. Then the new one
//! says [`READY`], the old one stops accepting and says [`SERVE`], the new one accepts and says
//! [`SERVING`], and the old one says [`REPLACED`]. An end of the stream before that means that the
//! other process goes on alone.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The process that has started the new one, and the descriptor of the socket to it.
pub(super) const VARIABLE: &str = "_RESOUND_UPGRADE";

/// Before a path, as a string of JSON.
pub(super) const BINDS: &str = "binds ";
pub(super) const READY: &[u8] = b"ready\n";
pub(super) const SERVE: &[u8] = b"serve\n";
pub(super) const SERVING: &[u8] = b"serving\n";
pub(super) const REPLACED: &[u8] = b"replaced\n";

/// The most bytes of a line.
pub(super) const LONGEST: usize = 1024 * 1024;

/// Listening sockets that are passed on.
#[derive(Serialize, Deserialize)]
pub(super) struct PassedListeners {
    /// The address as it was typed.
    pub(super) key: String,
    /// Their numbers in the new process.
    pub(super) descriptors: Vec<i32>,
    /// The file of a unix socket that the old process would remove at its end.
    pub(super) file: Option<PathBuf>,
}

//! [`ReceiveBuffer`]: the buffer that one connection reads into.

use std::ops::{Deref, DerefMut};

#[cfg(target_os = "linux")]
use crate::engine::sys::Pages;

/// One read. Not more: an answer that the peer does not take waits in memory, and there may be
/// thousands of such peers.
const WIRE: usize = 32 * 1024;

/// A connection's own buffer. Only the part that was read into costs memory, until it is given
/// back.
pub(super) struct ReceiveBuffer {
    #[cfg(target_os = "linux")]
    bytes: Pages,
    #[cfg(not(target_os = "linux"))]
    bytes: Vec<u8>,
}

impl ReceiveBuffer {
    pub(super) fn new() -> std::io::Result<Self> {
        #[cfg(target_os = "linux")]
        return Pages::new(WIRE).map(|bytes| Self { bytes });
        #[cfg(not(target_os = "linux"))]
        Ok(Self { bytes: vec![0; WIRE] })
    }

    /// Gives the memory back: its contents are not needed, and nothing may arrive for long.
    pub(super) fn give_back(&mut self) {
        #[cfg(target_os = "linux")]
        self.bytes.give_back();
    }
}

impl Deref for ReceiveBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for ReceiveBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

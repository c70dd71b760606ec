//! Where one connection at a time works: what the connections of a worker share.

use std::time::Instant;

use super::timers::Timers;
use crate::engine::recorder::Recorder;
use crate::engine::sys::{Key, Ring};

/// What a long answer may leave behind in the worker's output buffer.
const OUT_KEPT: usize = 1024 * 1024;
/// Output buffers that are kept for the next answers, and how large they may be.
const SPARES: usize = 64;
const SPARE: usize = 4 * 1024;

pub(super) struct WorkerContext<'a, 'r> {
    pub(super) ring: &'a mut Ring<'r>,
    pub(super) now: Instant,
    pub(super) out: Vec<u8>,
    pub(super) recorder: Recorder,
    pub(super) timers: Timers,
    /// Who waits for a buffer to receive into.
    pub(super) starved: Vec<Key>,
    spares: Vec<Vec<u8>>,
    /// What connections read into that read by themselves. Owns memory only where there are such.
    pub(super) wire: Vec<u8>,
}

impl<'a, 'r> WorkerContext<'a, 'r> {
    pub(super) fn new(ring: &'a mut Ring<'r>, recorder: Recorder) -> Self {
        Self {
            ring,
            now: Instant::now(),
            out: Vec::new(),
            recorder,
            timers: Timers::default(),
            starved: Vec::new(),
            spares: Vec::new(),
            wire: Vec::new(),
        }
    }

    /// What is in `out` is to be sent: its memory goes with it, and another takes its place.
    pub(super) fn take_out(&mut self) -> Vec<u8> {
        if self.out.capacity() > SPARE.max(2 * self.out.len()) {
            // What somebody's long answer has left is not to wait with this short one.
            let bytes = self.out.clone();
            self.out.clear();
            return bytes;
        }
        std::mem::replace(&mut self.out, self.spares.pop().unwrap_or_default())
    }

    /// Takes back what was sent.
    pub(super) fn spare(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SPARE && self.spares.len() < SPARES {
            bytes.clear();
            self.spares.push(bytes);
        }
    }

    pub(super) fn tidy(&mut self) {
        self.out.clear();
        self.out.shrink_to(OUT_KEPT);
    }
}

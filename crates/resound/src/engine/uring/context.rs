//! What the connections of a worker share.

use std::collections::VecDeque;
use std::rc::Rc;

use resound_proto::ConnId;

use super::timers::Timers;
use crate::engine::driver::DriverContext;
use crate::engine::local::LocalWakes;
use crate::engine::recorder::Recorder;
use crate::engine::sys::{BufferKind, Key, Received, Ring};

/// Memory that a long answer may leave behind in the worker's output buffer.
const OUT_KEPT: usize = 1024 * 1024;
/// Output buffers that are kept for the next answers, and the most memory of each.
const SPARES: usize = 64;
const SPARE: usize = 4 * 1024;

/// What one connection at a time uses.
pub(super) struct WorkerContext<'a, 'r> {
    pub(super) ring: &'a mut Ring<'r>,
    pub(super) driver: DriverContext,
    pub(super) timers: Timers,
    /// Connections that wait for a buffer to receive into, in order.
    pub(super) starved: VecDeque<Key>,
    /// Of a relay.
    pub(super) wakes: Option<Rc<LocalWakes>>,
    /// What connections have lent to their partners, in order.
    pub(super) lent: VecDeque<LentPart>,
    spares: Vec<Vec<u8>>,
    /// The buffer of connections that read by themselves. Owns memory only if there are such.
    pub(super) wire: Vec<u8>,
}

/// What one connection has received, for another one to send.
pub(super) struct LentPart {
    pub(super) to: ConnId,
    pub(super) part: Received,
}

impl<'a, 'r> WorkerContext<'a, 'r> {
    pub(super) fn new(ring: &'a mut Ring<'r>, recorder: Recorder) -> Self {
        Self {
            ring,
            driver: DriverContext::new(recorder, OUT_KEPT),
            timers: Timers::default(),
            starved: VecDeque::new(),
            wakes: None,
            lent: VecDeque::new(),
            spares: Vec::new(),
            wire: Vec::new(),
        }
    }

    /// These connections still wait for a buffer. They come before those that have joined since,
    /// and one more buffer is provided for them.
    pub(super) fn keep_waiting(&mut self, mut waiting: VecDeque<Key>) {
        if !waiting.is_empty() {
            self.ring.add_buffer(BufferKind::SingleShot);
        }
        waiting.append(&mut self.starved);
        self.starved = waiting;
    }

    /// Takes the output with its memory; another buffer takes its place.
    pub(super) fn take_out(&mut self) -> Vec<u8> {
        let out = &mut self.driver.out;
        if out.capacity() > SPARE.max(2 * out.len()) {
            // The memory of an earlier, long answer is not to wait with this short one.
            let bytes = out.clone();
            out.clear();
            return bytes;
        }
        std::mem::replace(out, self.spares.pop().unwrap_or_default())
    }

    /// Keeps the memory of an answer that was sent.
    pub(super) fn reuse(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SPARE && self.spares.len() < SPARES {
            bytes.clear();
            self.spares.push(bytes);
        }
    }
}

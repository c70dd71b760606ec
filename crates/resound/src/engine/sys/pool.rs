//! Buffers that the kernel receives into. Many connections share each of them.
//!
//! Lifecycle of one buffer: *not in use* until the pool grows → *provided* (the kernel fills it
//! from the front, a receive at a time, and the engine gets each part as a [`Lease`]) → *used up*
//! (the kernel has filled it) → the last lease is dropped → *provided* again.

use std::cell::Cell;
use std::io;
use std::mem::size_of;
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{Submitter, cqueue};

use super::memory::Memory;

/// `IOU_PBUF_RING_INC`: a receive uses up only the part of a buffer that it fills. Linux 6.12.
const INCREMENTAL: u16 = 2;
/// Bytes in the buffers that are in use from the start.
const FIRST_BYTES: usize = 64 * 1024;
/// There are never fewer than these.
const FIRST_BUFFERS: u16 = 2;

fn first_buffers(size: usize) -> u16 {
    FIRST_BUFFERS.max((FIRST_BYTES / size) as u16)
}

/// One group of provided buffers.
pub(super) struct BufferPool(Rc<PoolState>);

/// Each lease holds it too, so the memory outlives the last lease.
struct PoolState {
    /// Read by the kernel: the buffers that it may fill.
    ring: Memory,
    /// Written by the kernel.
    bytes: Memory,
    size: usize,
    incremental: bool,
    tail: Cell<u16>,
    buffers: Box<[Buffer]>,
    /// The number of buffers that the kernel may fill.
    provided: Cell<usize>,
    /// The number of buffers that have been provided at least once.
    started: Cell<u16>,
    /// In this turn.
    has_grown: Cell<bool>,
}

#[derive(Default)]
struct Buffer {
    /// The kernel may still fill the part after `used`.
    provided: Cell<bool>,
    used: Cell<usize>,
    leases: Cell<usize>,
}

/// A part of a buffer that the kernel has filled. Dropping the last lease of a used-up buffer
/// provides the buffer again.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Rc<PoolState>,
    buffer: u16,
    at: u32,
    len: u32,
}

impl BufferPool {
    /// `count` buffers (a power of two) of `size` bytes, given to the kernel as `group`. Only the
    /// first few of them are in use until a receive finds none: the fewer they are, the sooner each
    /// is used again, and its memory is still in the cache.
    ///
    /// # Safety
    /// No receive into the pool may be in flight on the ring of `submitter` when the last of the
    /// pool and its leases is dropped.
    pub(super) unsafe fn new(
        submitter: &Submitter<'_>,
        group: u16,
        count: u16,
        size: usize,
        incremental: bool,
    ) -> io::Result<Self> {
        let ring = Memory::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let bytes = Memory::new(usize::from(count) * size)?;
        let flags = if incremental { INCREMENTAL } else { 0 };
        // SAFETY: the memory is page-aligned and large enough for `count` entries. The caller keeps
        // it alive.
        unsafe { submitter.register_buf_ring_with_flags(ring.start() as u64, count, group, flags)? };
        let shared = PoolState {
            ring,
            bytes,
            size,
            incremental,
            tail: Cell::new(0),
            buffers: (0..count).map(|_| Buffer::default()).collect(),
            provided: Cell::new(0),
            started: Cell::new(0),
            has_grown: Cell::new(false),
        };
        let pool = Self(Rc::new(shared));
        (0..first_buffers(size)).for_each(|_| pool.0.start_next());
        Ok(pool)
    }

    /// A receive has found no buffer: one more is provided, unless all are in use. One in each
    /// turn: in a burst many receives find none.
    pub(super) fn grow(&self) {
        if !self.0.has_grown.replace(true) {
            self.0.start_next();
        }
    }

    /// A turn begins: the pool may grow again.
    pub(super) fn begin_turn(&self) {
        self.0.has_grown.set(false);
    }

    /// Whether only the first buffers are in use.
    pub(super) fn is_small(&self) -> bool {
        self.0.started.get() <= first_buffers(self.0.size)
    }

    /// The part of a buffer that a completion with these flags has filled with `n` bytes. To be
    /// called in the order of completion.
    pub(super) fn take(&self, flags: u32, n: usize) -> Option<Lease> {
        let id = cqueue::buffer_select(flags)?;
        let buffer = self.0.buffers.get(usize::from(id))?;
        let at = buffer.used.get();
        assert!(buffer.provided.get() && n <= self.0.size - at, "the kernel fills provided buffers only");
        buffer.used.set(at + n);
        buffer.leases.set(buffer.leases.get() + 1);
        if !(self.0.incremental && cqueue::buffer_more(flags)) {
            buffer.provided.set(false);
            self.0.provided.set(self.0.provided.get() - 1);
        }
        Some(Lease { pool: Rc::clone(&self.0), buffer: id, at: at as u32, len: n as u32 })
    }

    /// The number of buffers that the kernel may fill.
    pub(super) fn provided(&self) -> usize {
        self.0.provided.get()
    }

    /// Never frees the memory: the kernel may still write to it.
    pub(super) fn leak(&self) {
        std::mem::forget(Rc::clone(&self.0));
    }
}

impl PoolState {
    /// Provides a buffer for the first time.
    fn start_next(&self) {
        let next = self.started.get();
        if usize::from(next) < self.buffers.len() {
            self.started.set(next + 1);
            self.provide(next);
        }
    }

    fn provide(&self, id: u16) {
        let buffer = &self.buffers[usize::from(id)];
        buffer.used.set(0);
        buffer.provided.set(true);
        self.provided.set(self.provided.get() + 1);
        let tail = self.tail.get();
        let place = usize::from(tail) & (self.buffers.len() - 1);
        let first = self.ring.start().cast::<BufRingEntry>();
        // SAFETY: the place is within the ring, and the kernel reads it only after the new tail is
        // stored. Entries are plain integers, and the tail lies in a part of the first entry that
        // its setters do not write.
        unsafe {
            let entry = &mut *first.add(place);
            entry.set_addr(self.bytes.start().add(usize::from(id) * self.size) as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
            let tail_in_memory = &*BufRingEntry::tail(first).cast::<AtomicU16>();
            tail_in_memory.store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
    }
}

impl std::fmt::Debug for PoolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("size", &self.size).field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Lease {
    fn start(&self) -> NonNull<u8> {
        let at = usize::from(self.buffer) * self.pool.size + self.at as usize;
        debug_assert!(at + self.len as usize <= self.pool.bytes.len());
        // SAFETY: `BufferPool::take` has checked that the part lies within its buffer, which lies
        // within the memory.
        unsafe { NonNull::new_unchecked(self.pool.bytes.start().add(at)) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: initialised (by the mapping, then by the kernel); the kernel writes only after
        // `used`, and no other lease has this part.
        unsafe { std::slice::from_raw_parts(self.start().as_ptr(), self.len()) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; leases of one buffer never overlap.
        unsafe { std::slice::from_raw_parts_mut(self.start().as_ptr(), self.len()) }
    }

    /// Returns whether the part ends with its buffer: the received bytes may go on in the next one.
    pub(super) fn is_cut(&self) -> bool {
        self.at as usize + self.len() == self.pool.size
    }

    /// Reduces the lease to a part of it.
    pub(crate) fn narrow(mut self, part: Range<usize>) -> Self {
        assert!(part.start <= part.end && part.end <= self.len());
        self.at += part.start as u32;
        self.len = part.len() as u32;
        self
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let buffer = &self.pool.buffers[usize::from(self.buffer)];
        buffer.leases.set(buffer.leases.get() - 1);
        if buffer.leases.get() == 0 && !buffer.provided.get() {
            self.pool.provide(self.buffer);
        }
    }
}

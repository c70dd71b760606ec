//! The two buffer pools of a ring.

use std::io;

use io_uring::Submitter;

use super::pool::BufferPool;
use super::setup::Setup;

/// Group and buffers of multishot receives. A receive uses up the part of a buffer that it fills.
///
/// The buffers are small and few: their contents are delivered before the next call, one connection
/// may fill all of them in one call, and memory that is reused soon is still in the cache. Bulk
/// senders are received with [`SINGLE_SHOT`].
pub(super) const MULTISHOT: u16 = 0;
const MULTISHOT_BUFFERS: u16 = 16;
const MULTISHOT_BUFFER: usize = 16 * 1024;
/// The same on kernels where each receive uses up a whole buffer.
const WHOLE_BUFFERS: u16 = 64;
const WHOLE_BUFFER: usize = 8 * 1024;
/// Group and buffers of single-shot receives. Completions of the two kinds may overtake each other,
/// so they never share a buffer.
pub(super) const SINGLE_SHOT: u16 = 1;
const SINGLE_SHOT_BUFFERS: u16 = 8;
pub(super) const SINGLE_SHOT_BUFFER: usize = 64 * 1024;

/// The pools of multishot and of single-shot receives.
///
/// # Safety
/// As [`BufferPool::new`].
pub(super) unsafe fn pools(submitter: &Submitter<'_>, setup: &Setup) -> io::Result<(BufferPool, BufferPool)> {
    let incremental = if setup.faults.no_incremental_buffers {
        Err(io::ErrorKind::Unsupported.into())
    } else {
        // SAFETY: the caller's promise.
        unsafe { BufferPool::new(submitter, MULTISHOT, MULTISHOT_BUFFERS, MULTISHOT_BUFFER, true) }
    };
    let multishot = match incremental {
        Ok(pool) => pool,
        // A kernel before 6.12.
        // SAFETY: the caller's promise.
        Err(_) => unsafe { BufferPool::new(submitter, MULTISHOT, WHOLE_BUFFERS, WHOLE_BUFFER, false)? },
    };
    // SAFETY: the caller's promise.
    let single_shot =
        unsafe { BufferPool::new(submitter, SINGLE_SHOT, SINGLE_SHOT_BUFFERS, SINGLE_SHOT_BUFFER, false)? };
    Ok((multishot, single_shot))
}

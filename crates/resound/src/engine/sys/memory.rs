use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Anonymous memory of its own pages: zeroed, at a fixed address, and taken from the system page by
/// page as it is used.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    len: usize,
}

impl Memory {
    pub(super) fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice overlaps no other memory.
        let start = unsafe {
            mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and `Ring::with` keeps it alive for as long as
        // the kernel may write to it. An error leaves the pages mapped, which is a leak and no
        // more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// A buffer of its own pages, which cost nothing until they are used.
#[derive(Debug)]
pub(crate) struct Pages(Memory);

impl Pages {
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        Memory::new(len).map(Self)
    }

    /// Gives all pages back to the system (madvise(2)): the buffer reads as zeros then.
    pub(crate) fn give_back(&mut self) {
        // SAFETY: the mapping is this value's own, private and anonymous, without another view.
        let _ = unsafe { madvise(self.0.start().cast(), self.0.len(), Advice::LinuxDontNeed) };
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is initialised, has this length, and is this value's own.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.0.start(), self.0.len()) }
    }
}

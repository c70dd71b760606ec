//! [`Slots`]: values under small numbers, which are used again.

/// Values, each under a number of its own for as long as it is here.
pub(super) struct Slots<T> {
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Keeps the value that `make` returns for its number.
    pub(super) fn insert(&mut self, make: impl FnOnce(u32) -> T) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            self.values.len() as u32 - 1
        });
        self.values[slot as usize] = Some(make(slot));
        slot
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.values.get_mut(slot as usize)?.as_mut()
    }

    /// Takes a value away for a while. Its number stays its own until [`Slots::free`].
    pub(super) fn take(&mut self, slot: u32) -> Option<T> {
        self.values.get_mut(slot as usize)?.take()
    }

    /// Puts a value back that was taken.
    pub(super) fn put_back(&mut self, slot: u32, value: T) {
        self.values[slot as usize] = Some(value);
    }

    /// Gives up the number of a value that was taken.
    pub(super) fn free(&mut self, slot: u32) {
        self.free.push(slot);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.values.len()
    }

    /// One past the highest number so far.
    pub(super) fn end(&self) -> u32 {
        self.values.len() as u32
    }
}

//! The connections of one worker, by slot.

use std::collections::HashMap;

use resound_proto::ConnId;

use super::link::Link;
use crate::engine::rows::{ROWS, RowBatch};
use crate::engine::sys::Key;

/// Slots, free ones included, that one batch of rows looks at.
const SLOTS: usize = 64 * ROWS;

/// Slots are reused, each time with another generation of the key.
#[derive(Default)]
pub(super) struct Links {
    slots: Vec<LinkSlot>,
    free: Vec<u32>,
    /// For wake-ups from other threads.
    by_id: HashMap<ConnId, Key>,
}

struct LinkSlot {
    key: Key,
    link: Option<Box<Link>>,
}

impl Links {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn insert(&mut self, id: ConnId, link: impl FnOnce(Key) -> Link) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.slots.len() as u32;
            self.slots.push(LinkSlot { key: Key::first(slot), link: None });
            slot
        });
        let key = self.slots[slot as usize].key;
        self.slots[slot as usize].link = Some(Box::new(link(key)));
        self.by_id.insert(id, key);
        key
    }

    /// The connection behind a key, unless it has ended.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Link> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.key != key {
            return None;
        }
        slot.link.as_deref_mut()
    }

    pub(super) fn find(&self, id: ConnId) -> Option<Key> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.by_id.values().copied().collect()
    }

    /// Some connections, from this slot on.
    pub(super) fn rows(&self, worker: usize, from: u64) -> RowBatch {
        let mut batch = RowBatch::default();
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.slots.len());
        for (at, slot) in self.slots.iter().enumerate().skip(from).take(SLOTS) {
            if let Some(link) = slot.link.as_ref().filter(|link| !link.is_over()) {
                batch.rows.push(link.row(worker));
            }
            batch.next = (at + 1 < self.slots.len()).then_some(at as u64 + 1);
            if batch.rows.len() >= ROWS {
                break;
            }
        }
        batch
    }

    /// Removes a connection. Its key denotes no connection from now on.
    pub(super) fn remove(&mut self, key: Key) -> Option<Box<Link>> {
        let slot = self.slots.get_mut(key.slot as usize).filter(|slot| slot.key == key)?;
        let link = slot.link.take()?;
        slot.key = key.next();
        self.free.push(key.slot);
        self.by_id.remove(&link.id());
        Some(link)
    }
}

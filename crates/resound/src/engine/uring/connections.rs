//! The connections of one worker, by slot.

use std::collections::HashMap;

use resound_proto::ConnId;

use super::connection::RingConn;
use crate::engine::rows::{ROWS, RowBatch};
use crate::engine::sys::Key;

/// Slots, free ones included, that one batch of rows looks at.
const SLOTS: usize = 64 * ROWS;

/// Slots are reused, each time with another generation of the key.
#[derive(Default)]
pub(super) struct RingConns {
    slots: Vec<RingSlot>,
    free: Vec<u32>,
    /// For wake-ups from other threads.
    by_id: HashMap<ConnId, Key>,
}

struct RingSlot {
    key: Key,
    connection: Option<Box<RingConn>>,
}

impl RingConns {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn insert(&mut self, id: ConnId, connection: impl FnOnce(Key) -> RingConn) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.slots.len() as u32;
            self.slots.push(RingSlot { key: Key::first(slot), connection: None });
            slot
        });
        let key = self.slots[slot as usize].key;
        self.slots[slot as usize].connection = Some(Box::new(connection(key)));
        self.by_id.insert(id, key);
        key
    }

    /// The connection behind a key, unless it has ended.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut RingConn> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.key != key {
            return None;
        }
        slot.connection.as_deref_mut()
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
            if let Some(connection) = slot.connection.as_ref().filter(|connection| !connection.is_over()) {
                batch.rows.push(connection.row(worker));
            }
            batch.next = (at + 1 < self.slots.len()).then_some(at as u64 + 1);
            if batch.rows.len() >= ROWS {
                break;
            }
        }
        batch
    }

    /// Removes a connection. Its key denotes no connection from now on.
    pub(super) fn remove(&mut self, key: Key) -> Option<Box<RingConn>> {
        let slot = self.slots.get_mut(key.slot as usize).filter(|slot| slot.key == key)?;
        let connection = slot.connection.take()?;
        slot.key = key.next();
        self.free.push(key.slot);
        self.by_id.remove(&connection.id());
        Some(connection)
    }
}

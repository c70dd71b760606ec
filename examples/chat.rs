//! A chat room: each line goes to all other guests.
//!
//! `cargo run --example chat`, and in two other terminals `cargo run -- client 127.0.0.1 8888`.
//!
//! A connection lives on one worker, and only its own service sends on it. So a line for another
//! guest goes into that guest's mailbox, and [`Handle::wake`] has the guest's worker look there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use resound::{CloseReason, ConnId, Cx, Framing, Handle, Server, Service};

/// A guest who does not read keeps at most this much; what comes after it is lost to that guest.
const MAILBOX: usize = 64 * 1024;

/// The mailboxes of all guests, shared between the workers.
#[derive(Default)]
struct Room {
    mailboxes: Mutex<HashMap<ConnId, Vec<u8>>>,
    server: OnceLock<Weak<Handle>>,
}

impl Room {
    fn mailboxes(&self) -> std::sync::MutexGuard<'_, HashMap<ConnId, Vec<u8>>> {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a line into every mailbox but the sender's.
    fn broadcast(&self, from: ConnId, line: &[u8]) {
        let mut woken = Vec::new();
        for (&guest, mailbox) in self.mailboxes().iter_mut().filter(|(guest, _)| **guest != from) {
            if mailbox.len() + line.len() <= MAILBOX {
                mailbox.extend_from_slice(line);
                woken.push(guest);
            }
        }
        // Outside the lock: the workers that wake up want it.
        if let Some(server) = self.server.get().and_then(Weak::upgrade) {
            woken.into_iter().for_each(|guest| server.wake(guest));
        }
    }
}

/// One connection.
struct Guest {
    id: ConnId,
    room: Arc<Room>,
}

impl Guest {
    fn say(&self, what: &str) {
        self.room.broadcast(self.id, format!("* guest {} {what}\n", self.id).as_bytes());
    }
}

impl Service for Guest {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn open(&mut self, cx: &mut Cx<'_>) {
        self.room.mailboxes().insert(self.id, Vec::new());
        cx.send(format!("* welcome, guest {}\n", self.id).as_bytes());
        self.say("has come");
    }

    fn data(&mut self, line: &[u8], _cx: &mut Cx<'_>) {
        let mut said = format!("guest {}: ", self.id).into_bytes();
        said.extend_from_slice(line.trim_ascii_end());
        said.push(b'\n');
        self.room.broadcast(self.id, &said);
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        // A guest who reads slowly is sent no more until the lines before have left; `drained` goes
        // on then.
        if cx.unsent() == 0
            && let Some(mailbox) = self.room.mailboxes().get_mut(&self.id)
        {
            cx.send(&std::mem::take(mailbox));
        }
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        self.wake(cx);
    }

    fn closed(&mut self, _why: &CloseReason) {
        self.room.mailboxes().remove(&self.id);
        self.say("has left");
    }
}

fn main() -> Result<(), resound::Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    let room = Arc::new(Room::default());
    let rooms = Arc::clone(&room);
    let server = Server::new().listen(&address)?.serve(move |conn| Guest { id: conn.id, room: Arc::clone(&rooms) })?;
    let server = Arc::new(server);
    let _ = room.server.set(Arc::downgrade(&server));
    println!("Chatting on {}", server.addresses()[0]);
    server.wait();
    Ok(())
}

//! [`Admission`]: the rules behind a proxy, where it takes a header to know whom they concern.

use std::sync::Arc;

use super::SeatNumber;
use crate::engine::room::Room;
use crate::error::CloseReason;
use crate::proto::{Preface, Prefaced};
use crate::service::ConnInfo;

/// A preface, and who it names let in or not.
pub(crate) struct Admission {
    preface: Option<Box<dyn Preface>>,
    room: Arc<Room>,
    seat: SeatNumber,
}

impl Admission {
    pub(crate) fn new(preface: Option<Box<dyn Preface>>, room: Arc<Room>, seat: SeatNumber) -> Self {
        Self { preface, room, seat }
    }
}

impl Preface for Admission {
    fn read(&mut self, wire: &[u8], conn: &mut ConnInfo) -> Prefaced {
        let n = match self.preface.as_mut().map(|preface| preface.read(wire, conn)) {
            None => 0,
            // Nobody's but the proxy's own: that it is believed is enough.
            Some(Prefaced::Done(n)) if conn.is_local() => return Prefaced::Done(n),
            Some(Prefaced::Done(n)) => n,
            Some(other) => return other,
        };
        match self.room.admit_client(&conn.peer, self.seat) {
            Ok(()) => Prefaced::Done(n),
            Err(refusal) => Prefaced::Refused(CloseReason::Refused(refusal)),
        }
    }
}

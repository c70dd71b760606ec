//! [`Admission`]: the rules behind a proxy, where it takes a header to know whom they concern.

use std::sync::Arc;

use resound_proto::{CloseReason, ConnInfo, HeaderProgress, ProxyHeader};

use super::SourceIndex;
use crate::engine::connection_limit::ConnectionLimit;

/// A preface, and who it names let in or not.
pub(crate) struct Admission {
    preface: Option<Box<dyn ProxyHeader>>,
    room: Arc<ConnectionLimit>,
    seat: SourceIndex,
}

impl Admission {
    pub(crate) fn new(preface: Option<Box<dyn ProxyHeader>>, room: Arc<ConnectionLimit>, seat: SourceIndex) -> Self {
        Self { preface, room, seat }
    }
}

impl ProxyHeader for Admission {
    fn read(&mut self, wire: &[u8], conn: &mut ConnInfo) -> HeaderProgress {
        let n = match self.preface.as_mut().map(|preface| preface.read(wire, conn)) {
            None => 0,
            // Nobody's but the proxy's own: that it is believed is enough.
            Some(HeaderProgress::Done(n)) if conn.is_local() => return HeaderProgress::Done(n),
            Some(HeaderProgress::Done(n)) => n,
            Some(other) => return other,
        };
        match self.room.admit_client(&conn.peer, self.seat) {
            Ok(()) => HeaderProgress::Done(n),
            Err(refusal) => HeaderProgress::Refused(CloseReason::Refused(refusal)),
        }
    }
}

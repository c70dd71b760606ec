//! [`Discard`]: the service of RFC 863.

use super::{Cx, Service};

/// RFC 863: discards every byte and sends none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Service for Discard {
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.no_answers();
    }

    fn data(&mut self, _bytes: &[u8], _cx: &mut Cx<'_>) {}
}

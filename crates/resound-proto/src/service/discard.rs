use super::{Cx, Service};

/// RFC 863: throws every byte away and says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Service for Discard {
    fn data(&mut self, _bytes: &[u8], _cx: &mut Cx<'_>) {}
}

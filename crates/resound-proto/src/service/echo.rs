//! [`Echo`]: the service of RFC 862.

use super::{Cx, Service};

/// RFC 862: sends every byte back unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Service for Echo {
    fn data(&mut self, _bytes: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
    }
}

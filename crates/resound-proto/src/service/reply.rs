//! [`Reply`]: the server of the tutorials.

use std::borrow::Cow;

use super::{Cx, Framing, Service};

/// The server of the tutorials: answers each message with a prefix and the message.
///
/// With [`Framing::Line`], as by default, the answer keeps the line's own ending: LF, CR LF, or
/// none for a last line without newline. With [`Framing::Auto`] clients that send no newlines are
/// answered as well, and without one.
#[derive(Clone, Debug)]
pub struct Reply {
    prefix: Cow<'static, [u8]>,
    framing: Framing,
}

impl Reply {
    /// The prefix of [`Reply::default`].
    pub const PREFIX: &'static str = "Server received: ";

    /// Answers with `prefix` and the message.
    #[must_use]
    pub fn new(prefix: impl Into<Cow<'static, [u8]>>, framing: Framing) -> Self {
        Self { prefix: prefix.into(), framing }
    }
}

impl Default for Reply {
    fn default() -> Self {
        Self::new(Self::PREFIX.as_bytes(), Framing::line())
    }
}

impl Service for Reply {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn data(&mut self, message: &[u8], cx: &mut Cx<'_>) {
        cx.send(&self.prefix);
        cx.send(message);
    }
}

//! The 64 bits that accompany an operation and return with its completions.

/// The connection that an operation belongs to. Slots are reused; the generation tells apart the
/// connections that have used a slot, so that a late completion reaches none but its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    generation: u32,
}

impl Key {
    const GENERATIONS: u32 = 1 << 28;

    pub(crate) fn first(slot: u32) -> Self {
        Self { slot, generation: 0 }
    }

    /// The key of the next connection in the slot.
    pub(crate) fn next(self) -> Self {
        Self { generation: (self.generation + 1) % Self::GENERATIONS, ..self }
    }
}

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// On the listener with this number.
    Accept(u32),
    /// The connect with this number.
    Connect(u32),
    /// Receives until cancelled.
    MultishotRecv(Key),
    /// Receives once.
    SingleShotRecv(Key),
    /// The send with this number.
    Send(u32),
    /// Waits until the socket is readable.
    PollInput(Key),
    /// Waits until the connection has failed.
    PollFailure(Key),
    /// Polls the event counter.
    Poll,
    /// Cancels others. Only their completions matter.
    Cancel,
}

impl Token {
    pub(super) fn pack(self) -> u64 {
        let (kind, key) = match self {
            Self::Accept(listener) => (0, Key::first(listener)),
            Self::MultishotRecv(key) => (1, key),
            Self::SingleShotRecv(key) => (2, key),
            Self::Send(number) => (3, Key::first(number)),
            Self::Poll => (4, Key::first(0)),
            Self::Cancel => (5, Key::first(0)),
            Self::Connect(number) => (6, Key::first(number)),
            Self::PollInput(key) => (7, key),
            Self::PollFailure(key) => (8, key),
        };
        kind << 60 | u64::from(key.generation) << 32 | u64::from(key.slot)
    }

    pub(super) fn unpack(bits: u64) -> Self {
        let key = Key { slot: bits as u32, generation: (bits >> 32) as u32 % Key::GENERATIONS };
        match bits >> 60 {
            0 => Self::Accept(key.slot),
            1 => Self::MultishotRecv(key),
            2 => Self::SingleShotRecv(key),
            3 => Self::Send(key.slot),
            4 => Self::Poll,
            6 => Self::Connect(key.slot),
            7 => Self::PollInput(key),
            8 => Self::PollFailure(key),
            _ => Self::Cancel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_token_unpacks_to_itself() {
        let mut last = Key::first(u32::MAX);
        for _ in 0..3 {
            last = last.next();
        }
        let wrapped = Key { slot: 7, generation: Key::GENERATIONS - 1 }.next();
        assert_eq!(wrapped, Key::first(7));
        for key in [Key::first(0), last, wrapped] {
            for token in [
                Token::Accept(key.slot),
                Token::Connect(key.slot),
                Token::MultishotRecv(key),
                Token::SingleShotRecv(key),
                Token::PollInput(key),
                Token::PollFailure(key),
                Token::Send(key.slot),
                Token::Poll,
                Token::Cancel,
            ] {
                assert_eq!(Token::unpack(token.pack()), token);
            }
        }
    }
}

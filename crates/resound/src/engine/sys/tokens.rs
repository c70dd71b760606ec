//! The 64 bits that travel with an operation and come back with its completions.

/// Which connection an operation belongs to. A slot is used again; its generation tells its users apart, so that nobody is given what was
/// meant for somebody before it.
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

    /// The slot's next user.
    pub(crate) fn next(self) -> Self {
        Self { generation: (self.generation + 1) % Self::GENERATIONS, ..self }
    }
}

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// On the listener with this number.
    Accept(u32),
    /// The call with this number.
    Connect(u32),
    /// Receives until it is stopped.
    ReceiveMany(Key),
    /// Receives once.
    ReceiveOnce(Key),
    /// The load with this number.
    Send(u32),
    /// A wait for something to read.
    Await(Key),
    /// A look at the event counter.
    Poll,
    /// A wish that others be cancelled; what comes of it is seen at the others.
    Cancel,
}

impl Token {
    pub(super) fn pack(self) -> u64 {
        let (kind, key) = match self {
            Self::Accept(listener) => (0, Key::first(listener)),
            Self::ReceiveMany(key) => (1, key),
            Self::ReceiveOnce(key) => (2, key),
            Self::Send(load) => (3, Key::first(load)),
            Self::Poll => (4, Key::first(0)),
            Self::Cancel => (5, Key::first(0)),
            Self::Connect(call) => (6, Key::first(call)),
            Self::Await(key) => (7, key),
        };
        kind << 60 | u64::from(key.generation) << 32 | u64::from(key.slot)
    }

    pub(super) fn unpack(bits: u64) -> Self {
        let key = Key { slot: bits as u32, generation: (bits >> 32) as u32 % Key::GENERATIONS };
        match bits >> 60 {
            0 => Self::Accept(key.slot),
            1 => Self::ReceiveMany(key),
            2 => Self::ReceiveOnce(key),
            3 => Self::Send(key.slot),
            4 => Self::Poll,
            6 => Self::Connect(key.slot),
            7 => Self::Await(key),
            _ => Self::Cancel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
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
                Token::ReceiveMany(key),
                Token::ReceiveOnce(key),
                Token::Await(key),
                Token::Send(key.slot),
                Token::Poll,
                Token::Cancel,
            ] {
                assert_eq!(Token::unpack(token.pack()), token);
            }
        }
    }
}

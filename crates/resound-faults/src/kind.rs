//! The faults by name, and what the grammar and the schedule know of each.

use serde::{Serialize, Serializer};

use FaultKind as K;
use Scope::{Connection, Directed, Listener, Triggered};
use ValueForm as V;

/// A fault without its value: what its word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // docs/faults.md explains each word.
pub enum FaultKind {
    Delay,
    Rate,
    Drip,
    Stall,
    StallThenBurst,
    Slice,
    Coalesce,
    Corrupt,
    Truncate,
    Duplicate,
    Swap,
    Reset,
    ResetOneSide,
    Close,
    HalfClose,
    EatFin,
    CloseOnEof,
    FinToRst,
    RstToFin,
    RstEatsTail,
    Silent,
    OneWay,
    SplitHelloDrop,
    Refuse,
    NeverAccept,
    AcceptThenClose,
    AcceptThenReset,
    AcceptLate,
    AcceptLiar,
    Cap,
    ConnectRate,
    IdleClose,
    IdleReset,
    IdleSilent,
    HalfClosedIdle,
    NoBackpressure,
    Hold,
    Nagle,
    NoKeepalive,
    Garbage,
    NeverRead,
    HalfCloseFirst,
    DuplicateLastLine,
    WrongAnswer,
    LateAnswer,
}

/// How the value after a word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueForm {
    None,
    Time,
    /// `20ms`, `20ms+-5ms`, `20ms+-5ms~normal`
    Delay,
    /// `1MiB/s`
    Rate,
    /// `10B/100ms`
    Drip,
    /// `3`, `1..7`
    Slice,
    /// A size up to this many bytes.
    Size(u64),
    /// The same, with a default where it is absent.
    SizeOr(u64, u64),
    Count,
    /// `5/s`
    PerSecond,
}

impl ValueForm {
    pub(crate) fn example(self) -> &'static str {
        match self {
            V::None => "",
            V::Time => "5s",
            V::Delay => "20ms+-5ms",
            V::Rate => "1MiB/s",
            V::Drip => "10B/100ms",
            V::Slice => "1..7",
            V::Size(_) | V::SizeOr(..) => "1KiB",
            V::Count => "10",
            V::PerSecond => "5/s",
        }
    }
}

/// What a fault belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The listener, which knows no single connection.
    Listener,
    /// The whole connection, from its beginning.
    Connection,
    /// The whole connection, when its trigger comes; the direction is the one that the trigger
    /// counts.
    Triggered,
    /// Each direction for itself.
    Directed,
}

/// When a fault begins if no WHEN is written, and whether one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// `@connect`, and nothing else has a meaning.
    OnlyConnect,
    /// `@connect` unless written otherwise.
    Connect,
    /// `@0B` unless written otherwise.
    FirstByte,
    /// `@0B` unless written otherwise; at `@connect` there is no byte that it could change.
    OnBytes,
}

/// Which of the programs can cause a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `resound relay`, between a client and a target.
    Relay,
    /// A server, one end.
    Server,
}

/// What is known of one fault.
pub(crate) struct KindFacts {
    pub(crate) kind: FaultKind,
    pub(crate) word: &'static str,
    pub(crate) value: ValueForm,
    pub(crate) scope: Scope,
    pub(crate) begins: Begins,
    /// The only program that can cause it, and why the other cannot.
    pub(crate) only: Option<(Role, &'static str)>,
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

const TWO_SIDES: &str = "it takes two connections, of which a server has one";
const ANSWERS: &str = "a relay passes bytes on and answers nothing itself";

const fn facts(kind: FaultKind, word: &'static str, value: V, scope: Scope, begins: Begins) -> KindFacts {
    KindFacts { kind, word, value, scope, begins, only: None }
}

const fn relay(facts: KindFacts) -> KindFacts {
    KindFacts { only: Some((Role::Relay, TWO_SIDES)), ..facts }
}

const fn server(kind: FaultKind, word: &'static str, value: V, begins: Begins) -> KindFacts {
    KindFacts { kind, word, value, scope: Triggered, begins, only: Some((Role::Server, ANSWERS)) }
}

/// In the order of [`FaultKind`].
pub(crate) static FACTS: [KindFacts; 45] = {
    use Begins::{Connect, FirstByte, OnBytes, OnlyConnect};
    [
        facts(K::Delay, "delay", V::Delay, Directed, Connect),
        facts(K::Rate, "rate", V::Rate, Directed, Connect),
        facts(K::Drip, "drip", V::Drip, Directed, Connect),
        facts(K::Stall, "stall", V::Time, Directed, FirstByte),
        facts(K::StallThenBurst, "stall-then-burst", V::Time, Directed, FirstByte),
        facts(K::Slice, "slice", V::Slice, Directed, Connect),
        facts(K::Coalesce, "coalesce", V::Time, Directed, Connect),
        facts(K::Corrupt, "corrupt", V::None, Directed, OnBytes),
        facts(K::Truncate, "truncate", V::None, Directed, FirstByte),
        facts(K::Duplicate, "duplicate", V::SizeOr(KIB, 64 * KIB), Directed, OnBytes),
        facts(K::Swap, "swap", V::Size(32 * KIB), Directed, OnBytes),
        facts(K::Reset, "reset", V::None, Triggered, FirstByte),
        relay(facts(K::ResetOneSide, "reset-one-side", V::None, Directed, FirstByte)),
        facts(K::Close, "close", V::None, Triggered, FirstByte),
        facts(K::HalfClose, "half-close", V::None, Directed, FirstByte),
        relay(facts(K::EatFin, "eat-fin", V::None, Directed, Connect)),
        relay(facts(K::CloseOnEof, "close-on-eof", V::None, Directed, Connect)),
        relay(facts(K::FinToRst, "fin-to-rst", V::None, Directed, Connect)),
        relay(facts(K::RstToFin, "rst-to-fin", V::None, Directed, Connect)),
        relay(facts(K::RstEatsTail, "rst-eats-tail", V::None, Directed, Connect)),
        facts(K::Silent, "silent", V::None, Triggered, FirstByte),
        facts(K::OneWay, "one-way", V::None, Directed, FirstByte),
        facts(K::SplitHelloDrop, "split-hello-drop", V::None, Connection, OnlyConnect),
        facts(K::Refuse, "refuse", V::None, Listener, OnlyConnect),
        facts(K::NeverAccept, "never-accept", V::None, Listener, OnlyConnect),
        facts(K::AcceptThenClose, "accept-then-close", V::None, Connection, OnlyConnect),
        facts(K::AcceptThenReset, "accept-then-reset", V::None, Connection, OnlyConnect),
        facts(K::AcceptLate, "accept-late", V::Time, Connection, OnlyConnect),
        relay(facts(K::AcceptLiar, "accept-liar", V::None, Connection, OnlyConnect)),
        facts(K::Cap, "cap", V::Count, Listener, OnlyConnect),
        facts(K::ConnectRate, "connect-rate", V::PerSecond, Listener, OnlyConnect),
        facts(K::IdleClose, "idle-close", V::Time, Triggered, OnlyConnect),
        facts(K::IdleReset, "idle-reset", V::Time, Triggered, OnlyConnect),
        facts(K::IdleSilent, "idle-silent", V::Time, Triggered, OnlyConnect),
        facts(K::HalfClosedIdle, "half-closed-idle", V::Time, Connection, OnlyConnect),
        relay(facts(K::NoBackpressure, "no-backpressure", V::None, Directed, OnlyConnect)),
        relay(facts(K::Hold, "hold", V::Size(64 * MIB), Directed, OnlyConnect)),
        facts(K::Nagle, "nagle", V::None, Connection, OnlyConnect),
        facts(K::NoKeepalive, "no-keepalive", V::None, Connection, OnlyConnect),
        server(K::Garbage, "garbage", V::None, FirstByte),
        server(K::NeverRead, "never-read", V::None, Connect),
        server(K::HalfCloseFirst, "half-close-first", V::None, Connect),
        server(K::DuplicateLastLine, "duplicate-last-line", V::None, FirstByte),
        server(K::WrongAnswer, "wrong-answer", V::None, FirstByte),
        server(K::LateAnswer, "late-answer", V::Time, FirstByte),
    ]
};

impl FaultKind {
    /// All faults, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = FaultKind> {
        FACTS.iter().map(|facts| facts.kind)
    }

    pub(crate) fn facts(self) -> &'static KindFacts {
        &FACTS[self as usize]
    }

    /// Its word in the grammar and in events.
    pub fn word(self) -> &'static str {
        self.facts().word
    }

    /// Its word with a value, as a specification may have it: `stall=5s`.
    pub fn example(self) -> String {
        match self.facts().value {
            V::None => self.word().into(),
            form => format!("{}={}", self.word(), form.example()),
        }
    }

    /// Does it break what TCP promises: that the bytes arrive as sent, each once and in order, and
    /// that a FIN comes after all of them? The other faults can happen to any TCP connection.
    pub fn breaks_promise(self) -> bool {
        matches!(self, K::Corrupt | K::Truncate | K::Duplicate | K::Swap)
    }

    pub(crate) fn is_of_server(self) -> bool {
        self.facts().only.is_some_and(|(role, _)| role == Role::Server)
    }

    /// Does it change an answer of a server?
    pub(crate) fn is_of_answers(self) -> bool {
        use FaultKind as K;
        matches!(self, K::Garbage | K::WrongAnswer | K::DuplicateLastLine | K::LateAnswer)
    }

    /// Does it decide what becomes of a client that is accepted?
    pub(crate) fn is_of_admission(self) -> bool {
        use FaultKind as K;
        matches!(self, K::AcceptThenClose | K::AcceptThenReset | K::AcceptLate | K::AcceptLiar)
    }

    /// Can this program cause it?
    pub fn works_for(self, role: Role) -> bool {
        self.facts().only.is_none_or(|(only, _)| only == role)
    }
}

impl Serialize for FaultKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (index, facts) in FACTS.iter().enumerate() {
            assert_eq!(facts.kind as usize, index, "{}", facts.word);
        }
        assert_eq!(FaultKind::LateAnswer as usize + 1, FACTS.len());
    }

    #[test]
    fn examples_are_of_their_kinds() {
        for kind in FaultKind::all() {
            let spec: crate::FaultSpec = kind.example().parse().unwrap();
            assert_eq!(spec.to_string(), kind.example());
            assert!(kind.example().starts_with(kind.word()));
        }
    }

    #[test]
    fn words_differ_and_four_faults_break_the_promise() {
        let words: std::collections::BTreeSet<_> = FaultKind::all().map(FaultKind::word).collect();
        assert_eq!(words.len(), FACTS.len());
        let breaking: Vec<_> = FaultKind::all().filter(|kind| kind.breaks_promise()).map(FaultKind::word).collect();
        assert_eq!(breaking, ["corrupt", "truncate", "duplicate", "swap"]);
    }
}

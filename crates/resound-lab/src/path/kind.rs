//! The defects by name, and what the grammar knows of each.

use serde::{Serialize, Serializer};

use DefectForm as F;
use DefectKind as K;

/// A defect without its value: what its word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // `sentence` explains each.
pub enum DefectKind {
    Loss,
    SynLoss,
    Duplicate,
    Reorder,
    CorruptChecksum,
    CorruptPayload,
    Delay,
    Jitter,
    Rate,
    Mtu,
    Fragment,
    MssClamp,
    Strip,
    OneSidedStrip,
    DscpBleach,
    Nat,
    Cap,
    AsymmetricConntrack,
    RstInject,
    EatFin,
    Blackhole,
    SplitTcp,
}

/// How the value after a word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DefectForm {
    None,
    /// `1%`, `0.5%/20%/100%/0%`
    Odds,
    /// `30ms+-5ms~normal`
    Delay,
    Time,
    /// `1MiB/s`, `10Mbit/s`
    Rate,
    /// Bytes of a packet or of a segment, with a minimum.
    Bytes(u16),
    /// `sack+timestamps`
    TcpOptions,
    Count,
}

/// Which parts of a rule have a meaning for a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Each packet for itself: all parts.
    Packets,
    /// Each packet, without odds: `odds=` has no meaning.
    Steady,
    /// A whole connection from its beginning: no WHEN and no odds.
    DirectedConnections,
    /// All connections together: only filters.
    Together,
    /// The path as a whole: nothing.
    Whole,
}

/// What is known of one defect.
pub(super) struct DefectFacts {
    pub(super) kind: DefectKind,
    pub(super) word: &'static str,
    pub(super) form: DefectForm,
    pub(super) reach: Reach,
    /// Options of its own, with what follows the equals sign, if one does.
    pub(super) options: &'static [(&'static str, Option<&'static str>)],
    sentence: &'static str,
}

const fn facts(
    kind: DefectKind,
    word: &'static str,
    form: DefectForm,
    reach: Reach,
    options: &'static [(&'static str, Option<&'static str>)],
    sentence: &'static str,
) -> DefectFacts {
    DefectFacts { kind, word, form, reach, options, sentence }
}

/// The smallest MTU of IPv4 (RFC 791).
const LEAST_MTU: u16 = 68;
/// The smallest MSS that Linux takes from a peer is 48.
const LEAST_MSS: u16 = 48;

const NAT: &[(&str, Option<&str>)] = &[
    ("ports", Some("changed")),
    ("idle-silent", Some("350s")),
    ("idle-reset", Some("350s")),
    ("half-closed-idle", Some("60s")),
];

/// In the order of [`DefectKind`].
#[rustfmt::skip] // A table.
pub(super) static FACTS: [DefectFacts; 22] = {
    use Reach::{DirectedConnections, Packets, Steady, Together, Whole};
    [
        facts(K::Loss, "loss", F::Odds, Packets, &[], "packets are dropped"),
        facts(K::SynLoss, "syn-loss", F::Odds, Packets, &[], "segments with SYN are dropped"),
        facts(K::Duplicate, "duplicate", F::Odds, Packets, &[], "packets leave twice"),
        facts(K::Reorder, "reorder", F::Odds, Packets, &[("by", Some("3"))],
            "packets leave after the next one of their flow, or after the next `by`"),
        facts(K::CorruptChecksum, "corrupt-checksum", F::Odds, Packets, &[],
            "the checksum of TCP, UDP or ICMP is wrong"),
        facts(K::CorruptPayload, "corrupt-payload", F::Odds, Packets, &[],
            "one bit of the payload is inverted, and the checksum is right"),
        facts(K::Delay, "delay", F::Delay, Packets, &[], "packets leave later, and in their order"),
        facts(K::Jitter, "jitter", F::Time, Packets, &[],
            "each packet leaves up to this much later, and packets overtake each other"),
        facts(K::Rate, "rate", F::Rate, Steady, &[("queue", Some("256KiB"))],
            "packets leave at this rate; those that find the queue full are dropped"),
        facts(K::Mtu, "mtu", F::Bytes(LEAST_MTU), Packets, &[("silent", None)],
            "longer packets are dropped, and an ICMP message says so unless `silent`; IPv4 without DF is fragmented"),
        facts(K::Fragment, "fragment", F::Bytes(LEAST_MTU), Packets, &[],
            "longer packets leave as fragments, whatever DF says"),
        facts(K::MssClamp, "mss-clamp", F::Bytes(LEAST_MSS), Packets, &[], "the MSS of a SYN is at most this"),
        facts(K::Strip, "strip", F::TcpOptions, Packets, &[], "TCP options are overwritten with NOPs"),
        facts(K::OneSidedStrip, "one-sided-strip", F::TcpOptions, Packets, &[],
            "options are stripped from the SYN-ACK alone, so that the two ends disagree"),
        facts(K::DscpBleach, "dscp-bleach", F::None, Packets, &[], "the DSCP becomes 0"),
        facts(K::Nat, "nat", F::None, Whole, NAT,
            "the far end sees the router's address and perhaps another port; idle connections are forgotten"),
        facts(K::Cap, "cap", F::Count, Together, &[("reset", None)],
            "connections beyond this many at once are dropped, or reset with `reset`"),
        facts(K::AsymmetricConntrack, "asymmetric-conntrack", F::None, DirectedConnections, &[],
            "a firewall that sees one direction (up, if none is written) passes SYNs and drops the rest of it"),
        facts(K::RstInject, "rst-inject", F::None, Packets, &[("to", Some("near"))],
            "a forged RST goes to both ends, or to one with `to=near` or `to=far`, once in a connection"),
        facts(K::EatFin, "eat-fin", F::None, Packets, &[], "the FIN is taken from segments"),
        facts(K::Blackhole, "blackhole", F::None, Steady, &[], "all packets are dropped"),
        facts(K::SplitTcp, "split-tcp", F::None, Together, &[],
            "a box at the near end answers each connection itself, and relays its bytes over a second one"),
    ]
};

impl DefectKind {
    /// All defects, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = DefectKind> {
        FACTS.iter().map(|facts| facts.kind)
    }

    pub(super) fn facts(self) -> &'static DefectFacts {
        &FACTS[self as usize]
    }

    /// Its word in the grammar, and in decisions.
    pub fn word(self) -> &'static str {
        self.facts().word
    }

    /// What it does, as one sentence without its full stop.
    pub fn sentence(self) -> &'static str {
        self.facts().sentence
    }

    /// How it is written with a value, such as `loss=1%`.
    pub fn example(self) -> String {
        let value = self.facts().form.example();
        format!("{}{}{value}", self.word(), if value.is_empty() { "" } else { "=" })
    }
}

impl DefectForm {
    pub(super) fn example(self) -> &'static str {
        match self {
            F::None => "",
            F::Odds => "1%",
            F::Delay => "30ms+-5ms",
            F::Time => "5ms",
            F::Rate => "1MiB/s",
            F::Bytes(_) => "1300",
            F::TcpOptions => "sack+timestamps",
            F::Count => "10",
        }
    }
}

impl Serialize for DefectKind {
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
        let words: std::collections::BTreeSet<_> = DefectKind::all().map(DefectKind::word).collect();
        assert_eq!(words.len(), FACTS.len());
    }
}

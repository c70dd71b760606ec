//! Parts of a rule that have no meaning for its fault.

use std::ops::Range;

use crate::error::{Flaw, SpecProblem};
use crate::kind::{Begins, FaultKind, Scope};
use crate::rule::{Connections, FaultRule, Trigger};

/// Where the parts of a rule stand.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) which: Option<Range<usize>>,
    pub(super) direction: Option<Range<usize>>,
    pub(super) fault: Range<usize>,
    pub(super) when: Option<Range<usize>>,
    pub(super) chance: Option<Range<usize>>,
}

pub(super) fn check(rule: &FaultRule, places: &Places) -> Result<(), Flaw> {
    let facts = rule.effect.kind.facts();
    let word = facts.word;
    let place = |place: &Option<Range<usize>>| place.clone().unwrap_or_else(|| places.fault.clone());
    let flaw = |range, sentence: String| Err(Flaw::new(SpecProblem::Meaningless, range, sentence));
    if facts.scope == Scope::Listener {
        let listener = |what: &str| format!("`{word}` is for the listener as a whole, which knows no {what}");
        if rule.which != Connections::All {
            return flaw(place(&places.which), listener("single connection"));
        }
        if rule.direction.is_some() {
            return flaw(place(&places.direction), listener("direction"));
        }
        if rule.when.is_some() {
            return flaw(place(&places.when), listener("moment of a connection"));
        }
        if rule.chance.is_some() {
            return flaw(place(&places.chance), listener("single connection that chance could choose"));
        }
    }
    if rule.direction.is_some() && (facts.scope == Scope::Connection || rule.effect.kind.is_of_server()) {
        let reason = match rule.effect.kind {
            FaultKind::SplitHelloDrop => "only the client sends a ClientHello",
            _ => "it concerns the whole connection",
        };
        return flaw(place(&places.direction), format!("`{word}` has no direction: {reason}"));
    }
    match (facts.begins, rule.when) {
        (Begins::OnlyConnect, Some(when)) if when != Trigger::Connect => {
            let reason = match rule.effect.kind {
                FaultKind::SplitHelloDrop => "the ClientHello comes first",
                _ => "it is in effect from the beginning of a connection",
            };
            flaw(place(&places.when), format!("`{word}` takes no WHEN: {reason}"))
        }
        (Begins::OnBytes, Some(Trigger::Connect)) => {
            flaw(place(&places.when), format!("`{word}` changes bytes, and @connect has none; write @0B"))
        }
        _ => Ok(()),
    }
}

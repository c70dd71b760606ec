//! The grammar of defects. Connections, direction, WHEN and chance are those of faults.
//!
//! ```text
//! SPEC   := RULE (";" RULE)*
//! RULE   := [WHICH ":"] [DIR ":"] DEFECT OPTION* FILTER* [WHEN] [CHANCE]
//! DEFECT := "loss=1%" | "mtu=1400" | "nat" | ..
//! OPTION := "burst=5" | "odds=10%" | "queue=1MiB" | "silent" | ..
//! FILTER := "port=443" | "length=1000.." | "flags=syn+!ack" | "protocol=udp"
//! WHEN   := "@connect" | "@0B" | "@1MiB" | "@packet=3" | "@2s" | "@idle=30s"
//! ```

use std::ops::Range;
use std::time::Duration;

use resound_faults::amounts::{SIZE, TIME, size, time};
use resound_faults::grammar::{self, Part, RuleHead, TriggerWords};
use resound_faults::{Connections, EffectValue, Flaw, SpecProblem, StreamDirection};

use super::filter::{FilterError, PacketFilter};
use super::kind::{DefectFacts, DefectForm, DefectKind, FACTS, Reach};
use super::odds::Odds;
use super::rule::{DefectRule, DefectValue, IdleEnd, NatTerms, QUEUE_BYTES};
use super::tcp_options::StrippedOptions;

/// The longest queue of a link.
const MOST_QUEUE: u64 = 64 * 1024 * 1024;
/// The most packets that one may leave behind.
pub(super) const MOST_BEHIND: u32 = 1000;
const LONGEST_BURST: u32 = 1_000_000;

/// Options of all defects that hit packets, with examples.
const ODDS: [(&str, &str); 2] = [("odds", "10%"), ("burst", "5")];

const WHEN: TriggerWords = TriggerWords {
    what: "a WHEN: @connect, @64KiB, @packet=3, @2s or @idle=30s",
    known: &["connect", "packet", "idle"],
};

pub(super) fn rules(text: &str) -> Result<Vec<DefectRule>, Flaw> {
    grammar::rules_of(text)?.into_iter().map(rule).collect()
}

/// Where the parts of a rule stand.
#[derive(Debug, Default)]
struct Found {
    when: Option<Range<usize>>,
    chance: Option<Range<usize>>,
    odds: Option<Range<usize>>,
    burst: Option<(Range<usize>, u32)>,
    filter: Option<Range<usize>>,
    own: Vec<&'static str>,
}

fn syntax(place: Range<usize>, sentence: impl Into<String>) -> Flaw {
    Flaw::new(SpecProblem::Syntax, place, sentence)
}

fn amount(part: Part<'_>, what: &str) -> Flaw {
    Flaw::new(SpecProblem::Amount, part.range(), format!("'{}' is not {what}", part.text))
}

fn rule(part: Part<'_>) -> Result<DefectRule, Flaw> {
    let head = RuleHead::of(part)?;
    let words = head.body.words();
    let Some((first, rest)) = words.split_first() else {
        let sentence = "a defect is missing here, such as `loss=1%` or `mtu=1400`";
        return Err(syntax(head.body.trimmed().range(), sentence));
    };
    let facts = named(*first)?;
    let (name, value) = first.split_once('=');
    let (value, odds) = value_of(facts, name, value)?;
    let (which, direction) = (head.which, head.direction);
    let filter = PacketFilter::default();
    let mut rule = DefectRule { which, direction, kind: facts.kind, value, odds, filter, when: None, chance: None };
    let mut found = Found::default();
    for word in rest {
        further(*word, &mut rule, &mut found)?;
    }
    check(&rule, &head, &found)?;
    if let Some((place, length)) = found.burst {
        rule.odds = Some(burst(rule.odds, place, length)?);
    }
    Ok(rule)
}

/// The odds, in bursts of a mean length.
fn burst(odds: Option<Odds>, place: Range<usize>, length: u32) -> Result<Odds, Flaw> {
    let sentence = match odds {
        None => "`burst` is for odds, like `odds=10% burst=5`".into(),
        Some(odds) => match odds.in_bursts(length) {
            Some(odds) => return Ok(odds),
            None => format!("{odds} cannot come in bursts of {length}"),
        },
    };
    Err(Flaw::new(SpecProblem::Meaningless, place, sentence))
}

fn named(word: Part<'_>) -> Result<&'static DefectFacts, Flaw> {
    let (name, _) = word.split_once('=');
    if let Some(facts) = FACTS.iter().find(|facts| facts.word == name.text) {
        return Ok(facts);
    }
    Err(match name.text {
        "up" | "down" => syntax(word.range(), format!("a colon follows the direction: `{}: loss=1%`", name.text)),
        "every" | "*" | "from" => syntax(word.range(), "a colon follows the connections: `every 5th: loss=1%`"),
        numbers if numbers.starts_with(|c: char| c.is_ascii_digit()) => {
            syntax(word.range(), format!("a colon follows the connections: `{numbers}: loss=1%`"))
        }
        _ => Flaw::unknown(name.range(), name.text, "a defect", FACTS.iter().map(|facts| facts.word)),
    })
}

/// The value after a defect's word, with the defaults of its options.
fn value_of(facts: &DefectFacts, name: Part<'_>, value: Option<Part<'_>>) -> Result<(DefectValue, Option<Odds>), Flaw> {
    let part = match (facts.form, value) {
        (DefectForm::None, Some(value)) => {
            return Err(Flaw::new(SpecProblem::Value, value.range(), format!("`{}` takes no value", facts.word)));
        }
        (DefectForm::None, None) => name,
        (form, None) => {
            let end = name.range().end;
            let sentence = format!("`{0}` needs a value, like `{0}={1}`", facts.word, form.example());
            return Err(Flaw::new(SpecProblem::Value, end..end, sentence));
        }
        (_, Some(value)) => value,
    };
    let mut odds = None;
    let value = match facts.form {
        DefectForm::None if facts.kind == DefectKind::Nat => DefectValue::Nat(NatTerms::default()),
        DefectForm::None if facts.kind == DefectKind::RstInject => DefectValue::ResetTo(None),
        DefectForm::None => DefectValue::None,
        DefectForm::Odds => {
            odds = Some(Odds::parse(part.text).ok_or_else(|| amount(part, Odds::WHAT))?);
            if facts.kind == DefectKind::Reorder { DefectValue::Behind(1) } else { DefectValue::None }
        }
        DefectForm::Delay => match grammar::delay(part)? {
            EffectValue::Varied { middle, by, shape } => DefectValue::Varied { middle, by, shape },
            _ => return Err(amount(part, TIME)),
        },
        DefectForm::Time => DefectValue::Time(time_of(part)?),
        DefectForm::Rate => {
            let bytes = rate(part.text).ok_or_else(|| amount(part, "a rate like 1MiB/s, 500B/s or 10Mbit/s"))?;
            DefectValue::Rate { bytes, queue: QUEUE_BYTES }
        }
        DefectForm::Bytes(least) => {
            let most = number(part.text).and_then(|most| u16::try_from(most).ok()).filter(|most| *most >= least);
            let most = most.ok_or_else(|| amount(part, &format!("a number of bytes from {least} to 65535")))?;
            DefectValue::Bytes { most, is_silent: false }
        }
        DefectForm::TcpOptions => DefectValue::TcpOptions(stripped(part)?),
        DefectForm::Count => {
            let count = number(part.text).filter(|count| *count > 0);
            DefectValue::Cap { count: count.ok_or_else(|| amount(part, "a number from 1 on"))?, resets: false }
        }
    };
    Ok((value, odds))
}

fn stripped(part: Part<'_>) -> Result<StrippedOptions, Flaw> {
    StrippedOptions::parse(part.text)
        .map_err(|word| Flaw::unknown(part.range(), word, StrippedOptions::WHAT, StrippedOptions::words()))
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn time_of(part: Part<'_>) -> Result<Duration, Flaw> {
    time(part.text).ok_or_else(|| amount(part, TIME))
}

/// `1MiB/s`, and with the units of links `10Mbit/s`: powers of 1000.
fn rate(text: &str) -> Option<u64> {
    let each = text.strip_suffix("/s")?;
    let Some(bits) = each.strip_suffix("bit") else { return size(each) };
    let unit = bits.trim_start_matches(|c: char| c.is_ascii_digit());
    let factor = match unit {
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return None,
    };
    number(&bits[..bits.len() - unit.len()]).map(|count| u64::from(count) * factor / 8).filter(|bytes| *bytes > 0)
}

/// A word after the defect.
fn further(word: Part<'_>, rule: &mut DefectRule, found: &mut Found) -> Result<(), Flaw> {
    if word.text.starts_with('@') {
        if found.when.replace(word.range()).is_some() {
            return Err(syntax(word.range(), "a rule has one WHEN"));
        }
        rule.when = Some(grammar::trigger(word, WHEN)?);
        return Ok(());
    }
    let (name, value) = word.split_once('=');
    if value.is_none() && word.text.ends_with('%') {
        if found.chance.replace(word.range()).is_some() {
            return Err(syntax(word.range(), "a rule has one chance"));
        }
        rule.chance = Some(grammar::chance(word)?);
        return Ok(());
    }
    if FACTS.iter().any(|facts| facts.word == name.text) {
        return Err(syntax(word.range(), "a semicolon stands between two defects"));
    }
    if rule.kind.facts().options.iter().any(|(own, _)| *own == name.text)
        || ODDS.iter().any(|(shared, _)| *shared == name.text)
    {
        return option(name, value, rule, found);
    }
    match rule.filter.set(name.text, value.map_or("", |value| value.text)) {
        Ok(()) => {
            found.filter.get_or_insert(word.range());
            Ok(())
        }
        Err(FilterError::Twice) => Err(syntax(word.range(), format!("a rule has one `{}`", name.text))),
        Err(FilterError::Value(what)) => Err(amount(value.unwrap_or(word), what)),
        Err(FilterError::NotOne) => Err(unknown_option(name, rule.kind)),
    }
}

/// The options of a defect, and those of all.
fn unknown_option(name: Part<'_>, kind: DefectKind) -> Flaw {
    let facts = kind.facts();
    if let Some(owner) = FACTS.iter().find(|other| other.options.iter().any(|(own, _)| *own == name.text)) {
        let sentence = format!("`{}` is an option of `{}`, and not of `{}`", name.text, owner.word, facts.word);
        return Flaw::new(SpecProblem::Meaningless, name.range(), sentence);
    }
    let odds = match facts.reach {
        Reach::Packets if facts.form == DefectForm::Odds => &ODDS[1..],
        Reach::Packets => &ODDS[..],
        _ => &[],
    };
    let filters = if facts.reach == Reach::Whole { &[][..] } else { &PacketFilter::NAMES[..] };
    let own = facts.options.iter().map(|(name, example)| (*name, *example));
    let shared = odds.iter().chain(filters).map(|(name, example)| (*name, Some(*example)));
    let all: Vec<(&str, Option<&str>)> = own.chain(shared).collect();
    let texts = all.iter().map(|(name, example)| match example {
        Some(example) => format!("{name}={example}"),
        None => (*name).to_string(),
    });
    let what = format!("an option of `{}`: {}", facts.word, texts.collect::<Vec<_>>().join(", "));
    Flaw::unknown(name.range(), name.text, &what, all.iter().map(|(name, _)| *name))
}

fn option(name: Part<'_>, value: Option<Part<'_>>, rule: &mut DefectRule, found: &mut Found) -> Result<(), Flaw> {
    let facts = rule.kind.facts();
    let example = match facts.options.iter().find(|(own, _)| *own == name.text) {
        Some((own, example)) => {
            if found.own.contains(own) {
                return Err(syntax(name.range(), format!("a rule has one `{own}`")));
            }
            found.own.push(own);
            *example
        }
        None => ODDS.iter().find(|(shared, _)| *shared == name.text).map(|(_, example)| *example),
    };
    let part = match (example, value) {
        (Some(example), None) => {
            let end = name.range().end;
            let sentence = format!("`{0}` needs a value, like `{0}={example}`", name.text);
            return Err(Flaw::new(SpecProblem::Value, end..end, sentence));
        }
        (None, Some(value)) => {
            let sentence = format!("`{}` takes no value", name.text);
            return Err(Flaw::new(SpecProblem::Value, value.range(), sentence));
        }
        (_, value) => value.unwrap_or(name),
    };
    match (name.text, &mut rule.value) {
        ("odds", _) => {
            if facts.form == DefectForm::Odds {
                let sentence = format!("the odds of `{0}` are its value: `{0}=10%`", facts.word);
                return Err(Flaw::new(SpecProblem::Meaningless, name.range(), sentence));
            }
            if found.odds.replace(name.range()).is_some() {
                return Err(syntax(name.range(), "a rule has one `odds`"));
            }
            rule.odds = Some(Odds::parse(part.text).ok_or_else(|| amount(part, Odds::WHAT))?);
        }
        ("burst", _) => {
            let length = number(part.text).filter(|length| (1..=LONGEST_BURST).contains(length));
            let length = length.ok_or_else(|| amount(part, "a mean length of bursts like 5"))?;
            if found.burst.replace((part.range(), length)).is_some() {
                return Err(syntax(name.range(), "a rule has one `burst`"));
            }
        }
        ("by", DefectValue::Behind(count)) => {
            let by = number(part.text).filter(|by| (1..=MOST_BEHIND).contains(by));
            *count = by.ok_or_else(|| amount(part, "a number of packets from 1 to 1000"))?;
        }
        ("queue", DefectValue::Rate { queue, .. }) => {
            *queue = match size(part.text) {
                Some(bytes) if bytes <= MOST_QUEUE => bytes,
                Some(_) => return Err(amount(part, "possible here: 64MiB are the most")),
                None => return Err(amount(part, SIZE)),
            };
        }
        ("silent", DefectValue::Bytes { is_silent, .. }) => *is_silent = true,
        ("reset", DefectValue::Cap { resets, .. }) => *resets = true,
        ("to", DefectValue::ResetTo(to)) => {
            *to = match part.text {
                "near" => Some(StreamDirection::Down),
                "far" => Some(StreamDirection::Up),
                "both" => None,
                text => return Err(Flaw::unknown(part.range(), text, "an end: near, far or both", ["near", "far"])),
            };
        }
        (_, DefectValue::Nat(terms)) => nat_option(name, part, terms)?,
        _ => return Err(unknown_option(name, rule.kind)),
    }
    Ok(())
}

fn nat_option(name: Part<'_>, part: Part<'_>, terms: &mut NatTerms) -> Result<(), Flaw> {
    match name.text {
        "ports" => {
            terms.changes_ports = match part.text {
                "kept" => false,
                "changed" => true,
                text => return Err(Flaw::unknown(part.range(), text, "`kept` or `changed`", ["kept", "changed"])),
            };
        }
        "half-closed-idle" => terms.half_closed_idle = Some(time_of(part)?),
        end => {
            let end = if end == "idle-reset" { IdleEnd::Reset } else { IdleEnd::Silent };
            if terms.idle.replace((time_of(part)?, end)).is_some() {
                return Err(syntax(name.range(), "`idle-silent` and `idle-reset` exclude each other"));
            }
        }
    }
    Ok(())
}

/// Parts that have no meaning for the defect.
fn check(rule: &DefectRule, head: &RuleHead<'_>, found: &Found) -> Result<(), Flaw> {
    let reach = rule.kind.facts().reach;
    let place = |place: &Option<Range<usize>>| place.clone().unwrap_or_else(|| head.body.trimmed().range());
    let of_connections = reach == Reach::DirectedConnections;
    let of_packets = matches!(reach, Reach::Packets | Reach::Steady);
    let wrong = [
        (
            rule.direction.is_some() && !of_packets && !of_connections,
            &head.direction_place,
            "no direction: it concerns both",
        ),
        (
            rule.which != Connections::All && !of_packets && !of_connections,
            &head.which_place,
            "no CONNECTIONS: it concerns all of them",
        ),
        (rule.when.is_some() && !of_packets, &found.when, "no WHEN: it applies from the beginning"),
        (found.odds.is_some() && reach != Reach::Packets, &found.odds, "no odds: it hits no packet alone"),
        (
            rule.chance.is_some() && !of_packets && !of_connections,
            &found.chance,
            "no chance: it concerns all connections",
        ),
        (found.filter.is_some() && reach == Reach::Whole, &found.filter, "no filter: it concerns all packets"),
    ];
    match wrong.into_iter().find(|(is_wrong, ..)| *is_wrong) {
        Some((_, at, why)) => {
            let sentence = format!("`{}` takes {why}", rule.kind.word());
            Err(Flaw::new(SpecProblem::Meaningless, place(at), sentence))
        }
        None => Ok(()),
    }
}

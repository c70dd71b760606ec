//! The grammar of a specification: rules, and in front of each the connections and the direction.
//!
//! ```text
//! SPEC        := RULE (";" RULE)*
//! RULE        := [CONNECTIONS ":"] [DIRECTION ":"] FAULT [WHEN] [CHANCE]
//! CONNECTIONS := "1-2" | "3" | "5-" | "*" | "every 5th" | "from=10.0.0.0/8"
//! DIRECTION   := "up" | "down"
//! WHEN        := "@connect" | "@0B" | "@1MiB" | "@message=3" | "@2s" | "@idle=30s"
//! CHANCE      := "25%"
//! ```
//!
//! Other specifications with connections, directions, moments and chances read these parts here:
//! [`rules_of`] and [`RuleHead`] split a text; [`trigger`], [`chance`] and [`delay`] read a word.

mod part;
mod sense;
mod values;
mod which;

use std::ops::Range;

use crate::amounts;
use crate::direction::StreamDirection;
use crate::effect::Effect;
use crate::error::{Flaw, SpecProblem, nearest};
use crate::kind::FACTS;
use crate::rule::{Chance, Connections, FaultRule, Trigger};
use sense::Places;

pub use part::Part;
pub use values::delay;

/// More rules than these are probably a mistake of a script.
pub const MOST_RULES: usize = 256;

/// The moments that a rule of a specification may begin at.
#[derive(Clone, Copy, Debug)]
pub struct TriggerWords {
    /// What they are, after `is not`.
    pub what: &'static str,
    /// Those that are words: of `connect`, `message`, `packet` and `idle`.
    pub known: &'static [&'static str],
}

const WHEN: TriggerWords = TriggerWords {
    what: "a WHEN: @connect, @64KiB, @message=3, @2s or @idle=30s",
    known: &["connect", "message", "idle"],
};

/// What stands in front of a rule, and the rest of it.
#[derive(Clone, Debug)]
pub struct RuleHead<'a> {
    /// Which connections it concerns.
    pub which: Connections,
    /// Where that stands, if it does.
    pub which_place: Option<Range<usize>>,
    /// The direction; `None` for both.
    pub direction: Option<StreamDirection>,
    /// Where that stands, if it does.
    pub direction_place: Option<Range<usize>>,
    /// After the last colon.
    pub body: Part<'a>,
}

/// The rules of a specification; none if it is blank.
pub(crate) fn rules(text: &str) -> Result<Vec<FaultRule>, Flaw> {
    rules_of(text)?.into_iter().map(rule).collect()
}

/// The texts of the rules of a specification; none if it is blank.
pub fn rules_of(text: &str) -> Result<Vec<Part<'_>>, Flaw> {
    let whole = Part::whole(text);
    if whole.is_blank() {
        return Ok(Vec::new());
    }
    let parts = whole.split(';');
    match parts.get(MOST_RULES) {
        Some(part) => {
            let sentence = format!("a specification has at most {MOST_RULES} rules");
            Err(Flaw::new(SpecProblem::TooMany, part.range(), sentence))
        }
        None => Ok(parts),
    }
}

impl<'a> RuleHead<'a> {
    /// Of one rule.
    pub fn of(rule: Part<'a>) -> Result<Self, Flaw> {
        let mut prefixes = rule.split(':');
        let body = prefixes.pop().unwrap_or(rule);
        let mut whole =
            Self { which: Connections::All, which_place: None, direction: None, direction_place: None, body };
        for (index, prefix) in prefixes.iter().map(|prefix| prefix.trimmed()).enumerate() {
            if let Some(found) = StreamDirection::BOTH.into_iter().find(|each| each.to_string() == prefix.text) {
                if whole.direction_place.replace(prefix.range()).is_some() {
                    let sentence = "one direction is enough, and without one the rule is for both";
                    return Err(Flaw::new(SpecProblem::Syntax, prefix.range(), sentence));
                }
                whole.direction = Some(found);
            } else if index == 0 {
                whole.which = which::connections(prefix)?;
                whole.which_place = Some(prefix.range());
            } else {
                let sentence = "the connections come first, then the direction, then the fault: `1-2: up: reset`";
                return Err(Flaw::new(SpecProblem::Syntax, prefix.range(), sentence));
            }
        }
        Ok(whole)
    }
}

fn rule(part: Part<'_>) -> Result<FaultRule, Flaw> {
    let head = RuleHead::of(part)?;
    let mut places = Places { which: head.which_place, direction: head.direction_place, ..Places::default() };
    let mut rule = body_of(head.body, &mut places)?;
    rule.which = head.which;
    rule.direction = head.direction;
    sense::check(&rule, &places)?;
    Ok(rule)
}

fn body_of(body: Part<'_>, places: &mut Places) -> Result<FaultRule, Flaw> {
    let words = body.words();
    let Some((first, rest)) = words.split_first() else {
        let sentence = "a fault is missing here, such as `reset` or `delay=20ms`";
        return Err(Flaw::new(SpecProblem::Syntax, body.trimmed().range(), sentence));
    };
    places.fault = first.range();
    let mut rule =
        FaultRule { which: Connections::All, direction: None, effect: fault(*first)?, when: None, chance: None };
    for word in rest {
        if word.text.starts_with('@') && places.when.is_none() && places.chance.is_none() {
            rule.when = Some(trigger(*word, WHEN)?);
            places.when = Some(word.range());
        } else if word.text.ends_with('%') && places.chance.is_none() {
            rule.chance = Some(chance(*word)?);
            places.chance = Some(word.range());
        } else {
            return Err(misplaced(*word, places));
        }
    }
    Ok(rule)
}

/// A word after the fault that is neither a WHEN nor a CHANCE in its place.
fn misplaced(word: Part<'_>, places: &Places) -> Flaw {
    let sentence = if word.text.starts_with('@') {
        match places.when {
            Some(_) => "a rule has one WHEN".into(),
            None => "the chance comes last: `reset @64KiB 25%`".into(),
        }
    } else if word.text.ends_with('%') {
        "a rule has one chance".into()
    } else if is_fault(word.text) {
        "a semicolon stands between two faults".into()
    } else {
        format!("'{}' is not expected here; after a fault come {}, and a chance such as 25%", word.text, WHEN.what)
    };
    Flaw::new(SpecProblem::Syntax, word.range(), sentence)
}

fn is_fault(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    FACTS.iter().any(|facts| facts.word == name)
}

fn fault(word: Part<'_>) -> Result<Effect, Flaw> {
    let (name, value) = word.split_once('=');
    let Some(facts) = FACTS.iter().find(|facts| facts.word == name.text) else {
        let sentence = match name.text {
            "up" | "down" => Some(format!("a colon follows the direction: `{}: reset`", name.text)),
            "every" | "*" | "from" => Some("a colon follows the connections: `every 5th: reset`".into()),
            numbers if numbers.starts_with(|c: char| c.is_ascii_digit()) => {
                Some(format!("a colon follows the connections: `{numbers}: reset`"))
            }
            _ => None,
        };
        return Err(match sentence {
            Some(sentence) => Flaw::new(SpecProblem::Syntax, word.range(), sentence),
            None => Flaw::unknown(name.range(), name.text, "a fault", FACTS.iter().map(|facts| facts.word)),
        });
    };
    let value = values::value(facts, name, value)?;
    Ok(Effect { kind: facts.kind, value })
}

/// `25%`
pub fn chance(word: Part<'_>) -> Result<Chance, Flaw> {
    amounts::millionths(word.text).map(Chance).ok_or_else(|| {
        let sentence = format!("'{}' is not a chance; write it from 0.0001% to 100%, like 25%", word.text);
        Flaw::new(SpecProblem::Amount, word.range(), sentence)
    })
}

/// `@connect`, `@64KiB`, `@message=3`, `@packet=3`, `@2s`, `@idle=30s`, of which some may be
/// unknown here.
pub fn trigger(word: Part<'_>, words: TriggerWords) -> Result<Trigger, Flaw> {
    let text = &word.text[1..];
    let amount = |sentence: String| Err(Flaw::new(SpecProblem::Amount, word.range(), sentence));
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    if let (Some(known), is_connect) = (words.known.iter().find(|known| **known == name), name == "connect")
        && is_connect == value.is_none()
    {
        let value = value.unwrap_or_default();
        let number = value.parse().ok().filter(|number| *number > 0 && !value.starts_with('+'));
        return match (*known, number) {
            ("connect", _) => Ok(Trigger::Connect),
            ("idle", _) => match amounts::time(value) {
                Some(time) => Ok(Trigger::Idle(time)),
                None => amount(format!("'{value}' is not {}", amounts::TIME)),
            },
            ("message", Some(number)) => Ok(Trigger::Message(number)),
            ("packet", Some(number)) => Ok(Trigger::Packet(number)),
            (counted, _) => amount(format!("'{value}' is not a {counted}'s number: the first {counted} is 1")),
        };
    }
    if value.is_some() || !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(unknown_trigger(word, name, words));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return amount(format!("'{}' may be bytes or seconds; write @{text}B or @{text}s", word.text));
    }
    // A lone `m` is minutes, as in every time.
    let is_size = !text.ends_with(['m', 'M']);
    match (amounts::time(text), amounts::size_or_zero(text).filter(|_| is_size)) {
        (Some(time), _) => Ok(Trigger::Time(time)),
        (None, Some(offset)) => Ok(Trigger::Offset(offset)),
        (None, None) if text.trim_start_matches(['0', '.']).trim_start_matches(['m', 'u']) == "s" => {
            amount("a time is longer than zero; @connect is the beginning".into())
        }
        (None, None) => amount(format!("'{}' is not {}", word.text, words.what)),
    }
}

fn unknown_trigger(word: Part<'_>, name: &str, words: TriggerWords) -> Flaw {
    let meant = nearest(name, words.known.iter().copied()).map(|name| format!("@{name}"));
    Flaw {
        meant,
        ..Flaw::new(SpecProblem::UnknownWord, word.range(), format!("'{}' is not {}", word.text, words.what))
    }
}

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

mod part;
mod sense;
mod values;
mod which;

use crate::amounts;
use crate::direction::StreamDirection;
use crate::effect::Effect;
use crate::error::{Flaw, SpecProblem, nearest};
use crate::kind::FACTS;
use crate::rule::{Chance, Connections, FaultRule, Trigger};
use part::Part;
use sense::Places;

/// More rules than these are probably a mistake of a script.
pub(crate) const MOST_RULES: usize = 256;

const WHEN: &str = "a WHEN: @connect, @64KiB, @message=3, @2s or @idle=30s";

/// The rules of a specification; none if it is blank.
pub(crate) fn rules(text: &str) -> Result<Vec<FaultRule>, Flaw> {
    let whole = Part::whole(text);
    if whole.is_blank() {
        return Ok(Vec::new());
    }
    let parts = whole.split(';');
    if let Some(part) = parts.get(MOST_RULES) {
        let sentence = format!("a specification has at most {MOST_RULES} rules");
        return Err(Flaw::new(SpecProblem::TooMany, part.range(), sentence));
    }
    parts.into_iter().map(rule).collect()
}

fn rule(part: Part<'_>) -> Result<FaultRule, Flaw> {
    let mut prefixes = part.split(':');
    let body = prefixes.pop().unwrap_or(part);
    let mut places = Places::default();
    let mut which = Connections::All;
    let mut direction = None;
    for (index, prefix) in prefixes.iter().map(|prefix| prefix.trimmed()).enumerate() {
        if let Some(found) = StreamDirection::BOTH.into_iter().find(|each| each.to_string() == prefix.text) {
            if places.direction.replace(prefix.range()).is_some() {
                let sentence = "one direction is enough, and without one the rule is for both";
                return Err(Flaw::new(SpecProblem::Syntax, prefix.range(), sentence));
            }
            direction = Some(found);
        } else if index == 0 {
            which = which::connections(prefix)?;
            places.which = Some(prefix.range());
        } else {
            let sentence = "the connections come first, then the direction, then the fault: `1-2: up: reset`";
            return Err(Flaw::new(SpecProblem::Syntax, prefix.range(), sentence));
        }
    }
    let mut rule = body_of(body, &mut places)?;
    rule.which = which;
    rule.direction = direction;
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
            rule.when = Some(trigger(*word)?);
            places.when = Some(word.range());
        } else if word.text.ends_with('%') && places.chance.is_none() {
            let millionths = amounts::millionths(word.text).ok_or_else(|| {
                let sentence = format!("'{}' is not a chance; write it from 0.0001% to 100%, like 25%", word.text);
                Flaw::new(SpecProblem::Amount, word.range(), sentence)
            })?;
            rule.chance = Some(Chance(millionths));
            places.chance = Some(word.range());
        } else {
            return Err(misplaced(*word, places));
        }
    }
    Ok(rule)
}

/// A word behind the fault that is neither a WHEN nor a CHANCE in its place.
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
        format!("'{}' is not expected here; behind a fault come {WHEN}, and a chance such as 25%", word.text)
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
            "up" | "down" => Some(format!("a colon stands behind the direction: `{}: reset`", name.text)),
            "every" | "*" | "from" => Some("a colon stands behind the connections: `every 5th: reset`".into()),
            numbers if numbers.starts_with(|c: char| c.is_ascii_digit()) => {
                Some(format!("a colon stands behind the connections: `{numbers}: reset`"))
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

/// `@connect`, `@64KiB`, `@message=3`, `@2s`, `@idle=30s`.
fn trigger(word: Part<'_>) -> Result<Trigger, Flaw> {
    let text = &word.text[1..];
    if text == "connect" {
        return Ok(Trigger::Connect);
    }
    let amount = |sentence: String| Err(Flaw::new(SpecProblem::Amount, word.range(), sentence));
    if let Some((name, value)) = text.split_once('=') {
        return match name {
            "message" => match value.parse() {
                Ok(number) if number > 0 && !value.starts_with('+') => Ok(Trigger::Message(number)),
                _ => amount(format!("'{value}' is not a message's number: the first message is 1")),
            },
            "idle" => match amounts::time(value) {
                Some(time) => Ok(Trigger::Idle(time)),
                None => amount(format!("'{value}' is not {}", amounts::TIME)),
            },
            _ => Err(unknown_trigger(word, name)),
        };
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(unknown_trigger(word, text));
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
        (None, None) => amount(format!("'{}' is not {WHEN}", word.text)),
    }
}

fn unknown_trigger(word: Part<'_>, name: &str) -> Flaw {
    let meant = nearest(name, ["connect", "message", "idle"]).map(|name| format!("@{name}"));
    Flaw { meant, ..Flaw::new(SpecProblem::UnknownWord, word.range(), format!("'{}' is not {WHEN}", word.text)) }
}

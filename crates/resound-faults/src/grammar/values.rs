//! The value after a fault's word.

use std::time::Duration;

use super::part::Part;
use crate::amounts::{self, SIZE, TIME, size_text};
use crate::effect::{DelayShape, EffectValue};
use crate::error::{Flaw, SpecProblem};
use crate::kind::{KindFacts, ValueForm};

/// `None` after `name` where no equals sign is.
pub(super) fn value(facts: &KindFacts, name: Part<'_>, value: Option<Part<'_>>) -> Result<EffectValue, Flaw> {
    let word = facts.word;
    let part = match (facts.value, value) {
        (ValueForm::None, None) => return Ok(EffectValue::Absent),
        (ValueForm::None, Some(value)) => {
            let sentence = format!("`{word}` takes no value");
            return Err(Flaw::new(SpecProblem::Value, value.range(), sentence));
        }
        (ValueForm::SizeOr(default, _), None) => return Ok(EffectValue::Size(default)),
        (form, None) => {
            let end = name.range().end;
            let sentence = format!("`{word}` needs a value, like `{word}={}`", form.example());
            return Err(Flaw::new(SpecProblem::Value, end..end, sentence));
        }
        (_, Some(value)) => value,
    };
    let text = part.text;
    let amount = |what: &str| Err(Flaw::new(SpecProblem::Amount, part.range(), format!("'{text}' is not {what}")));
    match facts.value {
        ValueForm::Time => match amounts::time(text) {
            Some(time) => Ok(EffectValue::Time(time)),
            None => amount(TIME),
        },
        ValueForm::Delay => delay(part),
        ValueForm::Rate => match text.strip_suffix("/s").and_then(amounts::size) {
            Some(bytes) => Ok(EffectValue::Pace { bytes, each: Duration::from_secs(1) }),
            None => amount("a rate like 1MiB/s or 500B/s"),
        },
        ValueForm::Drip => match drip(text) {
            Some((bytes, each)) => Ok(EffectValue::Pace { bytes, each }),
            None => amount("a size and a time like 10B/100ms"),
        },
        ValueForm::Slice => match slice(text) {
            Some((from, to)) => Ok(EffectValue::Range(from, to)),
            None => amount("a number of bytes from 1 on like 3, or a range like 1..7"),
        },
        ValueForm::Size(most) | ValueForm::SizeOr(_, most) => match amounts::size(text) {
            Some(size) if size > most => amount(&format!("possible here: {} are the most", size_text(most))),
            Some(size) => Ok(EffectValue::Size(size)),
            None => amount(SIZE),
        },
        ValueForm::Count => match count(text) {
            Some(count) => Ok(EffectValue::Count(count)),
            None => amount("a number from 1 to 4294967295"),
        },
        ValueForm::PerSecond => match count(text.strip_suffix("/s").unwrap_or(text)) {
            Some(count) => Ok(EffectValue::Count(count)),
            None => amount("a number of connections like 5/s"),
        },
        // Returned above.
        ValueForm::None => Ok(EffectValue::Absent),
    }
}

/// `20ms`, `20ms+-5ms`, `20ms+-5ms~normal`, as [`EffectValue::Varied`].
pub fn delay(part: Part<'_>) -> Result<EffectValue, Flaw> {
    let (times, shape) = part.split_once('~');
    let (middle, by) = times.text.split_once("+-").map_or((times.text, None), |(middle, by)| (middle, Some(by)));
    let wrong = |text: &str| {
        let sentence = format!("'{text}' is not {TIME}; a delay that varies is 20ms+-5ms");
        Flaw::new(SpecProblem::Amount, times.range(), sentence)
    };
    let middle = amounts::time(middle).ok_or_else(|| wrong(middle))?;
    let by = by.map(|by| amounts::time(by).ok_or_else(|| wrong(by))).transpose()?;
    if by.is_some_and(|by| by > middle) {
        let sentence = "a delay varies at most by its own length, because it cannot be below zero";
        return Err(Flaw::new(SpecProblem::Amount, times.range(), sentence));
    }
    let shape = match shape {
        Some(part) if by.is_none() => {
            let sentence = "a delay that does not vary has no distribution: write 20ms+-5ms~normal";
            return Err(Flaw::new(SpecProblem::Value, part.range(), sentence));
        }
        Some(part) => match DelayShape::WORDS.into_iter().find(|(word, _)| *word == part.text) {
            Some((_, shape)) => shape,
            None => {
                let known = DelayShape::WORDS.map(|(word, _)| word);
                let what = "a distribution: uniform, normal or pareto";
                return Err(Flaw::unknown(part.range(), part.text, what, known));
            }
        },
        None => DelayShape::Uniform,
    };
    Ok(EffectValue::Varied { middle, by: by.unwrap_or_default(), shape })
}

fn drip(text: &str) -> Option<(u64, Duration)> {
    let (bytes, each) = text.split_once('/')?;
    Some((amounts::size(bytes)?, amounts::time(each)?))
}

fn slice(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (amounts::size(from)?, amounts::size(to)?);
    (from <= to).then_some((from, to))
}

fn count(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|count| is_number && *count > 0)
}

//! A file of faults, in TOML.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Flaw, SpecError, SpecProblem};
use crate::grammar;
use crate::rule::FaultRule;
use crate::spec::FaultSpec;

const TOP: [&str; 2] = ["seed", "fault"];
/// The keys of a fault in the order of the grammar, and the one that stands for all of them.
const KEYS: [&str; 6] = ["which", "direction", "fault", "when", "chance", "spec"];

/// A file of faults: a seed, and rules, each in parts or as a specification.
///
/// ```
/// use resound_faults::FaultFile;
///
/// let file = FaultFile::parse(
///     r#"
///     seed = 7
///     [[fault]]
///     which = "1-2"
///     fault = "reset"
///     when = "@64KiB"
///     [[fault]]
///     spec = "down: delay=20ms; up: rate=1MiB/s"
///     "#,
/// )?;
/// assert_eq!(file.seed, Some(7));
/// assert_eq!(file.spec.to_string(), "1-2: reset @64KiB; down: delay=20ms; up: rate=1MiB/s");
/// # Ok::<(), resound_faults::SpecError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultFile {
    /// The seed, if the file has one.
    pub seed: Option<u64>,
    /// Its faults, in their order.
    pub spec: FaultSpec,
}

type TomlValue<'a> = Spanned<DeValue<'a>>;

impl FaultFile {
    /// The whole file; nothing of it if any of it is wrong.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let at_line = |flaw: Flaw| {
            let (number, start, line) = line_of(text, flaw.range.start);
            let end = flaw.range.end.clamp(flaw.range.start, start + line.len());
            let range = flaw.range.start.min(end) - start..end - start;
            Flaw { range, ..flaw }.within(line, Some(number))
        };
        read(text).map_err(at_line)
    }
}

/// The number, the start and the text of the line of a byte.
fn line_of(text: &str, at: usize) -> (usize, usize, &str) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let start = text[..at].rfind('\n').map_or(0, |before| before + 1);
    let end = text[at..].find('\n').map_or(text.len(), |behind| at + behind);
    (text[..start].matches('\n').count() + 1, start, text[start..end].trim_end_matches('\r'))
}

fn wrong(range: Range<usize>, sentence: impl Into<String>) -> Flaw {
    Flaw::new(SpecProblem::Value, range, sentence)
}

fn read(text: &str) -> Result<FaultFile, Flaw> {
    let table = DeTable::parse(text).map_err(|error| {
        let range = error.span().unwrap_or_default();
        Flaw::new(SpecProblem::Syntax, range, format!("the file is not TOML: {}", error.message().trim()))
    })?;
    let mut seed = None;
    let mut rules = Vec::new();
    for (key, value) in table.get_ref() {
        match key.get_ref().as_ref() {
            "seed" => seed = Some(seed_of(value)?),
            "fault" => {
                let DeValue::Array(tables) = value.get_ref() else {
                    return Err(wrong(key.span(), "each fault is a table of its own, under [[fault]]"));
                };
                for table in tables.iter() {
                    let DeValue::Table(keys) = table.get_ref() else {
                        return Err(wrong(table.span(), "each fault is a table of its own, under [[fault]]"));
                    };
                    rules.extend(fault(table.span(), keys)?);
                }
            }
            name => return Err(Flaw::unknown(key.span(), name, "a key of a file of faults", TOP)),
        }
    }
    if rules.len() > grammar::MOST_RULES {
        let sentence = format!("a file has at most {} rules", grammar::MOST_RULES);
        return Err(Flaw::new(SpecProblem::TooMany, 0..0, sentence));
    }
    Ok(FaultFile { seed, spec: FaultSpec::new(rules) })
}

fn seed_of(value: &TomlValue<'_>) -> Result<u64, Flaw> {
    let seed = match value.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    seed.ok_or_else(|| wrong(value.span(), "a seed is a whole number from 0 to 18446744073709551615"))
}

/// The rules of one table: it is written as its specification, and parsed as one.
fn fault(table: Range<usize>, keys: &DeTable<'_>) -> Result<Vec<FaultRule>, Flaw> {
    let mut parts: [Option<(&str, Range<usize>)>; KEYS.len()] = Default::default();
    let mut first = table.start..table.start;
    for (key, value) in keys {
        let name = key.get_ref().as_ref();
        let Some(index) = KEYS.iter().position(|known| *known == name) else {
            return Err(Flaw::unknown(key.span(), name, "a key of a fault", KEYS));
        };
        let DeValue::String(text) = value.get_ref() else {
            let sentence = format!("`{name}` is a text in quotes, as in the grammar");
            return Err(wrong(value.span(), sentence));
        };
        first = key.span();
        parts[index] = Some((text.as_ref(), value.span()));
    }
    if let Some((text, span)) = &parts[5] {
        if parts[..5].iter().any(Option::is_some) {
            return Err(wrong(first, "`spec` is a whole rule: the other keys do not stand beside it"));
        }
        let rules = grammar::rules(text).map_err(|flaw| within(flaw, 0, text, span))?;
        return match rules.is_empty() {
            true => Err(wrong(span.clone(), "a fault is missing here, such as `reset` or `delay=20ms`")),
            false => Ok(rules),
        };
    }
    if parts[2].is_none() {
        return Err(wrong(table, "a fault has the key `fault` or the key `spec`"));
    }
    combined(&parts)
}

/// The rule that the keys of a table make.
fn combined(parts: &[Option<(&str, Range<usize>)>; KEYS.len()]) -> Result<Vec<FaultRule>, Flaw> {
    let mut spec = String::new();
    let mut places = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let Some((text, span)) = part else { continue };
        // What ends a part must not stand within one.
        let is_one = !text.trim().is_empty()
            && match KEYS[index] {
                "which" => !text.contains(';'),
                "direction" => ["up", "down"].contains(text),
                "when" => {
                    text.starts_with('@') && !text[1..].contains(|c: char| c.is_whitespace() || "@:;".contains(c))
                }
                "chance" => text.ends_with('%') && !text.contains(|c: char| c.is_whitespace() || "@:;".contains(c)),
                _ => !text.trim().contains(|c: char| c.is_whitespace() || "@:;".contains(c)),
            };
        if !is_one {
            let form = match KEYS[index] {
                "which" => "connections, like 3, 1-2, 5-, every 5th or from=10.0.0.0/8",
                "direction" => "a direction: up or down",
                "when" => "a WHEN: @connect, @64KiB, @message=3, @2s or @idle=30s",
                "chance" => "a chance like 25%",
                _ => "a fault alone, like reset or delay=20ms; the key `spec` takes a whole rule",
            };
            return Err(wrong(span.clone(), format!("'{text}' is not {form}")));
        }
        places.push((spec.len(), *text, span));
        spec += text;
        spec += if index < 2 { ": " } else { " " };
    }
    grammar::rules(&spec).map_err(|flaw| {
        let own = places.iter().rev().find(|(start, ..)| *start <= flaw.range.start);
        match own {
            Some((start, text, span)) => within(flaw, *start, text, span),
            None => flaw,
        }
    })
}

/// The place in the file of a flaw in a text that stands there in quotes. The quoted text may have
/// escapes: then the whole of it is the place.
fn within(flaw: Flaw, start: usize, text: &str, span: &Range<usize>) -> Flaw {
    let is_plain = span.len() == text.len() + 2;
    let at = |place: usize| span.start + 1 + place.saturating_sub(start).min(text.len());
    let range = if is_plain { at(flaw.range.start)..at(flaw.range.end) } else { span.clone() };
    Flaw { range, ..flaw }
}

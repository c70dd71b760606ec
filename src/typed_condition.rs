//! [`TypedCondition`]: the parts of `--fail-if 'p99>5ms'`.

use std::cmp::Ordering;

/// A condition in its parts.
pub(crate) struct TypedCondition<'a> {
    pub(crate) name: &'a str,
    /// The condition is true if the value compares to the limit like one of these.
    pub(crate) orders: &'static [Ordering],
    pub(crate) value: &'a str,
}

const SIGNS: [(&str, &[Ordering]); 4] = [
    (">=", &[Ordering::Greater, Ordering::Equal]),
    ("<=", &[Ordering::Less, Ordering::Equal]),
    (">", &[Ordering::Greater]),
    ("<", &[Ordering::Less]),
];

impl<'a> TypedCondition<'a> {
    /// A name, one of `<` `<=` `>` `>=`, and a value; `None` without a sign.
    pub(crate) fn split(text: &'a str) -> Option<Self> {
        let at = text.find(['<', '>'])?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (orders, value) = SIGNS.iter().find_map(|&(sign, it)| Some((it, rest.strip_prefix(sign)?)))?;
        Some(Self { name, orders, value: value.trim() })
    }
}

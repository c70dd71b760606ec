//! The defects of a path: their text and what it means.

use std::fmt;
use std::str::FromStr;

use resound_faults::grammar::MOST_RULES;
use resound_faults::{Flaw, SpecError, SpecProblem};

use super::grammar;
use super::kind::DefectKind;
use super::rule::DefectRule;

/// The defects of a path, as `up: loss=1%; down: mtu=1400` writes them. Text that was parsed prints
/// as text that parses to the same.
///
/// ```
/// use resound_lab::Defects;
///
/// let mut defects: Defects = "up: loss=1% burst=5; 2-: down: mtu=1400 silent port=443".parse()?;
/// defects.push("delay=30ms+-5ms~normal")?;
/// assert_eq!(defects.to_string().parse(), Ok(defects));
/// # Ok::<(), resound_lab::SpecError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    rules: Vec<DefectRule>,
}

impl Defects {
    /// Has it none?
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What each rule does, in order.
    pub fn kinds(&self) -> impl Iterator<Item = DefectKind> + '_ {
        self.rules.iter().map(|rule| rule.kind)
    }

    /// Adds those of a further text, behind the others; none of them if any is wrong.
    pub fn push(&mut self, text: &str) -> Result<(), SpecError> {
        self.add(text, text, None)
    }

    /// Of a file: a specification on each line; `#` begins a comment, and lines may be blank.
    pub fn from_file(text: &str) -> Result<Self, SpecError> {
        let mut defects = Self::default();
        for (index, line) in text.lines().enumerate() {
            defects.add(line.split('#').next().unwrap_or_default(), line, Some(index + 1))?;
        }
        Ok(defects)
    }

    fn add(&mut self, spec: &str, text: &str, line: Option<usize>) -> Result<(), SpecError> {
        let rules = grammar::rules(spec).map_err(|flaw| flaw.within(text, line))?;
        let count = |kind| self.rules.iter().chain(&rules).filter(|rule| rule.kind == kind).count();
        let flaw = if self.rules.len() + rules.len() > MOST_RULES {
            Some((SpecProblem::TooMany, format!("a path has at most {MOST_RULES} defects")))
        } else {
            let twice = [DefectKind::Nat, DefectKind::SplitTcp].into_iter().find(|kind| count(*kind) > 1);
            twice.map(|kind| (SpecProblem::Meaningless, format!("a path has one `{}`", kind.word())))
        };
        match flaw {
            Some((problem, sentence)) => Err(Flaw::new(problem, 0..spec.len(), sentence).within(text, line)),
            None => {
                self.rules.extend(rules);
                Ok(())
            }
        }
    }

    pub(super) fn rules(&self) -> &[DefectRule] {
        &self.rules
    }
}

impl FromStr for Defects {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut defects = Self::default();
        defects.add(text, text, None)?;
        Ok(defects)
    }
}

impl fmt::Display for Defects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.rules.iter().enumerate() {
            let gap = if index > 0 { "; " } else { "" };
            write!(f, "{gap}{rule}")?;
        }
        Ok(())
    }
}

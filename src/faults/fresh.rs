//! [`FreshFaults`]: faults of a program that runs, read again when their file changes.

use anyhow::Result;

use super::setter::FaultSetter;
use super::source::{FaultSource, SourcedFaults};

/// The source of the faults, and what sets them.
pub(crate) struct FreshFaults {
    sourced: SourcedFaults,
    setter: FaultSetter,
}

impl FreshFaults {
    pub(super) fn new(sourced: SourcedFaults, setter: FaultSetter) -> Self {
        Self { sourced, setter }
    }

    /// Is there a file to read again?
    pub(crate) fn has_file(&self) -> bool {
        self.sourced.has_file()
    }

    /// Reads the file again if it has changed, or if that is asked for. A file with a mistake
    /// changes nothing.
    pub(crate) fn refresh(&mut self, is_requested: bool) {
        if let Err(error) = self.set_changed(is_requested) {
            tracing::warn!("the faults stay as they were: {error:#}");
        }
    }

    /// Reads the file again, if there is one.
    pub(crate) fn read_again(&mut self) -> Result<()> {
        self.set_changed(true)
    }

    fn set_changed(&mut self, all: bool) -> Result<()> {
        let Some(read) = self.sourced.changed(all) else { return Ok(()) };
        let (spec, seed) = read?;
        self.setter.set(spec, seed).map(drop).map_err(|error| self.sourced.named(error))
    }

    /// Whether these faults can take the place of the ones that hold: a record can be neither added
    /// nor removed, since its connections count from 1.
    pub(crate) fn can_become(&self, new: &SourcedFaults) -> bool {
        let is_record = |sourced: &SourcedFaults| matches!(sourced.source, FaultSource::Record(_));
        !is_record(&self.sourced) && !is_record(new)
    }

    /// Sets other faults. The old ones stay where these have a mistake.
    pub(crate) fn replace(&mut self, mut new: SourcedFaults) -> Result<()> {
        let (spec, seed) = self.sourced.replaced_by(&mut new)?;
        self.setter.set(spec, seed).map_err(|error| new.named(error))?;
        self.sourced = new;
        Ok(())
    }
}

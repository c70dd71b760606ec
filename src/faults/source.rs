//! [`SourcedFaults`]: where faults come from.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};
use resound::faults::{FaultFile, FaultSpec, LiveFaults};
use resound::system::open_file;

use super::record::SettingRecord;
use crate::text_file;

/// The longest line of a record.
const LONGEST_LINE: usize = 1024 * 1024;

/// Where the faults come from.
#[derive(Clone)]
pub(crate) enum FaultSource {
    Nowhere,
    Spec(FaultSpec),
    /// Read again when it changes.
    File(PathBuf),
    /// The record of an earlier run.
    Record(PathBuf),
}

/// The faults of a program, and their source.
#[derive(Clone)]
pub(crate) struct SourcedFaults {
    pub(crate) source: FaultSource,
    /// A random seed, for a source without one.
    drawn: u64,
    /// The seed on the command line, which takes precedence.
    asked: Option<u64>,
    /// The version of the file that was read.
    seen: Option<(SystemTime, u64)>,
}

impl SourcedFaults {
    pub(crate) fn new(source: FaultSource, asked: Option<u64>) -> Self {
        // Short enough to be typed again.
        Self { source, drawn: fastrand::u64(..1 << 32), asked, seen: None }
    }

    fn seed(&self, of_source: Option<u64>) -> u64 {
        self.asked.or(of_source).unwrap_or(self.drawn)
    }

    /// Whether there is a file to read again.
    pub(super) fn has_file(&self) -> bool {
        matches!(self.source, FaultSource::File(_))
    }

    /// Sets the faults before the program starts. Returns what was set, which is nothing without a
    /// source unless faults may come later, for which there is a seed.
    pub(crate) fn begin(&mut self, faults: &LiveFaults, may_come: bool) -> Result<Vec<SettingRecord>> {
        let setting = |spec: FaultSpec, seed| {
            let text = spec.to_string();
            let from = faults.set(spec, seed)?;
            Ok(vec![SettingRecord { from, seed, faults: text }])
        };
        match &self.source {
            FaultSource::Nowhere if may_come => setting(FaultSpec::default(), self.seed(None)),
            FaultSource::Nowhere => Ok(Vec::new()),
            FaultSource::Spec(spec) => setting(spec.clone(), self.seed(None)),
            FaultSource::File(path) => {
                // Before the read: a later change is seen.
                self.seen = stamp(path);
                let (spec, seed) = self.read(path)?;
                setting(spec, seed).map_err(|error| anyhow!("--faults {}: {error}", path.display()))
            }
            FaultSource::Record(path) => {
                let named = || format!("--replay {}", path.display());
                let settings = recorded(path).with_context(named)?;
                for SettingRecord { from, seed, faults: text } in &settings {
                    let set = || anyhow::Ok(faults.set_from(*from, text.parse()?, *seed)?);
                    set().map_err(|error| anyhow!("{}: the faults from connection {from} on: {error}", named()))?;
                }
                Ok(settings)
            }
        }
    }

    /// The faults and the seed of a file.
    fn read(&self, path: &Path) -> Result<(FaultSpec, u64)> {
        let named = || format!("--faults {}", path.display());
        let text = text_file::read(path).with_context(named)?;
        let FaultFile { seed, spec } = FaultFile::parse(&text).with_context(named)?;
        Ok((spec, self.seed(seed)))
    }

    /// The faults to set now: those of a file where it has changed, or where all is read again.
    pub(super) fn changed(&mut self, all: bool) -> Option<Result<(FaultSpec, u64)>> {
        let FaultSource::File(path) = &self.source else { return None };
        let now = stamp(path);
        if now == self.seen && !all {
            return None;
        }
        self.seen = now;
        let path = path.clone();
        Some(self.read(&path))
    }

    /// An error in setting what the source says, with its name.
    pub(super) fn named(&self, error: resound::Error) -> anyhow::Error {
        match &self.source {
            FaultSource::File(path) => anyhow!("--faults {}: {error}", path.display()),
            _ => error.into(),
        }
    }

    /// The faults to set where another source takes the place of `self`. What is drawn stays drawn
    /// as before.
    pub(super) fn replaced_by(&self, new: &mut Self) -> Result<(FaultSpec, u64)> {
        new.drawn = self.drawn;
        match &new.source {
            FaultSource::Spec(spec) => Ok((spec.clone(), new.seed(None))),
            FaultSource::File(path) => {
                new.seen = stamp(path);
                new.read(path)
            }
            FaultSource::Nowhere | FaultSource::Record(_) => Ok((FaultSpec::default(), new.seed(None))),
        }
    }
}

/// Identifies one version of a file.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// The settings in a record.
fn recorded(path: &Path) -> Result<Vec<SettingRecord>> {
    let mut settings = Vec::new();
    let mut lines = BufReader::new(open_file(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        io::Read::take(&mut lines, LONGEST_LINE as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        let value: serde_json::Value =
            serde_json::from_slice(&line).map_err(|_| anyhow!("line {number} is not a line of a record"))?;
        if value.get("faults").is_some() {
            let setting: SettingRecord =
                serde_json::from_value(value).map_err(|_| anyhow!("line {number} is not a line of a record"))?;
            let last = settings.last().map_or(1, |setting: &SettingRecord| setting.from);
            if setting.from < last {
                bail!("line {number} is out of order: its faults begin at connection {}", setting.from);
            }
            settings.push(setting);
        }
    }
    if settings.is_empty() {
        bail!("there is no line with faults in it: is it the file of --record?");
    }
    Ok(settings)
}

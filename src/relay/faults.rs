//! The faults of `resound relay`: where they come from, and the record of what was injected.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use resound::Error;
use resound::faults::{FaultEvent, FaultFile, FaultSetting, FaultSpec, LiveFaults};
use serde::{Deserialize, Serialize};

use super::events::EventLog;
use crate::console::{RelayConsole, setting_json};
use crate::json;
use crate::signals::CaughtSignals;

/// The interval between checks of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest line of a record.
const LONGEST_LINE: usize = 1024 * 1024;

/// Faults, and the first connection that they concern.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SettingRecord {
    pub(crate) from: u64,
    pub(crate) seed: u64,
    /// The specification as text.
    pub(crate) faults: String,
}

/// Where the faults come from.
pub(crate) enum FaultSource {
    Nowhere,
    Spec(FaultSpec),
    /// Read again when it changes.
    File(PathBuf),
    /// The record of an earlier run.
    Record(PathBuf),
}

/// The faults of a relay, and their source.
pub(crate) struct SourcedFaults {
    pub(crate) source: FaultSource,
    /// What is drawn comes from it, unless the source has one of its own.
    pub(crate) seed: u64,
    /// The version of the file that was read.
    seen: Option<(SystemTime, u64)>,
}

impl SourcedFaults {
    pub(crate) fn new(source: FaultSource, seed: u64) -> Self {
        Self { source, seed, seen: None }
    }

    /// Whether SIGHUP reads something again.
    pub(crate) fn reloads(&self) -> bool {
        matches!(self.source, FaultSource::File(_))
    }

    /// Sets the faults before the relay starts. Returns what was set, which is nothing without a
    /// source unless faults may come later, for which there is a seed.
    pub(crate) fn begin(&mut self, faults: &LiveFaults, may_come: bool) -> Result<Vec<SettingRecord>> {
        let setting = |spec: FaultSpec, seed| {
            let text = spec.to_string();
            let from = faults.set(spec, seed)?;
            Ok(vec![SettingRecord { from, seed, faults: text }])
        };
        match &self.source {
            FaultSource::Nowhere if may_come => setting(FaultSpec::default(), self.seed),
            FaultSource::Nowhere => Ok(Vec::new()),
            FaultSource::Spec(spec) => setting(spec.clone(), self.seed),
            FaultSource::File(path) => {
                // Before the read: a later change is seen.
                self.seen = stamp(path);
                let (spec, seed) = self.read(path)?;
                setting(spec, seed)
            }
            FaultSource::Record(path) => {
                let settings = recorded(path).with_context(|| format!("--replay {}", path.display()))?;
                for SettingRecord { from, seed, faults: text } in &settings {
                    faults.set_from(*from, text.parse()?, *seed)?;
                }
                Ok(settings)
            }
        }
    }

    fn read(&self, path: &Path) -> Result<(FaultSpec, u64)> {
        let named = || format!("--faults {}", path.display());
        let text = fs::read_to_string(path).with_context(named)?;
        let FaultFile { seed, spec } = FaultFile::parse(&text).with_context(named)?;
        Ok((spec, seed.unwrap_or(self.seed)))
    }

    /// Reads the file again whenever it has changed, and at SIGHUP. A file with a mistake changes
    /// nothing.
    pub(crate) async fn keep_fresh(self, setter: FaultSetter) {
        let FaultSource::File(path) = &self.source else { return std::future::pending().await };
        let mut hangup = CaughtSignals::hangup();
        let mut seen = self.seen;
        loop {
            let is_requested = tokio::select! {
                () = hangup.next() => true,
                () = tokio::time::sleep(CHECK_INTERVAL) => false,
            };
            let now = stamp(path);
            if now == seen && !is_requested {
                continue;
            }
            seen = now;
            if let Err(error) = self.read(path).and_then(|(spec, seed)| Ok(setter.set(spec, seed)?)) {
                tracing::warn!("the faults stay as they were: {error:#}");
            }
        }
    }
}

/// Sets the faults of a relay that runs, and reports each change.
#[derive(Clone)]
pub(crate) struct FaultSetter {
    pub(crate) faults: LiveFaults,
    pub(crate) record: Option<FaultRecord>,
    pub(crate) console: Option<RelayConsole>,
    pub(crate) log: Option<Arc<EventLog>>,
}

impl FaultSetter {
    #[cfg(test)]
    pub(crate) fn unobserved() -> Self {
        Self { faults: LiveFaults::of_relay(), record: None, console: None, log: None }
    }

    /// What holds for the next connection.
    pub(crate) fn holds(&self) -> SettingRecord {
        let FaultSetting { from, seed, spec, .. } = self.faults.get();
        SettingRecord { from, seed, faults: spec.to_string() }
    }

    pub(crate) fn set(&self, spec: FaultSpec, seed: u64) -> Result<SettingRecord, Error> {
        let faults = spec.to_string();
        let set = || Ok(SettingRecord { from: self.faults.set(spec, seed)?, seed, faults });
        let setting = match &self.log {
            Some(log) => log.append_with(|| {
                let setting: SettingRecord = set()?;
                let (from, event) = (setting.from, setting_json(setting.from, &setting.faults, seed));
                Ok((setting, from, event))
            }),
            None => set(),
        }?;
        self.print(&setting);
        Ok(setting)
    }

    /// Reports what was set before the relay started.
    pub(crate) fn begun(&self, setting: &SettingRecord) {
        let SettingRecord { from, seed, faults } = setting;
        self.log.iter().for_each(|log| log.append(*from, setting_json(*from, faults, *seed)));
        self.print(setting);
    }

    fn print(&self, setting: &SettingRecord) {
        self.record.iter().for_each(|record| record.setting(setting));
        self.console.iter().for_each(|console| console.faults(setting.from, &setting.faults, setting.seed));
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
    let mut lines = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        io::Read::take(&mut lines, LONGEST_LINE as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        let value: serde_json::Value =
            serde_json::from_slice(&line).with_context(|| format!("line {number} is no line of a record"))?;
        if value.get("faults").is_some() {
            settings.push(serde_json::from_value(value).with_context(|| format!("line {number}"))?);
        }
    }
    if settings.is_empty() {
        bail!("there is no line with faults in it: is it the file of --record?");
    }
    Ok(settings)
}

/// `--record`: the settings and the events, as lines of JSON.
#[derive(Clone)]
pub(crate) struct FaultRecord(Arc<Mutex<RecordFile>>);

struct RecordFile {
    path: PathBuf,
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl FaultRecord {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("--record {}", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(RecordFile { path: path.into(), file: BufWriter::new(file), failed: None }))))
    }

    pub(crate) fn setting(&self, setting: &SettingRecord) {
        self.line(&json::object(setting));
    }

    pub(crate) fn event(&self, event: &FaultEvent) {
        self.line(&json::object(event));
    }

    fn line(&self, line: &[u8]) {
        let record = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if record.failed.is_none() {
            // A program that reads along finds each line complete.
            record.failed = record.file.write_all(line).and_then(|()| record.file.flush()).err();
            if let Some(error) = &record.failed {
                tracing::warn!("--record {} ends here: {error}", record.path.display());
            }
        }
    }

    /// The failure of a write, if one has failed.
    pub(crate) fn finish(&self) -> Result<()> {
        let record = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = record.failed.take().or_else(|| record.file.flush().err());
        failed.map_or(Ok(()), |error| bail!("--record {} is not complete: {error}", record.path.display()))
    }
}

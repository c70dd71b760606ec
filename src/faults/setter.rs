//! [`FaultSetter`]: sets faults while a program runs.

use std::sync::Arc;

use resound::Error;
use resound::faults::{FaultSetting, FaultSpec, LiveFaults};
use resound_console::{Console, setting_json};

use super::events::EventLog;
use super::record::{FaultRecord, SettingRecord};
use crate::admin::FaultCounts;

/// Sets the faults of a program that runs, and reports each change.
#[derive(Clone)]
pub(crate) struct FaultSetter {
    pub(crate) faults: LiveFaults,
    pub(crate) record: Option<FaultRecord>,
    pub(crate) console: Console,
    pub(crate) log: Option<Arc<EventLog>>,
    pub(crate) counts: Arc<FaultCounts>,
}

impl FaultSetter {
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

    /// Reports what was set before the program started.
    pub(crate) fn begun(&self, setting: &SettingRecord) {
        let SettingRecord { from, seed, faults } = setting;
        self.log.iter().for_each(|log| log.append(*from, setting_json(*from, faults, *seed)));
        self.print(setting);
    }

    fn print(&self, setting: &SettingRecord) {
        self.record.iter().for_each(|record| record.setting(setting));
        self.console.faults(setting.from, &setting.faults, setting.seed);
    }
}

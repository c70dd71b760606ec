//! Fault injection, of a server or a relay: what the flags say, the record, and the control API.

mod control;
mod events;
mod fresh;
mod record;
mod served;
mod setter;
mod source;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use resound::faults::LiveFaults;
use resound_console::Console;

use self::control::ControlListener;
pub(crate) use self::control::{DESCRIPTORS as CONTROL_DESCRIPTORS, ListedConnection, OpenConnections};
pub(crate) use self::events::EventLog;
pub(crate) use self::fresh::FreshFaults;
use self::record::{FaultRecord, SettingRecord};
pub(crate) use self::served::SeenConnections;
pub(crate) use self::setter::FaultSetter;
pub(crate) use self::source::{FaultSource, SourcedFaults};
use crate::admin::FaultCounts;
use crate::inherited_sockets::InheritedSockets;
use crate::log_file::LogFile;

/// The meaning of the flags about faults.
pub(crate) struct FaultPlan {
    pub(crate) faults: SourcedFaults,
    pub(crate) record: Option<PathBuf>,
    pub(crate) control: Option<SocketAddr>,
    pub(crate) counts: Arc<FaultCounts>,
}

/// Faults that are set, of a program that is about to start.
pub(crate) struct PreparedFaults {
    live: LiveFaults,
    sourced: SourcedFaults,
    begun: Vec<SettingRecord>,
    record: Option<FaultRecord>,
    control: Option<ControlListener>,
    counts: Arc<FaultCounts>,
}

impl FaultPlan {
    /// Sets the faults, opens the record and listens for `--control`.
    pub(crate) fn prepare(self, live: LiveFaults, inherited: &mut InheritedSockets) -> Result<PreparedFaults> {
        let Self { faults: mut sourced, record, control, counts } = self;
        let begun = sourced.begin(&live, control.is_some())?;
        if live.closes_listeners() {
            inherited
                .refuse_upgrade("the faults 'refuse' and 'never-accept' close sockets that both processes have")?;
        }
        let record = record.as_deref().map(FaultRecord::open).transpose()?;
        let control = control.map(|address| ControlListener::bind(address, inherited)).transpose()?;
        Ok(PreparedFaults { live, sourced, begun, record, control, counts })
    }
}

impl FaultPlan {
    /// Reads the faults, and starts nothing.
    pub(crate) fn check(mut self, live: &LiveFaults) -> Result<()> {
        self.record.as_deref().map(|path| LogFile::check("--record", path)).transpose()?;
        self.faults.begin(live, false).map(drop)
    }
}

impl PreparedFaults {
    pub(crate) fn has_control(&self) -> bool {
        self.control.is_some()
    }

    /// The record, to be finished at the end.
    pub(crate) fn record(&self) -> UnfinishedRecord {
        UnfinishedRecord(self.record.clone())
    }

    pub(crate) fn setter(&self, console: &Console) -> FaultSetter {
        let log = self.control.as_ref().map(|_| Arc::new(EventLog::default()));
        let (faults, record) = (self.live.clone(), self.record.clone());
        FaultSetter { faults, record, console: console.clone(), log, counts: Arc::clone(&self.counts) }
    }

    /// What may change the faults while the program runs.
    pub(crate) fn fresh(&self, setter: &FaultSetter) -> FreshFaults {
        FreshFaults::new(self.sourced.clone(), setter.clone())
    }

    /// Prints what holds and where the control API is, once the program has started; the future
    /// keeps both running beside it. Where `loud` is given, it is told too of a port that the
    /// system chose.
    pub(crate) fn beside(
        self,
        setter: FaultSetter,
        console: &Console,
        loud: Option<&Console>,
        connections: OpenConnections,
    ) -> impl Future<Output = ()> + use<> {
        let Self { begun, control, record, .. } = self;
        record.iter().for_each(FaultRecord::begin);
        begun.iter().for_each(|setting| setter.begun(setting));
        control.iter().for_each(|listener| listener.announce(console, loud));
        async move {
            match (control, setter.log.clone()) {
                (Some(listener), Some(log)) => listener.serve(setter, log, connections).await,
                _ => std::future::pending().await,
            }
        }
    }
}

/// The record of a run that is not over yet.
pub(crate) struct UnfinishedRecord(Option<FaultRecord>);

impl UnfinishedRecord {
    /// The failure of a write, if one has failed.
    pub(crate) fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), |record| record.finish())
    }
}

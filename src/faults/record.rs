//! [`FaultRecord`]: the file of `--record`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use parking_lot::Mutex;
use resound::faults::FaultEvent;
use resound_console::json;
use serde::{Deserialize, Serialize};

use crate::log_file::unopened;

/// Faults, and the first connection that they concern.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SettingRecord {
    pub(crate) from: u64,
    pub(crate) seed: u64,
    /// The specification as text.
    pub(crate) faults: String,
}

/// `--record`: the settings and the events, as lines of JSON.
#[derive(Clone)]
pub(crate) struct FaultRecord(Arc<Mutex<RecordFile>>);

struct RecordFile {
    path: PathBuf,
    file: BufWriter<File>,
    /// What it held before is gone.
    has_begun: bool,
    failed: Option<io::Error>,
}

impl RecordFile {
    /// Before the first line.
    fn empty(&mut self) -> io::Result<()> {
        match !std::mem::replace(&mut self.has_begun, true) && self.file.get_ref().metadata()?.is_file() {
            true => self.file.get_ref().set_len(0),
            false => Ok(()),
        }
    }
}

impl FaultRecord {
    /// Opens the file, and leaves what it holds: the program may fail to start.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = BufWriter::new(file.map_err(|error| unopened("--record", path, &error))?);
        Ok(Self(Arc::new(Mutex::new(RecordFile { path: path.into(), file, has_begun: false, failed: None }))))
    }

    /// The program has started: an earlier record in the file goes.
    pub(crate) fn begin(&self) {
        self.line(b"");
    }

    pub(crate) fn setting(&self, setting: &SettingRecord) {
        self.line(&json::object(setting));
    }

    pub(crate) fn event(&self, event: &FaultEvent) {
        self.line(&json::object(event));
    }

    fn line(&self, line: &[u8]) {
        let record = &mut *self.0.lock();
        if record.failed.is_none() {
            // A program that reads along finds each line complete.
            let written = record.empty().and_then(|()| record.file.write_all(line)).and_then(|()| record.file.flush());
            record.failed = written.err();
            if let Some(error) = &record.failed {
                tracing::warn!("--record {} ends here: {error}", record.path.display());
            }
        }
    }

    /// The failure of a write, if one has failed.
    pub(crate) fn finish(&self) -> Result<()> {
        let record = &mut *self.0.lock();
        let failed = record.failed.take().or_else(|| record.file.flush().err());
        failed.map_or(Ok(()), |error| bail!("--record {} is not complete: {error}", record.path.display()))
    }
}

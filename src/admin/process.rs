//! What the system knows of this process.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

static START: OnceLock<SystemTime> = OnceLock::new();

/// The program has started; the first call counts.
pub(super) fn note_start(now: SystemTime) {
    START.get_or_init(|| now);
}

pub(super) fn start() -> SystemTime {
    *START.get_or_init(SystemTime::now)
}

/// What the process uses. What the system does not tell is `None`.
pub(super) struct ProcessUse {
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) most_descriptors: Option<u64>,
    pub(super) processor: Option<Duration>,
}

impl ProcessUse {
    pub(super) fn now() -> Self {
        Self {
            resident_bytes: resident_bytes(),
            open_descriptors: open_descriptors(),
            most_descriptors: most_descriptors(),
            processor: processor(),
        }
    }
}

fn processor() -> Option<Duration> {
    let (user, system) = resound::system::processor_time();
    cfg!(target_os = "linux").then_some(user + system)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Linux 6.2 and later tell the number as the size of the folder; before that it is counted.
fn open_descriptors() -> Option<u64> {
    let folder = "/proc/self/fd";
    match std::fs::metadata(folder).ok()?.len() {
        // Without the descriptor of the folder itself.
        0 => Some(std::fs::read_dir(folder).ok()?.count().saturating_sub(1) as u64),
        open => Some(open),
    }
}

fn most_descriptors() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

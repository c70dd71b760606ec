//! [`MachineWatch`]: whether this machine's TCP was short of memory during a run. Then it drops
//! segments and resets connections by itself, on any path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why nothing is judged then.
pub(crate) const SHORT_OF_MEMORY: &str =
    "not judged, since this machine's TCP is short of memory (net.ipv4.tcp_mem, tcp(7))";

/// Looks at this machine: cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct MachineWatch(Arc<AtomicBool>);

impl MachineWatch {
    pub(crate) fn look(&self) {
        if is_short_of_memory() == Some(true) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether any look has found it.
    pub(crate) fn was_short_of_memory(&self) -> bool {
        self.look();
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether the pages that all sockets hold have come to the mark of pressure.
#[cfg(target_os = "linux")]
fn is_short_of_memory() -> Option<bool> {
    let (sockstat, limits) = ("/proc/net/sockstat", "/proc/sys/net/ipv4/tcp_mem");
    is_above(&std::fs::read_to_string(sockstat).ok()?, &std::fs::read_to_string(limits).ok()?)
}

#[cfg(not(target_os = "linux"))]
fn is_short_of_memory() -> Option<bool> {
    None
}

/// Of the texts of `sockstat` and `tcp_mem`, both in pages.
#[cfg(any(target_os = "linux", test))]
fn is_above(sockstat: &str, limits: &str) -> Option<bool> {
    let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = tcp.split_whitespace().skip_while(|word| *word != "mem").skip(1);
    let held: u64 = words.next()?.parse().ok()?;
    let pressure: u64 = limits.split_whitespace().nth(1)?.parse().ok()?;
    Some(held >= pressure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_from_the_mark_of_pressure_on() {
        let sockstat = |mem: u64| {
            format!("sockets: used 300\nTCP: inuse 9 orphan 0 tw 2 alloc 11 mem {mem}\nUDP: inuse 0 mem 9\n")
        };
        let limits = "287898\t383867\t575796\n";
        assert_eq!(is_above(&sockstat(383_866), limits), Some(false));
        assert_eq!(is_above(&sockstat(383_867), limits), Some(true));
        assert_eq!(is_above("UDP: mem 9\n", limits), None);
        assert_eq!(is_above(&sockstat(1), "x"), None);
    }
}

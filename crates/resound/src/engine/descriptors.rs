//! The descriptor limit and the processor time of this process.

use std::io;
use std::time::Duration;

/// Descriptors that a tokio runtime opens, its share of the process's signal pipe included.
const RUNTIME: usize = 6;

/// Raises the soft limit on open descriptors to the hard limit, since a server needs one descriptor
/// per connection. Returns the limit now in force; `None` where the system has no such limit.
///
/// See getrlimit(2), `RLIMIT_NOFILE`. On systems other than Unix this does nothing.
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
            return limit.maximum;
        }
        limit.current
    }
    #[cfg(not(unix))]
    None
}

/// The processor time of all threads of this process so far: in user mode, and in the kernel
/// (getrusage(2)). Zero on systems other than Unix.
#[must_use]
pub fn processor_time() -> (Duration, Duration) {
    #[cfg(target_os = "linux")]
    return super::sys::processor_time();
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        use nix::sys::{resource, time::TimeVal};
        let time = |t: TimeVal| Duration::new(t.tv_sec() as u64, t.tv_usec() as u32 * 1000);
        let usage = resource::getrusage(resource::UsageWho::RUSAGE_SELF);
        usage.map(|usage| (time(usage.user_time()), time(usage.system_time()))).unwrap_or_default()
    }
    #[cfg(not(unix))]
    Default::default()
}

/// Fails where a tokio runtime would panic for lack of descriptors.
pub(crate) fn for_a_runtime() -> io::Result<()> {
    let opened = || {
        let first = std::fs::File::open(if cfg!(windows) { "NUL" } else { "/dev/null" })?;
        (1..RUNTIME).map(|_| first.try_clone()).collect::<io::Result<Vec<_>>>().map(drop)
    };
    opened().or_else(|error| if crate::error::is_descriptor_shortage(&error) { Err(error) } else { Ok(()) })
}

//! What this process may use, and has used.

use std::io;
use std::time::Duration;

/// What a runtime of tokio's opens as it is built, its share of what all of them receive signals through included.
const RUNTIME: usize = 6;

/// Raises the soft limit on open descriptors to the hard limit, as a server that keeps one per connection wants it, and returns the
/// limit now in force; `None` where the system has no such limit.
///
/// See getrlimit(2), `RLIMIT_NOFILE`. Nothing is done on systems other than Unix.
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

/// The processor time that this process has taken so far, all its threads together: in user mode, and in the kernel on its behalf
/// (getrusage(2)). Zero on systems other than Linux.
#[must_use]
pub fn processor_time() -> (Duration, Duration) {
    #[cfg(target_os = "linux")]
    return super::sys::processor_time();
    #[cfg(not(target_os = "linux"))]
    Default::default()
}

/// Fails where a runtime would find no descriptors: it panics then.
pub(crate) fn for_a_runtime() -> io::Result<()> {
    let opened = || {
        let first = std::fs::File::open(if cfg!(windows) { "NUL" } else { "/dev/null" })?;
        (1..RUNTIME).map(|_| first.try_clone()).collect::<io::Result<Vec<_>>>().map(drop)
    };
    opened().or_else(|error| if crate::error::is_descriptor_shortage(&error) { Err(error) } else { Ok(()) })
}

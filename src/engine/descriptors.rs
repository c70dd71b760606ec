//! The limit on open files.

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

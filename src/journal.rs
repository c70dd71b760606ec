//! Lines for the journal of systemd: sd-daemon(3).

use std::sync::LazyLock;

/// The priority of a line (syslog(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinePriority {
    Error = 3,
    Warning = 4,
    Notice = 5,
}

/// Whether stderr is the journal: it then marks each line with its time, and takes a priority.
pub(crate) fn is_stderr() -> bool {
    static IS_STDERR: LazyLock<bool> = LazyLock::new(|| {
        let named = std::env::var("JOURNAL_STREAM").ok();
        named.is_some_and(|named| Some(named) == stderr_stream())
    });
    *IS_STDERR
}

/// The device and the inode of stderr, as systemd writes them (systemd.exec(5)).
fn stderr_stream() -> Option<String> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::fstat(rustix::stdio::stderr()).ok()?;
        Some(format!("{}:{}", stat.st_dev, stat.st_ino))
    }
    #[cfg(not(unix))]
    None
}

/// The text for stderr: each line with its priority, if that is the journal.
pub(crate) fn marked(text: &str, priority: LinePriority) -> String {
    if is_stderr() { prefixed(text, priority) } else { text.into() }
}

/// The text with a priority in front of each line.
pub(crate) fn prefixed(text: &str, priority: LinePriority) -> String {
    text.split_inclusive('\n').map(|line| format!("<{}>{line}", priority as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_a_priority() {
        assert_eq!(prefixed("one\n  two\n", LinePriority::Error), "<3>one\n<3>  two\n");
        assert_eq!(prefixed("", LinePriority::Notice), "");
    }
}

//! The files of reports: what is known before they are written, and how they are written.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::file_identity::FileIdentity;
use crate::signals::uninterrupted;
use crate::stdio::say;

/// Fails if a report cannot be written, or would overwrite another one, an input, or the results on
/// stdout: better before a long run than after it.
pub(crate) fn check<'a>(
    reports: impl IntoIterator<Item = &'a PathBuf>,
    inputs: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<()> {
    let inputs: Vec<_> = inputs.into_iter().filter_map(|path| FileIdentity::of(input(path))).collect();
    let stdout = FileIdentity::of(Path::new("/dev/stdout"));
    let mut seen = Vec::new();
    for path in reports {
        let shown = path.display();
        if let Some(identity) = FileIdentity::of(path) {
            if seen.contains(&identity) {
                bail!("two reports cannot be written to one file: {shown}");
            }
            if inputs.contains(&identity) {
                bail!("{shown} is an input, which the report would overwrite: write the report to another file");
            }
            if stdout.as_ref() == Some(&identity) {
                bail!("{shown} is standard output, which gets the results: write the report to a file of its own");
            }
            seen.push(identity);
        }
        check_writable(path)?;
    }
    Ok(())
}

/// The file behind an input, of which `-` is standard input.
fn input(path: &Path) -> &Path {
    if super::read::is_stdin(path) { Path::new("/dev/stdin") } else { path }
}

/// Fails if a file cannot be written, and leaves it as it is.
fn check_writable(path: &Path) -> Result<()> {
    // The reader of a named pipe would take this for the end of the report.
    if is_pipe(path) {
        return Ok(());
    }
    // For a dangling link, the file at its end is created.
    let is_new = !path.exists();
    fs::OpenOptions::new().append(true).create(true).open(path).with_context(|| unwritable(path))?;
    if is_new {
        fs::canonicalize(path).and_then(fs::remove_file).with_context(|| unwritable(path))?;
    }
    Ok(())
}

fn is_pipe(path: &Path) -> bool {
    #[cfg(unix)]
    return fs::metadata(path).is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type()));
    #[cfg(not(unix))]
    return {
        _ = path;
        false
    };
}

/// Writes a report, and says so where that fails.
pub(crate) fn is_saved(path: &Path, bytes: &[u8]) -> bool {
    let saved = save(path, bytes).with_context(|| unwritable(path));
    saved.inspect_err(|error| say(&format!("{error:#}"))).is_ok()
}

/// Writes a file, or leaves it empty: half a file could be mistaken for a whole one.
fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    // The reader of a pipe may never read.
    let _whole = (!is_pipe(path)).then(uninterrupted);
    match file.write_all(bytes) {
        // A reader that closes its pipe has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            let _ = file.set_len(0);
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Opens a file anew. A named pipe without a reader is an error, and no wait for one.
fn open(path: &Path) -> io::Result<fs::File> {
    #[cfg(unix)]
    if is_pipe(path) {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        use rustix::io::Errno;
        let begun =
            rustix::fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, rustix::fs::Mode::empty());
        let pipe = begun.map_err(|error| match error {
            Errno::NXIO => io::Error::other("no process reads this pipe"),
            error => error.into(),
        })?;
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? - OFlags::NONBLOCK)?;
        return Ok(pipe.into());
    }
    fs::File::create(path)
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

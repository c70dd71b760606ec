//! [`LogFile`]: the file of `--log-file`, opened anew when it is asked to be.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use anyhow::{Result, anyhow};
use resound_console::printer::Printer;
use resound_console::sink::Destination;
#[cfg(unix)]
use rustix::fs::Access;

use crate::advice;

/// What a new file may be: read by its group, and the umask may take that away.
#[cfg(unix)]
const MODE: u32 = 0o640;

/// A log file. What opens, writes and closes it is the thread of its [`Printer`].
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    /// Someone has asked to open it anew.
    asked: Arc<AtomicBool>,
    /// The last attempt to open it anew has failed, and a warning says so.
    is_reported: bool,
}

/// Asks a log file to be opened anew.
pub(crate) struct LogReopener {
    asked: Arc<AtomicBool>,
    printer: Arc<Printer>,
}

impl LogReopener {
    pub(crate) fn new(asked: Arc<AtomicBool>, printer: Arc<Printer>) -> Self {
        Self { asked, printer }
    }

    pub(crate) fn ask(&self) {
        self.asked.store(true, SeqCst);
        self.printer.wake();
    }
}

/// Why the file of this flag cannot be opened, and what to do.
pub(crate) fn unopened(flag: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "Make its folder first, or choose another path.",
        io::ErrorKind::IsADirectory => "Write the name of a file after the folder.",
        io::ErrorKind::PermissionDenied => "Choose a path where this user may write, or change its mode.",
        _ => "Choose another path.",
    };
    let (shown, error) = (advice::shell_path(path), resound::system::plain(error));
    anyhow!("{flag} {shown} cannot be opened: {error}\n  {advice}")
}

impl LogFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = open(path).map_err(|error| unopened("--log-file", path, &error))?;
        Ok(Self { path: path.into(), file, asked: Arc::default(), is_reported: false })
    }

    /// Whether the file of this flag could be opened, without making one.
    pub(crate) fn check(flag: &str, path: &Path) -> Result<()> {
        let parent = |path: &Path| path.parent().map(Path::to_path_buf).unwrap_or_default();
        // A link may lead to a file that is to be made elsewhere.
        let target = path.read_link().map_or_else(|_| path.to_path_buf(), |link| parent(path).join(link));
        let folder = match parent(&target) {
            folder if folder.as_os_str().is_empty() => PathBuf::from("."),
            folder => folder,
        };
        let checked = match path.metadata() {
            Ok(_) => open(path).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match folder.metadata() {
                Ok(found) if !found.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
                found => found.and_then(|_| may_write(&folder)),
            },
            Err(error) => Err(error),
        };
        checked.map_err(|error| unopened(flag, path, &error))
    }

    /// Set, it lets the file be opened anew.
    pub(crate) fn asked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// What this output is called.
    pub(crate) fn name(&self) -> String {
        format!("--log-file {}", advice::shell_path(&self.path))
    }

    fn replace(&mut self, torn: &[u8]) -> bool {
        let file = match open(&self.path) {
            Ok(file) => file,
            Err(error) => {
                if !std::mem::replace(&mut self.is_reported, true) {
                    let (name, error) = (self.name(), resound::system::plain(&error));
                    tracing::warn!("{name} cannot be reopened ({error}): logging continues in the open file");
                }
                return false;
            }
        };
        self.is_reported = false;
        if is_same(&file, &self.file) {
            return false;
        }
        let old = std::mem::replace(&mut self.file, file);
        take_back(&old, torn);
        true
    }
}

/// Opens a log to append to it. No open waits: a FIFO needs no reader, for this end is one too. (So
/// a reader may come later, or leave and come again.)
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(MODE).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    match options.read(true).open(path) {
        // A file that may be written and not read.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.read(false).open(path),
        opened => opened,
    }
}

/// Whether this user may make a file in a folder.
fn may_write(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?);
    #[cfg(not(unix))]
    {
        let _ = folder;
        Ok(())
    }
}

/// Whether both are one file, and nothing is to be replaced.
fn is_same(one: &File, other: &File) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |file: &File| file.metadata().ok().map(|found| (found.dev(), found.ino()));
        identity(one).is_some_and(|one| identity(other) == Some(one))
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        false
    }
}

/// Removes the start of a line from the end of a file, where it could not take the rest: the whole
/// line goes to the next file.
fn take_back(file: &File, torn: &[u8]) {
    #[cfg(unix)]
    if !torn.is_empty()
        && let Some(length) = length(file)
        && let Some(from) = length.checked_sub(torn.len() as u64)
    {
        use std::os::unix::fs::FileExt;
        let mut end = vec![0; torn.len()];
        if file.read_exact_at(&mut end, from).is_ok() && end == torn {
            let _ = file.set_len(from);
        }
    }
    #[cfg(not(unix))]
    let _ = (file, torn);
}

fn length(file: &File) -> Option<u64> {
    file.metadata().ok().filter(|found| found.is_file()).map(|found| found.len())
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        #[cfg(unix)]
        if matches!(&written, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            // A FIFO is full. Looks up now and then, for another file may be wanted by now.
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let pause = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            let _ = poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&pause));
            return Err(io::ErrorKind::Interrupted.into());
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Destination for LogFile {
    fn length(&self) -> Option<u64> {
        length(&self.file)
    }

    fn renew(&mut self, torn: &[u8]) -> bool {
        self.asked.load(SeqCst) && self.asked.swap(false, SeqCst) && self.replace(torn)
    }
}

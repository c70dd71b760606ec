//! How files are opened.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a file to read it. A named pipe that no process writes to is read as an empty file: the
/// program does not wait for a writer
/// ([fifo(7)](https://man7.org/linux/man-pages/man7/fifo.7.html)).
///
/// # Errors
///
/// Those of open(2).
pub fn open_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        // What a writer has still to write is waited for.
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    }
    Ok(file)
}

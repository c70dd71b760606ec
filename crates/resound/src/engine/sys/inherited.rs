//! What a program got from the one that has started it: descriptors, and the variables that tell
//! what they are.

use std::ffi::OsString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use parking_lot::Mutex;

/// Lets one thread at a time take over descriptors.
static ADOPTING: Mutex<()> = Mutex::new(());

/// Takes over a descriptor that was open when this program started. It is closed in programs that
/// this one starts.
///
/// # Errors
/// The error of the system where the descriptor is not open, and `InvalidInput` for a standard
/// stream or a descriptor that this program has opened itself.
pub fn inherited_descriptor(descriptor: i32) -> io::Result<OwnedFd> {
    let _only = ADOPTING.lock();
    // SAFETY: reads the flags of a descriptor, and fails for a number that is none.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if descriptor <= libc::STDERR_FILENO || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this program has opened it itself"));
    }
    // SAFETY: sets the flags of a descriptor that is open.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nothing else owns it: all that this program opens, and all that it
    // has taken over, closes in programs that it starts, and this descriptor did not.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The values of these environment variables. Where only one thread runs, which Linux shows, they
/// are removed from the environment: programs that this one starts do not get them.
#[must_use]
pub fn take_variables(names: &[&str]) -> Vec<Option<OsString>> {
    let values = names.iter().map(std::env::var_os).collect();
    if std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1) {
        for name in names {
            // SAFETY: this is the only thread, so no other reads or writes the environment.
            unsafe { std::env::remove_var(name) };
        }
    }
    values
}

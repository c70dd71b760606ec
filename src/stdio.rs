//! The standard streams of the program.

use std::io::{self, Read, Write};

use resound_console::sink::Destination;
use tokio::sync::oneshot;
#[cfg(unix)]
use {
    rustix::event::{PollFd, PollFlags, Timespec, poll},
    rustix::io::Errno,
    std::os::fd::BorrowedFd,
    std::thread,
    std::time::Duration,
};

use crate::journal::{self, LinePriority};

/// A standard stream. Other programs may share it and make it non-blocking: then calls wait here,
/// and the flags, which are shared too, stay. Nothing is buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StdStream {
    Stdin,
    Stdout,
    Stderr,
}

/// Prints a message on stderr. Errors are ignored: no other stream could report them.
pub(crate) fn say(text: &str) {
    let line = journal::marked(&format!("resound: {text}\n"), LinePriority::Notice);
    let _ = StdStream::Stderr.write_all(line.as_bytes());
}

/// The pauses between calls on a stream that poll reports as ready although it is not.
#[cfg(unix)]
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

#[cfg(unix)]
impl StdStream {
    fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Self::Stdin => rustix::stdio::stdin(),
            Self::Stdout => rustix::stdio::stdout(),
            Self::Stderr => rustix::stdio::stderr(),
        }
    }

    /// Repeats `call` until it is neither interrupted nor would block.
    fn retry(self, ready: PollFlags, mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
        let mut pause = Duration::ZERO;
        loop {
            match call() {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    thread::sleep(pause);
                    pause = (pause * 2).clamp(PAUSES[0], PAUSES[1]);
                    // A stream that poll cannot watch is retried after the pause.
                    let _ = poll(&mut [PollFd::from_borrowed_fd(self.descriptor(), ready)], None);
                }
                result => return result.map_err(io::Error::from),
            }
        }
    }
}

impl StdStream {
    /// Would a read return at once, with bytes or the end? Only Unix knows.
    pub(crate) fn has_something(self) -> bool {
        #[cfg(unix)]
        let ready = poll(&mut [PollFd::from_borrowed_fd(self.descriptor(), PollFlags::IN)], Some(&Timespec::default()));
        #[cfg(not(unix))]
        let ready = Ok::<_, io::Error>(0);
        matches!(ready, Ok(1..))
    }

    /// Do stdout and stderr lead to the same place: a terminal, or with `2>&1` a file or a pipe?
    pub(crate) fn outputs_are_one() -> bool {
        #[cfg(unix)]
        {
            let place = |stream: Self| rustix::fs::fstat(stream.descriptor()).map(|stat| (stat.st_dev, stat.st_ino));
            matches!((place(Self::Stdout), place(Self::Stderr)), (Ok(one), Ok(other)) if one == other)
        }
        #[cfg(not(unix))]
        {
            use std::io::IsTerminal as _;
            io::stdout().is_terminal() && io::stderr().is_terminal()
        }
    }

    /// The length, if it is a file. Only Unix knows.
    pub(crate) fn file_length(self) -> Option<u64> {
        #[cfg(unix)]
        {
            let stat = rustix::fs::fstat(self.descriptor()).ok()?;
            let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
            u64::try_from(stat.st_size).ok().filter(|_| is_file)
        }
        #[cfg(not(unix))]
        None
    }
}

impl Destination for StdStream {
    fn length(&self) -> Option<u64> {
        self.file_length()
    }
}

impl Read for StdStream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        return self.retry(PollFlags::IN, || rustix::io::read(self.descriptor(), &mut *to));
        #[cfg(not(unix))]
        io::stdin().read(to)
    }
}

impl Write for StdStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The Rust runtime opened /dev/null in its place, which would take everything.
        #[cfg(target_os = "linux")]
        if *self == Self::Stdout && resound::system::stdout_was_closed() {
            return Err(Errno::BADF.into());
        }
        #[cfg(unix)]
        return self.retry(PollFlags::OUT, || rustix::io::write(self.descriptor(), bytes));
        #[cfg(not(unix))]
        match self {
            Self::Stderr => io::stderr().write(bytes),
            _ => io::stdout().write(bytes).and_then(|n| io::stdout().flush().map(|()| n)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Resolves when the reader of stdout has left, even if nothing is written: poll reports that
/// without a requested event. If stdout cannot be watched, as on other systems than Unix, it never
/// resolves; the next write fails instead.
pub(crate) fn reader_left() -> oneshot::Receiver<()> {
    let (leaves, left) = oneshot::channel();
    #[cfg(unix)]
    thread::spawn(move || {
        loop {
            let mut watched = [PollFd::from_borrowed_fd(StdStream::Stdout.descriptor(), PollFlags::empty())];
            match poll(&mut watched, None) {
                Ok(_) if watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
                    let _ = leaves.send(());
                    return;
                }
                Err(Errno::INTR) => {}
                _ => return std::mem::forget(leaves),
            }
        }
    });
    #[cfg(not(unix))]
    std::mem::forget(leaves);
    left
}

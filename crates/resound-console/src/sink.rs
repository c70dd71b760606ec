//! [`Destination`]: an output that may fail for a while, such as a log on a full file system.

use std::io::{self, Write};

/// The destination of lines.
pub trait Destination: Write + Send {
    /// Goes on elsewhere, if that was asked for, as when a log file was renamed. Returns whether it
    /// does: the sink then writes `torn` again, the start of a line that the old place has.
    fn renew(&mut self, torn: &[u8]) -> bool {
        let _ = torn;
        false
    }
    /// The length, if it is a file.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// An output and its state.
pub(crate) struct OutputSink {
    output: Box<dyn Destination>,
    /// Reports a failure: once after each time that the output worked.
    report: Box<dyn Fn(&io::Error) + Send>,
    is_reported: bool,
}

/// Lines that could not be written.
#[derive(Debug)]
pub struct Unwritten {
    /// How many.
    pub lines: u64,
    /// Why not.
    pub error: io::Error,
}

impl OutputSink {
    pub(crate) fn new(output: impl Destination + 'static, report: impl Fn(&io::Error) + Send + 'static) -> Self {
        Self { output: Box::new(output), report: Box::new(report), is_reported: false }
    }

    /// Goes on elsewhere, if that was asked for, between two lines.
    pub(crate) fn renew(&mut self) {
        self.output.renew(&[]);
    }

    /// Writes whole lines. After a failure it continues at the same byte, as often as `try_again`
    /// returns true. The error is `None` if the reader has left.
    pub(crate) fn write(&mut self, lines: &[u8], try_again: impl Fn() -> bool) -> Result<(), Option<Unwritten>> {
        let mut done = 0;
        while done < lines.len() {
            let start = line_start(&lines[..done]);
            if self.output.renew(&lines[start..done]) {
                done = start;
            }
            let error = match self.output.write(&lines[done..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(n) => {
                    done += n;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(None),
                Err(error) => error,
            };
            if !std::mem::replace(&mut self.is_reported, true) {
                (self.report)(&error);
            }
            let length = self.output.length();
            if !try_again() {
                return Err(Some(Unwritten { lines: count(&lines[done..]), error }));
            }
            // A truncated file has lost the start of this line too.
            if self.output.length() < length {
                done = line_start(&lines[..done]);
            }
        }
        Ok(())
    }

    /// Everything is written: the next failure is a new one.
    pub(crate) fn works(&mut self) {
        self.is_reported = false;
    }
}

/// Where the line begins that these bytes end in.
fn line_start(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}

/// Counts the lines that end in these bytes.
pub(crate) fn count(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use parking_lot::Mutex;

    use super::*;

    /// A file on a file system with this much room.
    #[derive(Clone, Default)]
    struct Small(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (file, room) = &mut *self.0.lock();
            let n = bytes.len().min(*room - file.len());
            file.extend_from_slice(&bytes[..n]);
            if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Destination for Small {
        fn length(&self) -> Option<u64> {
            Some(self.0.lock().0.len() as u64)
        }
    }

    #[test]
    fn a_line_is_whole_wherever_the_disk_was_full() {
        static REPORTS: AtomicU32 = AtomicU32::new(0);
        let lines = b"one\ntwo\nthree\n";
        for room in 0..lines.len() {
            for empties in [false, true] {
                let small = Small::default();
                small.0.lock().1 = room;
                let mut sink = OutputSink::new(small.clone(), |_| {
                    REPORTS.fetch_add(1, Ordering::Relaxed);
                });
                REPORTS.store(0, Ordering::Relaxed);
                let tries = Cell::new(0);
                let written = sink.write(lines, || {
                    tries.set(tries.get() + 1);
                    if tries.get() == 3 {
                        let (file, room) = &mut *small.0.lock();
                        *room = 100;
                        if empties {
                            file.clear();
                        }
                    }
                    true
                });
                assert!(written.is_ok());
                assert_eq!((REPORTS.load(Ordering::Relaxed), tries.get()), (1, 3), "once, and tried again");
                let file = small.0.lock().0.clone();
                let start =
                    if empties { lines[..room].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1) } else { 0 };
                assert_eq!(String::from_utf8_lossy(&file), String::from_utf8_lossy(&lines[start..]), "room for {room}");
            }
        }
    }

    #[test]
    fn lines_given_up_are_counted() {
        let small = Small::default();
        small.0.lock().1 = 5;
        let Err(Some(unwritten)) = OutputSink::new(small, |_| {}).write(b"one\ntwo\nthree\n", || false) else {
            panic!("there was no room")
        };
        assert_eq!((unwritten.lines, unwritten.error.kind()), (2, io::ErrorKind::StorageFull));
    }
}

//! [`Printer`]: a bounded, lossy way to an output that may be slow or stuck.
//!
//! Whoever writes appends to a lane and goes on; one thread carries the lanes to the output. A lane that is full drops what comes, and
//! counts it. An output that fails is tried again until it works.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::sink::{self, Destination, OutputSink, SinkEnd, Unwritten};

/// What one lane holds before it drops.
const LANE: usize = 1024 * 1024;
/// Events that matter more than single messages may fill this much beyond it.
const RESERVE: usize = 256 * 1024;
/// What is written at once while there is more.
const PIECE: usize = 4 * 1024;
/// Between two writes, so that many events share one.
const PAUSE: Duration = Duration::from_millis(10);
/// When an output that has failed is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// How an event counts when it must be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventWeight {
    /// One of very many.
    Message,
    /// One of a few: dropped last.
    Event,
}

/// What was dropped since the last write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SkippedEvents {
    pub(crate) messages: u64,
    pub(crate) events: u64,
    /// Lines that were taken from a lane, whatever they told, and given up because the end was near.
    pub(crate) lines: u64,
}

/// What the printer itself has to say.
#[derive(Clone, Copy)]
pub(crate) struct PrinterMessages {
    /// Stands where something was skipped.
    pub(crate) skipped: fn(SkippedEvents) -> String,
    /// Says elsewhere that the output fails.
    pub(crate) failing: fn(&io::Error),
}

#[derive(Default)]
struct Lane {
    bytes: Vec<u8>,
    skipped: SkippedEvents,
}

struct PrinterState {
    lanes: Vec<Mutex<Lane>>,
    /// What the thread starts with; taken by whoever prints first, since a server that says nothing needs no thread to say it.
    start: Mutex<Option<Start>>,
    thread: OnceLock<Thread>,
    /// The thread sleeps until somebody wakes it; also before it has been started.
    idle: AtomicBool,
    closing: AtomicBool,
    /// An output that fails was tried once more since then.
    tried_at_the_end: AtomicBool,
    /// What is written behind everything else.
    last_words: Mutex<Vec<u8>>,
    /// The end is near, and the output slow: what has waited is given up for the sake of the last words.
    hurried: AtomicBool,
    /// How often all lanes were carried.
    rounds: AtomicU64,
    /// The output is gone; nothing is kept any more.
    broken: AtomicBool,
}

/// What the thread starts with.
struct Start {
    sink: OutputSink,
    tell: fn(SkippedEvents) -> String,
    end: mpsc::Sender<Option<Unwritten>>,
}

/// Where a worker's events go.
#[derive(Clone)]
pub(crate) struct Printer {
    shared: Arc<PrinterState>,
}

/// Waits for the rest at the end.
pub(crate) struct FinalFlush {
    printer: Printer,
    ended: mpsc::Receiver<Option<Unwritten>>,
}

impl Printer {
    /// A way to `output`, with this many lanes.
    pub(crate) fn new(output: impl Destination + 'static, lanes: usize, words: PrinterMessages) -> (Self, FinalFlush) {
        let (end, ended) = mpsc::channel();
        let sink = OutputSink::new(output, words.failing);
        let shared = Arc::new(PrinterState {
            lanes: (0..lanes).map(|_| Mutex::default()).collect(),
            start: Mutex::new(Some(Start { sink, tell: words.skipped, end })),
            thread: OnceLock::new(),
            idle: AtomicBool::new(true),
            closing: AtomicBool::new(false),
            tried_at_the_end: AtomicBool::new(false),
            last_words: Mutex::default(),
            hurried: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        });
        let printer = Self { shared };
        (printer.clone(), FinalFlush { printer, ended })
    }

    /// Lets `write` append one event to a lane, unless that is full. Waits for nothing but the lane's lock, which is held to append an
    /// event or to swap two buffers.
    pub(crate) fn print(&self, lane: usize, weight: EventWeight, write: impl FnOnce(&mut Vec<u8>)) {
        if self.shared.broken.load(Ordering::Relaxed) {
            return;
        }
        let lane = &self.shared.lanes[lane % self.shared.lanes.len()];
        let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
        let most = if weight == EventWeight::Message { LANE } else { LANE + RESERVE };
        if lane.bytes.len() < most {
            write(&mut lane.bytes);
        } else if weight == EventWeight::Message {
            lane.skipped.messages += 1;
        } else {
            lane.skipped.events += 1;
        }
        drop(lane);
        if self.shared.idle.load(Ordering::Relaxed) && self.shared.idle.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Appends to what is written at the end, behind everything else.
    pub(crate) fn last_words(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.shared.last_words.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake();
    }

    /// Returns once all that was printed before has been written, or after `patience`.
    pub(crate) async fn settled(&self, patience: Duration) {
        let started = self.shared.start.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        // The round that is under way may have passed a lane already; the one behind it has seen them all.
        let wanted = self.shared.rounds.load(Ordering::SeqCst) + 2;
        let until = Instant::now() + patience;
        while started
            && self.shared.rounds.load(Ordering::SeqCst) < wanted
            && !self.shared.broken.load(Ordering::SeqCst)
            && Instant::now() < until
        {
            self.wake();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Wakes the thread, or starts it.
    fn wake(&self) {
        let start = self.shared.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut start) = start {
            let shared = Arc::clone(&self.shared);
            let carry = move || {
                // Before it says that it is idle, or somebody could find nobody to wake.
                let _ = shared.thread.set(thread::current());
                let unwritten = match shared.carry(&mut start.sink, start.tell) {
                    Err(SinkEnd::GivenUp(unwritten)) => Some(unwritten),
                    Ok(()) | Err(SinkEnd::Left) => None,
                };
                shared.broken.store(true, Ordering::SeqCst);
                let _ = start.end.send(unwritten);
            };
            if thread::Builder::new().name("resound-printer".into()).spawn(carry).is_err() {
                self.shared.broken.store(true, Ordering::SeqCst);
            }
        } else if let Some(thread) = self.shared.thread.get() {
            thread.unpark();
        }
    }
}

impl PrinterState {
    /// Carries until the end has come and all is written, or nothing more can be.
    fn carry(&self, sink: &mut OutputSink, tell: fn(SkippedEvents) -> String) -> Result<(), SinkEnd> {
        let mut carried = Vec::new();
        loop {
            // Announce the sleep before the last look, so that no event falls between the two.
            self.idle.store(true, Ordering::SeqCst);
            let closing = self.closing.load(Ordering::SeqCst);
            let mut any = false;
            for lane in &self.lanes {
                let mut locked = lane.lock().unwrap_or_else(PoisonError::into_inner);
                let skipped = std::mem::take(&mut locked.skipped);
                std::mem::swap(&mut locked.bytes, &mut carried);
                drop(locked);
                if skipped != SkippedEvents::default() {
                    carried.extend_from_slice(tell(skipped).as_bytes());
                }
                if !carried.is_empty() {
                    any = true;
                    self.write(sink, &carried, tell).map_err(|ended| self.with_what_waits(ended))?;
                    carried.clear();
                    carried.shrink_to(LANE);
                }
            }
            sink.works();
            self.rounds.fetch_add(1, Ordering::SeqCst);
            match (any, closing) {
                (false, true) => {
                    let last = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
                    return sink.write(&last, || self.try_again());
                }
                (false, false) => thread::park(),
                (true, true) => {}
                (true, false) => {
                    // Under load nobody needs to wake us.
                    self.idle.store(false, Ordering::SeqCst);
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

impl PrinterState {
    /// Writes whole lines, a few at a time; when hurried, gives up all but the last few.
    fn write(&self, sink: &mut OutputSink, bytes: &[u8], tell: fn(SkippedEvents) -> String) -> Result<(), SinkEnd> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if rest.len() > PIECE && self.hurried.load(Ordering::SeqCst) {
                // The end of a lane says how its connections ended.
                let keep = rest.len() - PIECE;
                let from = rest[keep..].iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| keep + at + 1);
                let lines = sink::count(&rest[..from]);
                rest = &rest[from..];
                let told = tell(SkippedEvents { lines, ..SkippedEvents::default() });
                sink.write(told.as_bytes(), || self.try_again())
                    .map_err(|ended| more(ended, sink::count(rest) + lines))?;
            }
            let piece = match rest.get(PIECE..).and_then(|behind| behind.iter().position(|&byte| byte == b'\n')) {
                Some(at) => PIECE + at + 1,
                None => rest.len(),
            };
            let now = &rest[..piece];
            rest = &rest[piece..];
            sink.write(now, || self.try_again()).map_err(|ended| more(ended, sink::count(rest)))?;
        }
        Ok(())
    }

    /// Waits until an output that has failed is to be tried again. At the end that is once more: the attempt that has
    /// failed may have begun before it.
    fn try_again(&self) -> bool {
        let until = Instant::now() + AGAIN;
        loop {
            if self.closing.load(Ordering::SeqCst) {
                return !self.tried_at_the_end.swap(true, Ordering::SeqCst);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::park_timeout(left);
        }
    }

    /// Counts what waits in the lanes as unwritten too.
    fn with_what_waits(&self, ended: SinkEnd) -> SinkEnd {
        let waiting = |lane: &Mutex<Lane>| {
            let Lane { bytes, skipped } = std::mem::take(&mut *lane.lock().unwrap_or_else(PoisonError::into_inner));
            sink::count(&bytes) + skipped.messages + skipped.events + skipped.lines
        };
        let last = sink::count(&self.last_words.lock().unwrap_or_else(PoisonError::into_inner));
        more(ended, self.lanes.iter().map(waiting).sum::<u64>() + last)
    }
}

/// With so many lines more.
fn more(ended: SinkEnd, lines: u64) -> SinkEnd {
    match ended {
        SinkEnd::GivenUp(unwritten) => SinkEnd::GivenUp(Unwritten { lines: unwritten.lines + lines, ..unwritten }),
        SinkEnd::Left => SinkEnd::Left,
    }
}

impl FinalFlush {
    /// Writes out what is left: all of it if `patience` is enough, else the last words, if as much
    /// again is. A stuck output is left. Returns what an output that fails has not taken.
    pub(crate) fn finish(self, patience: Duration) -> Option<Unwritten> {
        let shared = &self.printer.shared;
        if shared.start.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return None; // nothing was ever said
        }
        shared.closing.store(true, Ordering::SeqCst);
        self.printer.wake();
        self.ended.recv_timeout(patience).unwrap_or_else(|_| {
            shared.hurried.store(true, Ordering::SeqCst);
            self.ended.recv_timeout(patience).ok().flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    impl Destination for Stuck {}
    impl Destination for Slow {}

    fn words(skipped: fn(SkippedEvents) -> String) -> PrinterMessages {
        PrinterMessages { skipped, failing: |error| panic!("{error}") }
    }

    /// An output that is stuck until it is let go.
    struct Stuck(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_output_never_blocks_and_what_was_lost_is_said() {
        let (go, gate) = mpsc::channel();
        let (seen, written) = mpsc::channel();
        let tell = |skipped: SkippedEvents| format!("[{} {}]", skipped.messages, skipped.events);
        let (printer, ending) = Printer::new(Stuck(gate, seen), 1, words(tell));
        let event = vec![b'x'; 1024];
        for _ in 0..5000 {
            printer.print(0, EventWeight::Message, |to| to.extend_from_slice(&event));
        }
        printer.print(0, EventWeight::Event, |to| to.extend_from_slice(b"end"));
        drop(go);
        ending.finish(Duration::from_secs(60));
        let all: Vec<u8> = written.iter().flatten().collect();
        let text = String::from_utf8(all).unwrap();
        let kept = text.bytes().filter(|&b| b == b'x').count() / 1024;
        let lost: usize =
            text.split('[').skip(1).map(|told| told.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
        assert!(lost > 0, "5 MB do not fit a lane");
        assert_eq!(kept + lost, 5000);
        assert!(text.contains("end"), "an event still finds a place");
    }

    /// An output that takes a little at a time, as a terminal far away.
    struct Slow(mpsc::Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            thread::park_timeout(Duration::from_millis(20));
            let taken = &bytes[..bytes.len().min(1024)];
            self.0.send(taken.to_vec()).map_err(std::io::Error::other)?;
            Ok(taken.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_output_still_gets_the_last_words() {
        let (seen, written) = mpsc::channel();
        let tell = |skipped: SkippedEvents| format!("[{}]\n", skipped.lines + skipped.messages);
        let (printer, ending) = Printer::new(Slow(seen), 1, words(tell));
        let total = 20_000;
        for _ in 0..total {
            printer.print(0, EventWeight::Message, |to| to.extend_from_slice(b"a message of some length\n"));
        }
        printer.last_words(|to| to.extend_from_slice(b"the last words\n"));
        ending.finish(Duration::from_secs(2));
        drop(printer);
        let text = String::from_utf8(written.iter().flatten().collect()).unwrap();
        assert!(text.ends_with("the last words\n"), "{}", &text[text.len() - 200..]);
        let kept = text.lines().filter(|line| line.starts_with("a message")).count();
        let lost: usize =
            text.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')?.parse::<usize>().ok()).sum();
        assert!(lost > 0);
        assert_eq!(kept + lost, total);
    }

    #[test]
    fn an_output_that_fails_is_tried_again_and_what_was_skipped_is_counted() {
        static SAID: AtomicU64 = AtomicU64::new(0);
        /// A file system that is full until there is room again.
        struct Full(Arc<AtomicBool>, mpsc::Sender<Vec<u8>>, mpsc::Sender<()>);
        impl Destination for Full {}
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if !self.0.load(Ordering::SeqCst) {
                    let _ = self.2.send(());
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (room, (seen, written), (fails, failed)) =
            (Arc::new(AtomicBool::new(false)), mpsc::channel(), mpsc::channel());
        let words = PrinterMessages {
            skipped: |skipped| format!("[{}]\n", skipped.messages + skipped.events),
            failing: |_| {
                SAID.fetch_add(1, Ordering::SeqCst);
            },
        };
        let (printer, ending) = Printer::new(Full(Arc::clone(&room), seen, fails), 1, words);
        let total = 5000;
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        for _ in 0..total {
            printer.print(0, EventWeight::Message, |to| to.extend_from_slice(&line));
        }
        (0..3).for_each(|_| failed.recv().unwrap());
        room.store(true, Ordering::SeqCst);
        assert!(ending.finish(Duration::from_secs(60)).is_none());
        let text = String::from_utf8(written.try_iter().flatten().collect()).unwrap();
        let skipped = |line: &str| line.strip_prefix('[')?.strip_suffix(']')?.parse::<usize>().ok();
        let lost: usize = text.lines().filter_map(skipped).sum();
        let kept = text.lines().filter(|line| line.len() == 1023).count();
        assert!(lost > 0, "5 MB do not fit a lane");
        assert_eq!((kept + lost, SAID.load(Ordering::SeqCst)), (total, 1));
    }

    #[test]
    fn a_broken_output_is_given_up_quietly() {
        struct Broken;
        impl Destination for Broken {}
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (printer, ending) = Printer::new(Broken, 2, words(|_| String::new()));
        printer.print(1, EventWeight::Event, |to| to.push(b'x'));
        ending.ended.recv().unwrap();
        assert!(printer.shared.broken.load(Ordering::SeqCst));
    }
}

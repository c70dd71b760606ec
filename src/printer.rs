//! [`Printer`]: a bounded, lossy way to an output that may be slow or stuck.
//!
//! Whoever writes appends to a lane and goes on; one thread carries the lanes to the output. A lane that is full drops what comes, and
//! counts it. An output that fails is tried again until it works.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
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
    /// Lines that the thread has taken and that the output has not. Locked before the lane that they
    /// are taken from, so that each line is in one of the two places.
    under_way: Mutex<u64>,
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
            under_way: Mutex::default(),
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
                let skipped = self.take(lane, &mut carried);
                if !carried.is_empty() || skipped != SkippedEvents::default() {
                    any = true;
                    let written =
                        self.write(sink, &carried, tell).and_then(|()| self.tell_skipped(sink, skipped, tell));
                    written.map_err(|ended| self.with_what_waits(ended))?;
                    carried.clear();
                    carried.shrink_to(LANE);
                }
            }
            sink.works();
            self.rounds.fetch_add(1, Ordering::SeqCst);
            match (any, closing) {
                (false, true) => {
                    // Taken, because an output that is stuck must not hold the lock.
                    let last = self.take_last_words();
                    return self.put(sink, &last, sink::count(&last)).map_err(|ended| self.with_what_waits(ended));
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
                self.tell_skipped(sink, SkippedEvents { lines, ..SkippedEvents::default() }, tell)?;
            }
            let piece = match rest.get(PIECE..).and_then(|behind| behind.iter().position(|&byte| byte == b'\n')) {
                Some(at) => PIECE + at + 1,
                None => rest.len(),
            };
            let (now, behind) = rest.split_at(piece);
            rest = behind;
            self.put(sink, now, sink::count(now))?;
        }
        Ok(())
    }

    /// Takes what is in a lane. Its lines are under way from then on.
    fn take(&self, lane: &Mutex<Lane>, into: &mut Vec<u8>) -> SkippedEvents {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let mut locked = lane.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = std::mem::take(&mut locked.skipped);
        std::mem::swap(&mut locked.bytes, into);
        drop(locked);
        *under_way += sink::count(into) + skipped.all();
        skipped
    }

    fn take_last_words(&self) -> Vec<u8> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let last = std::mem::take(&mut *self.last_words.lock().unwrap_or_else(PoisonError::into_inner));
        *under_way += sink::count(&last);
        last
    }

    /// Writes what stands where something was skipped, if anything was.
    fn tell_skipped(
        &self,
        sink: &mut OutputSink,
        skipped: SkippedEvents,
        tell: fn(SkippedEvents) -> String,
    ) -> Result<(), SinkEnd> {
        if skipped == SkippedEvents::default() {
            return Ok(());
        }
        self.put(sink, tell(skipped).as_bytes(), skipped.all())
    }

    /// Writes text that stands for so many lines, which are under way no longer then.
    fn put(&self, sink: &mut OutputSink, text: &[u8], lines: u64) -> Result<(), SinkEnd> {
        let written = sink.write(text, || self.try_again());
        let taken = match &written {
            Err(SinkEnd::GivenUp(unwritten)) => lines.min(sink::count(text) - unwritten.lines),
            Ok(()) | Err(SinkEnd::Left) => lines,
        };
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) -= taken;
        written
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

    /// All that the output has not taken, and not only what the last call was to write.
    fn with_what_waits(&self, ended: SinkEnd) -> SinkEnd {
        match ended {
            SinkEnd::GivenUp(unwritten) => SinkEnd::GivenUp(Unwritten { lines: self.unwritten(), ..unwritten }),
            SinkEnd::Left => SinkEnd::Left,
        }
    }

    /// How many lines wait, or are under way.
    fn unwritten(&self) -> u64 {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |lane: &Mutex<Lane>| {
            let lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            sink::count(&lane.bytes) + lane.skipped.all()
        };
        let last = sink::count(&self.last_words.lock().unwrap_or_else(PoisonError::into_inner));
        *under_way + self.lanes.iter().map(waiting).sum::<u64>() + last
    }
}

impl SkippedEvents {
    fn all(self) -> u64 {
        self.messages + self.events + self.lines
    }
}

impl FinalFlush {
    /// Writes out what is left: all of it if `patience` is enough, else the last words, if as much
    /// again is. A stuck output is left. Returns what the output has not taken, because it fails or
    /// is stuck. Of a stuck one that is the most that can be missing: what it has taken of the last
    /// write is not known.
    pub(crate) fn finish(self, patience: Duration) -> Option<Unwritten> {
        let shared = &self.printer.shared;
        if shared.start.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return None; // nothing was ever said
        }
        shared.closing.store(true, Ordering::SeqCst);
        self.printer.wake();
        let ended = self.ended.recv_timeout(patience).or_else(|_| {
            shared.hurried.store(true, Ordering::SeqCst);
            self.ended.recv_timeout(patience)
        });
        ended.unwrap_or_else(|why| {
            let error = match why {
                RecvTimeoutError::Timeout => io::Error::new(io::ErrorKind::TimedOut, "its reader does not read"),
                // The thread has not started, or has panicked.
                RecvTimeoutError::Disconnected => io::Error::other("nothing is left to write it"),
            };
            Some(Unwritten { lines: shared.unwritten(), error }).filter(|unwritten| unwritten.lines > 0)
        })
    }
}

#[cfg(test)]
mod tests;

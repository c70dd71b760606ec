//! [`Printer`]: a bounded, lossy path to an output that may be slow or stuck.
//!
//! Threads append to lanes without waiting; one thread writes the lanes to the output. A full lane
//! drops events and counts them. A failing output is retried until it works.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::sink::{self, Destination, OutputSink, Unwritten};

/// Bytes that a lane holds before it drops messages.
const LANE: usize = 1024 * 1024;
/// Further bytes for events, which matter more than single messages.
const RESERVE: usize = 256 * 1024;
/// Bytes of one write while more wait.
const PIECE: usize = 4 * 1024;
/// The pause between two writes, so that many events share one.
const PAUSE: Duration = Duration::from_millis(10);
/// The pause before an output that failed is retried.
const AGAIN: Duration = Duration::from_millis(250);

/// The importance of an event when a lane is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventWeight {
    /// One of many.
    Message,
    /// One of a few: dropped last.
    Event,
}

/// The events dropped since the last write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkippedEvents {
    /// Messages.
    pub messages: u64,
    /// Other events.
    pub events: u64,
    /// Lines taken from a lane and given up because the end was near.
    pub lines: u64,
}

#[derive(Default)]
struct Lane {
    bytes: Vec<u8>,
    skipped: SkippedEvents,
}

/// A path to an output, shared by the threads that write events and the one that writes the output.
pub struct Printer {
    lanes: Vec<Mutex<Lane>>,
    /// The arguments of the thread. The first print takes them: a silent server needs no thread.
    start: Mutex<Option<(OutputSink, mpsc::Sender<Option<Unwritten>>)>>,
    /// The text in place of skipped events.
    skipped_text: Box<dyn Fn(SkippedEvents) -> String + Send + Sync>,
    thread: OnceLock<Thread>,
    /// The thread sleeps, or has not started.
    idle: AtomicBool,
    closing: AtomicBool,
    /// A failing output was retried since closing began.
    tried_at_the_end: AtomicBool,
    /// Written after everything else.
    last_lines: Mutex<Vec<u8>>,
    /// Lines that the thread has taken and the output has not. Locked before the lane, so that each
    /// line is in one of the two places.
    under_way: Mutex<u64>,
    /// The end is near and the output slow: waiting lines are given up for the last ones.
    hurried: AtomicBool,
    /// Completed rounds over all lanes.
    rounds: AtomicU64,
    /// The output is gone; events are dropped.
    broken: AtomicBool,
}

/// Writes the rest at the end.
pub struct FinalFlush {
    printer: Arc<Printer>,
    ended: mpsc::Receiver<Option<Unwritten>>,
}

impl Printer {
    /// A path to `output` with this many lanes, at least one. `skipped_text` is the text in place
    /// of skipped events; `failing` reports a failing output elsewhere.
    pub fn new(
        output: impl Destination + 'static,
        lanes: usize,
        skipped_text: impl Fn(SkippedEvents) -> String + Send + Sync + 'static,
        failing: impl Fn(&io::Error) + Send + 'static,
    ) -> (Arc<Self>, FinalFlush) {
        let (end, ended) = mpsc::channel();
        let sink = OutputSink::new(output, failing);
        let printer = Arc::new(Self {
            lanes: (0..lanes).map(|_| Mutex::default()).collect(),
            start: Mutex::new(Some((sink, end))),
            skipped_text: Box::new(skipped_text),
            thread: OnceLock::new(),
            idle: AtomicBool::new(true),
            closing: AtomicBool::new(false),
            tried_at_the_end: AtomicBool::new(false),
            last_lines: Mutex::default(),
            under_way: Mutex::default(),
            hurried: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        });
        (Arc::clone(&printer), FinalFlush { printer, ended })
    }

    /// Lets `write` append one event to a lane, unless the lane is full. Waits only for the lock of
    /// the lane, which is held to append an event or to swap two buffers.
    pub fn print(self: &Arc<Self>, lane: usize, weight: EventWeight, write: impl FnOnce(&mut Vec<u8>)) {
        if self.broken.load(Ordering::Relaxed) {
            return;
        }
        let lane = &self.lanes[lane % self.lanes.len()];
        let mut lane = lane.lock();
        let most = if weight == EventWeight::Message { LANE } else { LANE + RESERVE };
        if lane.bytes.len() < most {
            write(&mut lane.bytes);
        } else if weight == EventWeight::Message {
            lane.skipped.messages += 1;
        } else {
            lane.skipped.events += 1;
        }
        drop(lane);
        if self.idle.load(Ordering::Relaxed) && self.idle.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Appends to the lines that are written last.
    pub(crate) fn last_lines(self: &Arc<Self>, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.last_lines.lock());
        self.wake();
    }

    /// Returns once everything printed before is written, or after `patience`.
    pub(crate) async fn settled(self: &Arc<Self>, patience: Duration) {
        let started = self.start.lock().is_none();
        // The current round may have passed a lane already; the next one visits all of them.
        let wanted = self.rounds.load(Ordering::SeqCst) + 2;
        let until = Instant::now() + patience;
        while started
            && self.rounds.load(Ordering::SeqCst) < wanted
            && !self.broken.load(Ordering::SeqCst)
            && Instant::now() < until
        {
            self.wake();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Wakes the thread, or starts it.
    pub fn wake(self: &Arc<Self>) {
        let start = self.start.lock().take();
        if let Some((mut sink, end)) = start {
            let printer = Arc::clone(self);
            let carry = move || {
                // Before the thread is idle: a waker needs its handle.
                let _ = printer.thread.set(thread::current());
                let given_up = printer.carry(&mut sink).err().flatten();
                // Beyond the last call: all lines that the output has not taken.
                let unwritten = given_up.map(|last| Unwritten { lines: printer.unwritten(), ..last });
                printer.broken.store(true, Ordering::SeqCst);
                let _ = end.send(unwritten);
            };
            if thread::Builder::new().name("resound-printer".into()).spawn(carry).is_err() {
                self.broken.store(true, Ordering::SeqCst);
            }
        } else if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Writes lanes until the end, or until the output fails for good.
    fn carry(&self, sink: &mut OutputSink) -> Result<(), Option<Unwritten>> {
        let mut carried = Vec::new();
        loop {
            // Announces the sleep before the last look, so that no event falls between the two.
            self.idle.store(true, Ordering::SeqCst);
            let closing = self.closing.load(Ordering::SeqCst);
            sink.renew();
            let mut any = false;
            for lane in &self.lanes {
                let skipped = self.take(lane, &mut carried);
                if !carried.is_empty() || skipped.all() > 0 {
                    any = true;
                    self.write(sink, &carried)?;
                    self.write_skipped(sink, skipped)?;
                    carried.clear();
                    carried.shrink_to(LANE);
                }
            }
            sink.works();
            self.rounds.fetch_add(1, Ordering::SeqCst);
            match (any, closing) {
                (false, true) => {
                    // Taken out, because a stuck output must not hold the lock.
                    let last = self.take_last_lines();
                    return self.put(sink, &last, sink::count(&last));
                }
                (false, false) => thread::park(),
                (true, true) => {}
                (true, false) => {
                    // Under load the thread needs no waking.
                    self.idle.store(false, Ordering::SeqCst);
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Writes whole lines, a few at a time; when hurried, only the last few.
    fn write(&self, sink: &mut OutputSink, bytes: &[u8]) -> Result<(), Option<Unwritten>> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if rest.len() > PIECE && self.hurried.load(Ordering::SeqCst) {
                // The end of a lane holds the ends of connections.
                let keep = rest.len() - PIECE;
                let from = rest[keep..].iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| keep + at + 1);
                let lines = sink::count(&rest[..from]);
                rest = &rest[from..];
                self.write_skipped(sink, SkippedEvents { lines, ..SkippedEvents::default() })?;
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

    /// Takes the bytes of a lane. Its lines are under way from then on.
    fn take(&self, lane: &Mutex<Lane>, into: &mut Vec<u8>) -> SkippedEvents {
        let mut under_way = self.under_way.lock();
        let mut locked = lane.lock();
        let skipped = std::mem::take(&mut locked.skipped);
        std::mem::swap(&mut locked.bytes, into);
        drop(locked);
        *under_way += sink::count(into) + skipped.all();
        skipped
    }

    fn take_last_lines(&self) -> Vec<u8> {
        let mut under_way = self.under_way.lock();
        let last = std::mem::take(&mut *self.last_lines.lock());
        *under_way += sink::count(&last);
        last
    }

    /// Writes the text for skipped events, if there are any.
    fn write_skipped(&self, sink: &mut OutputSink, skipped: SkippedEvents) -> Result<(), Option<Unwritten>> {
        match skipped.all() {
            0 => Ok(()),
            all => self.put(sink, (self.skipped_text)(skipped).as_bytes(), all),
        }
    }

    /// Writes text that stands for this many lines, and removes them from those under way.
    fn put(&self, sink: &mut OutputSink, text: &[u8], lines: u64) -> Result<(), Option<Unwritten>> {
        let written = sink.write(text, || self.try_again());
        let taken = match &written {
            Err(Some(unwritten)) => lines.min(sink::count(text) - unwritten.lines),
            _ => lines,
        };
        *self.under_way.lock() -= taken;
        written
    }

    /// Waits until a failed output may be retried. At the end it is retried once: the failed
    /// attempt may have begun before.
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

    /// Lines that wait or are under way.
    fn unwritten(&self) -> u64 {
        let under_way = self.under_way.lock();
        let waiting = |lane: &Mutex<Lane>| {
            let lane = lane.lock();
            sink::count(&lane.bytes) + lane.skipped.all()
        };
        let last = sink::count(&self.last_lines.lock());
        *under_way + self.lanes.iter().map(waiting).sum::<u64>() + last
    }
}

impl SkippedEvents {
    fn all(self) -> u64 {
        self.messages + self.events + self.lines
    }
}

impl FinalFlush {
    /// The printer that this ends.
    pub fn printer(&self) -> Arc<Printer> {
        Arc::clone(&self.printer)
    }

    /// Writes the rest: all of it within `patience`, else the last lines within as much again.
    /// Returns the lines that a failing or stuck output has not taken. For a stuck one that is a
    /// maximum: it may have taken a part of the last write.
    pub fn finish(self, patience: Duration) -> Option<Unwritten> {
        let printer = &self.printer;
        if printer.start.lock().is_some() {
            return None; // nothing was printed
        }
        printer.closing.store(true, Ordering::SeqCst);
        printer.wake();
        let ended = self.ended.recv_timeout(patience).or_else(|_| {
            printer.hurried.store(true, Ordering::SeqCst);
            self.ended.recv_timeout(patience)
        });
        ended.unwrap_or_else(|why| {
            let error = match why {
                RecvTimeoutError::Timeout => io::Error::new(io::ErrorKind::TimedOut, "its reader does not read"),
                // The thread has not started, or panicked.
                RecvTimeoutError::Disconnected => io::Error::other("nothing is left to write it"),
            };
            Some(Unwritten { lines: printer.unwritten(), error }).filter(|unwritten| unwritten.lines > 0)
        })
    }
}

#[cfg(test)]
mod tests;

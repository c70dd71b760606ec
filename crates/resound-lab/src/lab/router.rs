//! The thread that moves packets between the ends, through [`LabPath`].

use std::fs::File;
use std::io::{self, BufWriter};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::lab_report::{LabReport, RouterReport};
use super::lateness::Lateness;
use crate::error::LabError;
use crate::sys::{self, FrameQueue, PacketRing, RING_FRAMES};
use crate::{Capture, Decision, LabPath, OffloadHeader, PathOutput, Side, StreamDirection, segments};

/// Frames taken from one ring before the other has its turn.
const TURN: usize = 32;
/// Bytes that wait to be sent in one direction before more are taken: no window of TCP is larger.
const MOST_WAITING: usize = 64 << 20;
/// Turns that a stopped router still takes at most.
const LAST_ROUNDS: usize = 2 * RING_FRAMES / TURN;
/// How long before a packet is due a timer wakes the thread; it stays awake for the rest.
const AWAKE: Duration = Duration::from_micros(100);
/// How long the thread stays awake after a packet: its answer often comes at once, and an idle
/// processor needs as long to wake up.
const AFTER: Duration = Duration::from_micros(60);
/// How old the end of the file of packets may be, for a reader that watches it.
const FLUSHED: Duration = Duration::from_millis(200);
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// Writes the packets of both sides.
pub(super) type PacketFile = (Capture<BufWriter<File>>, PathBuf);

/// One side of the router: the link to an end.
#[derive(Debug)]
pub(super) struct RouterPort {
    pub(super) ring: PacketRing,
    pub(super) queue: FrameQueue,
}

/// The router's thread, until `stop` becomes readable.
pub(super) struct Router {
    pub(super) near: RouterPort,
    pub(super) far: RouterPort,
    pub(super) path: LabPath,
    pub(super) capture: Option<PacketFile>,
    pub(super) stop: OwnedFd,
    pub(super) begun: Instant,
}

/// Where the path's packets go.
struct Outlets<'a> {
    near: &'a mut FrameQueue,
    far: &'a mut FrameQueue,
    capture: &'a mut Option<PacketFile>,
    now: Duration,
    /// Of the packet that the router has made and sends next.
    comment: Option<String>,
    failure: &'a mut Option<LabError>,
}

impl Outlets<'_> {
    /// The bytes that wait to be sent in a direction.
    fn waiting(&self, direction: StreamDirection) -> usize {
        match direction {
            StreamDirection::Up => self.far.bytes(),
            StreamDirection::Down => self.near.bytes(),
        }
    }

    fn record(&mut self, side: Side, packet: &[u8], comment: Option<&str>) {
        let Some((capture, path)) = self.capture else { return };
        if let Err(reason) = capture.packet(side, self.now, packet, comment) {
            *self.failure = Some(LabError::Capture { path: std::mem::take(path), reason });
            *self.capture = None;
        }
    }

    fn flush(&mut self) {
        let Some((capture, path)) = self.capture else { return };
        if let Err(reason) = capture.flush() {
            *self.failure = Some(LabError::Capture { path: std::mem::take(path), reason });
            *self.capture = None;
        }
    }
}

impl PathOutput for Outlets<'_> {
    fn send(&mut self, direction: StreamDirection, packet: &[u8]) {
        let comment = self.comment.take();
        match direction {
            StreamDirection::Up => self.far.push(packet),
            StreamDirection::Down => self.near.push(packet),
        }
        self.record(leaving(direction), packet, comment.as_deref());
    }

    fn note(&mut self, decision: &Decision<'_>) {
        if self.capture.is_none() {
            return;
        }
        let comment = decision.comment();
        match decision.is_own {
            true => self.comment = comment,
            false => self.record(leaving(decision.direction.opposite()), decision.packet, comment.as_deref()),
        }
    }
}

/// The side on which a packet of this direction leaves.
fn leaving(direction: StreamDirection) -> Side {
    match direction {
        StreamDirection::Up => Side::Far,
        StreamDirection::Down => Side::Near,
    }
}

impl Router {
    /// Moves packets until the owner stops it.
    pub(super) fn run(mut self) -> Result<LabReport, LabError> {
        // Timers of this thread are to fire when they are due, not up to 50 us later.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).map_err(io::Error::from)?;
        sys::ask_for_short_turns();
        let (mut report, mut lateness, mut failure) = (RouterReport::default(), Lateness::default(), None);
        // What has arrived when the owner stops the router still counts: up to two full rings.
        let (mut rounds_left, mut awake_until, mut flush_at) = (None, Duration::ZERO, None);
        while rounds_left != Some(0) {
            if rounds_left.is_none() && self.wait(awake_until, flush_at)? {
                rounds_left = Some(LAST_ROUNDS);
            }
            let now = self.begun.elapsed();
            let due = self.path.next_due().filter(|due| *due <= now);
            due.into_iter().for_each(|due| lateness.record(now - due));
            let (near, far) = (&mut self.near, &mut self.far);
            let mut outlets = Outlets {
                near: &mut near.queue,
                far: &mut far.queue,
                capture: &mut self.capture,
                now,
                comment: None,
                failure: &mut failure,
            };
            self.path.run_due(now, &mut outlets);
            let mut taken = 0;
            for (ring, direction) in [(&mut near.ring, StreamDirection::Up), (&mut far.ring, StreamDirection::Down)] {
                taken += receive(ring, direction, &mut self.path, &mut outlets, &mut report, self.begun);
            }
            if flush_at.is_some_and(|at| at <= now) {
                outlets.flush();
                flush_at = None;
            } else if outlets.capture.is_some() && (taken > 0 || due.is_some()) {
                flush_at.get_or_insert(now + FLUSHED);
            }
            self.near.queue.send_batch();
            self.far.queue.send_batch();
            if taken > 0 {
                awake_until = self.begun.elapsed() + AFTER;
            }
            rounds_left = rounds_left.map(|left: usize| if taken == 0 { 0 } else { left - 1 });
        }
        if let Some((mut capture, path)) = self.capture
            && let Err(reason) = capture.flush()
        {
            failure = Some(LabError::Capture { path, reason });
        }
        report.lost = u64::from(self.near.ring.take_drops()?) + u64::from(self.far.ring.take_drops()?);
        report.refused = self.near.queue.refused() + self.far.queue.refused();
        report.late_p99 = lateness.quantile(0.99);
        report.late_max = lateness.max();
        failure.map_or(Ok(()), Err)?;
        Ok(LabReport { summary: self.path.summary(), router: report })
    }

    /// Waits until a packet has arrived or one is due; true when the owner stops the router.
    fn wait(&self, awake_until: Duration, flush_at: Option<Duration>) -> io::Result<bool> {
        let now = self.begun.elapsed();
        let is_busy = self.near.queue.bytes() + self.far.queue.bytes() > 0 || now < awake_until;
        let due = if is_busy { Some(Duration::ZERO) } else { self.path.next_due() };
        let due = due.map(|due| due.saturating_sub(AWAKE));
        let timeout = due.into_iter().chain(flush_at).min().map(|at| at.saturating_sub(now));
        let timeout =
            timeout.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        let (near, far, stop) = (self.near.ring.as_fd(), self.far.ring.as_fd(), self.stop.as_fd());
        let mut ready = [near, far, stop].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for (ring, polled) in [&self.near.ring, &self.far.ring].into_iter().zip(&ready) {
            // A link that a command takes down leaves an error, which wakes until it is read.
            if polled.revents().contains(PollFlags::ERR) {
                let _ = sockopt::socket_error(ring);
            }
        }
        Ok(!ready[2].revents().is_empty())
    }
}

/// Gives the path what has arrived on one link: how many frames.
fn receive(
    ring: &mut PacketRing,
    direction: StreamDirection,
    path: &mut LabPath,
    outlets: &mut Outlets<'_>,
    report: &mut RouterReport,
    begun: Instant,
) -> usize {
    for count in 0..TURN {
        if outlets.waiting(direction) > MOST_WAITING {
            return count;
        }
        outlets.now = begun.elapsed();
        let taken = ring.take(|packet| {
            if !matches!(packet.protocol, ETH_P_IP | ETH_P_IPV6) || is_local(packet.bytes) {
                return;
            }
            let offloads = OffloadHeader::parse(packet.offloads);
            segments(offloads, packet.bytes, |packet| path.receive(direction, packet, outlets.now, outlets));
        });
        match taken {
            None => return count,
            Some(None) => report.unreadable += 1,
            Some(Some(())) => {}
        }
    }
    TURN
}

/// Multicast and broadcast stay on their link, as a router leaves them.
fn is_local(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(16).is_none_or(|&first| first >= 224),
        Some(6) => packet.get(24).is_none_or(|&first| first == 0xff),
        _ => true,
    }
}

/// The time of the clock at which `begun` was, since 1970.
pub(super) fn since_epoch(begun: Instant) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(begun.elapsed())
}

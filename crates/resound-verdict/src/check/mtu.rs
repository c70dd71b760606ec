//! `mtu-out`, `mtu-in`: large segments arrive (RFC 8899, RFC 4821). A black hole lets small ones
//! pass, and no ICMP message tells the sender.

use std::cell::Cell;
use std::time::{Duration, Instant};

use resound::client::TcpInfo;
use tokio::time::timeout;

use super::mtu_finding::{BYTES, LostSize, MtuFinding, MtuTransfer};
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::PathDirection;
use crate::symptom::{NoHello, Symptom};
use crate::tries::{self, TRIES, TryOutcome, all};
use resound_probe::Step;

/// The number of segments of a transfer that looks for the size.
const SEARCH_SEGMENTS: u64 = 4;
/// A transfer has stalled after this long plus ten round trips without progress: at least four
/// retransmissions were lost, and a system that probes for the size (`tcp_mtu_probing`) has done
/// so: 0.2, 0.6, 1.4 and 3 s.
const STANDSTILL: Duration = Duration::from_secs(4);
/// This many timeouts in a row show a stall earlier.
const TIMEOUTS: u32 = 4;
/// The sizes that are looked at first: those around tunnels on an Ethernet closely.
const COARSE: [u16; 8] = [536, 700, 900, 1600, 2000, 3000, 4000, 8940];
const CLOSE: std::ops::RangeInclusive<u16> = 1000..=1460;
/// Resolution of the search, in bytes.
const NEAREST: u16 = 20;
/// The most sizes that are tried at a time.
const SIZES: u16 = 24;
/// Rounds of the search between two sizes.
const ROUNDS: usize = 4;
/// The smallest MSS, which each host accepts (RFC 9293, 3.7.1).
const SMALLEST: u16 = 536;
/// A sender's segments are no longer than half of the window that this receive buffer has.
const SMALL_BUFFER: u32 = 1152;
/// What the far end saw of a RST is known within this time, or not asked any more.
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// Of a segment: the timestamp option, which an MSS counts as data (RFC 6691).
const TIMESTAMPS: u32 = 12;

/// One direction of one path.
struct MtuSearch<'a> {
    end: &'a PathEnd,
    direction: PathDirection,
    /// A transfer without progress for this long counts as lost.
    limit: Duration,
    /// Timeouts in a row say so earlier.
    counts_timeouts: bool,
}

/// A transfer, and the MSS that holds without a limit of its own.
struct MtuTry {
    tried: TryOutcome<MtuTransfer>,
    natural: Option<u16>,
    /// A large segment was delivered.
    delivers: bool,
}

impl MtuTry {
    /// Whether no large segment has arrived, as in a black hole.
    fn is_hole(&self, direction: PathDirection) -> bool {
        !self.delivers && self.is_stall(direction)
    }

    fn is_stall(&self, direction: PathDirection) -> bool {
        match self.tried.symptom() {
            Some(Symptom::Stalled { .. }) => true,
            // What greets may be large itself, and so may what answers a small ClientHello: a
            // server that is not heard ends such a handshake after a while.
            Some(Symptom::NoHello(NoHello::Silent) | Symptom::HelloLost(_)) => direction == PathDirection::In,
            _ => false,
        }
    }
}

impl MtuSearch<'_> {
    async fn transfer(&self, bytes: u64, max_segment: Option<u16>) -> MtuTry {
        let is_out = self.direction == PathDirection::Out;
        // The answers of TLS have to be small as well.
        let receive_buffer = (is_out && self.end.tls.is_some()).then_some(SMALL_BUFFER);
        let special = Special { max_segment, receive_buffer, brief: true, ..Special::default() };
        let out = [Step::Read(bytes), Step::Send(1)];
        // The hello leaves alone, in a small packet.
        let back = [Step::Read(1), Step::Send(bytes), Step::Read(1), Step::Tell];
        // Bytes of this direction that the receiving system has, with those of TLS.
        let count = |probe: &ProbeConnection| {
            let tcp = probe.stream.report().tcp;
            tcp.map_or(0, |tcp| if is_out { tcp.acknowledged } else { tcp.bytes_received })
        };
        let (mut natural, mut delivered, far) = (None, (0, 0), Cell::new(None));
        // Nothing is asked on another connection: its answer may be too large for the path.
        let steps: &[Step] = if is_out { &out } else { &back };
        let permit = self.end.permits.session().await;
        let (mut record, carried) = (self.end.ledger.begins(), Cell::new(None));
        let is_far_made = Cell::new(false);
        let act = async {
            let mut probe = ProbeConnection::begin_with(permit, self.end, special, steps).await?;
            natural = probe.tcp().and_then(|tcp| natural_segment(&tcp, is_out));
            delivered.0 = count(&probe);
            let start = Instant::now();
            let moved = if is_out { self.send(&mut probe, bytes).await } else { self.receive(&mut probe, bytes).await };
            delivered.1 = count(&probe);
            record.stops();
            carried.set(Some((probe.lines, (probe.sent, probe.received()))));
            if let Err(Symptom::Reset { .. }) = moved {
                // The sizes are not in question any more.
                let asked = timeout(ASKED_WITHIN, probe.far().asked()).await.ok().and_then(Result::ok);
                if asked.as_ref().and_then(|log| log.closed.as_deref()).is_some_and(tries::is_far_made) {
                    is_far_made.set(true);
                } else {
                    far.set(asked);
                }
            }
            Ok(MtuTransfer { time: start.elapsed(), ..moved? })
        };
        let result = act.await;
        let delivers = match &result {
            Err(Symptom::Stalled { received, .. }) => *received > 0 || delivered.1 > delivered.0,
            other => other.is_ok(),
        };
        let one = MtuTry { tried: TryOutcome { result, far: far.take() }, natural, delivers };
        match (carried.get(), one.tried.symptom()) {
            // The path has no part in an end of the far end's own making.
            _ if is_far_made.get() => {}
            (Some((lines, moved)), symptom) => record.ended(steps, lines, moved, symptom, one.tried.far.as_ref()),
            // A greeting that is lost for its size is the matter of this check.
            (None, Some(Symptom::NoHello(NoHello::Silent) | Symptom::HelloLost(_)) | None) => {}
            (None, Some(symptom)) => record.failed(symptom),
        }
        one
    }

    async fn send(&self, probe: &mut ProbeConnection, bytes: u64) -> Result<MtuTransfer, Symptom> {
        let before = probe.tcp().map(|tcp| tcp.send_mss);
        // One more look at what follows the timeout in which a system finds the size by itself.
        let dead_since = Cell::new(None);
        let is_dead = |tcp: &TcpInfo| {
            if tcp.timeouts < TIMEOUTS || !self.counts_timeouts {
                dead_since.set(None);
                return false;
            }
            let since = dead_since.get().unwrap_or_else(Instant::now);
            dead_since.set(Some(since));
            since.elapsed() > self.limit / 8
        };
        probe.exchange_while_moving(bytes, 1, self.limit, is_dead).await?;
        let tcp = probe.tcp();
        let tcp = tcp.as_ref();
        Ok(MtuTransfer {
            before,
            send_mss: tcp.map(|tcp| tcp.send_mss),
            path_mtu: tcp.map(|tcp| tcp.path_mtu),
            retransmits: tcp.map_or(0, |tcp| tcp.retransmits),
            ..MtuTransfer::default()
        })
    }

    async fn receive(&self, probe: &mut ProbeConnection, bytes: u64) -> Result<MtuTransfer, Symptom> {
        probe.exchange_while_moving(1, bytes, self.limit, |_| false).await?;
        // All is acknowledged by now.
        probe.send(1).await?;
        let socket = probe.told().await?.socket;
        let tcp = socket.tcp.as_ref();
        let options = if tcp.is_some_and(|tcp| tcp.timestamps) { TIMESTAMPS } else { 0 };
        Ok(MtuTransfer {
            before: socket.syn.and_then(|syn| syn.mss).map(|mss| u32::from(mss).saturating_sub(options)),
            send_mss: tcp.map(|tcp| tcp.send_mss),
            path_mtu: tcp.map(|tcp| tcp.path_mtu),
            retransmits: tcp.map_or(0, |tcp| tcp.retransmits),
            ..MtuTransfer::default()
        })
    }

    async fn transfers(&self, bytes: u64, max_segment: Option<u16>) -> Vec<MtuTry> {
        all((0..TRIES).map(|_| self.transfer(bytes, max_segment))).await
    }

    /// Looks for the edge of a black hole: what is smaller passes, and what is larger does not.
    async fn edge(&self, natural: Option<u16>) -> Option<LostSize> {
        // The full size is one that does not pass.
        let mut lost = natural.unwrap_or(u16::MAX);
        let mut passes = None;
        let mut sizes: Vec<u16> = COARSE.into_iter().chain(CLOSE.step_by(NEAREST.into())).collect();
        for _ in 0..ROUNDS {
            sizes.retain(|size| *size < lost && passes.is_none_or(|passes| *size > passes));
            if sizes.is_empty() {
                break;
            }
            // All at once: each that is lost costs the whole limit.
            let bytes = |size: u16| SEARCH_SEGMENTS * u64::from(size);
            let tries = all(sizes.iter().map(|&size| self.transfer(bytes(size), Some(size)))).await;
            for (&size, one) in sizes.iter().zip(&tries) {
                if one.is_hole(self.direction) {
                    lost = lost.min(size);
                } else if one.tried.result.is_ok() {
                    passes = passes.max(Some(size));
                }
            }
            // A black hole has one edge.
            let below = passes.filter(|passes| *passes < lost)?;
            let gap = lost - below;
            if gap <= NEAREST {
                break;
            }
            let step = gap.div_ceil(SIZES).max(NEAREST);
            sizes = (below..lost).step_by(step.into()).collect();
        }
        let passes = passes.filter(|passes| *passes < lost)?;
        let control = self.transfers(BYTES, Some(passes)).await;
        let is_well = control.iter().all(|one| one.tried.result.is_ok());
        (is_well && lost < u16::MAX).then_some(LostSize { passes, lost })
    }
}

/// The MSS of this direction where nothing else limits it.
fn natural_segment(tcp: &TcpInfo, is_out: bool) -> Option<u16> {
    let options = if tcp.options.timestamps { TIMESTAMPS } else { 0 };
    u16::try_from(if is_out { tcp.send_mss + options } else { tcp.advertised_mss }).ok()
}

/// Tries large segments in one direction, and looks for the size that passes where they do not.
pub(crate) async fn find(end: &PathEnd, direction: PathDirection, rtt: Duration, is_ipv6: bool) -> MtuFinding {
    let limit = (STANDSTILL + 10 * rtt).min(end.patience);
    let search =
        MtuSearch { end: &PathEnd { patience: limit, ..end.clone() }, direction, limit, counts_timeouts: true };
    let patient = MtuSearch { end, limit: end.patience, counts_timeouts: false, ..search };
    let looking = async {
        let tries = all((1..TRIES).map(|_| search.transfer(BYTES, None))).await;
        if !tries.iter().all(|one| one.is_hole(direction)) {
            return (tries, None);
        }
        let mut natural = tries.iter().filter_map(|one| one.natural).min();
        if natural.is_none() {
            // TLS was never established.
            let plain = end.connect(Special::default()).await.ok();
            let tcp = plain.and_then(|(stream, _)| stream.tcp_info());
            natural = tcp.and_then(|tcp| natural_segment(&tcp, direction == PathDirection::Out));
        }
        let edge = search.edge(natural.or(end.dial.max_segment)).await;
        (tries, edge)
    };
    // Meanwhile the sender's system may find out by itself, in about seven seconds.
    let ((mut tries, edge), last) = tokio::join!(looking, patient.transfer(BYTES, None));
    tries.push(last);
    let mut finding = MtuFinding::new(is_ipv6);
    let stalls = |tries: &[MtuTry]| tries.iter().filter(|one| one.is_stall(direction)).count();
    let stalled = stalls(&tries);
    finding.edge = edge;
    if stalled > 0 && stalled < tries.len() && !finding.is_explained(tries.iter().map(|one| &one.tried)) {
        // A long pause, losses, or one path of several.
        finding.edge = None;
        let again = patient.transfers(BYTES, None).await;
        if stalls(&again) == 0 {
            finding.stalled_before = stalled;
            tries = again;
        } else {
            tries.extend(again);
            finding.small = patient.transfers(BYTES, Some(SMALLEST)).await.into_iter().map(|one| one.tried).collect();
        }
    }
    finding.tries = tries.into_iter().map(|one| one.tried).collect();
    finding
}

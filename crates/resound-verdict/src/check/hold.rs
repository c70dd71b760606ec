//! The far end reads nothing, while this end sends until it is blocked: one experiment for
//! `slow-reader`, `hidden-buffer` and `split-tcp`.

use std::time::{Duration, Instant};

use resound::SocketReport;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::integrity::arrived;
use super::one_connection::OneConnection;
use crate::near::NearFacts;
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::symptom::Symptom;
use crate::tries::{TryOutcome, play};
use resound_probe::{SessionLog, Step};

/// Between two looks at this end's socket.
const TICK: Duration = Duration::from_millis(10);
/// How often the far end looks at its socket.
const FAR_LOOK: Duration = Duration::from_millis(20);
/// How often it is asked, at least.
const LEAST_LOOKS: u32 = 8;
/// A sender counts as blocked after this long without progress, at least.
const QUIET: Duration = Duration::from_millis(250);
/// The least that waits in this end's system; more waits where much is acknowledged.
const LEAST_WAITING: u64 = 128 * 1024;
/// Bytes sent per tick, and at most per round trip: the receive buffer of a proxy's system grows
/// with what arrives in one round trip (`tcp_moderate_rcvbuf`, tcp(7)), and would hide more than
/// the proxy itself.
const PIECE: u64 = 48 * 1024;
const PER_TRIP: f64 = 384.0 * 1024.0;
/// A late tick makes up for at most this many.
const MAX_CATCH_UP_TICKS: u64 = 4;
/// After this many bytes a proxy with usual buffers reads no more, and pieces are larger.
const USUAL_PROXY_BUFFER: u64 = 6 * 1024 * 1024;
/// More than the receive buffer of a far end that has read little: at this many bytes it is asked.
const SUSPICIOUS: u64 = 256 * 1024;
/// A slow sender sends its first 1 MiB even more slowly: a box that pauses there reads little at
/// once after its pause.
const SLOW_START_BYTES: u64 = 1024 * 1024;
/// Bytes sent if the system does not count acknowledged bytes.
const UNCOUNTED: u64 = 1024 * 1024;
/// The far end gives up by itself this long after the longest hold.
const FAR_END_GRACE: Duration = Duration::from_secs(60);

/// How long the far end reads nothing, and how much may hide meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HoldPlan {
    /// It reads nothing for at least this long.
    pub(crate) least: Duration,
    /// The longest wait until this end is blocked; three times as long where much is hidden and
    /// more comes, and longer where this machine is too busy to send.
    pub(crate) most: Duration,
    /// The hold may end at this many hidden bytes.
    pub(crate) most_hidden: u64,
    /// This end sends slowly.
    pub(crate) is_slow: bool,
    pub(crate) rtt: Duration,
}

/// What one hold has shown. Bytes are those of TCP's stream, with the records of TLS.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    /// Acknowledged and not arrived, at the look that showed most of them. `None` where a system
    /// does not count.
    pub(crate) hidden: Option<u64>,
    /// Bytes acknowledged by then, after the request.
    pub(crate) acknowledged: u64,
    /// Bytes that the far end's system had received at that time or later.
    pub(crate) arrived: u64,
    /// The SYN that the far end received is this end's own.
    pub(crate) is_own_syn: bool,
    /// Both systems count.
    pub(crate) is_counted: bool,
    /// This end came to a halt: its window was closed.
    pub(crate) is_blocked: bool,
    /// Bytes were still acknowledged when the hold ended.
    pub(crate) is_growing: bool,
    /// Bytes of it were changed.
    pub(crate) changed: Option<Symptom>,
    /// How long the far end read nothing.
    pub(crate) lasted: Duration,
    /// Bytes of the pattern that were sent.
    pub(crate) sent: u64,
    /// This end's address, and the far end's peer.
    pub(crate) addresses: (String, String),
    /// Between the SYN and its answer, and between the request and its answer.
    pub(crate) times: (Duration, Duration),
    /// The MSS that this end has announced, and that of the SYN at the far end.
    pub(crate) mss: (Option<u32>, Option<u16>),
}

/// Where the counts of both ends were when the request had arrived and nothing followed it yet.
#[derive(Clone, Copy)]
struct CountsBefore {
    acknowledged: u64,
    arrived: u64,
}

impl CountsBefore {
    async fn of(end: &PathEnd, probe: &ProbeConnection) -> Option<Self> {
        let arrived = probe.hello.socket.tcp.as_ref()?.received;
        let start = Instant::now();
        loop {
            let report = probe.stream.report();
            let acknowledged = report.tcp?.acknowledged;
            if report.unacknowledged? == 0 {
                // A system that does not count says zero.
                return (arrived > 0 && acknowledged > 0).then_some(Self { acknowledged, arrived });
            }
            if start.elapsed() > end.patience {
                return None;
            }
            sleep(TICK).await;
        }
    }

    fn acknowledged(self, report: &SocketReport) -> u64 {
        report.tcp.map_or(0, |tcp| tcp.acknowledged).saturating_sub(self.acknowledged)
    }
}

/// Holds the far end, lets it go on, and waits until all has arrived. What goes wrong from the hold
/// on is a [`Symptom::Own`].
pub(crate) async fn try_hold(end: &PathEnd, plan: HoldPlan) -> (Held, TryOutcome<()>) {
    let longest = u64::try_from((3 * plan.most + FAR_END_GRACE).as_millis()).unwrap_or(u64::MAX);
    let mut held = Held::default();
    let begun = Instant::now();
    let tried = play(end, Special::default(), &[Step::Hold(longest)], async |probe| {
        held.addresses = (probe.stream.local().to_string(), probe.hello.peer.clone());
        let near = NearFacts::of(&probe.stream, begun);
        held.is_own_syn = OneConnection::of(&near, &probe.hello) == OneConnection::Proven;
        held.times = (probe.connected_in, probe.answered_in);
        held.mss = (probe.tcp().map(|tcp| tcp.advertised_mss), probe.hello.socket.syn.as_ref().and_then(|syn| syn.mss));
        let start = Instant::now();
        let pumped = pump(end, probe, &plan, &mut held).await;
        held.lasted = start.elapsed();
        held.sent = probe.sent;
        let mut broken = |symptom: Symptom, when| {
            held.changed = symptom.changed().map(|_| symptom.clone());
            own(symptom, when)
        };
        pumped.map_err(|symptom| broken(symptom, "while the far end read nothing"))?;
        probe.go().await?;
        goes_on(end, probe).await.map_err(|symptom| broken(symptom, "when the far end read again"))
    })
    .await;
    (held, tried)
}

/// A symptom of the path is the matter of this experiment.
pub(crate) fn own(symptom: Symptom, when: &str) -> Symptom {
    match symptom {
        Symptom::Reset { .. } | Symptom::Closed { .. } | Symptom::Stalled { .. } | Symptom::Wrong(..) => {
            Symptom::Own(format!("{when}, {symptom}"))
        }
        other => other,
    }
}

/// Sends until nothing is acknowledged any more, or too much is.
async fn pump(end: &PathEnd, probe: &mut ProbeConnection, plan: &HoldPlan, held: &mut Held) -> Result<(), Symptom> {
    let before = CountsBefore::of(end, probe).await;
    held.is_counted = before.is_some();
    let quiet = QUIET.max(3 * plan.rtt);
    let start = Instant::now();
    let (mut progress, mut since, mut is_asked) = ((0, 0), start, false);
    let (mut ticks, mut late) = (1, Duration::ZERO);
    loop {
        let report = probe.stream.report();
        let acknowledged = before.map_or(0, |before| before.acknowledged(&report));
        if (acknowledged, probe.sent) != progress {
            (progress, since) = ((acknowledged, probe.sent), Instant::now());
        }
        let waiting = report.unacknowledged.unwrap_or(0);
        let wanted = LEAST_WAITING.max(acknowledged / 2);
        let may_send = if before.is_some() { waiting < wanted } else { probe.sent < UNCOUNTED };
        let until = if may_send { probe.sent + piece(probe.sent, plan) * ticks } else { 0 };
        let tick = Instant::now();
        while probe.sent < until && tick.elapsed() < TICK {
            probe.send_some(until - probe.sent, TICK).await?;
        }
        sleep(TICK.saturating_sub(tick.elapsed())).await;
        // Little of what a late tick has missed is made up for: no bursts.
        ticks = u64::try_from(tick.elapsed().as_millis() / TICK.as_millis()).unwrap_or(1).clamp(1, MAX_CATCH_UP_TICKS);
        late += tick.elapsed().saturating_sub(2 * TICK);
        let (elapsed, is_quiet) = (start.elapsed(), since.elapsed() >= quiet);
        if let Some(before) = before
            && acknowledged >= held.arrived.saturating_add(if is_asked { plan.most_hidden } else { SUSPICIOUS })
        {
            // What breaks later does not take the proof away.
            is_asked = true;
            look(end, probe, before, held).await;
            if held.hidden.is_some_and(|hidden| hidden >= plan.most_hidden) {
                held.is_growing = true;
                return Ok(());
            }
        }
        // Where the window is closed nothing is under way, and something waits.
        let is_much = acknowledged > held.arrived.saturating_add(USUAL_PROXY_BUFFER);
        let most = if is_much { 3 * plan.most } else { plan.most + late.min(2 * plan.most) };
        let is_blocked = report.tcp.is_none_or(|tcp| tcp.unacknowledged == 0) && waiting > 0;
        if elapsed >= most || (elapsed >= plan.least && is_quiet && (is_blocked || before.is_none())) {
            if let Some(before) = before {
                look(end, probe, before, held).await;
                held.is_growing = before.acknowledged(&probe.stream.report()) > acknowledged;
            }
            held.is_blocked = is_quiet && is_blocked && !held.is_growing;
            if held.is_blocked || elapsed >= most || before.is_none() {
                return Ok(());
            }
            held.is_growing = false;
        }
    }
}

/// How much to send in a tick.
fn piece(sent: u64, plan: &HoldPlan) -> u64 {
    let of_a_trip = PER_TRIP * TICK.as_secs_f64() / plan.rtt.as_secs_f64().max(1e-6);
    let piece = match plan.is_slow {
        true if sent < SLOW_START_BYTES => PIECE / 8,
        true => PIECE / 2,
        false if sent < USUAL_PROXY_BUFFER => PIECE,
        false => 2 * PIECE,
    };
    piece.min(of_a_trip as u64)
}

/// Compares what is acknowledged now with what has arrived at a later time: on one connection from
/// end to end nothing is acknowledged that has not arrived.
async fn look(end: &PathEnd, probe: &ProbeConnection, before: CountsBefore, held: &mut Held) {
    let acknowledged = before.acknowledged(&probe.stream.report());
    let start = Instant::now();
    let (mut earliest, mut asked, mut pause) = (None, 0, FAR_LOOK);
    // A far end that is busy looks later.
    while asked < LEAST_LOOKS || start.elapsed() < end.patience {
        let Ok(log) = probe.asked().await else { return };
        asked += 1;
        let earliest = *earliest.get_or_insert(log.now_ms);
        if log.socket_at_ms.is_some_and(|at| at >= earliest) {
            let Some(tcp) = &log.socket.tcp else { return };
            let arrived = tcp.received.saturating_sub(before.arrived);
            let hidden = acknowledged.saturating_sub(arrived);
            if held.hidden.is_none_or(|most| hidden >= most) {
                (held.hidden, held.acknowledged) = (Some(hidden), acknowledged);
            }
            held.arrived = held.arrived.max(arrived);
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(FAR_LOOK * 10);
    }
}

/// Waits until the far end has received all, for as long as something arrives within the patience.
async fn goes_on(end: &PathEnd, probe: &ProbeConnection) -> Result<(), Symptom> {
    let arrive = async {
        let (mut count, mut since, mut pause) = (0, Instant::now(), Duration::from_millis(2));
        loop {
            let log = probe.asked().await?;
            if log.received > count {
                (count, since) = (log.received, Instant::now());
            }
            let is_over = log.received >= probe.sent || log.wrong.is_some() || log.closed.is_some();
            if is_over || since.elapsed() > end.patience {
                return ended(&log, probe.sent);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    };
    let flush = async {
        // What TLS has not written yet. A broken connection shows at the far end.
        let _ = (&probe.stream).flush().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        arrived = arrive => arrived,
        () = flush => Ok(()),
    }
}

fn ended(log: &SessionLog, sent: u64) -> Result<(), Symptom> {
    match &log.closed {
        Some(_) if log.received < sent && log.wrong.is_none() => Err(Symptom::Closed { sent, received: log.received }),
        _ => arrived(log, sent),
    }
}

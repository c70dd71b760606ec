//! What one end can prove by itself, with a server that sends back what it gets. Nothing tells the
//! server from the path, so the words do not either.

mod returning;

use std::time::{Duration, Instant};

use super::CheckId;
use super::greet::{SMALL_SEGMENT, elapsed};
use super::integrity::amount;
use crate::place::{PathEnd, Special};
use crate::report::{CheckReport, CheckVerdict, FarKind, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TRIES, TriesJudgement, TryOutcome, all};
use returning::{EchoConnection, EchoPace, LINE};

/// Lines of a transfer: 256 KiB.
const LINES: u64 = 4096;
/// What is on its way at most: a server that reads and writes in turn through the pipes of another
/// program (`ncat --exec`) blocks itself once both pipes are full.
const WINDOW: u64 = 32 * 1024;
/// The receive buffer of a reader that stops: less than what is on its way.
const LITTLE_ROOM: u32 = 4 * 1024;
/// Lines that a reader gets that stops: 32 KiB.
const STOP_LINES: u64 = 512;
/// Lines that are sent a few bytes at a time.
const PIECED_LINES: u64 = 4;
/// Bytes of one piece.
const PIECE: u64 = 3;
/// Lines before a FIN: what comes back of them waits in the buffers of any system.
const BEFORE_FIN: [u64; 3] = [1, 64, 512];
/// How long a reader stops.
const STOP: Duration = Duration::from_millis(700);
/// Connections in quick succession, and how many at once: some servers take one at a time, and let
/// few wait.
const CHURN: usize = 12;
/// Questions whose answers are timed.
const QUESTIONS: u64 = 5;
/// Segments that are tried where large ones are lost.
const SIZES: [u16; 8] = [700, 1000, 1200, 1300, 1360, 1400, 1420, 1440];
/// What the reader of a report must know of all of these.
const OR_SERVER: &str = "this is one end's view: the server may do this as well as the path";

/// A server that returns what it gets, at the end of a path.
struct OneEnd<'a> {
    end: &'a PathEnd,
    kind: FarKind,
}

impl OneEnd<'_> {
    /// One try on a connection of its own.
    async fn once<M>(
        &self,
        special: Special,
        act: impl AsyncFnOnce(&mut EchoConnection) -> Result<M, Symptom>,
    ) -> TryOutcome<M> {
        let tried = async {
            let mut returning = EchoConnection::begin(self.end, self.kind, special).await?;
            act(&mut returning).await
        };
        TryOutcome { result: tried.await, far: None }
    }

    async fn transfers(&self, special: Special, count: u64, pace: EchoPace) -> Vec<TryOutcome<Duration>> {
        let one = || {
            self.once(special, async move |returning: &mut EchoConnection| {
                let start = Instant::now();
                returning.exchange(count, pace).await?;
                Ok(start.elapsed())
            })
        };
        all((0..TRIES).map(|_| one())).await
    }

    /// One line there and back.
    async fn lines(&self) -> Vec<TryOutcome<()>> {
        let one = || {
            self.once(Special::default(), async |returning: &mut EchoConnection| {
                returning.exchange(1, EchoPace::FREE).await
            })
        };
        all((0..TRIES).map(|_| one())).await
    }
}

/// Changed bytes, and bytes that never come; a server may end a connection when it likes.
fn is_mine(symptom: &Symptom) -> bool {
    matches!(symptom, Symptom::Own(_) | Symptom::Stalled { .. })
}

/// A transfer to make, and what it shows.
struct Transfer {
    id: CheckId,
    what: String,
    count: u64,
    pace: EchoPace,
    special: Special,
}

impl Transfer {
    fn new(id: CheckId, count: u64, pace: EchoPace, what: &str) -> Self {
        let bytes = amount(count * LINE);
        Self { id, what: format!("{bytes} there and back{what}"), count, pace, special: Special::default() }
    }

    /// What fails here is worded as the server's or the path's.
    fn judged(&self, tries: &[TryOutcome<Duration>], control: (&str, &[TryOutcome<()>])) -> CheckReport {
        TriesJudgement { id: self.id, tries, control: Some(control) }.report(
            |good| {
                let fastest = good.iter().map(|time| time.as_secs_f64()).fold(f64::MAX, f64::min);
                CheckReport::new(self.id, CheckVerdict::Pass, self.what.as_str())
                    .measure("bytes_each_way", self.count * LINE)
                    .measure("seconds", fastest)
            },
            is_mine,
            |mine| {
                CheckReport::new(self.id, CheckVerdict::Fail, format!("{}: the server or the path", mine[0]))
                    .towards(PathDirection::Both)
                    .saw(OR_SERVER)
            },
        )
    }
}

/// The transfers: a plain one, and others with it as their control.
async fn transfers(one: &OneEnd<'_>, wants: &impl Fn(CheckId) -> bool, add: &mut impl FnMut(CheckReport)) -> bool {
    let in_turn = EchoPace { is_in_turn: true, ..EchoPace::window(WINDOW) };
    let plain = Transfer::new(CheckId::Integrity, LINES, in_turn, ", and no byte differs");
    let stops = format!(", to a reader that stops for {}", elapsed(STOP));
    let stopped = EchoPace { reads_after: STOP, ..EchoPace::window(WINDOW) };
    let others = [
        Transfer::new(CheckId::BothWays, LINES, EchoPace::window(WINDOW), " at once"),
        Transfer::new(
            CheckId::Segmentation,
            PIECED_LINES,
            EchoPace { write: PIECE, ..EchoPace::FREE },
            " in small pieces",
        ),
        Transfer {
            special: Special { receive_buffer: Some(LITTLE_ROOM), ..Special::default() },
            ..Transfer::new(CheckId::SlowReader, STOP_LINES, stopped, &stops)
        },
    ];
    let tries = one.transfers(plain.special, plain.count, plain.pace).await;
    let is_clean = tries.iter().all(|tried| tried.result.is_ok());
    let control = if is_clean { Vec::new() } else { one.lines().await };
    if wants(plain.id) {
        add(plain.judged(&tries, ("one line there and back", &control)));
    }
    for other in others.iter().filter(|other| wants(other.id)) {
        if !is_clean {
            add(CheckReport::new(other.id, CheckVerdict::Unknown, "not tried, since a plain transfer fails"));
            continue;
        }
        let tries = one.transfers(other.special, other.count, other.pace).await;
        add(other.judged(&tries, ("one direction after the other", &[])));
    }
    is_clean
}

async fn half_close_out(one: &OneEnd<'_>) -> CheckReport {
    let finish = |count| {
        one.once(Special::default(), async move |returning: &mut EchoConnection| returning.finish_behind(count).await)
    };
    let tries = all(BEFORE_FIN.map(finish)).await;
    let is_clean = tries.iter().all(|tried| tried.result.is_ok());
    let control = all(BEFORE_FIN.iter().filter(|_| !is_clean).map(|&count| {
        let act = async move |returning: &mut EchoConnection| returning.exchange(count, EchoPace::FREE).await;
        one.once(Special::default(), act)
    }))
    .await;
    half_close(&tries, &control)
}

/// What came back after this end's FIN; `None` for what is the matter of other checks.
fn behind_fin(symptom: &Symptom) -> Option<String> {
    match symptom {
        Symptom::Closed { sent, received } => Some(format!("{received} bytes came back of {sent} before a FIN")),
        Symptom::Stalled { sent, received, .. } if sent == received => {
            Some("all came back, but no FIN after it, so this end's FIN may not have arrived".into())
        }
        Symptom::Stalled { sent, received, .. } => {
            Some(format!("{received} bytes came back of {sent} after this end's FIN, and then nothing"))
        }
        Symptom::Reset { sent, received } => {
            Some(format!("a RST came after the FIN: {received} bytes came back of {sent} before it"))
        }
        _ => None,
    }
}

fn half_close(tries: &[TryOutcome<()>], control: &[TryOutcome<()>]) -> CheckReport {
    let id = CheckId::HalfCloseOut;
    let mut report = TriesJudgement { id, tries, control: Some(("the same bytes without a FIN", control)) }.report(
        |_| CheckReport::new(id, CheckVerdict::Pass, "all came back after this end's FIN"),
        |symptom| behind_fin(symptom).is_some(),
        |mine| {
            let text = behind_fin(mine[0]).unwrap_or_else(|| mine[0].to_string());
            CheckReport::new(id, CheckVerdict::Warn, format!("{text}: the server or the path"))
                .towards(PathDirection::Out)
                .saw(OR_SERVER)
        },
    );
    // A lost packet does not end a stream in order, so chance is no explanation. A server may close
    // late at times.
    let is_ended = |tried: &TryOutcome<()>| {
        tried.symptom().is_none_or(|symptom| match symptom {
            Symptom::Closed { .. } => true,
            Symptom::Stalled { sent, received, .. } => sent == received,
            _ => false,
        })
    };
    if report.verdict == CheckVerdict::Flaky && tries.iter().all(is_ended) {
        report.verdict = CheckVerdict::Warn;
        report = report.saw("tries whose answers were back before that FIN arrived came through: the two race");
    }
    match report.verdict {
        CheckVerdict::Warn => report
            .suspects("a server that closes at once when its client has finished")
            .suspects("a proxy that closes both directions on one FIN"),
        _ => report,
    }
}

/// `mtu-out` and `mtu-in`: both at once, since what arrives there comes back. Also returns the MSS
/// that passes, where the system's own does not.
async fn mtu(one: &OneEnd<'_>) -> ([CheckReport; 2], Option<u16>) {
    let with = |max_segment| {
        let special = Special { max_segment, ..Special::default() };
        one.once(special, async |returning: &mut EchoConnection| {
            returning.exchange(1024, EchoPace::window(WINDOW)).await
        })
    };
    let tries = all((0..TRIES).map(|_| with(None))).await;
    if !tries.iter().all(|tried| matches!(tried.symptom(), Some(Symptom::Stalled { .. }))) {
        return (mtu_reports(&tries, &[], None), None);
    }
    let control = all((0..TRIES).map(|_| with(Some(SMALL_SEGMENT))));
    let (control, sizes) = tokio::join!(control, all(SIZES.map(|size| with(Some(size)))));
    let passed = SIZES.iter().zip(&sizes).filter(|(_, tried)| tried.result.is_ok()).map(|(size, _)| *size).max();
    let holds = control.iter().all(|tried| tried.result.is_ok());
    (mtu_reports(&tries, &control, passed), holds.then(|| passed.unwrap_or(SMALL_SEGMENT)))
}

/// Whether the far end's system has acknowledged all that was sent before a stall.
fn is_acknowledged(symptom: &Symptom) -> Option<bool> {
    match symptom {
        Symptom::Stalled { sent, acknowledged: Some(there), .. } => Some(there >= sent),
        _ => None,
    }
}

/// `largest`: the largest MSS that passed, where the system's own does not.
fn mtu_reports(tries: &[TryOutcome<()>], control: &[TryOutcome<()>], largest: Option<u16>) -> [CheckReport; 2] {
    // Bytes that the far end's system has not acknowledged were lost on the way out.
    let is_out = |symptom: &Symptom| is_acknowledged(symptom) == Some(false);
    let is_back = |symptom: &Symptom| is_acknowledged(symptom) == Some(true);
    let one = |id, direction, is_mine: &dyn Fn(&Symptom) -> bool| {
        let report = TriesJudgement { id, tries, control: Some(("the same in segments of 536 bytes", control)) }
            .report(
                |_| CheckReport::new(id, CheckVerdict::Pass, "segments of the full size arrive, and come back"),
                is_mine,
                |mine| {
                    if control.is_empty() {
                        // Others of the same size came through.
                        let what = format!("some transfers stood still: {}", mine[0]);
                        return CheckReport::new(id, CheckVerdict::Fail, what);
                    }
                    let size = largest.unwrap_or(SMALL_SEGMENT);
                    let what =
                        format!("large segments are lost without an ICMP message; segments of {size} bytes pass");
                    CheckReport::new(id, CheckVerdict::Fail, what)
                        .measure("passing_segment_bytes", u64::from(size))
                        .saw(mine[0].to_string())
                        .suspects("a tunnel, VPN or PPPoE link whose router drops large packets, with ICMP filtered")
                },
            );
        report.towards(direction)
    };
    [one(CheckId::MtuOut, PathDirection::Out, &is_out), one(CheckId::MtuIn, PathDirection::In, &is_back)]
}

async fn churn(one: &OneEnd<'_>) -> CheckReport {
    let id = CheckId::Churn;
    let start = Instant::now();
    let mut tries = Vec::new();
    while tries.len() < CHURN {
        tries.extend(one.lines().await);
    }
    let took = start.elapsed();
    let broken = tries.iter().find_map(TryOutcome::symptom);
    let report = match broken {
        None => CheckReport::new(id, CheckVerdict::Pass, format!("{CHURN} connections in {}", elapsed(took)))
            .measure("connections", CHURN)
            .measure("seconds", took.as_secs_f64()),
        Some(symptom) => {
            let verdict = if symptom.is_own() { CheckVerdict::Error } else { CheckVerdict::Unknown };
            // Bytes that change are no matter of the number of connections.
            let guess = match symptom {
                Symptom::Own(_) => "the server or the path",
                _ => "the server or the path may limit connections",
            };
            CheckReport::new(id, verdict, format!("{symptom}: {guess}"))
        }
    };
    report.tried(tries.iter().filter(|tried| tried.result.is_ok()).count(), tries.len())
}

async fn rtt(one: &OneEnd<'_>) -> CheckReport {
    let id = CheckId::Rtt;
    let tried = one
        .once(Special::default(), async |returning: &mut EchoConnection| {
            let mut times = Vec::new();
            for _ in 0..QUESTIONS {
                let start = Instant::now();
                returning.exchange(1, EchoPace::FREE).await?;
                times.push(start.elapsed());
            }
            times.sort();
            Ok((times, returning.tcp().map(|tcp| tcp.min_rtt)))
        })
        .await;
    match &tried.result {
        Ok((times, system)) => {
            let (least, median) = (times[0], times[times.len() / 2]);
            let what = format!("a line is back in {} at least, {} in the middle", elapsed(least), elapsed(median));
            let mut report = CheckReport::new(id, CheckVerdict::Pass, what).tried(1, 1);
            if let Some(system) = system.filter(|time| !time.is_zero()) {
                report = report.measure("tcp_min_rtt_ms", system.as_secs_f64() * 1000.0);
            }
            report.measure("min_ms", least.as_secs_f64() * 1000.0).measure("median_ms", median.as_secs_f64() * 1000.0)
        }
        Err(symptom) => {
            let verdict = if symptom.is_own() { CheckVerdict::Error } else { CheckVerdict::Unknown };
            CheckReport::new(id, verdict, format!("not judged: {symptom}")).tried(0, 1)
        }
    }
}

/// All checks of a server that returns what it gets, one after the other: it may serve one
/// connection at a time. `wants` says which are asked for.
pub(crate) async fn run(
    end: &PathEnd,
    kind: FarKind,
    wants: impl Fn(CheckId) -> bool,
    mut add: impl FnMut(CheckReport),
) {
    let (reports, max_segment) = mtu(&OneEnd { end, kind }).await;
    reports.into_iter().for_each(&mut add);
    // What is known of large segments must not spoil the other checks.
    let end = &end.with_segments_of(max_segment.or(end.dial.max_segment));
    let one = &OneEnd { end, kind };
    let is_clean = transfers(one, &wants, &mut add).await;
    if wants(CheckId::HalfCloseOut) {
        add(if is_clean {
            half_close_out(one).await
        } else {
            let why = "not tried, since a plain transfer fails";
            CheckReport::new(CheckId::HalfCloseOut, CheckVerdict::Unknown, why)
        });
    }
    if wants(CheckId::Rtt) {
        add(rtt(one).await);
    }
    if wants(CheckId::Churn) {
        add(churn(one).await);
    }
}

#[cfg(test)]
mod tests;

//! `segmentation`: many small pieces arrive as they were sent. How a path cuts or joins them is its
//! own affair (RFC 9293, 3.8), and shown; a path that keeps them back to join them is slow.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::CheckId;
use super::bunches::{Bunching, EVERY, PacedPieces, bunching, common};
use super::directions::joined;
use super::integrity::arrived;
use super::rtt::{RoundTrips, millis};
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TRIES, TriesJudgement, TryOutcome, all, all_are, play};
use resound_probe::Step;

/// Further rounds of tries where bunches may be hidden.
const MORE: usize = 2;
/// Pieces sent with pauses, and again the same number without.
const PIECES: u32 = 50;
/// A piece of the far end, with pauses and without.
const FAR_PIECES: (u32, u32) = (1, 5);
/// What a record of TLS 1.3 adds to its bytes (RFC 8446, 5.2).
const RECORD: u64 = 22;
/// Bytes of the far end's pieces.
const FAR_BYTES: u64 = (FAR_PIECES.0 as u64 + FAR_PIECES.1 as u64) * PIECES as u64;

/// How the pieces of a try came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segmented {
    /// The number of reads.
    reads: u64,
    /// Those with pauses.
    paced: PacedPieces,
}

/// Sizes of 1 to 7 bytes.
fn sizes(seed: u64) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..2 * PIECES).map(|_| random.u64(1..=7)).collect()
}

/// Writes the first half with pauses, and says when each piece was written.
async fn send_pieces(probe: &mut ProbeConnection, sizes: &[u64], start: Instant) -> Result<Vec<f64>, Symptom> {
    let mut sent = Vec::new();
    for (n, size) in (0..).zip(sizes) {
        if n < PIECES {
            sleep_until((start + n * EVERY).into()).await;
            sent.push(millis(start.elapsed()));
        }
        probe.send(*size).await?;
    }
    Ok(sent)
}

/// When the bytes up to each of these offsets had come.
fn came(ends: impl Iterator<Item = u64>, reads: &[(f64, u64)]) -> Vec<f64> {
    ends.map_while(|end| reads.iter().find(|(_, received)| *received >= end).map(|(at, _)| *at)).collect()
}

async fn try_out(end: &PathEnd) -> TryOutcome<Segmented> {
    let sizes = sizes(end.seed);
    let total = sizes.iter().sum();
    play(end, Special::default(), &[Step::Read(total), Step::Tell], async |probe| {
        let sent = send_pieces(probe, &sizes, Instant::now()).await?;
        let far = probe.told().await?;
        arrived(&far, total)?;
        let ends = sizes.iter().take(sent.len()).scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        Ok(Segmented { reads: far.reads, paced: PacedPieces { came: came(ends, &far.arrivals), sent } })
    })
    .await
}

async fn try_in(end: &PathEnd) -> TryOutcome<Segmented> {
    let every_ms = u64::try_from(EVERY.as_millis()).unwrap_or(0);
    let (paced, fast) = FAR_PIECES;
    let steps = [
        Step::Pieces { count: PIECES, bytes: paced, every_ms },
        Step::Pieces { count: PIECES, bytes: fast, every_ms: 0 },
        Step::Read(1),
    ];
    play(end, Special::default(), &steps, async |probe| {
        let reads = probe.receive_each(FAR_BYTES, Instant::now()).await?;
        let ends = (1..=PIECES).map(|n| u64::from(n * paced));
        let sent = (0..PIECES).map(|n| millis(n * EVERY)).collect();
        Ok(Segmented { reads: reads.len() as u64, paced: PacedPieces { came: came(ends, &reads), sent } })
    })
    .await
}

/// The same bytes, each direction in one write.
async fn try_whole(end: &PathEnd, direction: PathDirection) -> TryOutcome<()> {
    // Each piece has a record of its own with TLS.
    let records = if end.tls.is_some() { u64::from(2 * PIECES) * RECORD } else { 0 };
    let total = sizes(end.seed).iter().sum::<u64>() + records;
    if direction == PathDirection::Out {
        play(end, Special::default(), &[Step::Read(total), Step::Tell], async |probe| {
            probe.send(total).await?;
            arrived(&probe.told().await?, total)
        })
        .await
    } else {
        let steps = [Step::Send(FAR_BYTES + records), Step::Read(1)];
        play(end, Special::default(), &steps, async |probe| probe.receive(FAR_BYTES + records).await).await
    }
}

fn is_mine(symptom: &Symptom) -> bool {
    symptom.changed().is_some() || matches!(symptom, Symptom::Closed { .. } | Symptom::Stalled { .. })
}

/// `trips` are round trips of a lone byte: a path that keeps pieces back keeps it back as well.
fn judged(
    direction: PathDirection,
    tries: &[TryOutcome<Segmented>],
    control: &[TryOutcome<()>],
    trips: Option<&RoundTrips>,
) -> CheckReport {
    let id = CheckId::Segmentation;
    let name = if direction == PathDirection::Out { "reads_out" } else { "reads_in" };
    // What breaks by chance breaks some tries of any transfer.
    let are_mine = all_are(tries, is_mine);
    TriesJudgement { id, tries, control: Some(("the same bytes in one write", control)) }.report(
        |good| {
            let found: Vec<_> = good.iter().map(|tried| bunching(&tried.paced)).collect();
            let reads = good.iter().map(|tried| tried.reads).max().unwrap_or_default();
            let report = match common(&found).filter(|bunching| is_kept_back(bunching, trips)) {
                None => {
                    let summary = format!("{} small pieces each way arrive, the least of 1 byte", 2 * PIECES);
                    CheckReport::new(id, CheckVerdict::Pass, summary)
                }
                Some(Bunching { every_ms, pieces }) => CheckReport::new(
                    id,
                    CheckVerdict::Warn,
                    format!(
                        "small pieces are kept back: sent {} ms apart, they arrive {pieces} at a time, \
                             {every_ms:.0} ms apart",
                        EVERY.as_millis(),
                    ),
                )
                .towards(direction)
                .measure("bunches_every_ms", every_ms)
                .suspects("a box that collects small segments, such as a receive offload or a TCP optimizer"),
            };
            report.measure(name, reads)
        },
        |symptom| are_mine && is_mine(symptom),
        |mine| {
            CheckReport::new(id, CheckVerdict::Fail, mine[0].to_string())
                .towards(direction)
                .suspects("a proxy that loses or changes small writes")
        },
    )
}

/// Whether a lone byte takes enough longer than the handshake to look kept back.
fn is_late(trips: &RoundTrips) -> bool {
    trips.part(0.1).saturating_sub(trips.connected_in) > 2 * EVERY
}

/// Whether a lone byte takes about as long as the first of a bunch, and the handshake does not.
fn is_kept_back(bunching: &Bunching, trips: Option<&RoundTrips>) -> bool {
    trips.is_some_and(|trips| {
        let Ok(every) = Duration::try_from_secs_f64(bunching.every_ms / 1000.0) else { return false };
        let kept = every.saturating_sub(EVERY);
        trips.part(0.1).saturating_sub(trips.connected_in) * 5 >= kept.saturating_mul(3)
    })
}

async fn paced(end: &PathEnd, direction: PathDirection) -> Vec<TryOutcome<Segmented>> {
    match direction {
        PathDirection::Out => all((0..TRIES).map(|_| try_out(end))).await,
        _ => all((0..TRIES).map(|_| try_in(end))).await,
    }
}

async fn run_one(end: &PathEnd, direction: PathDirection, trips: Option<&RoundTrips>) -> CheckReport {
    let mut tries = paced(end, direction).await;
    for _ in 0..MORE {
        let good: Vec<_> = tries.iter().filter_map(|tried| tried.result.as_ref().ok()).collect();
        let bunches = good.iter().filter(|tried| bunching(&tried.paced).is_some()).count();
        let may_be_hidden = bunches > 0 || trips.is_some_and(is_late);
        if good.len() < tries.len() || bunches == good.len() || !may_be_hidden {
            break;
        }
        // A busy machine hides them.
        tries.extend(paced(end, direction).await);
    }
    let is_clean = tries.iter().all(|tried| tried.result.is_ok());
    let control = if is_clean { Vec::new() } else { all((0..TRIES).map(|_| try_whole(end, direction))).await };
    judged(direction, &tries, &control, trips)
}

/// Both directions at once.
pub(crate) async fn run(end: &PathEnd, trips: Option<&RoundTrips>) -> CheckReport {
    let (out, back) = tokio::join!(run_one(end, PathDirection::Out, trips), run_one(end, PathDirection::In, trips));
    joined(out, back)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces that arrive at the end of a window of this length, which the first of them began.
    fn coalesced(window: f64, base: f64) -> TryOutcome<Segmented> {
        let sent: Vec<_> = (0..PIECES).map(|n| f64::from(n) * 10.0).collect();
        let mut end = f64::MIN;
        let came = sent.iter().map(|&at| {
            if at > end {
                end = at + window;
            }
            base + end
        });
        let paced = PacedPieces { came: came.collect(), sent };
        TryOutcome { result: Ok(Segmented { reads: 100, paced }), far: None }
    }

    fn trips(ms: u64, connected: u64) -> RoundTrips {
        let [time, connected_in] = [ms, connected].map(Duration::from_millis);
        RoundTrips { times: vec![time; 20], connected_in, retransmits: [None; 2], tcp: None }
    }

    fn broken(symptom: Symptom) -> TryOutcome<Segmented> {
        TryOutcome { result: Err(symptom), far: None }
    }

    fn verdict(tries: &[TryOutcome<Segmented>], control: &[TryOutcome<()>], trips: &RoundTrips) -> CheckVerdict {
        judged(PathDirection::Out, tries, control, Some(trips)).verdict
    }

    #[test]
    fn a_box_that_collects_pieces_is_told_from_a_long_line() {
        let three = vec![coalesced(40.0, 0.0); 3];
        let report = judged(PathDirection::In, &three, &[], Some(&trips(40, 0)));
        assert_eq!((report.verdict, report.direction), (CheckVerdict::Warn, Some(PathDirection::In)));
        assert!(report.summary.contains("arrive 5 at a time, 50 ms apart"), "{}", report.summary);
        assert_eq!(verdict(&three, &[], &trips(100, 100)), CheckVerdict::Pass, "the lone byte is not kept");
        assert_eq!(verdict(&vec![coalesced(0.0, 50.0); 3], &[], &trips(100, 0)), CheckVerdict::Pass);
        let mixed = [coalesced(40.0, 0.0), coalesced(0.0, 0.0), coalesced(0.0, 0.0)];
        assert_eq!(verdict(&mixed, &[], &trips(40, 0)), CheckVerdict::Pass);
    }

    #[test]
    fn lost_pieces_fail_only_where_one_write_arrives() {
        let stalled = || broken(Symptom::Stalled { sent: 500, acknowledged: None, received: 0, wanted: 500 });
        let good = || TryOutcome { result: Ok(()), far: None };
        let bad = || TryOutcome { result: Err(Symptom::Closed { sent: 0, received: 0 }), far: None };
        let good_try = || coalesced(0.0, 0.0);
        let trips = trips(1, 1);
        assert_eq!(verdict(&[good_try(), good_try(), good_try()], &[], &trips), CheckVerdict::Pass);
        assert_eq!(verdict(&[stalled(), stalled(), stalled()], &[good(), good(), good()], &trips), CheckVerdict::Fail);
        assert_eq!(
            verdict(&[stalled(), good_try(), good_try()], &[good(), good(), good()], &trips),
            CheckVerdict::Unknown
        );
        assert_eq!(
            verdict(&[stalled(), stalled(), stalled()], &[good(), bad(), good()], &trips),
            CheckVerdict::Unknown
        );
        let reset = || broken(Symptom::Reset { sent: 5, received: 0 });
        assert_eq!(verdict(&[reset(), reset(), reset()], &[good(), good(), good()], &trips), CheckVerdict::Unknown);
        let own = broken(Symptom::NotPlayed(String::new()));
        assert_eq!(verdict(&[own, good_try(), good_try()], &[], &trips), CheckVerdict::Error);
    }

    #[test]
    fn any_time_of_the_far_end_has_a_meaning() {
        for every_ms in [f64::MAX, f64::MIN, 1e300, -5.0] {
            let _ = is_kept_back(&Bunching { every_ms, pieces: 5 }, Some(&trips(1, 1)));
        }
        assert!(!is_kept_back(&Bunching { every_ms: 1.8e22, pieces: 5 }, Some(&trips(1, 1))));
    }

    #[test]
    fn arrivals_are_found_by_their_offsets() {
        let reads = [(1.0, 3), (2.0, 4), (9.0, 10)];
        assert_eq!(came([3, 4, 7, 10, 11].into_iter(), &reads), [1.0, 2.0, 9.0, 9.0]);
    }
}

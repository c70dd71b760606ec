//! `integrity`, `both-ways`: bytes arrive as they were sent, one direction after the other, and
//! both at once.

use std::time::Instant;

use super::CheckId;
use crate::ledger::TransferDamage;
use crate::place::{PathEnd, Special};
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TRIES, TriesJudgement, TryOutcome, all, all_are, play};
use resound_probe::{CREDIT, SessionLog, Step};

/// Bytes per second of a try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transferred {
    out_rate: f64,
    in_rate: f64,
}

/// What the far end has received is all there, and right.
pub(crate) fn arrived(log: &SessionLog, sent: u64) -> Result<(), Symptom> {
    if let Some(wrong) = log.wrong {
        return Err(Symptom::Wrong(PathDirection::Out, wrong));
    }
    if log.received < sent {
        return Err(Symptom::Stalled { sent, acknowledged: Some(log.received), received: 0, wanted: 0 });
    }
    Ok(())
}

pub(crate) async fn try_each_way(end: &PathEnd, bytes: u64) -> TryOutcome<Transferred> {
    let steps = [Step::Read(bytes), Step::Tell, Step::Send(bytes), Step::Read(1)];
    play(end, Special::default(), &steps, async |probe| {
        let start = Instant::now();
        probe.send(bytes).await?;
        arrived(&probe.told().await?, bytes)?;
        let out = start.elapsed();
        let start = Instant::now();
        probe.receive(bytes).await?;
        let rate = |time: std::time::Duration| bytes as f64 / time.as_secs_f64().max(1e-6);
        Ok(Transferred { out_rate: rate(out), in_rate: rate(start.elapsed()) })
    })
    .await
}

pub(crate) async fn try_both_ways(end: &PathEnd, bytes: u64) -> TryOutcome<f64> {
    play(end, Special::default(), &[Step::Both(bytes), Step::Tell, Step::Read(1)], async |probe| {
        let start = Instant::now();
        probe.exchange(bytes, bytes).await?;
        arrived(&probe.told().await?, bytes)?;
        Ok(2.0 * bytes as f64 / start.elapsed().as_secs_f64().max(1e-6))
    })
    .await
}

/// The way in alone: where the way out is broken, the other has not been tried.
pub(crate) async fn try_in(end: &PathEnd, bytes: u64) -> TryOutcome<()> {
    // The far end sends no more to a client that has sent nothing.
    let bytes = bytes.min(CREDIT);
    // The hello leaves alone, in a record of its own.
    play(end, Special::default(), &[Step::Read(1), Step::Send(bytes), Step::Read(1)], async |probe| {
        probe.send(1).await?;
        probe.receive(bytes).await
    })
    .await
}

/// Where a transfer went wrong.
fn direction(tried: &TryOutcome<impl Sized>, bytes: u64) -> Option<PathDirection> {
    match (tried.symptom()?, &tried.far) {
        (symptom, _) if symptom.changed().is_some() => symptom.changed(),
        (Symptom::Stalled { received, .. } | Symptom::Closed { received, .. }, far) => {
            let has_arrived = far.as_ref().is_some_and(|far| far.received >= bytes);
            Some(if has_arrived || *received > 0 { PathDirection::In } else { PathDirection::Out })
        }
        _ => None,
    }
}

fn is_mine(symptom: &Symptom) -> bool {
    symptom.changed().is_some() || matches!(symptom, Symptom::Closed { .. } | Symptom::Stalled { .. })
}

/// One direction, or both where the tries differ.
fn common(directions: impl Iterator<Item = PathDirection>) -> Option<PathDirection> {
    directions.reduce(|all, one| if all == one { all } else { PathDirection::Both })
}

fn looks_like(symptom: &Symptom) -> &'static str {
    match symptom {
        symptom if symptom.changed().is_some() => {
            "a box with bad memory that computes checksums anew, or a proxy that loses or repeats a write"
        }
        Symptom::Closed { .. } => "a proxy that ends an answer early",
        _ => "a firewall that drops a flow, or asymmetric routing",
    }
}

/// `others` are tries of the way in alone, and what else has shown a direction.
pub(crate) fn integrity(tries: &[TryOutcome<Transferred>], others: &[TryOutcome<()>], bytes: u64) -> CheckReport {
    TriesJudgement { id: CheckId::Integrity, tries, control: None }.report(
        |good| {
            let best = |rate: &dyn Fn(&Transferred) -> f64| good.iter().map(|one| rate(one)).fold(0.0, f64::max);
            CheckReport::new(
                CheckId::Integrity,
                CheckVerdict::Pass,
                format!("{} each way, and no byte differs", amount(bytes)),
            )
            .measure("bytes_each_way", bytes)
            .measure("out_bytes_per_s", best(&|one| one.out_rate))
            .measure("in_bytes_per_s", best(&|one| one.in_rate))
        },
        is_mine,
        |mine| {
            let mut report = CheckReport::new(CheckId::Integrity, CheckVerdict::Fail, mine[0].to_string())
                .suspects(looks_like(mine[0]));
            let broken_in = others.iter().filter_map(TryOutcome::symptom).filter(|symptom| is_mine(symptom));
            let directions = tries.iter().filter_map(|tried| direction(tried, bytes));
            let broken_in = broken_in.map(|symptom| symptom.changed().unwrap_or(PathDirection::In));
            report.direction = common(directions.chain(broken_in));
            report
        },
    )
}

/// `each_way` is the control: what fails there is not the matter of this check.
pub(crate) fn both_ways(tries: &[TryOutcome<f64>], each_way: &[TryOutcome<()>], bytes: u64) -> CheckReport {
    // What breaks by chance breaks some tries of any transfer.
    let are_mine = all_are(tries, is_mine);
    TriesJudgement { id: CheckId::BothWays, tries, control: Some(("one direction after the other", each_way)) }.report(
        |good| {
            let best = good.iter().copied().copied().fold(0.0, f64::max);
            CheckReport::new(CheckId::BothWays, CheckVerdict::Pass, format!("{} each way at once", amount(bytes)))
                .measure("bytes_each_way", bytes)
                .measure("bytes_per_s", best)
        },
        |symptom| are_mine && is_mine(symptom),
        |mine| {
            CheckReport::new(CheckId::BothWays, CheckVerdict::Fail, mine[0].to_string())
                .towards(PathDirection::Both)
                .suspects("a proxy that works on one direction at a time")
        },
    )
}

/// Adds the evidence of the run's other transfers: all three tries can pass, or fail, by chance.
pub(crate) fn with_others(report: CheckReport, damage: &TransferDamage, both_ways: &CheckReport) -> CheckReport {
    let is_flaky = match report.verdict {
        CheckVerdict::Pass => !damage.symptoms.is_empty(),
        CheckVerdict::Fail => both_ways.ok > 0,
        verdict => verdict == CheckVerdict::Flaky,
    };
    if !is_flaky {
        return report;
    }
    let Some(first) = damage.symptoms.first() else {
        return CheckReport { verdict: CheckVerdict::Flaky, ..report };
    };
    // An end of both directions has none.
    let changed: Option<Vec<_>> = damage.symptoms.iter().map(Symptom::changed).collect();
    let (count, all) = (damage.symptoms.len(), damage.connections);
    let summary = match report.verdict {
        CheckVerdict::Pass => first.to_string(),
        _ => report.summary.clone(),
    };
    let cause = looks_like(first);
    let mut report = CheckReport { verdict: CheckVerdict::Flaky, summary, ..report }
        .saw(format!("of all {all} connections of the run that carried bytes, {count} were changed or cut off"));
    report.direction = changed.and_then(|changed| common(changed.into_iter()));
    if report.suspect.is_empty() { report.suspects(cause) } else { report }
}

/// `both-ways` with what other transfers of the run have shown: where these are changed as well,
/// both directions at once are not to blame.
pub(crate) fn both_ways_with_others(report: CheckReport, damage: &TransferDamage) -> CheckReport {
    let own = (report.tries - report.ok) as usize;
    if report.verdict != CheckVerdict::Fail || damage.symptoms.len() <= own {
        return report;
    }
    let summary = format!("not judged, since other transfers were changed or cut off as well: {}", report.summary);
    CheckReport { verdict: CheckVerdict::Unknown, summary, ..report }
}

/// Bytes for the reader.
pub(crate) fn amount(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        bytes if bytes >= 1 << 10 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1 => "1 byte".into(),
        bytes => format!("{bytes} bytes"),
    }
}

/// `integrity` and `both-ways`: three tries of each, as both need them.
pub(crate) async fn run(end: &PathEnd, bytes: u64) -> [CheckReport; 2] {
    let each_way = all((0..TRIES).map(|_| try_each_way(end, bytes))).await;
    let is_clean = each_way.iter().all(|tried| tried.result.is_ok());
    let mut others = if is_clean { Vec::new() } else { all((0..TRIES).map(|_| try_in(end, bytes))).await };
    let at_once = all((0..TRIES).map(|_| try_both_ways(end, bytes))).await;
    // Wrong bytes show their direction there as well.
    let wrong = at_once.iter().filter_map(TryOutcome::symptom);
    let wrong = wrong.filter(|symptom| matches!(symptom, Symptom::Wrong(..) | Symptom::Garbled(_))).cloned();
    others.extend(wrong.map(|symptom| TryOutcome { result: Err(symptom), far: None }));
    let control: Vec<_> = each_way
        .iter()
        .map(|tried| TryOutcome { result: tried.result.as_ref().map(drop).map_err(Clone::clone), far: None })
        .collect();
    [integrity(&each_way, &others, bytes), both_ways(&at_once, &control, bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_at_once_are_not_to_blame_where_others_are_changed_too() {
        let failed = CheckReport::new(CheckId::BothWays, CheckVerdict::Fail, "a byte was changed").tried(0, 3);
        let seen = |count| TransferDamage {
            connections: 40,
            symptoms: vec![Symptom::Garbled(PathDirection::Out); count],
            ..TransferDamage::default()
        };
        let verdict = |count| both_ways_with_others(failed.clone(), &seen(count)).verdict;
        assert_eq!((verdict(3), verdict(4)), (CheckVerdict::Fail, CheckVerdict::Unknown));
        let passed = CheckReport::new(CheckId::BothWays, CheckVerdict::Pass, "").tried(3, 3);
        assert_eq!(both_ways_with_others(passed, &seen(4)).verdict, CheckVerdict::Pass);
    }
}

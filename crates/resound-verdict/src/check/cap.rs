//! `cap`: looks for a limit on concurrent connections. It runs only if a number is requested.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::CheckId;
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::{CheckReport, CheckVerdict};
use crate::symptom::{NoHello, Symptom};
use crate::tries::all;
use resound_probe::Step;

/// The steps of the ramp; the number that was asked for is the last.
const LEVELS: [usize; 12] = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000];
/// Connections that are made at once: the number counts here, and not the pace.
const AT_ONCE: usize = 10;
/// What the rest of the program needs.
const OWN_DESCRIPTORS: u64 = 64;
/// Time in which a rate limit admits one more.
const HEALS: Duration = Duration::from_secs(2);
/// How often the ramp resumes after that time: connections of other checks may have counted.
const ROUNDS: usize = 3;
/// Far fewer ports can be dialled from: 28,232 on Linux.
const MOST: u32 = 20_000;

/// What a ramp has shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CapFinding {
    wanted: usize,
    /// Open at once when the ramp ended.
    held: usize,
    /// Those of them that did not answer then.
    mute: usize,
    /// The connections that failed, by how.
    failed: Vec<Symptom>,
    /// Whether one more succeeded a little later, with none freed.
    heals: bool,
    /// How many were freed, and whether one more succeeded then.
    freed: Option<(usize, bool)>,
}

/// What happens to a connection above the limit.
fn fate(symptom: &Symptom) -> String {
    match symptom {
        Symptom::NoConnection { class, .. } => match class.name() {
            "refused" => "refused".into(),
            "timeout" => "SYN not answered".into(),
            // Before this end has seen that it was accepted.
            "reset" => "accepted, and then reset".into(),
            other => other.into(),
        },
        Symptom::NoHello(NoHello::Reset | NoHello::ResetAtOnce) | Symptom::Reset { .. } => {
            "accepted, and then reset".into()
        }
        Symptom::NoHello(NoHello::Closed | NoHello::ClosedAtOnce) => "accepted, and then closed".into(),
        Symptom::NoHello(NoHello::Silent) => "accepted, and then nothing".into(),
        other => other.to_string(),
    }
}

async fn open(end: &PathEnd) -> Result<ProbeConnection, Symptom> {
    let steps = [Step::Answers { count: 1, ask: 1, bytes: 1 }, Step::Eof];
    // One too many is what is looked for.
    let probe = ProbeConnection::begin_with(end.permits.session().await, end, Special::default(), &steps).await?;
    end.greeted.add(&probe.hello);
    Ok(probe)
}

/// Opens connections until `wanted` are held, or one fails. Returns those that failed.
async fn ramp(end: &PathEnd, held: &mut Vec<ProbeConnection>, wanted: usize) -> Vec<Symptom> {
    let mut failed = Vec::new();
    for level in LEVELS.into_iter().filter(|level| *level < wanted).chain([wanted]) {
        while held.len() < level && failed.is_empty() {
            let n = (level - held.len()).min(AT_ONCE);
            for result in all((0..n).map(|_| open(end))).await {
                match result {
                    Ok(probe) => held.push(probe),
                    Err(symptom) => failed.push(symptom),
                }
            }
        }
    }
    failed
}

/// Ends some connections with a FIN, and sees whether one more succeeds then.
async fn free(end: &PathEnd, held: &mut Vec<ProbeConnection>, rtt: Duration) -> (usize, bool) {
    let n = (held.len() / 10).max(1).min(held.len());
    for mut probe in held.drain(..n) {
        // The far end answers with its own FIN.
        if probe.finish().await.is_ok() {
            probe.end_within(2 * rtt + Duration::from_secs(1)).await;
        }
    }
    // A box may count a connection for a while that is over.
    sleep(2 * rtt + Duration::from_millis(200)).await;
    let again = open(end).await;
    let came = again.is_ok();
    held.extend(again);
    (n, came)
}

async fn find(end: &PathEnd, wanted: usize, rtt: Duration) -> CapFinding {
    let mut held = Vec::new();
    let mut finding = CapFinding { wanted, ..CapFinding::default() };
    for _ in 0..ROUNDS {
        let failed = ramp(end, &mut held, wanted).await;
        let is_over = failed.is_empty() || failed.iter().any(|symptom| matches!(symptom, Symptom::Local(_)));
        finding.held = held.len();
        finding.failed.extend(failed);
        if is_over {
            break;
        }
        sleep(HEALS + 2 * rtt).await;
        let again = open(end).await;
        finding.heals = again.is_ok();
        held.extend(again);
        if !finding.heals {
            finding.freed = Some(free(end, &mut held, rtt).await);
            break;
        }
    }
    let mut mute = 0;
    while !held.is_empty() {
        let some: Vec<_> = held.drain(..held.len().min(100)).collect();
        let answered = all(some.into_iter().map(async |mut probe| probe.exchange(1, 1).await.is_ok())).await;
        mute += answered.iter().filter(|answered| !**answered).count();
    }
    finding.mute = mute;
    finding
}

fn judged(finding: &CapFinding) -> CheckReport {
    let CapFinding { wanted, held, mute, failed, heals, freed } = finding;
    let id = CheckId::Cap;
    let (held, mute) = (*held, *mute);
    let mut fates: BTreeMap<String, usize> = BTreeMap::new();
    failed.iter().for_each(|symptom| *fates.entry(fate(symptom)).or_default() += 1);
    let how = fates.keys().cloned().collect::<Vec<_>>().join(", or ");
    let report = if let Some(Symptom::Local(what)) = failed.iter().find(|symptom| matches!(symptom, Symptom::Local(_)))
    {
        CheckReport::new(id, CheckVerdict::Error, format!("this machine could not open more than {held}: {what}"))
    } else if failed.is_empty() && mute == 0 {
        CheckReport::new(id, CheckVerdict::Pass, format!("{held} connections at once, and each answers"))
    } else if failed.is_empty() {
        let what = format!("{mute} of {held} connections do not answer any more");
        CheckReport::new(id, CheckVerdict::Fail, what).suspects("a table of connections that drops the oldest")
    } else if *heals {
        let what = format!("{held} connections at once; a further one ({how}) succeeded {} s later", HEALS.as_secs());
        CheckReport::new(id, CheckVerdict::Warn, what).suspects("a limit of the rate of new connections")
    } else if *freed == Some((freed.map_or(0, |(n, _)| n), true)) {
        let what = format!("{held} connections at once, and no further one: {how}");
        CheckReport::new(id, CheckVerdict::Fail, what)
            .suspects("a cap of a gateway or proxy, or the far end's own (--max-connections, its descriptors)")
    } else {
        // Where those that are held do not answer either, the far end may have ended.
        let verdict = if mute == 0 { CheckVerdict::Fail } else { CheckVerdict::Unknown };
        let what = format!("{held} connections at once, and no further one ({how}), also when some had ended");
        CheckReport::new(id, verdict, what)
            .suspects("a cap that counts connections for a while after their end, or a limit per minute or hour")
    };
    let mut report = report.tried(held, held + failed.len()).measure("held", held).measure("wanted", *wanted);
    for (fate, count) in fates {
        report = report.saw(format!("{count} of {} failed: {fate}", failed.len()));
    }
    if let Some((n, came)) = freed {
        let came = if *came { "one more succeeded" } else { "none succeeded" };
        report = report.saw(format!("after {n} had ended, {came}"));
    }
    if mute > 0 && !failed.is_empty() {
        report = report.saw(format!("{mute} connections that were held did not answer any more"));
    }
    report
}

/// Nothing else may run meanwhile.
pub(crate) async fn run(end: &PathEnd, wanted: u32, rtt: Duration) -> CheckReport {
    let error = |what: String| CheckReport::new(CheckId::Cap, CheckVerdict::Error, what);
    if wanted > MOST {
        return error(format!("at most {MOST} connections can be asked for"));
    }
    if let Some(limit) = resound::system::raise_descriptor_limit()
        && limit < u64::from(wanted) + OWN_DESCRIPTORS
    {
        return error(format!("{wanted} connections need more than the {limit} descriptors that this machine allows"));
    }
    judged(&find(end, wanted as usize, rtt).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(held: usize, failed: &[Symptom]) -> CapFinding {
        CapFinding { wanted: 50, held, failed: failed.to_vec(), ..CapFinding::default() }
    }

    #[test]
    fn a_cap_admits_one_more_when_some_have_ended() {
        let reset = [Symptom::NoHello(NoHello::Reset)];
        assert_eq!(judged(&finding(50, &[])).verdict, CheckVerdict::Pass);
        let cap = judged(&CapFinding { freed: Some((2, true)), ..finding(20, &reset) });
        assert_eq!(cap.verdict, CheckVerdict::Fail);
        assert!(cap.summary.contains("20 connections at once, and no further one: accepted, and then reset"));
        let rate = judged(&CapFinding { heals: true, ..finding(20, &reset) });
        assert_eq!(rate.verdict, CheckVerdict::Warn);
        let neither = CapFinding { freed: Some((2, false)), ..finding(20, &reset) };
        assert_eq!(judged(&neither).verdict, CheckVerdict::Fail, "those that are held answer");
        assert_eq!(judged(&CapFinding { mute: 18, ..neither }).verdict, CheckVerdict::Unknown);
    }

    #[test]
    fn this_machine_is_not_the_path() {
        let own = judged(&finding(20, &[Symptom::NoHello(NoHello::Reset), Symptom::Local("no descriptor".into())]));
        assert_eq!(own.verdict, CheckVerdict::Error);
    }

    #[test]
    fn each_connection_that_is_held_answers() {
        assert_eq!(judged(&CapFinding { mute: 1, ..finding(50, &[]) }).verdict, CheckVerdict::Fail);
    }
}

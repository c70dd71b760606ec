//! `hidden-buffer`, `split-tcp`: what is acknowledged while the far end reads nothing, and has not
//! arrived there. On one TCP connection from end to end that is nothing.

use std::time::Duration;

use super::CheckId;
use super::greet::elapsed;
use super::hold::{Held, HoldPlan};
use super::integrity::amount;
use super::slow_reader::seen;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::TryOutcome;

/// As much as the two sockets of a proxy hold on Linux by default: 6 MiB received and 4 MiB to send
/// (`tcp_rmem` and `tcp_wmem`, tcp(7)). Newer kernels let a receive buffer grow to 32 MiB where a
/// proxy reads much at once. A slow try keeps it small, and leaves room for the proxy's own buffer.
const MUCH: u64 = 10 * 1024 * 1024;

/// An answer that takes this much longer than connecting comes from farther away.
const CLEARLY: Duration = Duration::from_millis(30);
/// The bytes that timestamps take of each segment (RFC 7323); `TCP_INFO` says what is left.
const TIMESTAMPS: u32 = 12;

/// Why a hold has shown nothing.
fn without(id: CheckId, tries: &[(Held, TryOutcome<()>)]) -> CheckReport {
    let symptoms: Vec<_> = tries.iter().filter_map(|(_, tried)| tried.symptom()).collect();
    match symptoms[..] {
        [] if tries.iter().any(|(held, _)| held.is_counted) => {
            CheckReport::new(id, CheckVerdict::Unknown, "not judged: the far end could not be asked what had arrived")
        }
        [] => CheckReport::new(id, CheckVerdict::Skip, "needs both ends on Linux: their systems count the bytes"),
        [first, ..] => {
            let is_own = symptoms.iter().any(|symptom| symptom.is_own());
            let verdict = if is_own { CheckVerdict::Error } else { CheckVerdict::Unknown };
            CheckReport::new(id, verdict, format!("not judged: {first}"))
        }
    }
}

/// Whether a further, slow try is to tell the buffers of a proxy from those of its system, which
/// grow where a busy proxy reads much at once.
pub(crate) fn is_much(tries: &[(Held, TryOutcome<()>)]) -> bool {
    tries.iter().filter_map(|(held, _)| held.hidden).min().is_some_and(|least| least > MUCH)
}

fn is_endless(held: &Held, plan: &HoldPlan) -> bool {
    held.is_growing && held.hidden >= Some(plan.most_hidden)
}

/// `hidden-buffer`: a sender is slowed when the far end does not read.
pub(crate) fn hidden_buffer(tries: &[(Held, TryOutcome<()>)], plan: &HoldPlan) -> CheckReport {
    let id = CheckId::HiddenBuffer;
    // What never arrives was not kept, but lost: the matter of another check.
    let kept = tries.iter().filter(|(_, tried)| tried.result.is_ok());
    let mut counted: Vec<_> = kept.filter_map(|(held, _)| held.hidden.map(|hidden| (hidden, held))).collect();
    counted.sort_by_key(|(hidden, _)| *hidden);
    let (Some(&(least, at_least)), Some(&(most, _))) = (counted.first(), counted.last()) else {
        return without(id, tries).tried(0, tries.len());
    };
    let report = |verdict, summary: String| {
        let report = CheckReport::new(id, verdict, summary).measure("hidden_bytes", least);
        if verdict == CheckVerdict::Pass { report } else { report.towards(PathDirection::Out) }
    };
    let far = "that has not reached the far end";
    // The system of a proxy only adds to what the proxy itself keeps: the least of it counts.
    let report = if is_endless(at_least, plan) {
        let verdict = if counted.len() == tries.len() { CheckVerdict::Fail } else { CheckVerdict::Unknown };
        let summary = format!("a sender is not slowed: the path took {} {far}, and went on", amount(most));
        report(verdict, summary).suspects("a proxy without backpressure (h2o unless told otherwise)")
    } else if least > MUCH {
        let summary = format!("the path takes {} {far}", amount(least));
        report(CheckVerdict::Warn, summary).suspects("a proxy with large buffers")
    } else if at_least.is_growing && least > 0 {
        let after = elapsed(at_least.lasted);
        report(CheckVerdict::Unknown, format!("{} were in the path after {after}, and more came", amount(least)))
    } else if most == 0 {
        report(CheckVerdict::Pass, "nothing is acknowledged before it has arrived".into())
    } else {
        report(CheckVerdict::Pass, format!("the path takes {} {far}", amount(least)))
    };
    let ok = counted.iter().filter(|(hidden, _)| *hidden <= MUCH).count();
    let is_pass = report.verdict == CheckVerdict::Pass;
    let report = report.tried(ok, tries.len());
    if is_pass { report } else { counted.iter().fold(report, |report, (_, held)| report.saw(seen(held))) }
}

/// `split-tcp`: one connection leads from end to end.
pub(crate) fn split_tcp(tries: &[(Held, TryOutcome<()>)]) -> CheckReport {
    let id = CheckId::SplitTcp;
    let counted: Vec<_> = tries.iter().map(|(held, _)| held).filter(|held| held.hidden.is_some()).collect();
    let split: Vec<_> = counted.iter().filter(|held| held.hidden > Some(0)).collect();
    // A try is clean where this end was blocked: whatever may hide bytes was full then.
    let clean = counted.iter().filter(|held| held.hidden == Some(0) && held.is_blocked).count();
    let report = match (&split[..], clean) {
        ([], _) if counted.is_empty() => without(id, tries),
        ([], clean) if clean == tries.len() => {
            CheckReport::new(id, CheckVerdict::Pass, "one TCP connection leads from end to end")
        }
        // A slow path is never full in this time.
        ([], _) if counted.len() == tries.len() && counted.iter().all(|held| held.is_own_syn) => {
            let what = "nothing is acknowledged that has not arrived, and the SYN that arrives is this end's";
            return CheckReport::new(id, CheckVerdict::Pass, what).tried(tries.len(), tries.len());
        }
        ([], _) => {
            let symptom = tries.iter().find_map(|(_, tried)| tried.symptom()).map(Symptom::to_string);
            let why = symptom.unwrap_or_else(|| "the path is too slow to fill it in this time".into());
            CheckReport::new(id, CheckVerdict::Unknown, format!("not judged: {why}"))
        }
        ([held, ..], clean) => {
            let verdict = if clean > 0 { CheckVerdict::Flaky } else { CheckVerdict::Warn };
            let hidden = amount(held.hidden.unwrap_or(0));
            let summary = format!(
                "something between ends your connection and makes a second one: \
                 {hidden} were acknowledged that had not reached the far end's system"
            );
            let report = CheckReport::new(id, verdict, summary).suspects(
                "a proxy, a load balancer of layer 7, or a transparent proxy of a firewall or satellite link",
            );
            split.iter().fold(besides(report, held), |report, held| report.saw(seen(held)))
        }
    };
    report.tried(clean, tries.len())
}

/// What else speaks for a second connection.
fn besides(report: CheckReport, held: &Held) -> CheckReport {
    let (here, there) = &held.addresses;
    let (connected_in, answered_in) = held.times;
    let mut report = report;
    if here != there {
        report = report.saw(format!("this end is {here}, and the far end's peer is {there}"));
    }
    if answered_in > 3 * connected_in + CLEARLY {
        report = report.saw(format!(
            "connecting took {}, and the first answer {}: what accepts is nearer than the far end",
            elapsed(connected_in),
            elapsed(answered_in)
        ));
    }
    if let (Some(announced), Some(arrived)) = held.mss
        && ![announced, announced + TIMESTAMPS].contains(&arrived.into())
    {
        report = report.saw(format!("this end announced an MSS of {announced}, and one of {arrived} arrived"));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const PLAN: HoldPlan = HoldPlan {
        least: Duration::from_secs(1),
        most: Duration::from_secs(5),
        most_hidden: 16 * MIB,
        is_slow: false,
        rtt: Duration::from_millis(1),
    };

    fn try_of(hidden: Option<u64>, result: Result<(), Symptom>) -> (Held, TryOutcome<()>) {
        let held = Held {
            hidden,
            acknowledged: hidden.unwrap_or(0) + 1000,
            is_blocked: hidden < Some(16 * MIB),
            is_growing: hidden >= Some(16 * MIB),
            ..Held::default()
        };
        (held, TryOutcome { result, far: None })
    }

    fn verdicts(hidden: [u64; 3]) -> (CheckVerdict, CheckVerdict) {
        let tries = hidden.map(|hidden| try_of(Some(hidden), Ok(())));
        (hidden_buffer(&tries, &PLAN).verdict, split_tcp(&tries).verdict)
    }

    #[test]
    fn what_is_acknowledged_and_has_not_arrived_is_hidden() {
        assert_eq!(verdicts([0; 3]), (CheckVerdict::Pass, CheckVerdict::Pass));
        assert_eq!(verdicts([5 * MIB, 1, 5 * MIB]), (CheckVerdict::Pass, CheckVerdict::Warn));
        assert_eq!(verdicts([10 * MIB; 3]), (CheckVerdict::Pass, CheckVerdict::Warn));
        assert_eq!(verdicts([11 * MIB; 3]), (CheckVerdict::Warn, CheckVerdict::Warn));
        assert_eq!(verdicts([13 * MIB; 3]), (CheckVerdict::Warn, CheckVerdict::Warn));
        assert_eq!(verdicts([16 * MIB; 3]), (CheckVerdict::Fail, CheckVerdict::Warn));
        assert_eq!(verdicts([16 * MIB, 5 * MIB, 5 * MIB]), (CheckVerdict::Pass, CheckVerdict::Warn));
        assert_eq!(verdicts([0, 5, 0]), (CheckVerdict::Pass, CheckVerdict::Flaky));
    }

    #[test]
    fn buffers_that_may_be_those_of_a_system_are_tried_again() {
        let is_tried_again = |hidden: [u64; 3]| is_much(&hidden.map(|hidden| try_of(Some(hidden), Ok(()))));
        assert!(is_tried_again([13 * MIB, 16 * MIB, 16 * MIB]) && is_tried_again([16 * MIB; 3]));
        assert!(!is_tried_again([5 * MIB, 16 * MIB, 16 * MIB]) && !is_tried_again([0; 3]));
    }

    #[test]
    fn what_never_arrives_is_not_hidden_but_still_was_acknowledged() {
        let lost = || try_of(Some(16 * MIB), Err(Symptom::Own("nothing moved any more".into())));
        let tries = [lost(), lost(), lost()];
        assert_eq!(hidden_buffer(&tries, &PLAN).verdict, CheckVerdict::Unknown);
        assert_eq!(split_tcp(&tries).verdict, CheckVerdict::Warn);
    }

    #[test]
    fn without_counts_nothing_is_judged() {
        let tries = [(); 3].map(|()| try_of(None, Ok(())));
        assert_eq!(hidden_buffer(&tries, &PLAN).verdict, CheckVerdict::Skip);
        assert_eq!(split_tcp(&tries).verdict, CheckVerdict::Skip);
        let tries = [(); 3].map(|()| {
            let (held, tried) = try_of(None, Ok(()));
            (Held { is_counted: true, ..held }, tried)
        });
        assert_eq!(hidden_buffer(&tries, &PLAN).verdict, CheckVerdict::Unknown);
        let tries = [(); 3].map(|()| try_of(None, Err(Symptom::Forgotten)));
        assert_eq!(hidden_buffer(&tries, &PLAN).verdict, CheckVerdict::Error);
    }

    #[test]
    fn a_sender_that_never_was_blocked_proves_no_single_connection() {
        let slow = || {
            let (held, tried) = try_of(Some(0), Ok(()));
            (Held { is_blocked: false, is_growing: true, ..held }, tried)
        };
        let tries = [slow(), slow(), slow()];
        assert_eq!(split_tcp(&tries).verdict, CheckVerdict::Unknown);
        assert_eq!(hidden_buffer(&tries, &PLAN).verdict, CheckVerdict::Pass);
        let own = tries.map(|(held, tried)| (Held { is_own_syn: true, ..held }, tried));
        assert_eq!((split_tcp(&own).verdict, split_tcp(&own).ok), (CheckVerdict::Pass, 3));
    }
}

//! What a run ends with.

use resound::load::Fault;

use super::gate::Outcome;
use super::run::Run;
use crate::exit;

/// Answers that came, and were not those that were due. Each is a finding about the far end, and no number of them is part of a healthy network.
pub(super) const WRONG: [Fault; 6] =
    [Fault::Mismatch, Fault::Corrupt, Fault::Reordered, Fault::Duplicate, Fault::Truncated, Fault::Extra];

/// The exit code: that the run was cut short says most, then that there was nobody to load, then a broken gate, then wrong or missing answers, then a
/// network that failed.
pub(crate) fn exit_code(run: &Run, outcomes: &[Outcome]) -> u8 {
    let failed = unforgiven(run, outcomes);
    if run.record.cut_short && !run.unread {
        exit::SIGNAL
    } else if run.found_nobody() {
        exit::NETWORK
    } else if outcomes.iter().any(|outcome| outcome.broken) || failed.iter().any(is_verdict) {
        exit::VERDICT
    } else if failed.is_empty() {
        0
    } else {
        exit::NETWORK
    }
}

fn is_verdict(class: &Fault) -> bool {
    WRONG.contains(class) || *class == Fault::Missing
}

/// The classes of failures that there were, and that no gate says how many are too many of.
pub(crate) fn unforgiven(run: &Run, outcomes: &[Outcome]) -> Vec<Fault> {
    let happened = |class: &Fault| run.record.total.counts.failed(*class) > 0;
    let is_forgiven = |class: &Fault| outcomes.iter().any(|outcome| outcome.forgives.contains(class));
    Fault::ALL.into_iter().filter(|class| happened(class) && !is_forgiven(class)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::gate::Gate;
    use super::super::samples;
    use super::*;

    fn run(classes: &[Fault], cut_short: bool) -> Run {
        let mut record = samples::record(10, 1, false);
        record.cut_short = cut_short;
        for class in classes {
            record.total.counts.failures[class.index()] += 1;
        }
        Run::of(record)
    }

    fn code(run: &Run, gates: &[&str]) -> u8 {
        let outcomes: Vec<_> = gates.iter().map(|gate| Gate::parse(gate).unwrap().judge(run)).collect();
        exit_code(run, &outcomes)
    }

    #[test]
    fn what_says_most_decides() {
        let code = |classes: &[Fault], cut_short, gates: &[&str]| code(&run(classes, cut_short), gates);
        assert_eq!(code(&[], false, &[]), 0);
        assert_eq!(code(&[Fault::Reset], false, &[]), exit::NETWORK);
        assert_eq!(code(&[Fault::Corrupt, Fault::Reset], false, &[]), exit::VERDICT);
        assert_eq!(code(&[Fault::Missing], false, &[]), exit::VERDICT);
        assert_eq!(code(&[Fault::Reset], false, &["p50>1h"]), exit::NETWORK);
        assert_eq!(code(&[Fault::Reset, Fault::Missing], false, &["errors>2"]), 0);
        assert_eq!(code(&[Fault::Reset, Fault::Missing], false, &["errors>1"]), exit::VERDICT);
        assert_eq!(code(&[], true, &[]), exit::SIGNAL);
        assert_eq!(code(&[Fault::Corrupt], true, &[]), exit::SIGNAL);
        assert_eq!(code(&[], true, &["rate>0"]), exit::SIGNAL);
    }

    #[test]
    fn a_gate_forgives_what_it_measures_and_nothing_else() {
        for wrong in WRONG {
            let run = run(&[wrong], false);
            for gate in ["errors>9", "loss>50%", "reset>9"] {
                assert_eq!(code(&run, &[gate]), exit::VERDICT, "{wrong} {gate}");
            }
            assert_eq!(code(&run, &[&format!("{wrong}>1")]), 0, "{wrong}");
            assert_eq!(code(&run, &[&format!("{wrong}>0")]), exit::VERDICT, "{wrong}");
        }
        assert_eq!(code(&run(&[Fault::Missing], false), &["loss>50%"]), 0);
        assert_eq!(code(&run(&[Fault::Reset], false), &["loss>50%"]), exit::NETWORK);
        assert_eq!(code(&run(&[Fault::Reset, Fault::Eof], false), &["reset>9"]), exit::NETWORK);
    }

    #[test]
    fn where_nobody_was_found_no_gate_says_otherwise() {
        let mut record = samples::empty().record;
        record.total.counts.failures[Fault::Refused.index()] = 3;
        assert_eq!(code(&Run::of(record.clone()), &["errors>9"]), exit::NETWORK);
        assert_eq!(code(&Run::of(record), &["errors>0", "p99>1s"]), exit::NETWORK);
    }
}

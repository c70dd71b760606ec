//! What a run ends with.

use resound::load::Fault;

use super::gate::{Gate, Outcome};
use super::run::Run;
use crate::exit;

/// The exit code: that the run was cut short says most, then a broken gate, then wrong answers, then a network that failed. Failures are forgiven where a gate
/// says how many are too many.
pub(crate) fn exit_code(run: &Run, gates: &[Gate], outcomes: &[Outcome]) -> u8 {
    let counts = &run.record.total.counts;
    let wrong = [
        Fault::Mismatch,
        Fault::Corrupt,
        Fault::Missing,
        Fault::Reordered,
        Fault::Duplicate,
        Fault::Truncated,
        Fault::Extra,
    ];
    let is_wrong = wrong.iter().any(|&class| counts.failed(class) > 0);
    let is_forgiven = gates.iter().any(Gate::is_about_errors);
    if run.record.cut_short {
        exit::SIGNAL
    } else if outcomes.iter().any(|outcome| outcome.broken) || is_wrong && !is_forgiven {
        exit::VERDICT
    } else if counts.errors() > 0 && !is_forgiven {
        exit::NETWORK
    } else {
        0
    }
}

/// Did nothing fail?
pub(super) fn is_clean(run: &Run) -> bool {
    run.record.total.counts.errors() == 0
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn what_says_most_decides() {
        let code = |classes: &[Fault], cut_short, gates: &[&str]| {
            let mut record = samples::record(10, 1, false);
            record.cut_short = cut_short;
            for class in classes {
                record.total.counts.failures[class.index()] += 1;
            }
            let run = Run::of(record);
            let gates: Vec<_> = gates.iter().map(|gate| Gate::parse(gate).unwrap()).collect();
            let outcomes: Vec<_> = gates.iter().map(|gate| gate.judge(&run)).collect();
            exit_code(&run, &gates, &outcomes)
        };
        assert_eq!(code(&[], false, &[]), 0);
        assert_eq!(code(&[Fault::Reset], false, &[]), exit::NETWORK);
        assert_eq!(code(&[Fault::Corrupt, Fault::Reset], false, &[]), exit::VERDICT);
        assert_eq!(code(&[Fault::Reset], false, &["p50>1h"]), exit::NETWORK);
        assert_eq!(code(&[Fault::Reset, Fault::Missing], false, &["errors>2"]), 0);
        assert_eq!(code(&[Fault::Reset, Fault::Missing], false, &["errors>1"]), exit::VERDICT);
        assert_eq!(code(&[], true, &[]), exit::SIGNAL);
        assert_eq!(code(&[Fault::Corrupt], true, &[]), exit::SIGNAL);
        assert_eq!(code(&[], true, &["rate>0"]), exit::SIGNAL);
    }
}

//! The exit code of a run.

use resound_load::{Counts, LoadFailure, Mode, Shape};

use super::outcome::GateOutcome;
use super::run::Run;
use crate::{exit, units};

/// Wrong answers. Each one is a defect of the target: in a healthy network their number is zero.
pub(super) const WRONG: [LoadFailure; 6] = [
    LoadFailure::Mismatch,
    LoadFailure::Corrupt,
    LoadFailure::Reordered,
    LoadFailure::Duplicate,
    LoadFailure::Truncated,
    LoadFailure::Extra,
];

/// The exit code. In order of precedence: the run was cut short, no connection was made, a gate
/// broke, answers were wrong or missing, the network failed, a condition could not be judged.
///
/// `forgives_doubt` (`--cannot-tell pass`) excuses conditions that cannot be judged, but not a run
/// that cannot be judged at all: no gate asked for that.
pub(crate) fn exit_code(run: &Run, outcomes: &[GateOutcome], forgives_doubt: bool) -> u8 {
    let failed = unforgiven(run, outcomes);
    let is_verdict = |class: &LoadFailure| WRONG.contains(class) || *class == LoadFailure::Missing;
    if run.record.cut_short && !run.unread {
        exit::SIGNAL
    } else if run.had_only_failures() {
        exit::NETWORK
    } else if outcomes.iter().any(|outcome| outcome.is_broken()) || failed.iter().any(is_verdict) {
        exit::VERDICT
    } else if !failed.is_empty() {
        exit::NETWORK
    } else if !forgives_doubt && outcomes.iter().any(GateOutcome::is_open) || unjudgeable(run, outcomes).is_some() {
        exit::CANNOT_TELL
    } else {
        0
    }
}

/// The reason why a run cannot be judged.
pub(crate) struct Unjudgeable {
    /// The missing observation, in a few words.
    pub(crate) expected: &'static str,
    pub(crate) why: String,
}

/// The reason why this run cannot be judged, if there is one.
pub(crate) fn unjudgeable(run: &Run, outcomes: &[GateOutcome]) -> Option<Unjudgeable> {
    let Counts { planned, lagged, silent, .. } = run.record.total.counts;
    if lagged > 0 {
        let why = format!(
            "the generator itself did not send {} of {}; to settle it: a lower --rate, more processors, or \
             several generators",
            units::count(lagged),
            units::counted(planned, "planned message")
        );
        return Some(Unjudgeable { expected: "the generator kept its plan", why });
    }
    if silent > 0 {
        let connections = units::counted(run.record.settings.most_connections(), "connection");
        let why = format!(
            "{} of {connections} got nothing before the end of the run; to settle it: a longer --duration, or {}",
            units::count(silent),
            run.settles_silence()
        );
        return Some(Unjudgeable { expected: "each connection got an answer", why });
    }
    // Failures that count say more.
    if let Some(what) = unmeasured(run).filter(|_| unforgiven(run, outcomes).is_empty()) {
        let settings = &run.record.settings;
        let longer = if settings.duration.is_some() { "a longer --duration" } else { "more --messages" };
        let pause = if settings.think_time.is_zero() { "" } else { ", or a shorter --think-time" };
        let why = format!("{what} in the time measured; to settle it: {longer}{pause}");
        return Some(Unjudgeable { expected: "something was measured", why });
    }
    let has_failed = run.record.steps.first().is_some_and(|step| step.broken.is_some());
    has_failed.then(|| Unjudgeable {
        expected: "the first step of the ramp held",
        why: "not even the first step held, so no level is known that holds; to settle it: lower --steps".into(),
    })
}

/// What did not happen once in the time measured, though the run is about it.
fn unmeasured(run: &Run) -> Option<&'static str> {
    let counts = &run.record.total.counts;
    let settings = &run.record.settings;
    let bytes = counts.bytes_received.saturating_sub(counts.bytes_late);
    match (settings.shape, settings.mode) {
        (Shape::Connect, _) if counts.opened == 0 => Some("no connection was made"),
        (_, Mode::Chargen) => (bytes == 0).then_some("no byte came"),
        _ if counts.sent == 0 => Some("no message was sent"),
        // Failures that a gate forgives are what became of the messages.
        _ if counts.errors() > 0 => None,
        (_, Mode::Discard) => None,
        (Shape::Stream, _) => (bytes == 0).then_some("no byte of an answer came"),
        _ => (counts.in_time() == 0).then_some("no answer came"),
    }
}

/// The classes with failures that no gate limits.
pub(crate) fn unforgiven(run: &Run, outcomes: &[GateOutcome]) -> Vec<LoadFailure> {
    let happened = |class: &LoadFailure| run.record.total.counts.failed(*class) > 0;
    let is_forgiven = |class: &LoadFailure| outcomes.iter().any(|outcome| outcome.forgives.contains(class));
    LoadFailure::ALL.into_iter().filter(|class| happened(class) && !is_forgiven(class)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::gate::Gate;
    use super::super::samples;
    use super::*;

    fn run(classes: &[LoadFailure], cut_short: bool) -> Run {
        let mut record = samples::record(10, 1, false);
        record.cut_short = cut_short;
        for class in classes {
            record.total.counts.failures[class.index()] += 1;
        }
        Run::of(record)
    }

    fn code(run: &Run, gates: &[&str]) -> u8 {
        let outcomes: Vec<_> = gates.iter().map(|gate| Gate::parse(gate).unwrap().judge(run)).collect();
        exit_code(run, &outcomes, false)
    }

    #[test]
    fn the_exit_code_follows_the_order_of_precedence() {
        let code = |classes: &[LoadFailure], cut_short, gates: &[&str]| code(&run(classes, cut_short), gates);
        assert_eq!(code(&[], false, &[]), 0);
        assert_eq!(code(&[LoadFailure::Reset], false, &[]), exit::NETWORK);
        assert_eq!(code(&[LoadFailure::Corrupt, LoadFailure::Reset], false, &[]), exit::VERDICT);
        assert_eq!(code(&[LoadFailure::Missing], false, &[]), exit::VERDICT);
        assert_eq!(code(&[LoadFailure::Reset], false, &["p50>1h"]), exit::NETWORK);
        assert_eq!(code(&[LoadFailure::Reset, LoadFailure::Missing], false, &["errors>2"]), 0);
        assert_eq!(code(&[LoadFailure::Reset, LoadFailure::Missing], false, &["errors>1"]), exit::VERDICT);
        assert_eq!(code(&[], true, &[]), exit::SIGNAL);
        assert_eq!(code(&[LoadFailure::Corrupt], true, &[]), exit::SIGNAL);
        assert_eq!(code(&[], true, &["rate>0"]), exit::SIGNAL);
    }

    #[test]
    fn a_gate_allows_only_the_failures_it_limits() {
        for wrong in WRONG {
            let run = run(&[wrong], false);
            for gate in ["errors>9", "loss>50%", "reset>9"] {
                assert_eq!(code(&run, &[gate]), exit::VERDICT, "{wrong} {gate}");
            }
            assert_eq!(code(&run, &[&format!("{wrong}>1")]), 0, "{wrong}");
            assert_eq!(code(&run, &[&format!("{wrong}>0")]), exit::VERDICT, "{wrong}");
        }
        assert_eq!(code(&run(&[LoadFailure::Missing], false), &["loss>50%"]), 0);
        assert_eq!(code(&run(&[LoadFailure::Reset], false), &["loss>50%"]), exit::NETWORK);
        assert_eq!(code(&run(&[LoadFailure::Reset, LoadFailure::Eof], false), &["reset>9"]), exit::NETWORK);
    }

    #[test]
    fn unsent_messages_are_allowed_only_by_their_own_gate() {
        let run = run(&[LoadFailure::Unsent], false);
        assert_eq!(code(&run, &[]), exit::NETWORK);
        for gate in ["errors>9", "loss>50%", "missing>9", "refused>9"] {
            assert_eq!(code(&run, &[gate]), exit::NETWORK, "{gate}");
        }
        assert_eq!((code(&run, &["unsent>1"]), code(&run, &["unsent>0"])), (0, exit::VERDICT));
    }

    #[test]
    fn a_doubtful_gate_comes_last() {
        let mut lagged = run(&[], false).record;
        lagged.total.counts.lagged = 1;
        lagged.total.counts.planned += 1;
        assert_eq!(code(&Run::of(lagged.clone()), &[]), exit::CANNOT_TELL);
        let [mut cut, mut failed] = [lagged.clone(), lagged.clone()];
        cut.cut_short = true;
        failed.total.counts.failures[LoadFailure::Reset.index()] = 1;
        assert_eq!(code(&Run::of(cut), &[]), exit::SIGNAL);
        assert_eq!(code(&Run::of(failed.clone()), &[]), exit::NETWORK);
        assert_eq!(code(&Run::of(failed.clone()), &["errors>9"]), exit::CANNOT_TELL);
        assert_eq!(code(&Run::of(failed.clone()), &["errors>0"]), exit::VERDICT);
        (failed.total.counts.opened, failed.total.counts.sent, failed.total.counts.bytes_received) = (0, 0, 0);
        assert_eq!(code(&Run::of(failed), &["errors>0"]), exit::NETWORK);
        // Three hundred messages do not show a p99.9.
        assert_eq!(code(&run(&[], false), &["p99.9>1h"]), exit::CANNOT_TELL);
        assert_eq!(code(&run(&[], false), &["p99.9>1h", "rate>0"]), exit::VERDICT);
    }

    #[test]
    fn cannot_tell_pass_excuses_gates_and_not_empty_runs() {
        let without_doubt = |run: &Run, gates: &[&str]| {
            let outcomes: Vec<_> = gates.iter().map(|gate| Gate::parse(gate).unwrap().judge(run)).collect();
            exit_code(run, &outcomes, true)
        };
        let kept = run(&[], false);
        let mut lagged = kept.record.clone();
        lagged.total.counts.lagged = 1;
        lagged.total.counts.planned += 1;
        let lagged = Run::of(lagged);
        // Without a gate, with a gate that can be judged, and with one that cannot.
        for gates in [&[][..], &["p50>1h"], &["p99.9>1h"]] {
            assert_eq!(without_doubt(&kept, gates), 0, "{gates:?}");
            assert_eq!(without_doubt(&lagged, gates), exit::CANNOT_TELL, "{gates:?}");
        }
        // A certain result is not in doubt.
        assert_eq!(without_doubt(&kept, &["p99.9>1h", "rate>0"]), exit::VERDICT);
        assert_eq!(without_doubt(&run(&[LoadFailure::Reset], false), &["p99.9>1h"]), exit::NETWORK);
        assert_eq!(without_doubt(&run(&[], true), &["p99.9>1h"]), exit::SIGNAL);
    }

    #[test]
    fn unanswered_connections_and_ramps_without_steps_cannot_be_judged() {
        let mut silent = run(&[], false).record;
        silent.total.counts.silent = 3;
        assert_eq!(code(&Run::of(silent.clone()), &["errors>0"]), exit::CANNOT_TELL);
        assert!(unjudgeable(&Run::of(silent), &[]).unwrap().why.starts_with("3 of 64 connections got nothing"));
        let step = |broken: Option<&str>| resound_load::RampStep {
            level: 100.0,
            total: Default::default(),
            broken: broken.map(Into::into),
        };
        for (steps, want) in [
            (vec![step(Some("p99>1us (2 us)"))], exit::CANNOT_TELL),
            (vec![step(None), step(Some("p99>1ms (2 ms)"))], 0),
            (vec![step(None)], 0),
        ] {
            let mut ramp = run(&[], false).record;
            ramp.steps = steps;
            assert_eq!(code(&Run::of(ramp), &[]), want);
        }
    }

    #[test]
    fn a_run_in_which_nothing_was_measured_cannot_be_judged() {
        for (mode, shape, want) in [
            (Mode::Echo, Shape::Closed, "no message was sent"),
            (Mode::Discard, Shape::Closed, "no message was sent"),
            (Mode::Echo, Shape::Connect, "no connection was made"),
            (Mode::Chargen, Shape::Stream, "no byte came"),
        ] {
            let mut record = samples::empty().record;
            (record.settings.mode, record.settings.shape) = (mode, shape);
            let run = Run::of(record);
            assert_eq!(code(&run, &["errors>0"]), exit::CANNOT_TELL, "{mode:?} {shape:?}");
            assert!(unjudgeable(&run, &[]).unwrap().why.starts_with(want), "{mode:?} {shape:?}");
        }
        // What came after the end is no measurement.
        for shape in [Shape::Closed, Shape::Stream] {
            let mut record = run(&[], false).record;
            record.settings.shape = shape;
            assert!(unjudgeable(&Run::of(record.clone()), &[]).is_none(), "{shape:?}");
            let counts = &mut record.total.counts;
            (counts.late, counts.bytes_late) = (counts.received, counts.bytes_received);
            assert_eq!(code(&Run::of(record), &["errors>0"]), exit::CANNOT_TELL, "{shape:?}");
        }
    }

    #[test]
    fn a_run_with_forgiven_failures_alone_cannot_be_judged() {
        let mut record = samples::empty().record;
        (record.total.counts.opened, record.total.counts.closed) = (3, 3);
        record.total.counts.failures[LoadFailure::Reset.index()] = 3;
        let run = Run::of(record);
        for (gates, want) in [
            (&["errors>9"][..], exit::CANNOT_TELL),
            (&["reset>9"], exit::CANNOT_TELL),
            (&[], exit::NETWORK),
            // This sets no limit to errors.
            (&["errors<1"], exit::NETWORK),
            (&["reset<=2"], exit::NETWORK),
            (&["errors>2"], exit::VERDICT),
        ] {
            assert_eq!(code(&run, gates), want, "{gates:?}");
        }
    }

    #[test]
    fn no_gate_excuses_an_unreachable_target() {
        let mut record = samples::empty().record;
        record.total.counts.failures[LoadFailure::Refused.index()] = 3;
        assert_eq!(code(&Run::of(record.clone()), &["errors>9"]), exit::NETWORK);
        assert_eq!(code(&Run::of(record), &["errors>0", "p99>1s"]), exit::NETWORK);
    }
}

//! The results as a JUnit report for CI systems: a test case per gate, and one for failures that no
//! gate allows.

use resound_load::LoadFailure;

use super::gate::Gate;
use super::markup::escape;
use super::outcome::{GateOutcome, Judgement};
use super::run::Run;
use super::{describe, stream, text, verdict};
use crate::units;

/// The test case that every report has.
const NO_GATE: &str = "no failure but those that gates allow";
/// The limit of failures listed.
const NAMED: usize = 10;

struct Case {
    name: String,
    judgement: Judgement,
    why: String,
    /// The failures, one a line.
    details: String,
}

pub(crate) fn render(run: &Run, outcomes: &[GateOutcome]) -> String {
    let record = &run.record;
    let name = escape(&format!("resound load {}", describe::target(&record.settings)));
    let seconds = record.elapsed.as_secs_f64();
    let cases = cases(run, outcomes);
    let count = |judgement| cases.iter().filter(|case| case.judgement == judgement).count();
    let totals = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{seconds:.3}\"",
        cases.len(),
        count(Judgement::Fail),
        count(Judgement::CannotTell)
    );
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"resound\" {totals}>\n  \
         <testsuite name=\"{name}\" {totals} timestamp=\"{}\">\n",
        &humantime::format_rfc3339_seconds(record.started).to_string()[..19]
    );
    xml += "    <properties>\n";
    for (key, value) in properties(run) {
        xml += &format!("      <property name=\"{}\" value=\"{}\"/>\n", escape(&key), escape(&value));
    }
    xml += "    </properties>\n";
    for Case { name: case, judgement, why, details } in &cases {
        xml += &format!("    <testcase classname=\"{name}\" name=\"{}\" time=\"{seconds:.3}\"", escape(case));
        let (why, details) = (escape(why), escape(details));
        xml += &match judgement {
            Judgement::Pass => "/>\n".into(),
            // JUnit has no better state for a condition that cannot be judged.
            Judgement::CannotTell => format!(">\n      <skipped message=\"{why}\"/>\n    </testcase>\n"),
            Judgement::Fail => {
                format!(">\n      <failure message=\"{why}\">{details}</failure>\n    </testcase>\n")
            }
        };
    }
    xml + "  </testsuite>\n</testsuites>\n"
}

fn cases(run: &Run, outcomes: &[GateOutcome]) -> Vec<Case> {
    let record = &run.record;
    let of_gate = |outcome: &GateOutcome, when: &str| Case {
        name: format!("fail-if {}{when}", outcome.gate),
        judgement: outcome.judgement,
        why: match outcome.judgement {
            Judgement::Fail => format!("{} is true: {}", outcome.gate, outcome.measured),
            _ => format!("cannot tell: {}", outcome.explanation()),
        },
        details: String::new(),
    };
    let mut cases: Vec<_> = outcomes.iter().map(|outcome| of_gate(outcome, "")).collect();
    // Without gates of its own, a report of a failed run would be green.
    let judged = run.judged.iter().filter(|_| outcomes.is_empty()).flat_map(|judged| &judged.verdict.gates);
    let forgives = |gate: &str| Gate::parse(gate).map(|gate| gate.judge(run).forgives).unwrap_or_default();
    let judged = judged.map(|outcome| GateOutcome { forgives: forgives(&outcome.gate), ..outcome.clone() });
    let judged: Vec<_> = judged.collect();
    cases.extend(judged.iter().map(|outcome| of_gate(outcome, ", as it was judged then")));
    // Failures that no gate allows fail the run without a gate.
    let unforgiven = verdict::unforgiven(run, if outcomes.is_empty() { &judged } else { outcomes });
    let is_unforgiven = |class| unforgiven.contains(&class);
    let failures = record.failures.iter().filter(|failure| is_unforgiven(failure.class)).take(NAMED);
    let details = failures.map(|failure| {
        let message = failure.sequence.map_or_else(String::new, |n| format!(", message {n}"));
        format!("{}, connection {}{message}: {}\n", failure.class, failure.connection, failure.what)
    });
    cases.push(Case {
        name: NO_GATE.into(),
        judgement: if unforgiven.is_empty() { Judgement::Pass } else { Judgement::Fail },
        why: text::by_class(&record.total.counts, is_unforgiven),
        details: details.collect(),
    });
    cases.extend(verdict::unjudgeable(run, outcomes).map(|unjudgeable| Case {
        name: unjudgeable.expected.into(),
        judgement: Judgement::CannotTell,
        why: format!("cannot tell: {}", unjudgeable.why),
        details: String::new(),
    }));
    cases
}

/// The settings, and the figures measured.
fn properties(run: &Run) -> Vec<(String, String)> {
    let counts = &run.record.total.counts;
    let settings = describe::table(&run.record.settings).into_iter().map(|(key, value)| (key.to_string(), value));
    let figures = [
        ("rate", stream::rate(&run.record.settings, &run.rates)),
        ("errors", units::count(counts.errors())),
        ("unsent", units::count(counts.failed(LoadFailure::Unsent))),
        ("unanswered", units::count(counts.unanswered)),
    ];
    let figures = figures.map(|(key, value)| (format!("measured {key}"), value));
    let (name, times) = run.main();
    let times =
        text::statistics(times, "at least ").into_iter().map(|(row, value)| (format!("measured {name} {row}"), value));
    settings.chain(figures).chain(times).collect()
}

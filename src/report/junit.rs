//! The results as a JUnit report for CI systems: a test case per gate, and one for failures that no
//! gate allows.

use resound_load::Fault;

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
}

pub(crate) fn render(run: &Run, outcomes: &[GateOutcome]) -> String {
    let record = &run.record;
    let name = format!("resound load {}", describe::target(&record.settings));
    let seconds = record.elapsed.as_secs_f64();
    let errors = record.total.counts.errors();
    let of_gate = |outcome: &GateOutcome| Case {
        name: format!("fail-if {}", outcome.gate),
        judgement: outcome.judgement,
        why: match outcome.judgement {
            Judgement::Fail => format!("{} is true: {}", outcome.gate, outcome.measured),
            _ => format!("cannot tell: {}", outcome.explanation()),
        },
    };
    let mut cases: Vec<_> = outcomes.iter().map(of_gate).collect();
    // Failures that no gate allows fail the run without a gate.
    let unforgiven = verdict::unforgiven(run, outcomes);
    let of_those = |class| unforgiven.contains(&class);
    cases.push(Case {
        name: NO_GATE.into(),
        judgement: Judgement::failed(!unforgiven.is_empty()),
        why: text::by_class(&record.total.counts, of_those),
    });
    cases.extend(verdict::unjudgeable(run).map(|unjudgeable| Case {
        name: unjudgeable.expected.into(),
        judgement: Judgement::CannotTell,
        why: format!("cannot tell: {}", unjudgeable.why),
    }));
    let count = |judgement| cases.iter().filter(|case| case.judgement == judgement).count();
    let totals = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{seconds:.3}\"",
        cases.len(),
        count(Judgement::Fail),
        count(Judgement::CannotTell)
    );
    let name = escape(&name);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"resound\" {totals}>\n  \
         <testsuite name=\"{name}\" {totals} timestamp=\"{}\">\n",
        &humantime::format_rfc3339_seconds(record.started).to_string()[..19]
    );
    xml += "    <properties>\n";
    for (key, value) in describe::table(&record.settings) {
        xml += &format!("      <property name=\"{}\" value=\"{}\"/>\n", escape(key), escape(&value));
    }
    let figures = [
        ("rate", stream::rate(&record.settings, &run.rates)),
        ("errors", units::count(errors)),
        ("unsent", units::count(record.total.counts.failed(Fault::Unsent))),
        ("unanswered", units::count(record.total.counts.unanswered)),
    ];
    let times = text::statistics(run.main().1, "at least ")
        .into_iter()
        .map(|(row, value)| (format!("{} {row}", run.main().0), value));
    for (key, value) in figures.map(|(key, value)| (key.to_string(), value)).into_iter().chain(times) {
        xml += &format!("      <property name=\"measured {}\" value=\"{}\"/>\n", escape(&key), escape(&value));
    }
    xml += "    </properties>\n";
    for Case { name: case, judgement, why } in &cases {
        xml += &format!("    <testcase classname=\"{name}\" name=\"{}\" time=\"{seconds:.3}\"", escape(case));
        match judgement {
            Judgement::Pass => xml += "/>\n",
            // JUnit has no better state for a condition that cannot be judged.
            Judgement::CannotTell => {
                xml += &format!(">\n      <skipped message=\"{}\"/>\n    </testcase>\n", escape(why));
            }
            Judgement::Fail => {
                let named =
                    record.failures.iter().filter(|failure| of_those(failure.class)).take(NAMED).map(|failure| {
                        let message = failure.sequence.map_or_else(String::new, |n| format!(", message {n}"));
                        format!("{}, connection {}{message}: {}\n", failure.class, failure.connection, failure.what)
                    });
                let body = if case == NO_GATE { named.collect() } else { String::new() };
                xml += &format!(
                    ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
                    escape(why),
                    escape(&body)
                );
            }
        }
    }
    xml + "  </testsuite>\n</testsuites>\n"
}

//! The results as a JUnit report, which CI systems show: a test case per gate, and one for failures that no gate allows.

use super::gate::Outcome;
use super::markup::escape;
use super::run::Run;
use super::{describe, text, verdict};
use crate::units;

/// The case that is always there.
const NO_GATE: &str = "no failure but those that gates allow";
/// Failures that are named.
const NAMED: usize = 10;

pub(crate) fn render(run: &Run, outcomes: &[Outcome]) -> String {
    let record = &run.record;
    let name = format!("resound load {}", describe::target(&record.settings));
    let seconds = record.elapsed.as_secs_f64();
    let errors = record.total.counts.errors();
    let mut cases: Vec<(String, Option<String>)> = outcomes
        .iter()
        .map(|outcome| {
            let failure = outcome.broken.then(|| format!("{} is true: {}", outcome.gate, outcome.measured));
            (format!("fail-if {}", outcome.gate), failure)
        })
        .collect();
    // What no gate forgives fails without one.
    let unforgiven = verdict::unforgiven(run, outcomes);
    let of_those = |class| unforgiven.contains(&class);
    let failure = (!unforgiven.is_empty()).then(|| text::by_class(&record.total.counts, of_those));
    cases.push((NO_GATE.into(), failure));
    let failed = cases.iter().filter(|(_, failure)| failure.is_some()).count();
    let totals = format!("tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\"", cases.len());
    let name = escape(&name);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"resound\" {totals}>\n  <testsuite name=\"{name}\" {totals} \
         timestamp=\"{}\">\n",
        &humantime::format_rfc3339_seconds(record.started).to_string()[..19]
    );
    xml += "    <properties>\n";
    for (key, value) in describe::table(&record.settings) {
        xml += &format!("      <property name=\"{}\" value=\"{}\"/>\n", escape(key), escape(&value));
    }
    let figures = [
        ("rate", format!("{} msg/s", units::rate(run.rates.messages))),
        ("errors", units::count(errors)),
        ("unanswered", units::count(run.lost())),
    ];
    let times =
        text::statistics(run.main().1).into_iter().map(|(row, value)| (format!("{} {row}", run.main().0), value));
    for (key, value) in figures.map(|(key, value)| (key.to_string(), value)).into_iter().chain(times) {
        xml += &format!("      <property name=\"measured {}\" value=\"{}\"/>\n", escape(&key), escape(&value));
    }
    xml += "    </properties>\n";
    for (case, failure) in &cases {
        xml += &format!("    <testcase classname=\"{name}\" name=\"{}\" time=\"{seconds:.3}\"", escape(case));
        match failure {
            None => xml += "/>\n",
            Some(why) => {
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

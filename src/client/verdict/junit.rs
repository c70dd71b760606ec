//! The results of a test as a JUnit report: a suite for each address, and a case for each check.

use resound_verdict::CheckVerdict;

use super::record::{TestRecord, TestedAddress, TestedCheck};
use super::view::profile_name;
use crate::report::markup::escape;

/// What JUnit has for a check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CaseState {
    Passed,
    Skipped,
    Failure,
    /// Not failed, and not passed either: the exit code is not 0.
    Unclear,
}

impl CaseState {
    fn of(check: &TestedCheck, strict: bool) -> Self {
        match check.verdict {
            CheckVerdict::Pass => Self::Passed,
            CheckVerdict::Warn if strict => Self::Failure,
            CheckVerdict::Flaky if strict => Self::Failure,
            CheckVerdict::Warn => Self::Passed,
            CheckVerdict::Skip => Self::Skipped,
            CheckVerdict::Fail => Self::Failure,
            CheckVerdict::Flaky | CheckVerdict::Unknown | CheckVerdict::Error => Self::Unclear,
        }
    }
}

pub(super) fn render(record: &TestRecord) -> String {
    let totals = totals(record.checks(), record.strict);
    let mut xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"resound\" {totals}>\n");
    for address in &record.addresses {
        xml += &suite(record, address);
    }
    xml + "</testsuites>\n"
}

fn totals<'a>(checks: impl Iterator<Item = &'a TestedCheck>, strict: bool) -> String {
    let states: Vec<_> = checks.map(|check| CaseState::of(check, strict)).collect();
    let count = |state| states.iter().filter(|found| **found == state).count();
    format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
        states.len(),
        count(CaseState::Failure),
        count(CaseState::Unclear),
        count(CaseState::Skipped)
    )
}

fn suite(record: &TestRecord, address: &TestedAddress) -> String {
    let name = escape(&format!("resound test {}", address.address));
    let started = humantime::format_rfc3339_seconds(record.started).to_string();
    let mut xml = format!(
        "  <testsuite name=\"{name}\" {} time=\"{:.3}\" timestamp=\"{}\">\n    <properties>\n",
        totals(address.checks.iter(), record.strict),
        address.time.as_secs_f64(),
        &started[..19]
    );
    let far = address.far_name.as_deref().unwrap_or("unknown");
    for (key, value) in [
        ("target", record.target.as_str()),
        ("profile", profile_name(record.profile)),
        ("seed", &record.seed.to_string()),
        ("far end", far),
        ("verdict", &record.meaning(address)),
    ] {
        xml += &format!("      <property name=\"{key}\" value=\"{}\"/>\n", escape(value));
    }
    xml += "    </properties>\n";
    for check in &address.checks {
        xml += &case(check, &name, record.strict);
    }
    xml + "  </testsuite>\n"
}

fn case(check: &TestedCheck, suite: &str, strict: bool) -> String {
    let head = format!("    <testcase classname=\"{suite}\" name=\"{}\"", escape(check.id));
    let (why, kind) = (escape(&check.summary), check.verdict);
    let details = escape(&details(check));
    match CaseState::of(check, strict) {
        CaseState::Passed if kind == CheckVerdict::Warn => {
            format!("{head}>\n      <system-out>warn: {why}\n{details}</system-out>\n    </testcase>\n")
        }
        CaseState::Passed => format!("{head}/>\n"),
        CaseState::Skipped => format!("{head}>\n      <skipped message=\"{why}\"/>\n    </testcase>\n"),
        CaseState::Failure => {
            format!("{head}>\n      <failure type=\"{kind}\" message=\"{why}\">{details}</failure>\n    </testcase>\n")
        }
        CaseState::Unclear => {
            format!("{head}>\n      <error type=\"{kind}\" message=\"{why}\">{details}</error>\n    </testcase>\n")
        }
    }
}

/// What else is known of a check, one thing a line.
fn details(check: &TestedCheck) -> String {
    let mut lines = vec![format!("{} of {} tries went well", check.ok, check.tries)];
    lines.extend(check.direction.map(|direction| format!("direction: {direction}")));
    let control = check.control.as_ref();
    lines.extend(control.map(|control| format!("control: {} {}/{}", control.what, control.ok, control.tries)));
    lines.extend(check.evidence.iter().cloned());
    lines.extend(check.suspect.iter().map(|suspect| format!("looks like: {suspect}")));
    lines.extend(check.reproduce.iter().map(|command| format!("again: {command}")));
    lines.join("\n")
}

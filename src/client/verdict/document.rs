//! The results of a test as JSON, described by `schema/test.schema.json`.

use serde::Serialize;

use super::record::{TestRecord, TestedAddress, TestedCheck};
use super::view::profile_name;

/// The version of the format. Another number means that old readers would misread it.
pub(super) const FORMAT: &str = "resound-test/1";

/// What `resound test --json` writes: one object, whatever the number of addresses.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "Results of resound test"))]
pub(super) struct TestDocument<'a> {
    /// The version of the format. Another number means that old readers would misread it.
    #[cfg_attr(test, schemars(extend("const" = FORMAT)))]
    format: &'static str,
    /// The version of the program.
    version: &'static str,
    /// The address as it was typed.
    target: String,
    /// When the test began.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    started: String,
    /// How thorough the test was.
    #[cfg_attr(test, schemars(extend("enum" = ["quick", "thorough"])))]
    profile: &'static str,
    /// What decided the bytes that were sent.
    seed: u64,
    /// Checks that are flaky or warn have failed.
    strict: bool,
    /// The verdict of the whole test. `cannot_tell`: nothing failed, but a check is flaky, unknown
    /// or error.
    #[cfg_attr(test, schemars(extend("enum" = ["pass", "fail", "cannot_tell", "no_connection", "cut_short"])))]
    verdict: &'static str,
    /// The program's exit code.
    exit_code: u8,
    /// A signal or --timeout ended the test before its checks.
    cut_short: bool,
    /// Why nothing, or nothing more, could be tested.
    error: Option<String>,
    /// How many checks came out so.
    counts: CountsPart,
    /// What was tested: of a name, one address of each family.
    addresses: Vec<AddressPart>,
    /// All checks of all addresses.
    checks: Vec<CheckPart<'a>>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CountsPart {
    fail: usize,
    flaky: usize,
    warn: usize,
    unknown: usize,
    error: usize,
    skip: usize,
    pass: usize,
}

/// One address.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AddressPart {
    address: String,
    #[cfg_attr(test, schemars(extend("enum" = ["ipv4", "ipv6", "unix", "none"])))]
    family: &'static str,
    /// What answers there; null if that is not known. `probe`: a server that plays the far end.
    #[cfg_attr(
        test,
        schemars(
            with = "Option<String>",
            extend("enum" = [
                "probe", "echo", "reply", "speaks_first", "answers", "silent", "hangs", "none", null
            ])
        )
    )]
    far: Option<resound_verdict::FarKind>,
    /// The program at the far end, or how it greets.
    far_name: Option<String>,
    /// How long its checks took.
    #[cfg_attr(test, schemars(range(min = 0)))]
    elapsed_s: f64,
    /// The sentence of the last line.
    meaning: String,
}

/// One check.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CheckPart<'a> {
    /// The address that it was tried at.
    address: &'a str,
    #[serde(flatten)]
    check: &'a TestedCheck,
}

impl<'a> TestDocument<'a> {
    pub(super) fn of(record: &'a TestRecord) -> Self {
        use resound_verdict::CheckVerdict::{Error, Fail, Flaky, Pass, Skip, Unknown, Warn};
        let [fail, flaky, warn, unknown, error, skip, pass] =
            [Fail, Flaky, Warn, Unknown, Error, Skip, Pass].map(|verdict| record.counts(verdict));
        let all = |address: &'a TestedAddress| -> Vec<_> {
            address.checks.iter().map(|check| CheckPart { address: &address.address, check }).collect()
        };
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            target: record.target.clone(),
            started: humantime::format_rfc3339_millis(record.started).to_string(),
            profile: profile_name(record.profile),
            seed: record.seed,
            strict: record.strict,
            verdict: record.verdict(),
            exit_code: record.exit_code(),
            cut_short: record.cut_short.is_some(),
            error: record.error.clone(),
            counts: CountsPart { fail, flaky, warn, unknown, error, skip, pass },
            addresses: record.addresses.iter().map(|address| AddressPart::of(address, record)).collect(),
            checks: record.addresses.iter().flat_map(all).collect(),
        }
    }
}

impl AddressPart {
    fn of(address: &TestedAddress, record: &TestRecord) -> Self {
        Self {
            address: address.address.clone(),
            family: address.family,
            far: address.far,
            far_name: address.far_name.clone(),
            elapsed_s: address.time.as_secs_f64(),
            meaning: record.meaning(address),
        }
    }
}

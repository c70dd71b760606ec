//! [`TestRecord`]: what a test has found so far, and what that means.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use resound_verdict::{
    CheckId, CheckReport, CheckVerdict, ControlResult, FarKind, MeasuredValue, PathDirection, PathReport, Profile,
};
use serde::Serialize;

use crate::exit;

/// The id of the check of messages, which is the first of a test.
pub(crate) const MESSAGES: &str = "messages";

/// What one check found: of the path, or of the messages.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct TestedCheck {
    /// Its name, which stays the same in all versions: `messages`, or a check of docs/verdict.md.
    pub(super) id: &'static str,
    #[cfg_attr(
        test,
        schemars(with = "String", extend("enum" = ["pass", "fail", "flaky", "warn", "unknown", "skip", "error"]))
    )]
    pub(super) verdict: CheckVerdict,
    /// Where it is wrong: `out` is from this machine to the far end.
    #[cfg_attr(
        test,
        schemars(with = "Option<String>", extend("enum" = ["out", "in", "both", null]))
    )]
    pub(super) direction: Option<PathDirection>,
    /// How often it was tried.
    pub(super) tries: u32,
    /// How often it went well.
    pub(super) ok: u32,
    /// One sentence for the reader; of a skip, the reason.
    pub(super) summary: String,
    /// What was done besides, to show that the fault is that of the checked property alone.
    #[cfg_attr(test, schemars(with = "Option<super::tests::schema::ControlSchema>"))]
    pub(super) control: Option<ControlResult>,
    /// Numbers, texts and flags by their names, which have their units.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, super::tests::schema::AnyMeasured>"))]
    pub(super) measured: BTreeMap<String, MeasuredValue>,
    /// What was seen, one observation each.
    pub(super) evidence: Vec<String>,
    /// What it looks like: guesses.
    pub(super) suspect: Vec<String>,
    /// The command that shows it again.
    pub(super) reproduce: Option<String>,
}

impl TestedCheck {
    pub(super) fn new(id: &'static str, verdict: CheckVerdict, summary: impl Into<String>) -> Self {
        Self {
            id,
            verdict,
            direction: None,
            tries: 0,
            ok: 0,
            summary: summary.into(),
            control: None,
            measured: BTreeMap::new(),
            evidence: Vec::new(),
            suspect: Vec::new(),
            reproduce: None,
        }
    }

    pub(super) fn of(report: &CheckReport) -> Self {
        Self {
            id: report.id.name(),
            verdict: report.verdict,
            direction: report.direction,
            tries: report.tries,
            ok: report.ok,
            summary: report.summary.clone(),
            control: report.control.clone(),
            measured: report.measured.clone(),
            evidence: report.evidence.clone(),
            suspect: report.suspect.clone(),
            reproduce: report.reproduce.clone(),
        }
    }

    /// Is there something to look at, so that the reader wants to see it again?
    pub(super) fn is_remarkable(&self) -> bool {
        !matches!(self.verdict, CheckVerdict::Pass | CheckVerdict::Skip)
    }
}

/// What a test has found at one address.
#[derive(Clone, Debug)]
pub(super) struct TestedAddress {
    pub(super) address: String,
    /// `ipv4`, `ipv6`, `unix`, or `none` where a name has no address.
    pub(super) family: &'static str,
    /// `None` until the path's checks are done.
    pub(super) far: Option<FarKind>,
    pub(super) far_name: Option<String>,
    /// A connection was made for the messages.
    pub(super) was_connected: bool,
    pub(super) checks: Vec<TestedCheck>,
    pub(super) time: Duration,
}

impl TestedAddress {
    pub(super) fn new(address: String) -> Self {
        let family = match &address {
            address if address.starts_with("unix:") => "unix",
            address if address.starts_with('[') => "ipv6",
            _ => "ipv4",
        };
        let (far, far_name) = (None, None);
        Self { address, family, far, far_name, was_connected: false, checks: Vec::new(), time: Duration::ZERO }
    }

    /// Takes what is known only at the end.
    pub(super) fn finish(&mut self, report: &PathReport) {
        self.family = report.family;
        self.far = Some(report.far);
        self.far_name.clone_from(&report.far_name);
        self.time += Duration::try_from_secs_f64(report.seconds).unwrap_or_default();
    }

    /// Puts the checks in the order of reports: the messages, and then those of the path.
    pub(super) fn sort(&mut self) {
        self.checks.sort_by_key(|check| CheckId::ALL.iter().position(|id| id.name() == check.id));
    }

    pub(super) fn count(&self, verdict: CheckVerdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }

    fn has(&self, verdict: CheckVerdict) -> bool {
        self.count(verdict) > 0
    }

    /// Was there no connection at all?
    fn is_unreachable(&self) -> bool {
        !self.was_connected && self.far.is_none_or(|far| far == FarKind::None)
    }

    /// `1 fail, 24 pass, 5 skip`: the order of the words is that of their weight, and passes stand
    /// before skips.
    pub(super) fn counts(&self) -> String {
        use CheckVerdict::{Error, Fail, Flaky, Pass, Skip, Unknown, Warn};
        let counts = [Fail, Flaky, Warn, Unknown, Error, Pass, Skip].map(|verdict| (self.count(verdict), verdict));
        let counts: Vec<_> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, verdict)| format!("{n} {verdict}")).collect();
        if counts.is_empty() { "no check was left".into() } else { counts.join(", ") }
    }

    /// `1 fail (mtu-in), 24 pass, 5 skip`: the same, with the checks that are remarkable by name.
    pub(super) fn named_counts(&self) -> String {
        let name = |count: &str| {
            let of = |check: &&TestedCheck| check.is_remarkable() && count.ends_with(&format!(" {}", check.verdict));
            let names: Vec<_> = self.checks.iter().filter(of).map(|check| check.id).collect();
            if names.is_empty() { count.to_string() } else { format!("{count} ({})", names.join(", ")) }
        };
        self.counts().split(", ").map(name).collect::<Vec<_>>().join(", ")
    }
}

/// Why a test ended before its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutShort {
    Signal,
    /// At the limit on the whole run.
    Timeout,
}

/// What a test has found so far.
#[derive(Clone, Debug)]
pub(super) struct TestRecord {
    /// The address as it was typed.
    pub(super) target: String,
    pub(super) started: SystemTime,
    pub(super) profile: Profile,
    pub(super) seed: u64,
    pub(super) strict: bool,
    /// Some checks were left out, or were not asked for.
    pub(super) is_partial: bool,
    /// The checks of the path were wanted.
    pub(super) has_path: bool,
    pub(super) cut_short: Option<CutShort>,
    /// Why nothing, or nothing more, could be tested.
    pub(super) error: Option<String>,
    pub(super) addresses: Vec<TestedAddress>,
}

impl TestRecord {
    pub(super) fn checks(&self) -> impl Iterator<Item = &TestedCheck> {
        self.addresses.iter().flat_map(|address| &address.checks)
    }

    pub(super) fn counts(&self, verdict: CheckVerdict) -> usize {
        self.addresses.iter().map(|address| address.count(verdict)).sum()
    }

    /// Has something failed?
    pub(super) fn has_failed(&self) -> bool {
        let fails = |check: &TestedCheck| match check.verdict {
            CheckVerdict::Fail => true,
            CheckVerdict::Warn | CheckVerdict::Flaky => self.strict,
            _ => false,
        };
        self.checks().any(fails)
    }

    /// The exit code of a test that ran to its end, or was cut short.
    pub(super) fn exit_code(&self) -> u8 {
        let is_open = |check: &TestedCheck| {
            matches!(check.verdict, CheckVerdict::Flaky | CheckVerdict::Unknown | CheckVerdict::Error)
        };
        if self.cut_short == Some(CutShort::Signal) {
            exit::SIGNAL
        } else if self.error.is_some() || self.is_unreachable() {
            exit::NETWORK
        } else if self.has_failed() {
            exit::VERDICT
        } else if self.cut_short.is_some() {
            exit::NETWORK
        } else if self.checks().any(is_open) || self.checks().all(|check| check.verdict == CheckVerdict::Skip) {
            exit::CANNOT_TELL
        } else {
            0
        }
    }

    fn is_unreachable(&self) -> bool {
        let are_all = !self.addresses.is_empty() && self.addresses.iter().all(TestedAddress::is_unreachable);
        self.cut_short.is_none() && are_all
    }

    /// What the checks of an address mean, in a few words.
    pub(super) fn meaning(&self, address: &TestedAddress) -> String {
        let of_path = |verdict| address.checks.iter().any(|check| check.id != MESSAGES && check.verdict == verdict);
        let is_wrong = address.checks.iter().any(|check| check.id == MESSAGES && check.verdict == CheckVerdict::Fail);
        let so_far = if self.cut_short.is_some() { "cut short: " } else { "" };
        // From one end, a change by the server looks like one by the path.
        let who = if address.far == Some(FarKind::Probe) { "the path" } else { "the server or the path" };
        let path = if self.is_unreached(address) {
            "no connection".into()
        } else if of_path(CheckVerdict::Fail) {
            format!("{who} changes TCP")
        } else if of_path(CheckVerdict::Flaky) {
            format!("{who} changes TCP at times")
        } else if is_wrong && self.has_path && address.far == Some(FarKind::Probe) {
            "the server answers wrongly, or the path changes TCP at times".into()
        } else if address.has(CheckVerdict::Flaky) {
            "the server does not answer each time, or the path changes TCP at times".into()
        } else if of_path(CheckVerdict::Unknown) || of_path(CheckVerdict::Error) {
            "not all could be judged".into()
        } else if self.cut_short.is_some() {
            "nothing of the path has failed so far".into()
        } else if address.checks.iter().all(|check| check.verdict == CheckVerdict::Skip) {
            "nothing was checked".into()
        } else if self.has_path {
            self.praise(address)
        } else if is_wrong {
            String::new()
        } else {
            "the server answers as it should".into()
        };
        // A far end that cooperates answers rightly: a wrong answer is probably the path's.
        let is_known = self.has_path && address.far == Some(FarKind::Probe);
        let server = if is_wrong && !is_known { "the server answers wrongly" } else { "" };
        let parts: Vec<_> = [server, &path].into_iter().filter(|part| !part.is_empty()).collect();
        format!("{so_far}{}", parts.join("; "))
    }

    /// Was no connection made to this address?
    fn is_unreached(&self, address: &TestedAddress) -> bool {
        let is_over = self.error.is_some() || (self.has_path && address.far.is_some());
        is_over && address.is_unreachable()
    }

    /// The words for a path without a fault. They promise no more than was checked.
    fn praise(&self, address: &TestedAddress) -> String {
        let noticed = if address.has(CheckVerdict::Warn) { ", with a warning" } else { "" };
        let words = match (address.far, self.is_partial) {
            (Some(FarKind::Probe), false) => "the path carries TCP correctly",
            (Some(FarKind::Probe), true) => "the path carries TCP correctly as far as it was checked",
            _ => "no fault of the path shows from this end alone",
        };
        format!("{words}{noticed}")
    }

    /// The word for the whole run.
    pub(super) fn verdict(&self) -> &'static str {
        match self.exit_code() {
            exit::SIGNAL => "cut_short",
            exit::NETWORK if self.cut_short.is_some() || self.addresses.iter().any(|one| one.was_connected) => {
                "cut_short"
            }
            exit::NETWORK => "no_connection",
            exit::VERDICT => "fail",
            exit::CANNOT_TELL => "cannot_tell",
            _ => "pass",
        }
    }
}

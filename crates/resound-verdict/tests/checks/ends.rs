//! The ends of connections, on paths of a relay with faults.

use std::time::Duration;

use resound::Handshake;
use resound::tls::{Identity, TlsClient, TlsServer, TlsServerSettings, Trust};
use resound_verdict::{CheckId, CheckVerdict, Path, PathDirection, PathReport};

use super::relayed::{Relayed, check, settings};

/// A path with faults, and TLS through it where that is asked for.
struct Faulty {
    relayed: Relayed,
    tls: Option<TlsClient>,
}

impl Faulty {
    fn start(faults: &str) -> Self {
        Self { relayed: Relayed::through(faults), tls: None }
    }

    fn secure(faults: &str) -> Self {
        let identity = Identity::development(&["localhost".into()]).unwrap();
        let client = TlsClient::new("localhost", Trust::Pin(identity.fingerprint()), None, &[]).unwrap();
        let server = TlsServer::new(&TlsServerSettings::new(identity)).unwrap();
        let far = settings().listen("127.0.0.1:0").unwrap().handshake(move |_| Handshake::new().tls_server(&server));
        Self { relayed: Relayed::direct(far, None).behind_relay(faults), tls: Some(client) }
    }

    fn path(&self, patience: Duration) -> Path {
        match &self.tls {
            Some(client) => self.relayed.path(patience).tls(client.clone()),
            None => self.relayed.path(patience),
        }
    }

    /// What these checks find.
    fn check(&self, patience: Duration, only: &[CheckId]) -> PathReport {
        check(&self.path(patience).only(only.iter().copied()))
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const ENDS: [CheckId; 6] = [
    CheckId::ResetOut,
    CheckId::ResetIn,
    CheckId::CloseTail,
    CheckId::SpuriousReset,
    CheckId::Churn,
    CheckId::Backends,
];

/// The verdicts that are not `pass`.
fn findings(report: &PathReport) -> Vec<(CheckId, CheckVerdict, Option<PathDirection>)> {
    let found = report.checks.iter().filter(|check| check.verdict != CheckVerdict::Pass);
    found.map(|check| (check.id, check.verdict, check.direction)).collect()
}

#[test]
fn a_relay_without_faults_passes() {
    let report = Faulty::start("").check(PATIENCE, &ENDS);
    assert_eq!(findings(&report), [], "{report:#?}");
    assert_eq!(report.checks.len(), ENDS.len());
}

#[test]
fn a_reset_that_becomes_a_fin_is_a_warning_in_its_direction() {
    use CheckVerdict::Warn;
    let out = Faulty::start("up: rst-to-fin").check(PATIENCE, &ENDS);
    assert_eq!(findings(&out), [(CheckId::ResetOut, Warn, Some(PathDirection::Out))], "{out:#?}");
    let back = Faulty::start("down: rst-to-fin").check(PATIENCE, &ENDS);
    assert_eq!(findings(&back), [(CheckId::ResetIn, Warn, Some(PathDirection::In))], "{back:#?}");
}

#[test]
fn the_same_holds_with_tls() {
    use CheckVerdict::Warn;
    let clean = Faulty::secure("").check(PATIENCE, &ENDS);
    assert_eq!(findings(&clean), [], "{clean:#?}");
    let out = Faulty::secure("up: rst-to-fin").check(PATIENCE, &ENDS);
    assert_eq!(findings(&out), [(CheckId::ResetOut, Warn, Some(PathDirection::Out))], "{out:#?}");
    let back = Faulty::secure("down: rst-to-fin").check(PATIENCE, &ENDS);
    assert_eq!(findings(&back), [(CheckId::ResetIn, Warn, Some(PathDirection::In))], "{back:#?}");
    // The close_notify has told the end by then.
    let closes = Faulty::secure("down: fin-to-rst").check(PATIENCE, &ENDS);
    assert_eq!(findings(&closes), [], "{closes:#?}");
}

#[test]
fn a_reset_that_overtakes_bytes_is_a_warning() {
    let report = Faulty::start("down: rst-eats-tail").check(PATIENCE, &ENDS);
    assert_eq!(findings(&report), [(CheckId::ResetIn, CheckVerdict::Warn, Some(PathDirection::In))], "{report:#?}");
    let check = report.check(CheckId::ResetIn).unwrap();
    assert!(check.measured.contains_key("lost_tail_bytes"), "{check:#?}");
}

#[test]
fn a_fin_that_becomes_a_reset_fails_in_its_direction() {
    use CheckVerdict::Fail;
    for (faults, direction) in [
        ("up: fin-to-rst", PathDirection::Out),
        ("down: fin-to-rst", PathDirection::In),
        ("fin-to-rst", PathDirection::Both),
    ] {
        let report = Faulty::start(faults).check(PATIENCE, &ENDS);
        assert_eq!(findings(&report), [(CheckId::CloseTail, Fail, Some(direction))], "{faults}: {report:#?}");
    }
    // That a FIN never arrives is the matter of the half-close checks.
    let report = Faulty::start("up: eat-fin").check(Duration::from_secs(2), &[CheckId::CloseTail]);
    assert_eq!(findings(&report), [(CheckId::CloseTail, CheckVerdict::Unknown, None)], "{report:#?}");
}

#[test]
fn resets_of_a_box_fail_where_they_have_a_rule_and_spoil_no_other_verdict() {
    use CheckVerdict::{Fail, Unknown};
    for (faults, direction) in [
        ("reset @64KiB", None),
        ("up: reset-one-side @1KiB", Some(PathDirection::Out)),
        ("down: reset-one-side @64KiB", Some(PathDirection::In)),
    ] {
        let report = Faulty::start(faults).check(PATIENCE, &ENDS);
        let check = report.check(CheckId::SpuriousReset).unwrap();
        assert_eq!((check.verdict, check.direction), (Fail, direction), "{faults}: {report:#?}");
        for (id, verdict, _) in findings(&report) {
            assert!(id == CheckId::SpuriousReset || verdict == Unknown, "{faults}: {report:#?}");
        }
    }
}

#[test]
fn a_cap_is_found_where_it_is_asked_for() {
    let faulty = Faulty::start("cap=20");
    let report = check(&faulty.path(PATIENCE).connections(50).only([CheckId::Cap]));
    let check = report.check(CheckId::Cap).unwrap();
    assert_eq!(check.verdict, CheckVerdict::Fail, "{report:#?}");
    assert!(check.summary.contains("accepted, and then reset"), "{check:#?}");
}

#[test]
fn what_may_be_chance_is_tried_again_before_it_is_judged() {
    // Half-closes break on the first connections alone, and some after them are reset.
    let path = Relayed::through("1-30: up: close-on-eof; 22-26: reset @20KiB");
    let ids = [CheckId::HalfCloseOut, CheckId::SpuriousReset];
    let report = check(&path.path(PATIENCE).only(ids));
    let [half_close, resets] = ids.map(|id| report.check(id).unwrap());
    assert_eq!(resets.verdict, CheckVerdict::Flaky, "{resets:#?}");
    assert_eq!(half_close.verdict, CheckVerdict::Unknown, "{half_close:#?}");
    let why = "not judged, since other connections break as well: the FIN closed both directions";
    assert!(half_close.summary.starts_with(why), "{half_close:#?}");
}

/// Seventy connections in a row meet no far end, and all before and after them do.
#[test]
fn an_outage_while_a_test_runs_is_no_pass() {
    for faults in ["100-170: accept-then-close", "100-170: silent"] {
        let report = check(&Faulty::start(faults).path(Duration::from_millis(500)));
        let is_noticed = |check: &resound_verdict::CheckReport| {
            matches!(check.verdict, CheckVerdict::Fail | CheckVerdict::Flaky | CheckVerdict::Unknown)
        };
        assert!(report.checks.iter().any(is_noticed), "{faults}: {:#?}", findings(&report));
    }
}

#[test]
fn what_fails_at_one_moment_only_names_no_cause() {
    let report = check(&Faulty::start("1-17: up: close-on-eof").path(PATIENCE).only([CheckId::HalfCloseOut]));
    let half_close = report.check(CheckId::HalfCloseOut).unwrap();
    assert_eq!(half_close.verdict, CheckVerdict::Flaky, "{half_close:#?}");
    assert!(half_close.summary.contains("; another time: "), "{half_close:#?}");
    assert!(half_close.suspect.is_empty(), "{half_close:#?}");
}

/// The tries of half-close-in wait behind the FIN, and so does their control.
#[test]
fn a_short_idle_timer_is_not_taken_for_a_fin_that_closes_both_directions() {
    let report = check(&Faulty::start("idle-close=50ms").path(PATIENCE).only([CheckId::HalfCloseIn]));
    let half_close = report.check(CheckId::HalfCloseIn).unwrap();
    assert_eq!(half_close.verdict, CheckVerdict::Unknown, "{half_close:#?}");
}

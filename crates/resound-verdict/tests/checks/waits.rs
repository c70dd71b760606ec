//! Readers that stop, and connections that are idle, on paths of a relay with faults.

use std::time::Duration;

use resound::tls::{Identity, TlsClient, TlsServer, TlsServerSettings, Trust};
use resound::{Handshake, Limits};
use resound_verdict::{CheckId, CheckReport, CheckVerdict, Path, PathDirection};

use super::relayed::{Relayed, check, settings};

fn held(path: &Relayed) -> [CheckReport; 3] {
    let ids = [CheckId::SlowReader, CheckId::HiddenBuffer, CheckId::SplitTcp];
    found(&path.path(PATIENCE), ids)
}

fn idle(path: &Relayed, longest: Duration) -> [CheckReport; 2] {
    found(&path.path(PATIENCE).idle(longest), [CheckId::Idle, CheckId::HalfClosedIdle])
}

fn found<const N: usize>(path: &Path, ids: [CheckId; N]) -> [CheckReport; N] {
    let report = check(&path.clone().only(ids));
    ids.map(|id| report.check(id).cloned().unwrap())
}

const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3);

fn verdicts<const N: usize>(reports: &[CheckReport; N]) -> [CheckVerdict; N] {
    reports.each_ref().map(|report| report.verdict)
}

#[test]
fn one_connection_hides_nothing_and_a_relay_shows_that_it_makes_a_second_one() {
    let direct = held(&Relayed::direct(settings().listen("127.0.0.1:0").unwrap(), None));
    assert_eq!(verdicts(&direct), [CheckVerdict::Pass; 3], "{direct:#?}");
    let relay = held(&Relayed::through(""));
    assert_eq!(verdicts(&relay), [CheckVerdict::Pass, CheckVerdict::Pass, CheckVerdict::Warn], "{relay:#?}");
}

#[test]
fn records_of_tls_are_counted_alike_at_both_ends() {
    let identity = Identity::development(&["localhost".into()]).unwrap();
    let tls = TlsServer::new(&TlsServerSettings::new(identity)).unwrap();
    let far = settings().listen("127.0.0.1:0").unwrap().handshake(move |_| Handshake::new().tls_server(&tls));
    let direct = Relayed::direct(far, None);
    let client = TlsClient::new("localhost", Trust::Unverified, None, &[]).unwrap();
    let ids = [CheckId::SlowReader, CheckId::HiddenBuffer, CheckId::SplitTcp];
    let reports = found(&direct.path(PATIENCE).tls(client.clone()), ids);
    assert_eq!(verdicts(&reports), [CheckVerdict::Pass; 3], "{reports:#?}");
    let relay = direct.behind_relay("");
    let reports = found(&relay.path(PATIENCE).tls(client), ids);
    assert_eq!(verdicts(&reports), [CheckVerdict::Pass, CheckVerdict::Pass, CheckVerdict::Warn], "{reports:#?}");
}

#[test]
fn a_path_that_never_slows_a_sender_fails() {
    let [slow, hidden, split] = held(&Relayed::through("no-backpressure"));
    assert_eq!(hidden.verdict, CheckVerdict::Fail, "{hidden:#?}");
    assert_eq!(hidden.direction, Some(PathDirection::Out));
    assert_eq!((slow.verdict, split.verdict), (CheckVerdict::Pass, CheckVerdict::Warn), "{slow:#?}");
}

#[test]
fn idle_connections_live_on_a_clean_path() {
    let reports = idle(&Relayed::through(""), LONGEST);
    assert_eq!(verdicts(&reports), [CheckVerdict::Pass; 2], "{reports:#?}");
}

#[test]
fn the_kind_of_an_idle_death_is_told() {
    for (faults, verdict, words) in [
        ("idle-close=1200ms", CheckVerdict::Warn, "closed with a FIN, after 1."),
        ("idle-reset=1200ms", CheckVerdict::Warn, "is reset, after 1."),
        ("idle-silent=1200ms", CheckVerdict::Fail, "nothing tells an end"),
    ] {
        let [idle, half_closed] = idle(&Relayed::through(faults), LONGEST);
        assert_eq!(idle.verdict, verdict, "{faults}: {idle:#?}");
        assert!(idle.summary.contains(words), "{faults}: {}", idle.summary);
        // On a busy machine the shorter wait may be too long, and then it is not told.
        assert_ne!(idle.measured.get("keepalive_cures").map(ToString::to_string), Some("true".into()), "{idle:#?}");
        // Open connections die too: that is no matter of a FIN.
        assert!(
            matches!(half_closed.verdict, CheckVerdict::Pass | CheckVerdict::Unknown),
            "{faults}: {half_closed:#?}"
        );
    }
}

#[test]
fn a_half_closed_connection_that_dies_earlier_is_a_matter_of_its_own() {
    let [idle, half_closed] = idle(&Relayed::through("half-closed-idle=1200ms"), LONGEST);
    assert_eq!(idle.verdict, CheckVerdict::Pass, "{idle:#?}");
    assert_eq!((half_closed.verdict, half_closed.direction), (CheckVerdict::Warn, Some(PathDirection::Both)));
}

#[test]
fn an_idle_timeout_of_the_far_end_is_not_that_of_the_path() {
    let limit = Duration::from_secs(2);
    let limits = Limits { idle_timeout: Some(limit), ..Limits::default() };
    let far = settings().limits(limits).listen("127.0.0.1:0").unwrap();
    let reports = idle(&Relayed::direct(far, Some(limit)), LONGEST);
    assert_eq!(verdicts(&reports), [CheckVerdict::Pass; 2], "{reports:#?}");
    assert!(reports[0].evidence[0].contains("the far end itself"), "{reports:#?}");
}

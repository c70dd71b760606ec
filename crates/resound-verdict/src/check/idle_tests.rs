use super::*;
use crate::symptom::Symptom;

const LIVES: Option<IdleDeath> = None;

fn rungs_of(results: &[(u64, Option<IdleDeath>)]) -> Vec<Rung> {
    let tried = |death: Option<IdleDeath>| IdleTry { result: Ok(death), far: None };
    results
        .iter()
        .map(|(seconds, death)| Rung { wait: Duration::from_secs(*seconds), tries: vec![tried(*death); TRIES] })
        .collect()
}

/// Waits of 1, 5 and 20 s; the ones of 5 s and more die like this.
fn dying(client: Option<IdleDeath>, server: Option<IdleDeath>) -> IdleFindings {
    IdleFindings {
        longest: Duration::from_secs(20),
        client: rungs_of(&[(1, LIVES), (5, client), (20, client)]),
        server: rungs_of(&[(1, LIVES), (5, server), (20, server)]),
        kept: Vec::new(),
        control: vec![IdleTry { result: Ok(LIVES), far: None }; TRIES],
    }
}

fn kept(every: u64, death: Option<IdleDeath>) -> KeepaliveResult {
    let tries = vec![IdleTry { result: Ok(death), far: None }; KEPT_TRIES];
    KeepaliveResult { every: Duration::from_secs(every), tries }
}

const SILENT: Option<IdleDeath> = Some(IdleDeath::Silent(PathDirection::Out));
const UNHEARD: Option<IdleDeath> = Some(IdleDeath::Silent(PathDirection::In));

#[test]
fn what_lives_passes() {
    let report = dying(LIVES, LIVES).report();
    assert_eq!((report.verdict, report.ok, report.tries), (CheckVerdict::Pass, 18, 18));
}

#[test]
fn a_death_that_is_told_warns_and_has_its_time() {
    let after = Duration::from_secs(2);
    for death in [IdleDeath::Fin(after), IdleDeath::Reset(after)] {
        let report = dying(Some(death), Some(death)).report();
        assert_eq!(report.verdict, CheckVerdict::Warn);
        assert!(report.summary.contains("after 2.00 s"), "{}", report.summary);
    }
    assert_eq!(dying(Some(IdleDeath::OnData), LIVES).report().verdict, CheckVerdict::Warn);
}

#[test]
fn a_silent_death_fails_unless_keepalive_cures_it() {
    let findings = dying(SILENT, UNHEARD);
    let report = findings.report();
    assert_eq!((report.verdict, report.direction), (CheckVerdict::Fail, None));
    assert!(report.summary.contains("1.00 s to 5.00 s"), "{}", report.summary);
    let cured = IdleFindings { kept: vec![kept(1, LIVES), kept(2, SILENT)], ..findings };
    let report = cured.report();
    assert_eq!(report.verdict, CheckVerdict::Warn);
    assert!(report.summary.contains("keepalive every 1.0 s cures it"), "{}", report.summary);
    let useless = IdleFindings { kept: vec![kept(1, SILENT), kept(2, SILENT)], ..cured };
    let report = useless.report();
    assert_eq!(report.verdict, CheckVerdict::Fail);
    assert!(report.summary.contains("does not cure"), "{}", report.summary);
}

#[test]
fn a_death_of_one_direction_names_it() {
    assert_eq!(dying(SILENT, LIVES).report().direction, Some(PathDirection::Out));
    assert_eq!(dying(UNHEARD, UNHEARD).report().direction, Some(PathDirection::In));
    assert_eq!(dying(LIVES, UNHEARD).report().direction, Some(PathDirection::In));
}

#[test]
fn a_death_without_a_wait_is_not_that_of_the_wait() {
    let mut findings = dying(SILENT, UNHEARD);
    findings.control[0].result = Ok(SILENT);
    let report = findings.report();
    assert_eq!(report.verdict, CheckVerdict::Unknown);
    assert!(!report.control.unwrap().holds());
}

#[test]
fn what_was_not_tried_is_not_judged() {
    let broken = |symptom: Symptom| {
        let mut findings = dying(LIVES, LIVES);
        for tried in &mut findings.server.last_mut().unwrap().tries {
            tried.result = Err(symptom.clone());
        }
        for tried in &mut findings.client.last_mut().unwrap().tries {
            tried.result = Err(symptom.clone());
        }
        findings.report().verdict
    };
    assert_eq!(
        broken(Symptom::NotPlayed("it ended the connection by itself: idle_timeout".into())),
        CheckVerdict::Error
    );
    assert_eq!(broken(Symptom::Garbled(PathDirection::In)), CheckVerdict::Unknown);
}

#[test]
fn some_deaths_of_each_wait_are_flaky() {
    let mut findings = dying(LIVES, LIVES);
    findings.client[1].tries[0].result = Ok(SILENT);
    assert_eq!(findings.report().verdict, CheckVerdict::Flaky);
}

#[test]
fn keepalives_are_half_the_waits_in_whole_seconds() {
    let seconds = |longest| {
        let rungs = rungs(Duration::from_secs(longest));
        keepalives(&rungs).iter().map(Duration::as_secs).collect::<Vec<_>>()
    };
    assert_eq!(seconds(2), [0; 0]);
    assert_eq!(seconds(3), [1]);
    assert_eq!(seconds(60), [1, 2, 7, 15]);
}

#[test]
fn the_far_ends_own_timeout_limits_the_waits() {
    let seconds = Duration::from_secs;
    assert_eq!(limited(seconds(60), None), seconds(60));
    assert_eq!(limited(seconds(60), Some(seconds(10))), seconds(9));
}

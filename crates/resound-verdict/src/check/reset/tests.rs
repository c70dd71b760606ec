use super::*;

const MS: Duration = Duration::from_millis(1);

fn good(is_provoked: bool, missing: u64) -> TryOutcome<ArrivedReset> {
    TryOutcome { result: Ok(ArrivedReset { after: MS, is_provoked, missing }), far: None }
}

fn bad<M>(symptom: Symptom) -> TryOutcome<M> {
    TryOutcome { result: Err(symptom), far: None }
}

fn own<M>() -> TryOutcome<M> {
    bad(Symptom::Own("the far end's RST never arrived".into()))
}

fn turned<M>() -> TryOutcome<M> {
    bad(Symptom::Own(format!("the far end's {AS_A_FIN}")))
}

fn holds() -> Vec<TryOutcome<()>> {
    vec![TryOutcome { result: Ok(()), far: None }; 3]
}

fn verdict(
    tries: &[TryOutcome<ArrivedReset>],
    tails: &[TryOutcome<ArrivedReset>],
    control: &[TryOutcome<()>],
) -> CheckVerdict {
    let report = judged(PathDirection::In, [tries, tails], [control, &holds()]);
    if report.verdict == CheckVerdict::Fail {
        assert_eq!(report.direction, Some(PathDirection::In));
    }
    report.verdict
}

#[test]
fn a_reset_that_never_arrives_fails_where_the_control_holds() {
    let fine = vec![good(false, 0); 3];
    assert_eq!(verdict(&fine, &fine, &[]), CheckVerdict::Pass);
    assert_eq!(verdict(&vec![own(); 3], &vec![own(); 3], &holds()), CheckVerdict::Fail);
    assert_eq!(
        verdict(&vec![own(); 3], &fine, &vec![bad(Symptom::Closed { sent: 0, received: 0 }); 3]),
        CheckVerdict::Unknown
    );
    assert_eq!(verdict(&[own(), good(false, 0), good(false, 0)], &fine, &holds()), CheckVerdict::Flaky);
    assert_eq!(verdict(&fine, &vec![own(); 3], &holds()), CheckVerdict::Fail, "only where bytes wait");
    let foreign = bad(Symptom::Reset { sent: 1, received: 0 });
    assert_eq!(verdict(&[foreign, good(false, 0), good(false, 0)], &fine, &holds()), CheckVerdict::Unknown);
    assert_eq!(verdict(&vec![bad(Symptom::Local("x".into())); 3], &fine, &holds()), CheckVerdict::Error);
}

#[test]
fn a_reset_that_a_proxy_turns_into_a_fin_is_legal_and_noticeable() {
    let fine = vec![good(false, 0); 3];
    assert_eq!(verdict(&vec![turned(); 3], &vec![turned(); 3], &holds()), CheckVerdict::Warn);
    assert_eq!(verdict(&fine, &vec![turned(); 3], &holds()), CheckVerdict::Warn, "only where bytes wait");
    assert_eq!(verdict(&[turned(), good(false, 0), good(false, 0)], &fine, &holds()), CheckVerdict::Warn);
    assert_eq!(verdict(&[turned(), own(), own()], &fine, &holds()), CheckVerdict::Fail);
}

#[test]
fn one_lost_reset_is_legal_and_each_of_them_noticeable() {
    let fine = vec![good(false, 0); 3];
    assert_eq!(verdict(&[good(true, 0), good(false, 0), good(false, 0)], &fine, &[]), CheckVerdict::Pass);
    assert_eq!(verdict(&vec![good(true, 0); 3], &fine, &[]), CheckVerdict::Warn);
}

#[test]
fn a_lost_tail_is_legal_and_noticeable_where_each_try_loses_it() {
    let fine = vec![good(false, 0); 3];
    let lost = vec![good(false, 500); 3];
    let report = judged(PathDirection::In, [&fine, &lost], [&[], &holds()]);
    assert_eq!((report.verdict, report.direction), (CheckVerdict::Warn, Some(PathDirection::In)));
    assert_eq!(report.measured["lost_tail_bytes"].to_string(), "500");
    let report = judged(PathDirection::In, [&fine, &lost], [&[], &[bad(Symptom::Closed { sent: 0, received: 0 })]]);
    assert_eq!(report.verdict, CheckVerdict::Unknown, "it is lost without a RST too");
    assert_eq!(verdict(&fine, &[good(false, 500), good(false, 0), good(false, 0)], &[]), CheckVerdict::Pass);
}

#[test]
fn what_the_far_end_saw_is_told_apart() {
    let log = |closed: Option<&str>, fin: Option<f64>| SessionLog {
        closed: closed.map(Into::into),
        closed_at_ms: Some(30.0),
        fin_at_ms: fin,
        received: 7,
        ..SessionLog::default()
    };
    let seen = |log: &SessionLog| seen_by_far(log, 10, 10.0, 50 * MS);
    let reset = seen(&log(Some("reset"), None)).unwrap();
    assert_eq!(reset, ArrivedReset { after: 20 * MS, is_provoked: false, missing: 3 });
    let held = seen(&SessionLog { unread: 2, ..log(Some("reset"), None) }).unwrap();
    assert_eq!(held.missing, 1, "what the far end's system holds has arrived");
    assert!(seen_by_far(&log(Some("reset"), None), 7, 10.0, 10 * MS).unwrap().is_provoked);
    assert!(seen(&log(Some("reset"), Some(5.0))).unwrap_err().to_string().contains("as a FIN"), "the FIN came first");
    assert!(seen(&log(Some("finished"), Some(5.0))).unwrap_err().to_string().contains("3 of 10 bytes"));
    assert!(seen(&log(None, None)).unwrap_err().to_string().contains("never arrived"));
}

#[test]
fn any_number_of_the_far_end_has_a_meaning() {
    for at in [f64::MAX, f64::MIN, 0.0] {
        let log = SessionLog { closed: Some("reset".into()), closed_at_ms: Some(at), ..SessionLog::default() };
        assert!(seen_by_far(&log, 0, 1.0, MS).is_ok());
    }
}

#[test]
fn a_rst_that_nothing_could_provoke_is_not_judged() {
    let log =
        |steps, closed: Option<&str>| SessionLog { steps, closed: closed.map(Into::into), ..SessionLog::default() };
    assert!(is_too_late(&log(3, None), &log(3, None)));
    assert!(!is_too_late(&log(2, None), &log(3, None)), "some were sent behind the RST");
    assert!(!is_too_late(&log(3, None), &log(3, Some("reset"))), "it came all the same");
}

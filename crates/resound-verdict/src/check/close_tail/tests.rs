use super::*;

fn good() -> TryOutcome<()> {
    TryOutcome { result: Ok(()), far: None }
}

fn bad(symptom: Symptom) -> TryOutcome<()> {
    TryOutcome { result: Err(symptom), far: None }
}

fn cut() -> TryOutcome<()> {
    bad(ended("the far end's", StreamEnd::Fin, 3, 10).unwrap_err())
}

fn reset() -> TryOutcome<()> {
    bad(Symptom::Reset { sent: 0, received: 3 })
}

fn verdict(tries: &[TryOutcome<()>], control: &[TryOutcome<()>]) -> CheckVerdict {
    judged(PathDirection::In, tries, control).verdict
}

#[test]
fn a_tail_that_is_lost_behind_a_fin_fails() {
    let holds = vec![good(); 3];
    assert_eq!(verdict(&holds, &[]), CheckVerdict::Pass);
    let report = judged(PathDirection::In, &vec![cut(); 3], &holds);
    assert_eq!((report.verdict, report.direction), (CheckVerdict::Fail, Some(PathDirection::In)));
    assert!(report.summary.contains("3 of 10 bytes"), "{}", report.summary);
    assert_eq!(verdict(&[cut(), good(), good()], &holds), CheckVerdict::Flaky);
    assert_eq!(verdict(&vec![cut(); 3], &[good(), good(), cut()]), CheckVerdict::Unknown);
    assert_eq!(
        verdict(&[bad(Symptom::Closed { sent: 0, received: 0 }), good(), good()], &holds),
        CheckVerdict::Unknown
    );
    let finless = ended("this end's", StreamEnd::Open, 10, 10).unwrap_err();
    assert_eq!(verdict(&vec![bad(finless); 3], &holds), CheckVerdict::Unknown, "the matter of half-closes");
}

#[test]
fn a_reset_in_the_middle_is_the_matter_of_this_check_only_in_each_try() {
    let holds = vec![good(); 3];
    assert_eq!(verdict(&[reset(), good(), good()], &holds), CheckVerdict::Unknown);
    assert_eq!(verdict(&vec![reset(); 3], &holds), CheckVerdict::Fail);
    assert_eq!(verdict(&vec![reset(); 3], &vec![reset(); 3]), CheckVerdict::Unknown);
}

#[test]
fn ends_are_told_apart() {
    let text = |end, received| ended("this end's", end, received, 10).map_err(|symptom| symptom.to_string());
    assert_eq!(text(StreamEnd::Fin, 10), Ok(()));
    assert!(text(StreamEnd::Fin, 9).unwrap_err().contains("only 9 of 10"));
    assert!(text(StreamEnd::Reset, 10).unwrap_err().contains("FIN arrived as a RST"));
    assert!(text(StreamEnd::Open, 10).unwrap_err().contains("never"));
}

#[test]
fn the_worse_direction_is_told() {
    let report = |direction, tries: &[TryOutcome<()>]| judged(direction, tries, &vec![good(); 3]);
    let bad_out = merged(report(PathDirection::Out, &vec![cut(); 3]), report(PathDirection::In, &vec![good(); 3]));
    assert_eq!((bad_out.verdict, bad_out.direction), (CheckVerdict::Fail, Some(PathDirection::Out)));
    assert_eq!((bad_out.ok, bad_out.tries), (3, 6));
    let both = merged(report(PathDirection::Out, &vec![cut(); 3]), report(PathDirection::In, &vec![cut(); 3]));
    assert_eq!((both.verdict, both.direction), (CheckVerdict::Fail, Some(PathDirection::Both)));
    let fine = merged(report(PathDirection::Out, &vec![good(); 3]), report(PathDirection::In, &vec![good(); 3]));
    assert_eq!((fine.verdict, fine.direction), (CheckVerdict::Pass, None));
}

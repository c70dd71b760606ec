use super::*;

fn tried<M>(result: Result<M, Symptom>) -> TryOutcome<M> {
    TryOutcome { result, far: None }
}

fn stalled(sent: u64, acknowledged: u64) -> Symptom {
    Symptom::Stalled { sent, acknowledged: Some(acknowledged), received: 0, wanted: 9 }
}

fn plain() -> Transfer {
    Transfer::new(CheckId::Integrity, LINES, EchoPace::FREE, "")
}

#[test]
fn a_transfer_fails_for_what_is_its_own() {
    let good = || tried(Ok(Duration::from_millis(1)));
    let bad = |symptom: Symptom| tried(Err(symptom));
    let line = [tried(Ok(()))];
    let judge = |tries: &[TryOutcome<Duration>], control: &[TryOutcome<()>]| {
        plain().judged(tries, ("one line", control)).verdict
    };
    let changed = || Symptom::Own("byte 1 came back changed".into());
    assert_eq!(judge(&[good(), good(), good()], &[]), CheckVerdict::Pass);
    assert_eq!(judge(&[bad(changed()), bad(changed()), bad(changed())], &line), CheckVerdict::Fail);
    assert_eq!(judge(&[bad(stalled(9, 9)), bad(changed())], &line), CheckVerdict::Fail);
    assert_eq!(judge(&[good(), bad(changed())], &line), CheckVerdict::Flaky);
    assert_eq!(judge(&[bad(changed())], &[tried(Err(changed()))]), CheckVerdict::Unknown);
    let closed = Symptom::Closed { sent: 9, received: 1 };
    assert_eq!(judge(&[bad(closed)], &line), CheckVerdict::Unknown, "a server may end a connection");
    assert_eq!(judge(&[bad(Symptom::Local("no descriptor".into()))], &line), CheckVerdict::Error);
}

#[test]
fn a_half_close_that_loses_bytes_is_the_servers_or_the_paths() {
    let lost = || tried(Err(Symptom::Closed { sent: 64, received: 0 }));
    let reset = || tried(Err(Symptom::Reset { sent: 64, received: 0 }));
    let report = half_close(&[lost(), lost(), lost()], &[tried(Ok(()))]);
    assert_eq!((report.verdict, report.direction), (CheckVerdict::Warn, Some(PathDirection::Out)));
    assert!(report.summary.ends_with("the server or the path") && report.suspect.len() == 2, "{report:?}");
    assert_eq!(half_close(&[tried(Ok(()))], &[]).verdict, CheckVerdict::Pass);
    assert_eq!(half_close(&[lost()], &[lost()]).verdict, CheckVerdict::Unknown);
    let mixed = half_close(&[tried(Ok(())), lost()], &[tried(Ok(()))]);
    assert_eq!((mixed.verdict, mixed.ok), (CheckVerdict::Warn, 1), "an answer may be back before the FIN arrives");
    assert_eq!(half_close(&[reset(), tried(Ok(()))], &[tried(Ok(()))]).verdict, CheckVerdict::Flaky);
}

#[test]
fn lost_segments_have_a_direction() {
    let ok = [tried(Ok(()))];
    let lost = |there| [tried(Err(stalled(1000, there))), tried(Err(stalled(1000, there)))];
    let verdicts = |reports: [CheckReport; 2]| reports.map(|report| report.verdict);
    assert_eq!(verdicts(mtu_reports(&ok, &[], None)), [CheckVerdict::Pass; 2]);
    let out = mtu_reports(&lost(1), &ok, Some(1200));
    assert!(out[0].summary.contains("segments of 1200 bytes pass"), "{out:?}");
    assert_eq!(verdicts(out), [CheckVerdict::Fail, CheckVerdict::Unknown]);
    assert_eq!(verdicts(mtu_reports(&lost(1001), &ok, None)), [CheckVerdict::Unknown, CheckVerdict::Fail]);
    let failed = [tried(Err(stalled(9, 1)))];
    assert_eq!(verdicts(mtu_reports(&lost(1), &failed, None)), [CheckVerdict::Unknown; 2]);
}

use super::*;

fn tried(result: Result<usize, Symptom>) -> TryOutcome<usize> {
    TryOutcome { result, far: None }
}

fn hellos(large: [Option<NoHello>; 3], split: Option<NoHello>, small: Option<NoHello>) -> SplitHellos {
    let one = |how: Option<NoHello>, bytes| tried(how.map_or(Ok(bytes), |how| Err(Symptom::HelloLost(how))));
    SplitHellos {
        large: large.map(|how| one(how, 1500)).into(),
        split: [split; 3].map(|how| one(how, 250)).into(),
        small: [small; 3].map(|how| one(how, 250)).into(),
        short: TlsClient::with_group(SMALL_GROUP, "localhost", Trust::Unverified, None, &[]).ok(),
    }
}

const SILENT: Option<NoHello> = Some(NoHello::Silent);

#[test]
fn all_answered_passes() {
    let hellos = hellos([None; 3], None, None);
    let report = split_hello(Some(&hellos));
    assert_eq!((report.verdict, report.ok, report.tries), (CheckVerdict::Pass, 6, 6));
    assert!(report.summary.contains("1500 bytes") && hellos.remedy().is_none(), "{report:?}");
    assert_eq!(split_hello(None).verdict, CheckVerdict::Skip);
}

#[test]
fn a_large_one_that_is_dropped_fails() {
    let hellos = hellos([SILENT; 3], None, None);
    let report = split_hello(Some(&hellos));
    assert_eq!((report.verdict, report.direction), (CheckVerdict::Fail, Some(PathDirection::Out)));
    assert!(report.suspect[0].contains("tldr.fail") && hellos.remedy().is_some(), "{report:?}");
}

#[test]
fn a_split_one_that_is_dropped_fails() {
    let hellos = hellos([None; 3], Some(NoHello::Reset), None);
    let report = split_hello(Some(&hellos));
    assert_eq!(report.verdict, CheckVerdict::Fail);
    assert!(report.summary.contains("RST") && hellos.remedy().is_none(), "{report:?}");
}

#[test]
fn without_a_control_it_is_unknown() {
    let hellos = hellos([SILENT; 3], SILENT, SILENT);
    assert_eq!(split_hello(Some(&hellos)).verdict, CheckVerdict::Unknown);
    assert!(hellos.remedy().is_none());
}

#[test]
fn some_are_flaky_and_what_is_anothers_matter_is_unknown() {
    let some = hellos([SILENT, None, None], None, None);
    assert_eq!(split_hello(Some(&some)).verdict, CheckVerdict::Flaky);
    let mut foreign = hellos([None; 3], None, None);
    foreign.large[0] = tried(Err(Symptom::NoTls("no".into())));
    assert_eq!(split_hello(Some(&foreign)).verdict, CheckVerdict::Unknown);
}

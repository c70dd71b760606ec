//! Times and small pieces, on paths of a relay with faults.

use std::time::Duration;

use resound_verdict::{CheckId, CheckReport, CheckVerdict, MeasuredValue, PathDirection};

use super::relayed::{Relayed, check};

fn checked(path: &Relayed, patience: Duration, id: CheckId) -> CheckReport {
    check(&path.path(patience).only([id])).check(id).unwrap().clone()
}

/// A busy machine may need it.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_relay_without_faults_passes() {
    let path = Relayed::through("");
    for id in [CheckId::Rtt, CheckId::Nagle, CheckId::Segmentation, CheckId::MtuOut, CheckId::MtuIn] {
        let check = checked(&path, PATIENCE, id);
        assert_eq!(check.verdict, CheckVerdict::Pass, "{check:#?}");
    }
}

#[test]
fn the_round_trip_time_is_that_of_the_whole_path() {
    let check = checked(&Relayed::through("delay=20ms"), PATIENCE, CheckId::Rtt);
    assert_eq!(check.verdict, CheckVerdict::Pass, "{check:#?}");
    let Some(MeasuredValue::Number(min)) = check.measured.get("min_ms") else { panic!("{check:#?}") };
    assert!(*min >= 40.0, "{check:#?}");
}

#[test]
fn small_writes_that_wait_are_a_warning() {
    let check = checked(&Relayed::through("nagle"), PATIENCE, CheckId::Nagle);
    if cfg!(target_os = "linux") {
        assert_eq!(check.verdict, CheckVerdict::Warn, "{check:#?}");
        assert_eq!(check.direction, Some(PathDirection::Both), "{check:#?}");
    }
}

#[test]
fn small_pieces_that_are_kept_back_are_no_failure() {
    // Whether bunches are seen depends on a machine that has time.
    for (faults, direction) in [("down: coalesce=100ms", PathDirection::In), ("up: coalesce=100ms", PathDirection::Out)]
    {
        let check = checked(&Relayed::through(faults), PATIENCE, CheckId::Segmentation);
        match check.verdict {
            CheckVerdict::Pass => {}
            CheckVerdict::Warn => assert_eq!(check.direction, Some(direction), "{check:#?}"),
            _ => panic!("{check:#?}"),
        }
    }
    let check = checked(&Relayed::through("slice=1..3"), PATIENCE, CheckId::Segmentation);
    assert_eq!(check.verdict, CheckVerdict::Pass, "{check:#?}");
}

#[test]
fn a_path_that_carries_nothing_more_is_not_one_of_small_segments() {
    let path = Relayed::through("up: silent @16KiB");
    let check = checked(&path, Duration::from_secs(2), CheckId::MtuOut);
    assert_eq!(check.verdict, CheckVerdict::Unknown, "{check:#?}");
    let check = checked(&Relayed::through("down: truncate @8KiB"), Duration::from_secs(2), CheckId::MtuIn);
    assert_eq!(check.verdict, CheckVerdict::Unknown, "{check:#?}");
}

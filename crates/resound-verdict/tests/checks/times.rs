//! Times and small pieces, on paths of a relay with faults.

use std::num::NonZeroUsize;
use std::time::Duration;

use resound::faults::FaultSpec;
use resound::relay::{Relay, RelayTarget};
use resound::{Engine, Handle, Reply, Server};
use resound_verdict::probe::{FarEnd, Sessions};
use resound_verdict::{CheckId, CheckReport, CheckVerdict, MeasuredValue, Path, PathDirection};

/// A far end, and a relay with faults before it.
struct SlowPath {
    far: Handle,
    relay: Handle,
}

impl SlowPath {
    fn start(faults: &str) -> Self {
        let settings = || Server::new().engine(Engine::Portable).workers(NonZeroUsize::MIN);
        let sessions = Sessions::new(None);
        let far = settings().listen("127.0.0.1:0").unwrap();
        let far = far.serve(move |_| FarEnd::new(Reply::default(), sessions.clone())).unwrap();
        let target = RelayTarget::new(far.addresses()[0].to_string().parse().unwrap()).unwrap();
        let relay = Relay::new(settings()).map("127.0.0.1:0", target).unwrap();
        if !faults.is_empty() {
            relay.faults().set(faults.parse::<FaultSpec>().unwrap(), 7).unwrap();
        }
        Self { far, relay: relay.start().unwrap() }
    }

    fn check(&self, patience: Duration, id: CheckId) -> CheckReport {
        let path = Path::to(self.relay.addresses()[0].to_string().parse().unwrap());
        let path = path.seed(7).patience(patience).only([id]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(path.check()).remove(0).check(id).unwrap().clone()
    }
}

impl Drop for SlowPath {
    fn drop(&mut self) {
        for handle in [&self.relay, &self.far] {
            handle.stop();
            handle.wait();
        }
    }
}

/// A busy machine may need it.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_relay_without_faults_passes() {
    let path = SlowPath::start("");
    for id in [CheckId::Rtt, CheckId::Nagle, CheckId::Segmentation, CheckId::MtuOut, CheckId::MtuIn] {
        let check = path.check(PATIENCE, id);
        assert_eq!(check.verdict, CheckVerdict::Pass, "{check:#?}");
    }
}

#[test]
fn the_round_trip_time_is_that_of_the_whole_path() {
    let check = SlowPath::start("delay=20ms").check(PATIENCE, CheckId::Rtt);
    assert_eq!(check.verdict, CheckVerdict::Pass, "{check:#?}");
    let Some(MeasuredValue::Number(min)) = check.measured.get("min_ms") else { panic!("{check:#?}") };
    assert!(*min >= 40.0, "{check:#?}");
}

#[test]
fn small_writes_that_wait_are_a_warning() {
    let check = SlowPath::start("nagle").check(PATIENCE, CheckId::Nagle);
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
        let check = SlowPath::start(faults).check(PATIENCE, CheckId::Segmentation);
        match check.verdict {
            CheckVerdict::Pass => {}
            CheckVerdict::Warn => assert_eq!(check.direction, Some(direction), "{check:#?}"),
            _ => panic!("{check:#?}"),
        }
    }
    let check = SlowPath::start("slice=1..3").check(PATIENCE, CheckId::Segmentation);
    assert_eq!(check.verdict, CheckVerdict::Pass, "{check:#?}");
}

#[test]
fn a_path_that_carries_nothing_more_is_not_one_of_small_segments() {
    let path = SlowPath::start("up: silent @16KiB");
    let check = path.check(Duration::from_secs(2), CheckId::MtuOut);
    assert_eq!(check.verdict, CheckVerdict::Unknown, "{check:#?}");
    let check = SlowPath::start("down: truncate @8KiB").check(Duration::from_secs(2), CheckId::MtuIn);
    assert_eq!(check.verdict, CheckVerdict::Unknown, "{check:#?}");
}

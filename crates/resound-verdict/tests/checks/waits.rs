//! Readers that stop, and connections that are idle, on paths of a relay with faults.

use std::num::NonZeroUsize;
use std::time::Duration;

use resound::faults::FaultSpec;
use resound::relay::{Relay, RelayTarget};
use resound::tls::{Identity, TlsClient, TlsServer, TlsSettings, Trust};
use resound::{Engine, Handle, Handshake, Limits, Reply, Server};
use resound_verdict::probe::{FarEnd, Sessions};
use resound_verdict::{CheckId, CheckReport, CheckVerdict, Path, PathDirection};

/// A far end, and a relay with faults before it.
struct WaitingPath {
    far: Handle,
    relay: Option<Handle>,
}

fn settings() -> Server {
    Server::new().engine(Engine::Portable).workers(NonZeroUsize::MIN)
}

impl WaitingPath {
    fn direct(far: Server, idle_timeout: Option<Duration>) -> Self {
        let sessions = Sessions::new(idle_timeout);
        let far = far.serve(move |_| FarEnd::new(Reply::default(), sessions.clone())).unwrap();
        Self { far, relay: None }
    }

    fn through(faults: &str) -> Self {
        Self::direct(settings().listen("127.0.0.1:0").unwrap(), None).behind_relay(faults)
    }

    fn behind_relay(mut self, faults: &str) -> Self {
        let target = RelayTarget::new(self.far.addresses()[0].to_string().parse().unwrap()).unwrap();
        let relay = Relay::new(settings()).map("127.0.0.1:0", target).unwrap();
        if !faults.is_empty() {
            relay.faults().set(faults.parse::<FaultSpec>().unwrap(), 7).unwrap();
        }
        self.relay = Some(relay.start().unwrap());
        self
    }

    fn path(&self) -> Path {
        let near = self.relay.as_ref().unwrap_or(&self.far);
        Path::to(near.addresses()[0].to_string().parse().unwrap()).seed(7).patience(PATIENCE)
    }

    fn held(&self) -> [CheckReport; 3] {
        let ids = [CheckId::SlowReader, CheckId::HiddenBuffer, CheckId::SplitTcp];
        found(&self.path(), ids)
    }

    fn idle(&self, longest: Duration) -> [CheckReport; 2] {
        found(&self.path().idle(longest), [CheckId::Idle, CheckId::HalfClosedIdle])
    }
}

fn found<const N: usize>(path: &Path, ids: [CheckId; N]) -> [CheckReport; N] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(path.clone().only(ids).check()).remove(0);
    ids.map(|id| report.check(id).cloned().unwrap())
}

impl Drop for WaitingPath {
    fn drop(&mut self) {
        for handle in self.relay.iter().chain([&self.far]) {
            handle.stop();
            handle.wait();
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3);

fn verdicts<const N: usize>(reports: &[CheckReport; N]) -> [CheckVerdict; N] {
    reports.each_ref().map(|report| report.verdict)
}

#[test]
fn one_connection_hides_nothing_and_a_relay_shows_that_it_makes_a_second_one() {
    let direct = WaitingPath::direct(settings().listen("127.0.0.1:0").unwrap(), None).held();
    assert_eq!(verdicts(&direct), [CheckVerdict::Pass; 3], "{direct:#?}");
    let relay = WaitingPath::through("").held();
    assert_eq!(verdicts(&relay), [CheckVerdict::Pass, CheckVerdict::Pass, CheckVerdict::Warn], "{relay:#?}");
}

#[test]
fn records_of_tls_are_counted_alike_at_both_ends() {
    let identity = Identity::development(&["localhost".into()]).unwrap();
    let tls = TlsServer::new(&TlsSettings::new(identity)).unwrap();
    let far = settings().listen("127.0.0.1:0").unwrap().opening(move |_| Handshake::new().tls_server(&tls));
    let direct = WaitingPath::direct(far, None);
    let client = TlsClient::new("localhost", Trust::Unverified, None, &[]).unwrap();
    let ids = [CheckId::SlowReader, CheckId::HiddenBuffer, CheckId::SplitTcp];
    let reports = found(&direct.path().tls(client.clone()), ids);
    assert_eq!(verdicts(&reports), [CheckVerdict::Pass; 3], "{reports:#?}");
    let relay = direct.behind_relay("");
    let reports = found(&relay.path().tls(client), ids);
    assert_eq!(verdicts(&reports), [CheckVerdict::Pass, CheckVerdict::Pass, CheckVerdict::Warn], "{reports:#?}");
}

#[test]
fn a_path_that_never_slows_a_sender_fails() {
    let [slow, hidden, split] = WaitingPath::through("no-backpressure").held();
    assert_eq!(hidden.verdict, CheckVerdict::Fail, "{hidden:#?}");
    assert_eq!(hidden.direction, Some(PathDirection::Out));
    assert_eq!((slow.verdict, split.verdict), (CheckVerdict::Pass, CheckVerdict::Warn), "{slow:#?}");
}

#[test]
fn idle_connections_live_on_a_clean_path() {
    let reports = WaitingPath::through("").idle(LONGEST);
    assert_eq!(verdicts(&reports), [CheckVerdict::Pass; 2], "{reports:#?}");
}

#[test]
fn the_kind_of_an_idle_death_is_told() {
    for (faults, verdict, words) in [
        ("idle-close=1200ms", CheckVerdict::Warn, "closed with a FIN, after 1."),
        ("idle-reset=1200ms", CheckVerdict::Warn, "is reset, after 1."),
        ("idle-silent=1200ms", CheckVerdict::Fail, "nothing tells an end"),
    ] {
        let [idle, half_closed] = WaitingPath::through(faults).idle(LONGEST);
        assert_eq!(idle.verdict, verdict, "{faults}: {idle:#?}");
        assert!(idle.summary.contains(words), "{faults}: {}", idle.summary);
        // On a busy machine the shorter wait may be too long, and then it is not told.
        assert_ne!(idle.measured.get("keepalive_cures").map(ToString::to_string), Some("true".into()), "{idle:#?}");
        assert_eq!(half_closed.verdict, CheckVerdict::Unknown, "{faults}: {half_closed:#?}");
    }
}

#[test]
fn a_half_closed_connection_that_dies_earlier_is_a_matter_of_its_own() {
    let [idle, half_closed] = WaitingPath::through("half-closed-idle=1200ms").idle(LONGEST);
    assert_eq!(idle.verdict, CheckVerdict::Pass, "{idle:#?}");
    assert_eq!((half_closed.verdict, half_closed.direction), (CheckVerdict::Warn, Some(PathDirection::Both)));
}

#[test]
fn an_idle_timeout_of_the_far_end_is_not_that_of_the_path() {
    let limit = Duration::from_secs(2);
    let limits = Limits { idle_timeout: Some(limit), ..Limits::default() };
    let far = settings().limits(limits).listen("127.0.0.1:0").unwrap();
    let reports = WaitingPath::direct(far, Some(limit)).idle(LONGEST);
    assert_eq!(verdicts(&reports), [CheckVerdict::Pass; 2], "{reports:#?}");
    assert!(reports[0].evidence[0].contains("the far end itself"), "{reports:#?}");
}

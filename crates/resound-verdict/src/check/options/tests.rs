use super::super::one_connection::tests::{agreed, far, near, syn};
use super::*;
use resound_probe::SocketFacts;

const NEAR: &str = "10.0.0.1:4000";
const FAR: &str = "10.0.0.2:7";

/// Three connections with this SYN as it arrived, and with what both ends believe.
fn report(arrived: SynFacts, here: TcpFacts, there: TcpFacts) -> CheckReport {
    let mut near = near(NEAR, FAR);
    near.socket.tcp = Some(here);
    let mut far = far(NEAR, FAR);
    far.socket = SocketFacts { tcp: Some(there), syn: Some(arrived), ..SocketFacts::default() };
    let look = OptionsLook { own: Some(syn()), marked: None };
    judged(&[(&near, &far), (&near, &far), (&near, &far)], &look)
}

fn told(report: &CheckReport) -> (CheckVerdict, Option<PathDirection>) {
    (report.verdict, report.direction)
}

#[test]
fn a_syn_that_arrives_as_it_left_passes() {
    let report = report(syn(), agreed(), agreed());
    assert_eq!(told(&report), (CheckVerdict::Pass, None));
    assert_eq!(report.summary, "the SYN arrives as it left: MSS 1460, window scale 7, SACK, timestamps");
    assert_eq!(report.measured["hops_out"], crate::MeasuredValue::Count(0));
}

#[test]
fn a_lowered_mss_is_a_clamp_and_passes() {
    let report = report(SynFacts { mss: Some(1200), ttl: 60, ..syn() }, agreed(), agreed());
    assert_eq!(told(&report), (CheckVerdict::Pass, None));
    assert!(report.summary.ends_with("the MSS is lowered from 1460 to 1200: a clamp"), "{}", report.summary);
    assert_eq!(report.measured["hops_out"], crate::MeasuredValue::Count(4));
}

#[test]
fn an_option_that_is_gone_on_the_way_out_is_a_warning() {
    let plain = TcpFacts { sack: false, ..agreed() };
    let sack = report(SynFacts { sack: false, ..syn() }, plain.clone(), plain);
    assert_eq!(told(&sack), (CheckVerdict::Warn, Some(PathDirection::Out)));
    assert_eq!((sack.ok, sack.tries), (0, 3));
    let plain = TcpFacts { window_scale: None, ..agreed() };
    let scale = report(SynFacts { window_scale: None, ..syn() }, plain.clone(), plain);
    assert_eq!(told(&scale), (CheckVerdict::Warn, Some(PathDirection::Out)));
    assert!(scale.evidence[0].contains("64 KiB"), "{scale:?}");
    let raised = report(SynFacts { mss: Some(8960), ..syn() }, agreed(), agreed());
    assert!(raised.summary.contains("raised"), "{raised:?}");
    let mut look = OptionsLook { own: Some(SynFacts { ecn: true, others: vec![34], ..syn() }), marked: None };
    let (near, far) = (near(NEAR, FAR), far(NEAR, FAR));
    let both = judged(&[(&near, &far)], &look);
    assert!(both.summary.contains("congestion") && both.summary.contains("kind 34"), "{both:?}");
    look.own = None;
    assert_eq!(judged(&[(&near, &far)], &look).verdict, CheckVerdict::Pass);
}

#[test]
fn what_one_end_alone_believes_is_a_failure() {
    for (here, there, direction) in [
        (TcpFacts { sack: false, ..agreed() }, agreed(), PathDirection::In),
        (TcpFacts { timestamps: false, advertised_mss: 1460, ..agreed() }, agreed(), PathDirection::In),
        (TcpFacts { window_scale: None, ..agreed() }, agreed(), PathDirection::In),
        (agreed(), TcpFacts { sack: false, ..agreed() }, PathDirection::Out),
        (TcpFacts { window_scale: Some((5, 7)), ..agreed() }, agreed(), PathDirection::In),
        (agreed(), TcpFacts { window_scale: Some((2, 7)), ..agreed() }, PathDirection::Out),
    ] {
        let report = report(syn(), here, there);
        assert_eq!(told(&report), (CheckVerdict::Fail, Some(direction)), "{report:?}");
        assert_eq!(explains_stalls(&report), report.summary.contains("window"));
    }
}

#[test]
fn one_sided_options_need_one_connection() {
    let differs = TcpFacts { sack: false, window_scale: Some((1, 2)), ..agreed() };
    let judge = |clock, peer| {
        let (near, mut far) = (near(NEAR, FAR), far(peer, FAR));
        far.socket.tcp = Some(differs.clone());
        far.socket.syn.as_mut().unwrap().timestamp_clock = clock;
        judged(&[(&near, &far)], &OptionsLook { own: Some(syn()), marked: None })
    };
    let another = judge(Some(77), NEAR);
    assert_eq!(another.verdict, CheckVerdict::Pass, "{another:?}");
    assert!(another.summary.contains("a proxy ends this end's connection"));
    assert_eq!(judge(None, "10.0.0.3:1").verdict, CheckVerdict::Pass, "perhaps a proxy");
    assert_eq!(judge(None, NEAR).verdict, CheckVerdict::Unknown, "neither is shown");
    assert_eq!(judge(Some(1_000_000), NEAR).verdict, CheckVerdict::Fail);
}

#[test]
fn some_connections_alone_are_flaky() {
    let (near, good, mut bad) = (near(NEAR, FAR), far(NEAR, FAR), far(NEAR, FAR));
    bad.socket.tcp.as_mut().unwrap().sack = false;
    let look = OptionsLook { own: Some(syn()), marked: None };
    let report = judged(&[(&near, &good), (&near, &bad), (&near, &good)], &look);
    assert_eq!((report.verdict, report.ok, report.tries), (CheckVerdict::Flaky, 2, 3));
}

#[test]
fn a_mark_that_is_washed_off_is_a_warning() {
    let judge = |dscp, peer: &str| {
        let (near, mut marked, plain) = (near(NEAR, FAR), far(peer, FAR), far(NEAR, FAR));
        marked.socket.syn.as_mut().unwrap().dscp = dscp;
        let look = OptionsLook { own: Some(syn()), marked: Some((near.clone(), marked)) };
        judged(&[(&near, &plain)], &look)
    };
    assert_eq!(judge(MARK, NEAR).verdict, CheckVerdict::Pass);
    let bleached = judge(0, NEAR);
    assert_eq!(told(&bleached), (CheckVerdict::Warn, Some(PathDirection::Out)));
    assert_eq!((bleached.ok, bleached.tries), (1, 2));
    assert!(judge(8, NEAR).summary.contains("set to 8"));
}

#[test]
fn one_end_alone_words_it_as_either() {
    let look = OptionsLook { own: Some(syn()), marked: None };
    let mut near = near(NEAR, FAR);
    assert_eq!(from_this_end(&near, &look).verdict, CheckVerdict::Pass);
    near.socket.tcp.as_mut().unwrap().window_scale = None;
    let report = from_this_end(&near, &look);
    assert_eq!(report.verdict, CheckVerdict::Warn);
    assert!(report.summary.contains("the server's system or the path"), "{report:?}");
    near.socket.tcp = None;
    assert_eq!(from_this_end(&near, &look).verdict, CheckVerdict::Skip);
}

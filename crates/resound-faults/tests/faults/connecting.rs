//! Faults of the listener, of accepting, of sockets and of servers; and which connections a rule
//! concerns.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use resound_faults::{ClientAdmission, End, FaultKind, FaultSpec, ListenerFaults, Role, SocketFaults};

use crate::bench::{Bench, Down, Up, spec};

/// The connections of the first ones that have faults.
fn concerned(text: &str, seed: u64, first: u64) -> Vec<u64> {
    let (spec, now) = (spec(text), Instant::now());
    (1..=first).filter(|number| spec.connection(seed, *number, None, now).is_some()).collect()
}

#[test]
fn the_listener_has_its_own_faults() {
    assert_eq!(spec("delay=1s; reset").listener(), ListenerFaults::default());
    let faults = spec("refuse; never-accept; cap=7; cap=5; connect-rate=9/s").listener();
    let want = ListenerFaults { refuse: true, never_accept: true, cap: Some(5), connect_rate: Some(9) };
    assert_eq!(faults, want);
    assert_eq!(concerned("refuse; never-accept; cap=5; connect-rate=9/s", 1, 5), [] as [u64; 0]);
}

#[test]
fn one_rule_admits_a_client_and_no_other_says_so() {
    let late = |seconds| ClientAdmission::Late(Duration::from_secs(seconds));
    for (text, want, word) in [
        ("accept-then-close", ClientAdmission::Close, "accept-then-close"),
        ("accept-then-reset; accept-then-close", ClientAdmission::Reset, "accept-then-reset"),
        ("accept-late=2s; accept-late=3s", late(2), "accept-late"),
        ("accept-late=2s; every 1st: accept-then-reset", ClientAdmission::Reset, "accept-then-reset"),
        ("accept-late=2s; 2: accept-then-reset", late(2), "accept-late"),
        ("accept-late=2s; accept-liar; accept-then-close", ClientAdmission::Liar, "accept-liar"),
    ] {
        let mut bench = Bench::new(text);
        assert_eq!(bench.faults.admission(), want, "{text}");
        bench.at(1);
        assert_eq!(bench.words(), [(word, None, 0)], "{text}");
    }
    assert_eq!(Bench::new("reset").faults.admission(), ClientAdmission::Serve);
}

#[test]
fn a_liar_discards_what_it_takes_and_ends_with_its_client() {
    let mut bench = Bench::new("accept-liar");
    for _ in 0..100 {
        assert!(bench.faults.wants_input(Up));
        bench.send(Up, &[1; 4096]);
    }
    bench.expect(Up, b"", End::Open);
    bench.fin(Up);
    bench.expect(Down, b"", End::Close);
    assert!(bench.faults.is_over());
    assert_eq!(bench.words(), [("accept-liar", None, 0)]);
}

#[test]
fn sockets_differ() {
    for (text, nagle, no_keepalive) in [
        ("nagle", true, false),
        ("no-keepalive", false, true),
        ("nagle; no-keepalive", true, true),
        ("reset", false, false),
    ] {
        assert_eq!(Bench::new(text).faults.socket(), SocketFaults { nagle, no_keepalive }, "{text}");
    }
}

#[test]
fn rules_choose_connections_by_number() {
    for (text, want) in [
        ("1-2: reset", vec![1, 2]),
        ("3: reset", vec![3]),
        ("5-: reset", vec![5, 6, 7, 8, 9]),
        ("*: reset", (1..=9).collect()),
        ("every 4th: reset", vec![4, 8]),
        ("1: reset; every 5th: delay=1s", vec![1, 5]),
    ] {
        assert_eq!(concerned(text, 1, 9), want, "{text}");
    }
}

#[test]
fn rules_choose_connections_by_network() {
    let now = Instant::now();
    for (text, peer, want) in [
        ("from=10.0.0.0/8: reset", "10.1.2.3", true),
        ("from=10.0.0.0/8: reset", "::ffff:10.1.2.3", true),
        ("from=10.0.0.0/8: reset", "11.1.2.3", false),
        ("from=192.0.2.7: reset", "192.0.2.7", true),
        ("from=[2001:db8::]/32: reset", "2001:db8::7", true),
        ("from=[2001:db8::]/32: reset", "10.1.2.3", false),
        ("from=[::ffff:10.0.0.0]/104: reset", "10.1.2.3", true),
    ] {
        let peer: IpAddr = peer.parse().unwrap();
        assert_eq!(spec(text).connection(1, 1, Some(peer), now).is_some(), want, "{text} {peer}");
        assert!(spec(text).connection(1, 1, None, now).is_none(), "a peer without an address");
    }
}

#[test]
fn chance_chooses_as_often_as_it_says_and_the_same_again() {
    let chosen = concerned("reset 25%", 7, 4000);
    assert!((900..1100).contains(&chosen.len()), "{}", chosen.len());
    assert_eq!(chosen, concerned("reset 25%", 7, 4000));
    assert_ne!(chosen, concerned("reset 25%", 8, 4000));
    // Each rule draws for itself.
    let both = concerned("reset 25%; close 25%", 7, 4000);
    assert!((1600..1900).contains(&both.len()), "{}", both.len());
    assert_eq!(concerned("reset 100%", 7, 50).len(), 50);
}

#[test]
fn each_program_refuses_the_faults_of_the_other() {
    for (text, role, want) in [
        ("delay=1s; every 2nd: garbage", Role::Relay, Some(("garbage", "answers nothing itself"))),
        ("1-2: up: eat-fin", Role::Server, Some(("eat-fin", "it takes two connections"))),
        ("hold=1KiB; garbage", Role::Relay, Some(("garbage", "fault of a server alone"))),
        ("hold=1KiB; garbage", Role::Server, Some(("hold", "fault of a relay alone"))),
        ("reset; delay=1s; cap=3", Role::Relay, None),
        ("reset; delay=1s; cap=3; wrong-answer", Role::Server, None),
    ] {
        let spec = spec(text);
        match (spec.check_for(role), want) {
            (Ok(()), None) => {}
            (Err(error), Some((word, reason))) => {
                assert_eq!(error.text(), spec.to_string());
                assert_eq!(&error.text()[error.range()], word);
                assert!(error.sentence().contains(reason), "{error}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
    let only = |role| FaultKind::all().filter(|kind| !kind.works_for(role)).count();
    assert_eq!((only(Role::Relay), only(Role::Server)), (6, 9));
}

#[test]
fn an_event_is_a_line_of_json() {
    let mut bench = Bench::new("up: reset-one-side @2B");
    bench.at(1500);
    bench.send(Up, b"abc");
    let line = serde_json::to_string(&bench.events[0]).unwrap();
    let want = r#"{"connection":1,"direction":"up","offset":2,"at":1.5,"kind":"reset-one-side","detail":"#;
    let detail = r#""the receiver gets a RST, and the sender gets a FIN"}"#;
    assert_eq!(line, format!("{want}{detail}"));
}

#[test]
fn every_fault_says_in_a_short_sentence_what_it_does() {
    for kind in FaultKind::all() {
        let text = ["", "=1s", "=10B/1s", "=1KiB/s", "=3"].map(|value| format!("{}{value}", kind.word()));
        let spec = text.iter().find_map(|text| text.parse::<FaultSpec>().ok()).unwrap();
        let sentence = spec.rules()[0].effect.sentence();
        assert!((10..100).contains(&sentence.len()), "{}: {sentence}", kind.word());
        assert!(!sentence.ends_with('.') && !sentence.contains(" 0B") && !sentence.contains(" 0h"), "{sentence}");
    }
}

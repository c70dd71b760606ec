use super::*;
use resound::ConnId;

fn conn(peer: &str) -> ConnInfo {
    let address: SocketAddr = peer.parse().unwrap();
    ConnInfo::new(ConnId(7), address.into(), Endpoint::Unknown)
}

#[test]
fn peers_are_written_as_in_the_transcript() {
    assert_eq!(AddressTuple(&conn("127.0.0.1:54321")).to_string(), "('127.0.0.1', 54321)");
    assert_eq!(AddressTuple(&conn("[::1]:54321")).to_string(), "('::1', 54321)");
    assert_eq!(AddressTuple(&conn("[fe80::1%3]:1")).to_string(), "('fe80::1%3', 1)");
    let unnamed = ConnInfo::new(ConnId(7), Endpoint::Unix(None), Endpoint::Unknown);
    assert_eq!(AddressTuple(&unnamed).to_string(), "('unix', 7)");
    // An unknown address is no pair of address and port.
    let unknown = ConnInfo::new(ConnId(7), Endpoint::Unknown, Endpoint::Unknown);
    assert_eq!(AddressTuple(&unknown).to_string(), "unknown");
}

#[test]
fn connections_with_a_thread_each_take_the_lanes_in_turn() {
    let settings = ConsoleSettings::default();
    let console = Console { printer: None, settings, lane: 0, next: None, noun: "message", explained: Arc::default() };
    assert_eq!([0, 5].map(|worker| console.of_worker(worker).lane), [1, 6]);
    let console = console.of_threads();
    // Each on a thread of its own; two consoles of one thread share a lane.
    let lane = || {
        let lanes =
            std::thread::scope(|scope| scope.spawn(|| [0; 2].map(|_| console.of_worker(0).lane)).join().unwrap());
        assert_eq!(lanes[0], lanes[1]);
        lanes[0]
    };
    let lanes: Vec<_> = (0..=LANES_OF_THREADS).map(|_| lane()).collect();
    // The program's own lines stay in theirs, the first.
    let all: Vec<_> = (1..=LANES_OF_THREADS).chain([1]).collect();
    assert_eq!(lanes, all);
}

#[test]
fn skipped_events_are_counted_in_the_output() {
    let skipped = SkippedEvents { messages: 48_211, events: 1, lines: 0 };
    assert_eq!(skipped_text(skipped, "message"), "... and 48,211 more messages\n... and 1 more event of connections\n");
    assert!(skipped_text(skipped, "read").starts_with("... and 48,211 more reads\n"));
    let json: serde_json::Value = serde_json::from_str(&skipped_json(skipped)).unwrap();
    assert_eq!((&json["event"], &json["messages"]), (&"skipped".into(), &48_211.into()));
}

//! `resound test --watch` as its users run it.

use crate::child::{Program, run};

fn watch(port: u16, args: &[&str]) -> (Option<i32>, String) {
    let port = port.to_string();
    let flags = ["test", &port, "--watch", "--held", "3", "--heartbeat", "50ms"];
    let (code, stdout, stderr) = run(&[&flags, args].concat(), b"");
    (code, String::from_utf8(stdout).unwrap() + &stderr)
}

#[test]
fn a_gate_decides_over_a_watch() {
    let (_server, address) = Program::server(&["-q"]);
    let (code, text) = watch(address.port(), &["--for", "1s", "--fail-if", "gap>30s", "--fail-if", "refused>0"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("3 held connections, a heartbeat every 50ms on each"), "{text}");
    assert!(text.contains("  pass  gap>30s            measured: "), "{text}");
    let (code, text) = watch(address.port(), &["--for", "1s", "--new", "0", "--fail-if", "slowest>0"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("  FAIL  slowest>0          measured: "), "{text}");
}

#[test]
fn a_server_that_cannot_be_watched_is_named() {
    let (_server, address) = Program::server(&["--mode", "discard", "-q"]);
    let (code, text) = watch(address.port(), &["--lost-after", "300ms"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("nothing answers heartbeats there") && text.contains("echoes lines"), "{text}");
    let (code, text) = watch(1, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("127.0.0.1:1 cannot be watched"), "{text}");
}

#[cfg(unix)]
mod signals {
    use rustix::process::Signal;
    use serde_json::Value;

    use super::*;

    fn start(port: &str, args: &[&str]) -> Program {
        let flags = ["test", port, "--watch", "--held", "3", "--heartbeat", "50ms", "--json"];
        Program::spawn(Program::command(&[&flags, args].concat()))
    }

    fn next(watch: &mut Program) -> Value {
        serde_json::from_str(&watch.stdout.next()).unwrap()
    }

    #[test]
    fn a_restart_is_seen_with_its_gap() {
        let (server, address) = Program::server(&["-q"]);
        let port = address.port().to_string();
        let mut watch = start(&port, &["--new", "20"]);
        assert_eq!(next(&mut watch)["open"], 3);
        server.signal(Signal::TERM);
        assert_eq!(server.end().0, Some(0));
        while next(&mut watch)["open"] != 0 {}
        let mut again = Program::spawn(Program::command(&["server", "127.0.0.1", &port]));
        again.stdout.until("TCP Server started on ");
        while next(&mut watch)["open"] != 3 {}
        watch.signal(Signal::INT);
        let end = std::iter::repeat_with(|| next(&mut watch)).find(|line| line["event"] == "end").unwrap();
        assert_eq!(watch.end().0, Some(3));
        let counts = &end["counts"];
        assert_eq!((&counts["held"]["closed"], &counts["held"]["reconnects"]), (&3.into(), &3.into()), "{end}");
        assert!(counts["reconnecting"]["refused"].as_u64() > Some(0), "{end}");
        assert!(counts["gap_s"].as_f64() > Some(0.0) && end["exit"] == 3, "{end}");
        assert_eq!(end["episodes"].as_array().unwrap().len(), 1, "{end}");
    }

    #[test]
    fn a_watch_says_what_it_waits_for() {
        let (held, address) = crate::client::connecting::closed_port();
        let port = address.port().to_string();
        let mut watch = start(&port, &["--wait"]);
        let mut said = crate::child::Lines::of(watch.child.stderr.take().unwrap());
        assert!(said.until("resound: waiting for").contains("refused"));
        drop(held);
        let _server = Program::spawn(Program::command(&["server", "127.0.0.1", &port, "-q"]));
        assert_eq!(next(&mut watch)["event"], "second");
        watch.signal(Signal::INT);
        assert_eq!(watch.end().0, Some(0));
    }

    #[test]
    fn a_signal_is_the_end_of_a_watch_unless_it_cuts_it_short() {
        let (_server, address) = Program::server(&["-q"]);
        for (args, code) in [(&[][..], 0), (&["--for", "1h"], 130)] {
            let mut watch = start(&address.port().to_string(), args);
            next(&mut watch);
            watch.signal(Signal::INT);
            assert_eq!(watch.stdout.rest().len(), 1, "the totals alone follow");
            assert_eq!(watch.end().0, Some(code));
        }
    }

    #[test]
    fn a_stopped_watch_blames_itself_and_not_the_service() {
        let (_server, address) = Program::server(&["-q"]);
        let mut watch = start(&address.port().to_string(), &["--lost-after", "500ms"]);
        next(&mut watch);
        watch.signal(Signal::STOP);
        // A client of its own takes time, in which the watch does nothing.
        let (code, ..) = run(&["load", &address.port().to_string(), "-c", "1", "-d", "2s", "-q"], b"");
        assert_eq!(code, Some(0));
        watch.signal(Signal::CONT);
        let stalled = |line: &Value| line["counts"]["stalled_s"].as_f64() > Some(1.0);
        let mut lines = std::iter::repeat_with(|| next(&mut watch)).take(10);
        assert!(lines.any(|line| stalled(&line)), "no second has the stall");
        watch.signal(Signal::INT);
        let end = std::iter::repeat_with(|| next(&mut watch)).find(|line| line["event"] == "end").unwrap();
        assert!(end["counts"]["heartbeats"]["lost"] == 0 && end["counts"]["gap_s"].as_f64() < Some(1.0), "{end}");
        assert!(watch.end().0 == Some(0) && end["episodes"].as_array().unwrap().is_empty(), "{end}");
    }
}

#[test]
fn the_first_connections_of_a_watch_count() {
    let (_server, address) = Program::server(&["-q", "--fault", "2: reset"]);
    let (code, text) = watch(address.port(), &["--for", "300ms"]);
    assert_eq!(code, Some(3), "{text}");
    let (code, text) = watch(address.port(), &["--for", "300ms", "--fail-if", "reset>0"]);
    assert_eq!(code, Some(0), "the fault is over: {text}");
}

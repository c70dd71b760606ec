//! The exit code of a load run: each example of the table in docs/reports.md.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::child::run;
use crate::client::connecting::closed_port;
use crate::harness::longer;

/// Messages of a run, of this many bytes each.
const MESSAGES: usize = 200;
const SIZE: usize = 64;

/// A port that nothing else gets from the system as long as these tests run, whether it is listened
/// on or not.
fn held() -> (Socket, SocketAddr) {
    let (port, address) = closed_port();
    std::mem::forget(port);
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.set_reuse_address(true).unwrap();
    listener.bind(&address.into()).unwrap();
    (listener, address)
}

/// A server that takes one connection and does something to it, and where it listens.
fn serving(what: impl FnOnce(&mut TcpStream) + Send + 'static) -> String {
    let (listener, address) = held();
    listener.listen(16).unwrap();
    let listener = TcpListener::from(listener);
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        drop(listener);
        what(&mut peer);
    });
    address.port().to_string()
}

fn message(peer: &mut TcpStream) -> [u8; SIZE] {
    let mut message = [0; SIZE];
    peer.read_exact(&mut message).unwrap();
    message
}

/// Echoes until the other end has had enough, but for what `change` makes of message 30.
fn echoing(change: impl FnOnce(&mut Vec<u8>) + Send + 'static) -> String {
    serving(move |peer| {
        let mut change = Some(change);
        for n in 0..MESSAGES {
            let mut answer = message(peer).to_vec();
            if n == 30 {
                change.take().into_iter().for_each(|change| change(&mut answer));
            }
            peer.write_all(&answer).unwrap();
        }
        let _ = peer.read(&mut [0]);
    })
}

/// Exit code and output of a run, with these gates.
fn code(what: &str, gates: &[&str]) -> (Option<i32>, String) {
    let (mut messages, mut more) = ("1", &[][..]);
    let port = match what {
        "refused" => held().1.port().to_string(),
        "eof" => serving(|peer| {
            message(peer);
        }),
        "reset" => serving(|peer| {
            message(peer);
            SockRef::from(&*peer).set_linger(Some(Duration::ZERO)).unwrap();
        }),
        "timeout" => {
            more = &["--timeout", "100ms"];
            serving(|peer| drop(peer.read_to_end(&mut Vec::new())))
        }
        "truncated" => serving(|peer| {
            let answer = message(peer);
            peer.write_all(&answer[..SIZE / 2]).unwrap();
        }),
        "missing" | "corrupt" => {
            (messages, more) = ("200", &["--depth", "8"]);
            match what {
                "missing" => echoing(Vec::clear),
                _ => echoing(|answer| answer[5] ^= 1),
            }
        }
        "unsent" => {
            // Each answer takes longer than a quarter of the time that the plan has for all of
            // them.
            (messages, more) = ("50", &["--rate", "100", "-d", "500ms", "--depth", "1"]);
            serving(|peer| {
                let mut bytes = [0; SIZE];
                while peer.read_exact(&mut bytes).is_ok() {
                    std::thread::park_timeout(Duration::from_millis(150));
                    peer.write_all(&bytes).unwrap();
                }
            })
        }
        "nothing" => {
            messages = "200";
            echoing(|_| {})
        }
        _ => panic!("no server for {what}"),
    };
    let gates = gates.iter().flat_map(|gate| ["--fail-if", gate]).collect::<Vec<_>>();
    let args = ["load", "127.0.0.1", &port, "--mode", "echo", "--size", "64", "-n", messages];
    let (code, out, err) = run(&[&args[..], more, &gates].concat(), b"");
    (code, format!("{}{err}", String::from_utf8_lossy(&out)))
}

/// Each row: what fails in backquotes, and the exit code without a gate, with `errors>100`, and
/// with a gate of its own.
#[test]
fn the_examples_of_the_guide_have_their_exit_codes() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reports.md")).unwrap();
    let table = readme
        .split("| Under load | no gate | `errors>100` | its own gate, `eof>100` and so on |\n")
        .nth(1)
        .expect("the table");
    let mut tried = 0;
    for row in table.lines().skip(1).take_while(|row| row.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let what = cells[0].split('`').nth(1).unwrap_or("nothing");
        let own = format!("{what}>100");
        let own = if what == "nothing" { vec!["rate>0"] } else { vec![own.as_str()] };
        for (gates, want) in [(&[][..], cells[1]), (&["errors>100"], cells[2]), (&own, cells[3])] {
            let (code, out) = code(what, gates);
            assert_eq!(code, want.split(' ').next().unwrap().parse().ok(), "{what}, {gates:?}: {out}");
            assert!(what == "nothing" || out.contains(what), "{what}: {out}");
            tried += 1;
        }
    }
    assert!(tried >= 27, "{tried}");
}

/// A target that takes connections and sends nothing, and one that stops. Before the timeout it
/// cannot be told whether the stream comes.
#[test]
fn a_stream_that_does_not_come_is_no_success() {
    let silent = || serving(|peer| drop(peer.read_to_end(&mut Vec::new())));
    let stops = |lines| {
        serving(move |peer| {
            // The first lines of RFC 864's pattern.
            let line = |n: usize| (0..72).map(move |at| b' ' + ((n + at) % 95) as u8).chain(*b"\r\n");
            peer.write_all(&(0..lines).flat_map(line).collect::<Vec<_>>()).unwrap();
            drop(peer.read_to_end(&mut Vec::new()));
        })
    };
    for (port, more, want, says) in [
        (silent(), &["-d", "300ms", "--timeout", "100ms"][..], 1, "timeout"),
        (stops(20), &["-d", "600ms", "--timeout", "100ms"], 1, "no byte came for 1"),
        (silent(), &["-d", "300ms", "--fail-if", "errors>0"], 4, "1 of 1 connection got nothing before the end"),
        // More than the sockets hold, so that some of it comes in the time measured.
        (stops(200_000), &["-d", "3s", "--fail-if", "errors>0"], 4, "1 of 1 connection got nothing before the end"),
    ] {
        let args = ["load", "127.0.0.1", &port, "--mode", "chargen", "--shape", "stream"];
        let (code, out, err) = run(&[&args[..], more].concat(), b"");
        let out = format!("{}{err}", String::from_utf8_lossy(&out));
        assert!(code == Some(want) && out.contains(says), "{more:?}: {code:?} {out}");
    }
}

/// Seconds of a run of 200 messages, and of the program. The target reads and answers them,
/// and is silent for 0.7 s before or after that.
fn lengths(mode: &str, is_late: bool) -> (f64, f64) {
    let answers = mode == "echo";
    let port = serving(move |peer| {
        let (_never, waits) = std::sync::mpsc::channel::<()>();
        let pause = || assert!(waits.recv_timeout(Duration::from_millis(700)).is_err());
        if !is_late {
            pause();
        }
        for _ in 0..MESSAGES {
            let answer = message(peer);
            if answers {
                peer.write_all(&answer).unwrap();
            }
        }
        let _ = peer.read(&mut [0]);
        if is_late {
            pause();
        }
    });
    let args = ["load", "127.0.0.1", &port, "--mode", mode, "--size", "64", "-n", "200", "-c", "1", "--json"];
    let begun = std::time::Instant::now();
    let (code, out, err) = run(&args, b"");
    assert_eq!(code, Some(0), "{err}");
    let record: serde_json::Value = serde_json::from_slice(&out).unwrap();
    (record["elapsed_s"].as_f64().unwrap(), begun.elapsed().as_secs_f64())
}

/// How long a target takes to close is no time of the run, unless its FIN alone says that it has
/// read everything.
#[test]
fn a_run_of_messages_ends_with_its_last_answer() {
    let (measured, all) = lengths("echo", true);
    assert!(measured + 0.6 < all, "{measured} s of {all} s");
    let (measured, all) = lengths("discard", false);
    assert!(measured > 0.6 && measured < all, "{measured} s of {all} s");
}

#[test]
fn a_run_that_measures_nothing_cannot_tell() {
    let port = echoing(|_| {});
    let args = ["load", "127.0.0.1", &port, "--mode", "echo", "--size", "64", "--think-time", "1h"];
    let (code, out, _) = run(&[&args[..], &["--warm-up", "50ms", "-d", "50ms", "--fail-if", "errors>0"]].concat(), b"");
    let out = String::from_utf8_lossy(&out);
    assert!(code == Some(4) && out.contains("no message was sent in the time measured"), "{code:?} {out}");
}

/// A server that echoes so many messages on one connection, and is gone.
fn dying(after: usize) -> String {
    serving(move |peer| {
        for _ in 0..after {
            let answer = message(peer);
            peer.write_all(&answer).unwrap();
        }
    })
}

#[test]
fn an_outage_passes_no_gate_but_those_that_allow_it() {
    let plan = &["--rate", "500"][..];
    let forgiven = ["errors>5k", "unsent>5k"];
    for (more, gates, want) in [
        (plan, &[][..], 1),
        (plan, &["p99>50ms", "loss>1%", "errors>5k"], 3),
        (plan, &["loss>1%", "errors>5k"], 3),
        (plan, &["lag.p99>50ms", "errors>5k"], 3),
        // What was never sent no other gate allows.
        (plan, &["loss>99%", "errors>5k", "eof>9", "refused>99"], 1),
        (plan, &forgiven, 0),
        // How long those would have waited is not known.
        (plan, &[forgiven[0], forgiven[1], "p99>1h"], 4),
        // Nor is, without a plan, what would have been sent.
        (&[], &["errors>100"], 4),
        (&[], &["eof>9", "reset>9", "refused>99", "p50>50ms"], 4),
        (&[], &["eof>9", "reset>9", "refused>0", "p50>50ms"], 3),
        (&[], &["p50>50ms"], 1),
    ] {
        let gates: Vec<_> = gates.iter().flat_map(|gate| ["--fail-if", gate]).collect();
        // The outage takes most of the time, where this machine does not.
        let (args, out) = longer(Duration::from_millis(400), |time| {
            let time = format!("{}ms", time.as_millis());
            let args = ["load", "127.0.0.1", "", "--mode", "echo", "--size", "64", "-d", &time, "-q"];
            let mut args: Vec<_> = [&args[..], more, &gates].concat().iter().map(|arg| arg.to_string()).collect();
            args[2] = dying(50);
            let (code, out, err) = run(&args.iter().map(String::as_str).collect::<Vec<_>>(), b"");
            let out = String::from_utf8_lossy(&out).into_owned();
            println!("{args:?}: {code:?}, not {want}: {out} {err}");
            (code == Some(want)).then_some((args, out))
        });
        if want == 4 {
            assert!(out.contains("\n  cannot tell  ") && out.contains("to settle it: "), "{out}");
            let port = dying(50);
            let mut args: Vec<_> = args.iter().map(String::as_str).collect();
            args[2] = &port;
            let (code, out, _) = run(&[&args[..], &["--cannot-tell", "pass"]].concat(), b"");
            assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&out));
        }
    }
}

/// A loop without a plan sends nothing while a server stalls: that it then meets no slow answer but
/// one is no proof.
#[test]
fn a_stall_leaves_a_closed_loop_unjudged() {
    for (pause, messages) in [(1_500, 1), (500, usize::MAX)] {
        let port = serving(move |peer| {
            for n in 0..messages.saturating_add(200) {
                let mut bytes = [0; SIZE];
                if peer.read_exact(&mut bytes).is_err() {
                    return;
                }
                if n == 200 {
                    std::thread::park_timeout(Duration::from_millis(pause));
                }
                peer.write_all(&bytes).unwrap();
            }
            let _ = peer.read(&mut [0]);
        });
        let args = ["load", "127.0.0.1", &port, "--mode", "echo", "--size", "64", "-d", "1s", "--fail-if", "p99>50ms"];
        let (code, out, err) = run(&args, b"");
        let out = String::from_utf8_lossy(&out);
        assert_eq!(code, Some(4), "{out}{err}");
        assert!(out.contains("of the time of its connections nothing was answered"), "{out}");
    }
}

#[test]
fn a_ramp_of_which_no_step_held_cannot_tell() {
    let port = serving(|peer| {
        let mut bytes = [0; SIZE];
        while peer.read_exact(&mut bytes).is_ok() {
            peer.write_all(&bytes).unwrap();
        }
    });
    let ramp = ["--shape", "ramp", "--steps", "100..300+100", "--every", "200ms", "--until", "p99>1ns"];
    let args = ["load", "127.0.0.1", &port, "--mode", "echo", "--size", "64"];
    let (code, out, err) = run(&[&args[..], &ramp].concat(), b"");
    let out = String::from_utf8_lossy(&out);
    assert_eq!(code, Some(4), "{out}{err}");
    assert!(out.contains("not even the first step held"), "{out}");
}

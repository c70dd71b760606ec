//! What a load run's exit code says: README's table of examples, each of them tried.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::client::foreign;
use crate::harness::run;

/// Messages of a run, of this many bytes each.
const MESSAGES: usize = 200;
const SIZE: usize = 64;

/// A server that takes one connection and does something to it, and where it listens.
fn serving(what: impl FnOnce(&mut TcpStream) + Send + 'static) -> String {
    foreign(move |listener: TcpListener| {
        let (mut peer, _) = listener.accept().unwrap();
        drop(listener);
        what(&mut peer);
    })
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
        "refused" => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string(),
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

/// Each row: what fails in backquotes, and the exit code without a gate, with `errors>100`, and with a gate of its own.
#[test]
fn the_examples_of_the_readme_end_as_it_says() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
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
    assert!(tried >= 24, "{tried}");
}

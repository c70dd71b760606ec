//! A hundred upgrades in a row under load, with the program's own witnesses.

use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::{Generations, descriptors, is_gone, linked, replace};
use crate::child::Program;
use crate::harness::{Peer, eventually};
use rustix::process::Signal;

/// How many upgrades there are.
fn rounds() -> usize {
    std::env::var("RESOUND_ROUNDS").map_or(100, |rounds| rounds.parse().expect("RESOUND_ROUNDS is a number"))
}

/// What each of the servers is, as it is typed.
fn subjects() -> Vec<&'static str> {
    let all = ["server --engine uring", "server --engine portable", "server --engine threads", "relay"];
    let wanted = std::env::var("RESOUND_ENGINE").unwrap_or_default();
    all.into_iter().filter(|subject| subject.contains(&wanted)).collect()
}

/// 500 held connections with a heartbeat a second, and new ones beside them.
fn watch(port: &str) -> Program {
    let flags = ["--watch", "--held", "500", "--heartbeat", "1s", "--new", "50/s", "--lost-after", "60s", "--json"];
    Program::spawn(Program::command(&[&["test", port], &flags[..]].concat()))
}

/// A thousand connections a second, each with a question and its answer.
fn load(port: &str) -> Program {
    let flags = ["--shape", "connect", "-c", "64", "--connect-rate", "1000", "-d", "1h", "--json", "-q"];
    Program::spawn(Program::command(&[&["load", port], &flags[..]].concat()))
}

/// Ends a witness, and returns its last object.
fn verdict(mut witness: Program) -> (Option<i32>, Value) {
    witness.signal(Signal::INT);
    let last = witness.stdout.rest().pop().expect("a verdict");
    (witness.end().0, serde_json::from_str(&last).expect(&last))
}

#[test]
#[ignore = "minutes: see docs/testing.md"]
fn a_hundred_upgrades_lose_nothing() {
    let (_target, target) = Program::server(&["-q"]);
    for subject in subjects() {
        let folder = tempfile::TempDir::new().unwrap();
        let link = linked(folder.path());
        let mut command = Command::new(&link);
        command.args(subject.split(' ')).arg("--while-stdin").stdout(Stdio::piped()).stderr(Stdio::piped());
        let (flags, start) = match subject {
            "relay" => (vec!["0".to_string(), target.to_string()], "TCP Relay started on "),
            _ => (vec!["127.0.0.1:0".to_string()], "TCP Server started on "),
        };
        let mut server = Generations::start({
            command.args(flags);
            command
        });
        let address = server.address(start);
        let port = address.port().to_string();
        // Once it serves it has opened all that it needs.
        Peer::connect(address).ask("hello");
        let alone = descriptors(server.pid);
        let (mut watch, load) = (watch(&port), load(&port));
        // The first object says that all of them are held.
        watch.stdout.next();
        let (begin, mut replaced) = (Instant::now(), Vec::new());
        for round in 1..=rounds() {
            if round % 10 == 5 {
                replace(&link, "#!/bin/sh\nexit 3\n");
                server.signal(Signal::USR2);
                server.stderr.until("resound: warning: no upgrade: ");
                std::fs::remove_file(&link).unwrap();
                linked(folder.path());
            }
            replaced.push(server.upgrade());
        }
        let took = begin.elapsed();
        let ((of_watch, watched), (_, loaded)) = (verdict(watch), verdict(load));
        let total = &loaded["total"];
        println!("{subject}: {} upgrades in {took:?}", rounds());
        println!("  resound test --watch: exit code {of_watch:?}, {}", watched["counts"]);
        let of_load = ["opened", "sent", "verified", "unanswered", "unconnected", "silent", "errors"];
        println!("  resound load: {}", of_load.map(|name| format!("{name} {}", total[name])).join(", "));
        assert_eq!(of_watch, Some(0), "{watched}");
        let none = |name: &str| assert_eq!(total[name], 0, "{name}: {loaded}");
        ["unanswered", "unconnected", "silent", "errors"].into_iter().for_each(none);
        assert!(total["sent"] == total["verified"] && total["sent"].as_u64() > Some(0), "{total}");
        assert!(loaded["failures"].as_array().is_some_and(Vec::is_empty), "{}", loaded["failures"]);
        // Of the first process the test is the parent.
        eventually("all old processes are gone", || {
            let _ = server.program.child.try_wait();
            replaced.iter().all(|&pid| is_gone(pid))
        });
        eventually("no descriptor has leaked", || descriptors(server.pid) <= alone);
        server.end();
    }
}

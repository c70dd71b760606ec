//! `resound server --fault`.

use std::net::SocketAddr;

use serde_json::Value;

use crate::child::{Program, run};
use crate::harness::engines;

/// One message to a server: the exit code of the client, and the answer.
fn ask(address: SocketAddr) -> (Option<i32>, String) {
    let (code, stdout, _) = run(&["client", &address.port().to_string(), "--timeout", "60s"], b"Hello\n");
    (code, String::from_utf8_lossy(&stdout).into_owned())
}

/// The lines of a record without their times, which differ from run to run.
pub(super) fn timeless(record: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(record).unwrap();
    let timeless = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("at");
        line
    };
    text.lines().map(timeless).collect()
}

const ANSWER: &str = "Server received: Hello\n";

#[test]
fn the_first_two_connections_fail_and_then_all_is_well() {
    for engine in engines() {
        let (mut server, address) = Program::server(&["--engine", engine, "--fault", "1-2: reset @0B", "--seed", "7"]);
        assert_eq!(server.stdout.next(), "Waiting for client connections...");
        assert_eq!(server.stdout.next(), "Faults from connection 1 on, seed 7: 1-2: reset @0B");
        for number in 1..=3 {
            let want = if number < 3 { (Some(1), String::new()) } else { (Some(0), ANSWER.into()) };
            assert_eq!(ask(address), want, "{engine}, connection {number}");
            let line = server.stdout.next();
            assert!(line.starts_with("New connection from "), "{line}");
            let line = server.stdout.next();
            if number < 3 {
                assert!(line.starts_with("Fault on ('127.0.0.1', "), "{line}");
                assert!(line.ends_with("), up at byte 0: reset (each peer receives a RST)"), "{line}");
            } else {
                assert!(line.starts_with("Received from ") && line.ends_with(": Hello"), "{line}");
            }
            let line = server.stdout.next();
            assert!(line.starts_with("Connection closed for "), "{line}");
        }
    }
}

#[test]
fn the_log_has_faults_and_messages_in_their_order() {
    for engine in engines() {
        let args = ["--engine", engine, "--log-format", "json", "--seed", "7"];
        let faults = ["--fault", "1: duplicate-last-line", "--fault", "1: down: slice=3"];
        let (mut server, address) = {
            let mut server =
                Program::spawn(Program::command(&[&["server", "127.0.0.1", "0"], &args[..], &faults].concat()));
            let started: Value = serde_json::from_str(&server.stdout.next()).unwrap();
            let address: SocketAddr = started["address"].as_str().unwrap().parse().unwrap();
            (server, address)
        };
        assert_eq!(ask(address).1, format!("{ANSWER}{ANSWER}"));
        let events: Vec<Value> = (0..6).map(|_| serde_json::from_str(&server.stdout.next()).unwrap()).collect();
        let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        // The fault of an answer comes with it, after the message.
        assert_eq!(names, ["faults", "opened", "fault", "message", "fault", "closed"]);
        assert_eq!(events[0]["faults"], "1: duplicate-last-line; 1: down: slice=3");
        let fault = &events[4];
        assert_eq!(
            (&fault["conn"], &fault["kind"], &fault["offset"]),
            (&1.into(), &"duplicate-last-line".into(), &0.into())
        );
        let closed = &events[5];
        assert_eq!((&closed["reason"], &closed["messages"]), (&"finished".into(), &1.into()));
        assert_eq!((&closed["bytes_in"], &closed["bytes_out"]), (&6.into(), &(2 * ANSWER.len()).into()));
    }
}

#[test]
fn a_record_of_a_server_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let faults = ["--fault", "1: wrong-answer", "--fault", "2-: reset @2B 50%", "--seed", "11"];
    let timeline = |record: &str, args: &[&str]| {
        let (server, address) = Program::server(&[&["--record", record], args].concat());
        let answers: Vec<_> = (0..6).map(|_| ask(address)).collect();
        drop(server);
        (timeless(record), answers)
    };
    let (first, second) = (file("first"), file("second"));
    let (lines, answers) = timeline(&first, &faults);
    assert_eq!(lines[0]["faults"], "1: wrong-answer; 2-: reset @2B 50%");
    assert_eq!((&lines[1]["kind"], &lines[1]["offset"]), (&"wrong-answer".into(), &0.into()));
    assert!(answers[0].1 != ANSWER && answers[0].1.len() == ANSWER.len(), "{answers:?}");
    let codes: Vec<_> = answers[1..].iter().map(|(code, _)| *code).collect();
    assert!(codes.contains(&Some(1)) && codes.contains(&Some(0)), "{codes:?}");
    // On each engine it is the same again.
    for engine in engines() {
        let again = timeline(&second, &["--replay", &first, "--engine", engine]);
        assert_eq!(again, (lines.clone(), answers.clone()), "{engine}");
    }
}

#[test]
fn a_file_of_faults_of_a_server_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    std::fs::write(&file, "seed = 5\n[[fault]]\nfault = \"wrong-answer\"\n").unwrap();
    let (mut server, address) = Program::server(&["--faults", file.to_str().unwrap()]);
    assert_eq!(server.stdout.until("Faults"), "Faults from connection 1 on, seed 5: wrong-answer");
    assert_ne!(ask(address).1, ANSWER);
    std::fs::write(&file, "seed = 5\n[[fault]]\nfault = \"duplicate-last-line\"\n").unwrap();
    assert_eq!(server.stdout.until("Faults"), "Faults from connection 2 on, seed 5: duplicate-last-line");
    assert_eq!(ask(address).1, format!("{ANSWER}{ANSWER}"));
}

#[test]
fn a_server_does_what_a_real_box_does_where_it_can() {
    let (mut server, address) = Program::server(&["--as", "podman-rootless", "--seed", "1"]);
    assert_eq!(server.stdout.until("Faults"), "Faults from connection 1 on, seed 1: accept-then-reset");
    assert_eq!(ask(address), (Some(1), String::new()));
}

#[test]
fn a_wrong_fault_of_a_server_is_refused_with_its_place() {
    for (args, want) in [
        (&["--fault", "worng-answer"][..], "did you mean `wrong-answer`?\n  worng-answer\n  ^^^^"),
        (&["--fault", "reset; up: eat-fin"], "`eat-fin` is a fault of a relay alone: it takes two connections"),
        (&["--as", "docker-proxy-2016"], "--as docker-proxy-2016 takes two connections"),
        (&["--fault", "down: garbage"], "`garbage` has no direction"),
        (&["--seed", "1"], "--seed has no meaning without --fault, --as, --faults or --control"),
        (&["--control", "0.0.0.0:0"], "other machines could set faults there"),
    ] {
        let (code, _, stderr) = run(&[&["server", "127.0.0.1", "0"], args].concat(), b"");
        assert!(code == Some(2) && stderr.contains(want), "{args:?}: {code:?} {stderr}");
    }
}

#[test]
fn a_server_that_refuses_its_clients_still_runs() {
    for engine in engines() {
        let (mut server, address) = Program::server(&["--engine", engine, "--fault", "refuse"]);
        let (code, _, stderr) = run(&["client", &address.port().to_string()], b"");
        assert!(code == Some(1) && stderr.contains("refused"), "{engine}: {code:?} {stderr}");
        assert_eq!(server.child.try_wait().unwrap(), None, "{engine}");
        #[cfg(unix)]
        {
            server.signal(rustix::process::Signal::TERM);
            assert_eq!(server.end().0, Some(0), "{engine}");
        }
        #[cfg(not(unix))]
        drop(server);
    }
}

#[test]
fn the_load_generator_reports_what_a_server_does_on_purpose() {
    let load = |fault: &str| {
        let (_server, address) = Program::server(&["--mode", "echo", "-q", "--fault", fault, "--seed", "7"]);
        let args =
            ["load", &address.to_string(), "--mode", "echo", "-c", "2", "-n", "200", "--timeout", "3s", "--json"];
        let (code, stdout, stderr) = run(&args, b"");
        let result: Value = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
        (code, result["failures"][0]["class"].as_str().unwrap_or("none").to_string())
    };
    for (fault, want) in [
        ("down: reset @640B", (Some(1), "reset")),
        ("down: close @640B", (Some(1), "eof")),
        ("down: corrupt @657B", (Some(3), "corrupt")),
        ("1: late-answer=100ms @640B", (Some(0), "none")),
        ("late-answer=1h @640B", (Some(1), "timeout")),
    ] {
        let (code, class) = load(fault);
        assert_eq!((code, class.as_str()), want, "{fault}");
    }
}

#[test]
fn an_output_replaces_nothing_that_another_flag_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (key, link, new) = (path("key.pem"), path("link"), path("new"));
    std::fs::write(&key, "# A key, or a configuration.\n").unwrap();
    std::fs::hard_link(&key, &link).unwrap();
    for (args, want) in [
        (&["--tls", "--cert", "other.pem", "--key", &key, "--fault", "reset", "--record", &link][..], "--key reads"),
        (&["--tls", "--cert", &key, "--key", "other.pem", "--log-file", &link], "--cert reads"),
        (&["--config", &key, "--fault", "reset", "--record", &key], "--config reads"),
        (&["--fault", "reset", "--record", &new, "--log-file", &new], "--log-file would write one file"),
    ] {
        let (code, _, stderr) = run(&[&["server", "127.0.0.1", "0"], args].concat(), b"");
        assert!(code == Some(2) && stderr.contains(want), "{args:?} {code:?} {stderr}");
        assert_eq!(std::fs::read_to_string(&key).unwrap(), "# A key, or a configuration.\n", "{args:?}");
        assert!(!std::path::Path::new(&new).exists());
    }
}

#[test]
fn a_record_outlives_a_program_that_cannot_start() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record").to_str().unwrap().to_string();
    std::fs::write(&record, "an earlier record\n").unwrap();
    let (_taken, address) = Program::server(&[]);
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let (code, _, stderr) = run(&["server", &host, &port, "--fault", "reset", "--record", &record], b"");
    assert!(code == Some(2) && stderr.contains("already in use"), "{code:?} {stderr}");
    assert_eq!(std::fs::read_to_string(&record).unwrap(), "an earlier record\n");
    let (mut server, _) = Program::server(&["--fault", "reset", "--record", &record]);
    server.stdout.until("Faults");
    assert!(std::fs::read_to_string(&record).unwrap().starts_with("{\"from\""));
}

#[test]
fn a_record_replaces_no_file_of_faults_and_the_command_lines_seed_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (faults, record) = (path("faults.toml"), path("record"));
    let text = "seed = 5\n[[fault]]\nspec = \"wrong-answer\"\n";
    std::fs::write(&faults, text).unwrap();
    let (code, _, stderr) = run(&["server", "127.0.0.1", "0", "--faults", &faults, "--record", &faults], b"");
    assert!(code == Some(2) && stderr.contains("would overwrite what --faults reads"), "{code:?} {stderr}");
    assert_eq!(std::fs::read_to_string(&faults).unwrap(), text);
    for (more, want) in [(&[][..], "seed 5"), (&["--seed", "9"], "seed 9")] {
        let (mut server, _) = Program::server(&[&["--faults", &faults, "--record", &record], more].concat());
        let line = server.stdout.until("Faults");
        assert!(line.contains(want), "{line}");
    }
    let broken = format!("{}not JSON\n", std::fs::read_to_string(&record).unwrap());
    for (file, text, want) in [
        (&record, &broken[..], "line 2 is not a line of a record"),
        (
            &record,
            "{\"from\":1,\"seed\":1,\"faults\":\"rest\"}\n",
            "the faults from connection 1 on: 'rest' is not a fault",
        ),
        (&faults, "[[fault]]\nspec = \"up: eat-fin\"\n", "`eat-fin` is a fault of a relay alone"),
    ] {
        std::fs::write(file, text).unwrap();
        let flag = if *file == record { "--replay" } else { "--faults" };
        let (code, _, stderr) = run(&["server", "127.0.0.1", "0", flag, file], b"");
        let names = stderr.contains(&format!("{flag} {file}"));
        assert!(code == Some(2) && names && stderr.contains(want), "{code:?} {stderr}");
    }
}

/// What is read again and again is a file of a bounded size: nothing waits for it, and it fills no
/// memory.
#[cfg(unix)]
#[test]
fn a_file_of_faults_is_a_regular_one_of_a_megabyte_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    std::fs::write(path("huge"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    std::fs::write(path("latin"), b"seed = 1 # \xe4").unwrap();
    for (file, want) in [
        (path("pipe"), "it is not a regular file (a pipe or a device), which could not be read again"),
        ("/dev/zero".into(), "it is not a regular file"),
        (path(""), "it is a directory: name a file"),
        (path("huge"), "it is larger than 1 MiB: is it the right file?"),
        (path("latin"), "it is not UTF-8 from byte 11 on: save it as UTF-8"),
        (path("none"), "cannot read it: No such file or directory"),
    ] {
        let (code, _, stderr) = run(&["server", "127.0.0.1", "0", "--faults", &file], b"");
        assert!(code == Some(2) && stderr.contains(&format!("--faults {file}: {want}")), "{code:?} {stderr}");
    }
    let setting = |from: u64| format!("{{\"from\":{from},\"seed\":7,\"faults\":\"reset\"}}\n");
    for (settings, line) in [([0, 1], 1), ([5, 1], 2)] {
        std::fs::write(path("record"), settings.map(setting).concat()).unwrap();
        let (code, _, stderr) = run(&["server", "127.0.0.1", "0", "--replay", &path("record")], b"");
        assert!(code == Some(2) && stderr.contains(&format!("line {line} is out of order")), "{code:?} {stderr}");
    }
    // A pipe that no process writes to is empty, for what is read once.
    for (args, want) in [
        (&["server", "127.0.0.1", "0", "--replay", &path("pipe")][..], "there is no line with faults in it"),
        (&["server", "127.0.0.1", "0", "--tls", "--cert", &path("pipe"), "--key", &path("pipe")], "is empty"),
        (&["client", "127.0.0.1", "9", "--tls", "--ca", &path("pipe")], "is empty"),
        (&["report", &path("pipe")], "the file is empty"),
    ] {
        let (code, _, stderr) = run(args, b"");
        assert!(code == Some(2) && stderr.contains(want), "{args:?}: {code:?} {stderr}");
    }
}

#[test]
fn a_test_whose_first_connection_is_reset_is_no_pass() {
    for fault in ["1: reset", "1: garbage", "1-2: reset"] {
        let (_server, address) = Program::server(&["-q", "--fault", fault]);
        let (code, stdout, stderr) = run(&["test", &address.port().to_string()], b"");
        let text = String::from_utf8(stdout).unwrap() + &stderr;
        assert_eq!(code, Some(4), "{fault}: {text}");
        assert!(text.contains("flaky    messages            6/7"), "{fault}: {text}");
        assert!(text.contains("the path changes TCP at times: ") && !text.contains("correctly"), "{fault}: {text}");
    }
}

//! `resound relay` as its users run it.

use std::net::SocketAddr;

use resound::proxy::{Addresses, Header, Version};
use serde_json::Value;

use super::faults::timeless;
use crate::child::{Program, run};
use crate::harness::engines;

/// Starts `resound relay` to a target on a free port, and waits until it relays.
pub(super) fn relay(target: &str, args: &[&str]) -> (Program, SocketAddr) {
    let mut relay = Program::spawn(Program::command(&[&["relay", "127.0.0.1:0", target], args].concat()));
    let line = relay.stdout.next();
    let rest = line.strip_prefix("TCP Relay started on ").expect(&line);
    let (address, to) = rest.split_once(", to ").expect(&line);
    assert_eq!(to, target);
    (relay, address.parse().expect(&line))
}

pub(super) fn server(args: &[&str]) -> (Program, String) {
    let (server, address) = Program::server(args);
    (server, address.to_string())
}

fn port(address: SocketAddr) -> String {
    address.port().to_string()
}

#[test]
fn a_conversation_through_a_relay_and_what_it_prints() {
    for engine in engines().into_iter().filter(|engine| *engine != "threads") {
        let (_server, target) = server(&[]);
        let (mut relay, address) = relay(&target, &["-v", "--engine", engine]);
        assert_eq!(relay.stdout.next(), "Waiting for client connections...");
        let (code, stdout, stderr) = run(&["client", &port(address)], b"Hello, server!\n");
        assert_eq!((code, stdout.as_slice()), (Some(0), &b"Server received: Hello, server!\n"[..]), "{stderr}");
        let connected = relay.stdout.next();
        assert!(connected.starts_with("Connected ('127.0.0.1', ") && connected.contains(&target), "{connected}");
        let closed = relay.stdout.next();
        assert!(closed.ends_with("): up 15 bytes, FIN; down 32 bytes, FIN"), "{closed}");
        #[cfg(unix)]
        {
            relay.signal(rustix::process::Signal::TERM);
            assert!(relay.stdout.next().starts_with("Shutting down: 0 open connections, "));
            assert_eq!(relay.stdout.next(), "Relay stopped: 1 connection, 15 bytes up, 32 bytes down");
            assert_eq!(relay.end().0, Some(0));
        }
    }
}

#[test]
fn the_test_of_a_server_passes_through_a_relay() {
    let (_server, target) = server(&["-q"]);
    let (_relay, address) = relay(&target, &[]);
    let (code, stdout, _) = run(&["test", &port(address)], b"");
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&stdout));
}

#[test]
fn a_target_that_refuses_is_named_and_the_client_is_reset() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (mut relay, address) = relay(&closed, &[]);
    relay.stdout.until("Waiting");
    let (code, _, stderr) = run(&["client", &port(address)], b"Hello\n");
    assert!(code == Some(1) && stderr.contains("reset"), "{code:?} {stderr}");
    let line = relay.stdout.next();
    let text = format!("): cannot connect to {closed}: refused: Connection refused");
    assert!(line.starts_with("Reset ('127.0.0.1', ") && line.ends_with(&text), "{line}");
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let (mut relay, address) = relay("no-such-host.invalid:1", &["--log-format", "text"]);
    relay.stdout.until("Waiting");
    let (code, ..) = run(&["client", &port(address)], b"Hello\n");
    assert_eq!(code, Some(1));
    let line = relay.stdout.next();
    assert!(line.contains("cannot connect to no-such-host.invalid:1: dns: "), "{line}");
}

#[test]
fn a_name_with_several_addresses_reaches_the_one_that_answers() {
    let (_server, target) = server(&["-q"]);
    let target = target.replace("127.0.0.1", "localhost");
    let (_relay, address) = relay(&target, &[]);
    let (code, stdout, stderr) = run(&["client", &port(address)], b"Hello\n");
    assert_eq!((code, stdout.as_slice()), (Some(0), &b"Server received: Hello\n"[..]), "{stderr}");
}

#[test]
fn each_event_is_a_line_of_json() {
    let (_server, target) = server(&["-q"]);
    let json = |line: String| serde_json::from_str::<Value>(&line).expect(&line);
    let mut relay = Program::spawn(Program::command(&["relay", "127.0.0.1:0", &target, "--log-format", "json"]));
    let started = json(relay.stdout.next());
    assert_eq!((&started["event"], &started["target"]), (&"started".into(), &target.as_str().into()));
    let address: SocketAddr = started["address"].as_str().unwrap().parse().unwrap();
    run(&["client", &port(address)], b"Hello\n");
    let opened = json(relay.stdout.next());
    assert_eq!((&opened["event"], &opened["conn"]), (&"opened".into(), &1.into()));
    assert_eq!(&opened["target"], &Value::from(target.as_str()));
    let closed = json(relay.stdout.next());
    let direction = |bytes: u64| serde_json::json!({"bytes": bytes, "fin": true});
    assert_eq!((&closed["event"], &closed["up"], &closed["down"]), (&"closed".into(), &direction(6), &direction(23)));
    assert!(closed.get("reason").is_none() && closed["seconds"].is_number(), "{closed}");
    #[cfg(unix)]
    {
        relay.signal(rustix::process::Signal::TERM);
        assert_eq!(json(relay.stdout.next())["event"], "draining");
        let stopped = json(relay.stdout.next());
        let want = serde_json::json!({
            "event": "stopped", "connections": 1, "unanswered": 0, "bytes_up": 6, "bytes_down": 23, "cut": 0
        });
        let mut got = stopped.clone();
        got.as_object_mut().unwrap().remove("time");
        assert_eq!(got, want);
    }
}

#[test]
fn tls_on_either_side_and_on_both() {
    let (mut secure, target) = server(&["--tls"]);
    let pin_of = |program: &mut Program| {
        program.stdout.until("TLS certificate (development)").rsplit(' ').next().unwrap().to_string()
    };
    let pin = pin_of(&mut secure);
    let to_tls = ["--target-tls", "--target-pin", &pin];
    let (_plain, plain_target) = server(&["-q"]);
    let hello = |args: &[&str]| {
        let (code, stdout, stderr) = run(&[&["client"], args].concat(), b"Hello\n");
        assert_eq!((code, stdout.as_slice()), (Some(0), &b"Server received: Hello\n"[..]), "{args:?}: {stderr}");
    };
    // Plain to TLS.
    let (_relay, address) = relay(&target, &to_tls);
    hello(&[&port(address)]);
    // TLS to plain, and TLS to TLS.
    for (target, args) in [(&plain_target, &[][..]), (&target, &to_tls)] {
        let (mut relay, address) = relay(target, &[&["--tls"], args].concat());
        let pin = pin_of(&mut relay);
        hello(&[&port(address), "--tls", "--pin", &pin]);
    }
}

#[test]
fn a_target_with_another_certificate_is_not_talked_to() {
    let (_secure, target) = server(&["--tls", "-q"]);
    let other = "0".repeat(64);
    let (mut relay, address) = relay(&target, &["--target-tls", "--target-pin", &other]);
    relay.stdout.until("Waiting");
    let (code, stdout, _) = run(&["client", &port(address)], b"Hello\n");
    assert_eq!((code, stdout.len()), (Some(1), 0));
    let line = relay.stdout.next();
    assert!(line.starts_with("Reset (") && line.contains("certificate"), "{line}");
}

#[test]
fn the_target_learns_the_client_from_a_proxy_header() {
    for version in ["v1", "v2"] {
        let (mut server, target) = server(&["--proxy-protocol", "require", "-v"]);
        let (_relay, address) = relay(&target, &["--send-proxy", version, "--proxy-protocol", "require"]);
        let source = format!("{version},src=192.0.2.7:54321,dst=198.51.100.1:443");
        let (code, stdout, stderr) = run(&["client", &port(address), "--send-proxy", &source], b"Hello\n");
        assert_eq!((code, stdout.as_slice()), (Some(0), &b"Server received: Hello\n"[..]), "{stderr}");
        let line = server.stdout.until("New connection");
        assert!(line.starts_with("New connection from ('192.0.2.7', 54321)"), "{line}");
    }
    // And without one before the relay, the client's own address.
    let (mut server, target) = server(&["--proxy-protocol", "require"]);
    let (_relay, address) = relay(&target, &["--send-proxy", "v2"]);
    let client = std::net::TcpStream::connect(address).unwrap();
    let line = server.stdout.until("New connection");
    assert_eq!(line, format!("New connection from ('127.0.0.1', {})", client.local_addr().unwrap().port()));
}

#[test]
fn a_health_check_of_a_proxy_stays_one() {
    let (mut server, target) = server(&["--proxy-protocol", "require", "-v"]);
    let (_relay, address) = relay(&target, &["--send-proxy", "v2", "--proxy-protocol", "require"]);
    let mut check = std::net::TcpStream::connect(address).unwrap();
    let header = Header::new(Version::V2, Addresses::Local).encode().unwrap();
    std::io::Write::write_all(&mut check, &header).unwrap();
    let line = server.stdout.until("New connection");
    assert!(line.to_lowercase().contains("local"), "{line}");
}

#[cfg(unix)]
#[test]
fn maps_and_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("unix:{}", folder.path().join(name).display());
    let (_one, first) = server(&["-q"]);
    let mut echo = Program::spawn(Program::command(&["server", &path("echo"), "--mode", "echo"]));
    echo.stdout.until("Waiting");
    let (front, back) = (path("front"), path("echo"));
    let map = [format!("{front}={back}"), format!("127.0.0.1:0={first}")];
    let mut relay = Program::spawn(Program::command(&["relay", "--map", &map[0], "--map", &map[1]]));
    assert_eq!(relay.stdout.next(), format!("Relay started on {front}, to {back}"));
    let line = relay.stdout.next();
    let address = line.strip_prefix("TCP Relay started on ").and_then(|rest| rest.split(',').next()).expect(&line);
    for (to, want) in [(front.as_str(), "Hello\n"), (address, "Server received: Hello\n")] {
        let (code, stdout, stderr) = run(&["client", to], b"Hello\n");
        assert_eq!((code, String::from_utf8_lossy(&stdout).as_ref()), (Some(0), want), "{stderr}");
    }
}

#[test]
fn the_address_in_a_proxy_header_does_not_choose_the_target() {
    let (_first, one) = server(&["-q"]);
    let (_second, other) = server(&["-q", "--mode", "echo"]);
    let maps = [&one, &other].map(|target| format!("127.0.0.1:0={target}"));
    let args = ["relay", "--map", &maps[0], "--map", &maps[1], "--proxy-protocol", "require"];
    let mut relay = Program::spawn(Program::command(&args));
    let lines = [relay.stdout.next(), relay.stdout.next()];
    let fronts = lines.each_ref().map(|line| line.split([' ', ',']).nth(4).unwrap());
    for (to, named, want) in [(0, 1, "Server received: Hello\n"), (1, 0, "Hello\n")] {
        let header = format!("v2,src=192.0.2.7:54321,dst={}", fronts[named]);
        let (code, stdout, stderr) = run(&["client", fronts[to], "--send-proxy", &header], b"Hello\n");
        assert_eq!((code, String::from_utf8_lossy(&stdout).as_ref()), (Some(0), want), "{stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_target_sees_the_source_address_that_was_given() {
    let (mut server, target) = server(&["-v"]);
    let (_relay, address) = relay(&target, &["--source-address", "127.0.0.2"]);
    let _client = std::net::TcpStream::connect(address).unwrap();
    let line = server.stdout.until("New connection");
    assert!(line.starts_with("New connection from ('127.0.0.2', "), "{line}");
}

#[test]
fn the_idle_timeout_of_the_command_line_resets_a_pair() {
    let (_server, target) = server(&["-q"]);
    let (_relay, address) = relay(&target, &["--idle-timeout", "100ms"]);
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    let error = std::io::Read::read(&mut client, &mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn wrong_words_are_refused_with_what_is_meant() {
    for (args, want) in [
        (&[][..], "resound: where to? Give the target"),
        (&["127.0.0.1", "9000", "127.0.0.1", "8888"], "resound: 4 addresses, and a relay takes LISTEN and TARGET"),
        (&["8888", "--engine", "threads"], "resound: --engine threads cannot relay"),
        (&["8888", "--target-pin", "ab"], "error: "),
        (&["8888", "--mode", "echo"], "error: unexpected argument '--mode'"),
    ] {
        let (code, stdout, stderr) = run(&[&["relay"], args].concat(), b"");
        assert_eq!((code, stdout.len()), (Some(2), 0), "{args:?}");
        assert!(stderr.starts_with(want), "{args:?}: {stderr}");
    }
}

#[cfg(unix)]
#[test]
fn connections_that_are_open_at_the_end_of_a_drain_are_reset() {
    use std::io::{Read, Write};
    let (_server, target) = server(&["-q"]);
    let (mut relay, address) = relay(&target, &["--drain-timeout", "50ms"]);
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"Hello\n").unwrap();
    client.read_exact(&mut [0; 23]).unwrap();
    relay.signal(rustix::process::Signal::TERM);
    assert_eq!(
        relay.stdout.until("Shutting"),
        "Shutting down: 1 open connection, 50ms at most (Ctrl+C again exits at once)"
    );
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let line = relay.stdout.until("Relay stopped");
    assert_eq!(line, "Relay stopped: 1 connection, 6 bytes up, 23 bytes down, 1 reset or cut");
    assert_eq!(relay.end().0, Some(130));
}

/// One message through a relay: the exit code of the client, and the answer.
fn ask(address: SocketAddr) -> (Option<i32>, String) {
    let (code, stdout, _) = run(&["client", &port(address), "--timeout", "60s"], b"Hello\n");
    (code, String::from_utf8_lossy(&stdout).into_owned())
}

#[test]
fn the_first_two_connections_fail_and_then_all_is_well() {
    let (_server, target) = server(&["-q"]);
    let (mut relay, address) = relay(&target, &["--fault", "1-2: reset @0B", "--seed", "7"]);
    assert_eq!(relay.stdout.until("Faults"), "Faults from connection 1 on, seed 7: 1-2: reset @0B");
    for number in 1..=3 {
        let want = if number < 3 { (Some(1), String::new()) } else { (Some(0), "Server received: Hello\n".into()) };
        assert_eq!(ask(address), want, "connection {number}");
        if number < 3 {
            let line = relay.stdout.until("Fault on");
            assert!(line.ends_with("), up at byte 0: reset (each peer receives a RST)"), "{line}");
        }
    }
}

#[test]
fn a_relay_does_what_a_real_box_does() {
    let (_server, target) = server(&["-q"]);
    let (mut relay, address) = relay(&target, &["--as", "podman-rootless", "--fault", "up: eat-fin", "--seed", "1"]);
    let line = relay.stdout.until("Faults");
    assert_eq!(line, "Faults from connection 1 on, seed 1: accept-then-reset; up: eat-fin");
    assert_eq!(ask(address), (Some(1), String::new()));
    let (code, _, stderr) = run(&["relay", "127.0.0.1:0", &target, "--as", "toaster"], b"");
    assert!(code == Some(2) && stderr.contains("docker-proxy-2016"), "{stderr}");
}

#[test]
fn a_record_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (_server, target) = server(&["-q"]);
    let faults = ["--fault", "1: down: corrupt @3B", "--fault", "2-: reset @2B 50%", "--seed", "11"];
    let timeline = |record: &str, args: &[&str]| {
        let (relay, address) = relay(&target, &[&["--record", record], args].concat());
        let answers: Vec<_> = (0..6).map(|_| ask(address)).collect();
        drop(relay);
        (timeless(record), answers)
    };
    let (first, second) = (file("first"), file("second"));
    let (lines, answers) = timeline(&first, &faults);
    assert_eq!(lines[0]["faults"], "1: down: corrupt @3B; 2-: reset @2B 50%");
    assert_eq!((&lines[1]["kind"], &lines[1]["offset"]), (&"corrupt".into(), &3.into()));
    assert!(
        answers[1..].iter().any(|(code, _)| *code == Some(1)) && answers[1..].iter().any(|(code, _)| *code == Some(0))
    );
    assert_eq!(timeline(&second, &["--replay", &first]), (lines, answers));
}

#[test]
fn a_file_of_faults_is_read_again_and_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "seed = 5\n[[fault]]\nspec = \"reset @0B\"\n").unwrap();
    let (_server, target) = server(&["-q"]);
    let same = folder.path().join("same.toml");
    std::fs::copy(&file, &same).unwrap();
    // It looks at a file that stays the same as often as the other one does at its own.
    let (mut unchanged, _) = relay(&target, &["--faults", same.to_str().unwrap()]);
    let (mut relay, address) = relay(&target, &["--faults", path]);
    assert_eq!(relay.stdout.until("Faults"), "Faults from connection 1 on, seed 5: reset @0B");
    assert_eq!(ask(address).0, Some(1));
    std::fs::write(&file, "[[fault]]\nspec = \"down: truncate @6B\"\nwhich = 3\n").unwrap();
    let mut warnings = crate::child::Lines::of(relay.child.stderr.take().unwrap());
    let warning = warnings.next();
    assert!(warning.contains("the faults stay as they were: --faults"), "{warning}");
    assert_eq!(ask(address).0, Some(1), "the old faults hold");
    std::fs::write(&file, "seed = 5\n[[fault]]\nspec = \"down: truncate @6B\"\n").unwrap();
    assert_eq!(relay.stdout.until("Faults"), "Faults from connection 3 on, seed 5: down: truncate @6B");
    let (_, answer) = ask(address);
    assert_eq!(answer, "Server");
    #[cfg(unix)]
    {
        // What has not changed is set again where that is asked for.
        relay.signal(rustix::process::Signal::HUP);
        assert_eq!(relay.stdout.until("Faults"), "Faults from connection 4 on, seed 5: down: truncate @6B");
    }
    unchanged.child.kill().unwrap();
    let settings = unchanged.stdout.rest().into_iter().filter(|line| line.starts_with("Faults"));
    assert_eq!(settings.count(), 1, "and not otherwise");
}

#[test]
fn a_wrong_fault_is_refused_with_its_place() {
    for (args, want) in [
        (&["--fault", "rset"][..], "did you mean `reset`?\n  rset\n  ^^^^"),
        (&["--fault", "garbage"], "`garbage` is a fault of a server alone"),
        (&["--fault", "1: refuse"], "1: refuse"),
        (&["--seed", "1"], "--seed has no meaning without --fault, --as, --faults or --control"),
        (&["--faults", "/no/such/file"], "resound: --faults /no/such/file: "),
        (&["--replay", "Cargo.toml", "--record", "Cargo.toml"], "would overwrite what --replay reads"),
        (
            &["--replay", "/no/such/file"],
            "resound: --replay /no/such/file: No such file or directory\n  Check the path.\n",
        ),
        (&["--replay", "Cargo.toml"], "resound: --replay Cargo.toml: line 1 is not a line of a record"),
    ] {
        let (code, _, stderr) = run(&[&["relay", "127.0.0.1:0", "127.0.0.1:1"], args].concat(), b"");
        assert!(code == Some(2) && stderr.contains(want), "{args:?}: {code:?} {stderr}");
    }
}

#[test]
fn a_relay_that_refuses_and_one_that_never_accepts() {
    let (_server, target) = server(&["-q"]);
    let (_relay, address) = relay(&target, &["--fault", "refuse"]);
    let (code, _, stderr) = run(&["client", &port(address)], b"");
    assert!(code == Some(1) && stderr.contains("refused"), "{code:?} {stderr}");
    #[cfg(target_os = "linux")]
    {
        let (_relay, address) = relay(&target, &["--fault", "never-accept"]);
        let (code, _, stderr) = run(&["client", &port(address), "--connect-timeout", "300ms"], b"");
        assert!(code == Some(1) && stderr.contains("timeout"), "{code:?} {stderr}");
        // A relay waits as long for such a target as it is to.
        let (mut before, front) = relay(&address.to_string(), &["--connect-timeout", "300ms"]);
        before.stdout.until("Waiting");
        let (code, _, stderr) = run(&["client", &port(front), "--timeout", "60s"], b"Hello\n");
        assert!(code == Some(1) && stderr.contains("reset"), "{code:?} {stderr}");
        let line = before.stdout.next();
        assert!(line.contains(&format!("cannot connect to {address}: timeout")), "{line}");
    }
}

/// The processor time of a process so far, in clock ticks of 10 ms.
#[cfg(target_os = "linux")]
fn ticks(program: &Program) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.child.id())).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn two_ends_that_take_nothing_cost_no_processor_time() {
    use std::io::Write;
    use std::time::Duration;
    for engine in ["uring", "portable"].into_iter().filter(|engine| engines().contains(engine)) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let (relay, address) = relay(&target, &["--engine", engine, "--fault", "nagle", "--seed", "1"]);
        let client = std::net::TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        let flood = |mut socket: &std::net::TcpStream| {
            socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            while socket.write(&[7; 65536]).is_ok() {}
        };
        [&client, &server].into_iter().for_each(flood);
        // Both are full now, and each of these writes waits for 300 ms.
        let before = ticks(&relay);
        [&client, &server, &client].into_iter().for_each(flood);
        let spent = ticks(&relay) - before;
        assert!(spent < 20, "{engine}: {spent} ticks of 10 ms in about a second without a byte");
    }
}

#[test]
fn a_relay_to_itself_by_name_resets_its_client() {
    // A free port, which the name must have too.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = format!("localhost:{port}");
    let mut relay = Program::spawn(Program::command(&["relay", &format!("127.0.0.1:{port}"), &target]));
    relay.stdout.until("Waiting");
    let (code, stdout, _) = run(&["client", &port.to_string()], b"Hello\n");
    assert_eq!((code, stdout.len()), (Some(1), 0));
    let line = relay.stdout.next();
    assert!(line.ends_with(&format!("cannot connect to {target}: it leads back to this relay")), "{line}");
}

#[test]
fn a_quiet_relay_prints_the_port_that_was_chosen() {
    let (_relay, address) = relay("127.0.0.1:1", &["-q"]);
    assert_ne!(address.port(), 0);
}

#[cfg(unix)]
#[test]
fn a_second_signal_resets_what_is_open() {
    use std::io::{Read, Write};
    let (_server, target) = server(&["-q"]);
    let (mut relay, address) = relay(&target, &[]);
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"Hello\n").unwrap();
    client.read_exact(&mut [0; 23]).unwrap();
    relay.signal(rustix::process::Signal::TERM);
    relay.stdout.until("Shutting");
    relay.signal(rustix::process::Signal::TERM);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(relay.end().0, Some(130));
}

#[cfg(unix)]
#[test]
fn a_drain_does_not_wait_for_what_a_fault_keeps() {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    for fault in ["silent @6B", "up: eat-fin"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut relay, address) =
            relay(&listener.local_addr().unwrap().to_string(), &["--fault", fault, "--drain-timeout", "1h"]);
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let mut target = listener.accept().unwrap().0;
        client.write_all(b"Hello\n").unwrap();
        target.read_exact(&mut [0; 6]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        target.write_all(b"answer").unwrap();
        target.shutdown(Shutdown::Write).unwrap();
        relay.stdout.until("Fault on");
        relay.signal(rustix::process::Signal::TERM);
        let mut answer = Vec::new();
        let error = target.read_to_end(&mut answer).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{fault}");
        assert_eq!(relay.end().0, Some(0), "{fault}");
    }
}

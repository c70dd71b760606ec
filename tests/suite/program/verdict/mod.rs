//! `resound test` as its user sees it: what it prints and saves, and its exit codes.

#[cfg(target_os = "linux")]
mod clean;
#[cfg(target_os = "linux")]
mod filters;
#[cfg(target_os = "linux")]
mod found;
#[cfg(target_os = "linux")]
mod labs;
#[cfg(target_os = "linux")]
mod proxies;

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;
use tempfile::TempDir;

use crate::child::{Program, run};
use crate::client::basics::foreign;
use crate::client::connecting::closed_port;
use crate::harness::{PATIENCE, Peer};

/// Runs `resound test`: exit code, stdout, stderr.
fn tested(args: &[&str]) -> (Option<i32>, String, String) {
    let (code, stdout, stderr) = run(&[&["test"], args].concat(), b"");
    (code, String::from_utf8(stdout).unwrap(), stderr)
}

/// The document of a run with `--json`, which must be as its schema says.
fn document(stdout: &str) -> Value {
    let document: Value = serde_json::from_str(stdout).expect(stdout);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/test.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}: {stdout}");
    document
}

fn check<'a>(document: &'a Value, id: &str) -> &'a Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id} in {document:#}"))
}

/// A relay in front of a server, with a fault, and the address of the relay.
fn relayed(fault: &str) -> ([Program; 2], String) {
    let (server, target) = Program::server(&["-q"]);
    let command = Program::command(&["relay", "127.0.0.1:0", &target.to_string(), "--fault", fault]);
    let mut relay = Program::spawn(command);
    let line = relay.stdout.until("TCP Relay started on");
    let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).expect(&line);
    let address = address.trim_end_matches(',').to_string();
    ([server, relay], address)
}

#[test]
fn a_clean_path_passes_and_json_stands_alone() {
    let (_server, address) = Program::server(&["-q"]);
    let address = address.to_string();
    let (code, stdout, stderr) = tested(&[&address, "--json"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let document = document(&stdout);
    assert_eq!((&document["verdict"], &document["exit_code"]), (&"pass".into(), &0.into()));
    assert_eq!(document["addresses"][0]["far"], "probe");
    assert_eq!(check(&document, "messages")["ok"], 6);
    assert_eq!(check(&document, "connect")["verdict"], "pass");
    // Each check is there, tried or not.
    for id in resound_verdict::CheckId::ALL {
        check(&document, id.name());
    }
    let (code, stdout, stderr) = tested(&[&address, "-q"]);
    assert_eq!((code, stdout.lines().count(), stderr.as_str()), (Some(0), 1, ""), "{stdout}");
    assert!(stdout.starts_with(&format!("VERDICT  {address}: the path carries TCP correctly: ")), "{stdout}");
}

#[test]
fn a_failed_check_shows_its_evidence_and_how_to_see_it_again() {
    let (_programs, address) = relayed("up: close-on-eof");
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (json, junit, html) = (format!("--json={}", file("json")), file("junit"), file("html"));
    let args = [&address, "--skip", "messages", "--seed", "7", &json, "--junit", &junit, "--html", &html];
    let (code, stdout, _) = tested(&args);
    assert_eq!(code, Some(3), "{stdout}");
    let rows: Vec<_> = stdout.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(rows.len() == 1 && rows[0].starts_with("FAIL     half-close-out      0/3  "), "{stdout}");
    let (host, port) = address.split_once(':').unwrap();
    let again = format!("resound test {host} {port} --only half-close-out --seed 7");
    for part in ["direction: out", "control: ", "seen: ", "looks like: ", &format!("again: {again}\n")] {
        assert!(stdout.contains(&format!("\n         {part}")), "{part}: {stdout}");
    }
    let last = stdout.lines().last().unwrap();
    assert!(last.starts_with(&format!("VERDICT  {address}: the path changes TCP: 1 fail, ")), "{stdout}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let document = document(&read("json"));
    assert_eq!(check(&document, "half-close-out")["reproduce"], again);
    assert!(read("junit").contains("<failure type=\"fail\""));
    assert!(read("html").contains(">out: half-close-out"));
    // The command shows it again.
    let words: Vec<_> = again.split(' ').skip(2).collect();
    let (code, stdout, _) = tested(&words);
    assert_eq!(code, Some(3), "{stdout}");
    assert!(stdout.contains("FAIL     half-close-out      0/3  ") && !stdout.contains("integrity"), "{stdout}");
    // A line alone names what stands in no table.
    let (_, stdout, _) = tested(&[&words[..], &["-q"]].concat());
    assert!(stdout.ends_with("the path changes TCP: 1 fail (half-close-out)\n"), "{stdout}");
}

#[test]
fn a_wrong_answer_is_a_failed_check_and_the_path_is_still_tested() {
    let (_server, address) = Program::server(&["-q", "--mode", "echo"]);
    let address = address.to_string();
    let (code, stdout, _) = tested(&[&address]);
    assert_eq!(code, Some(3), "{stdout}");
    assert!(stdout.contains("add --expect echo") && stdout.contains("\npass     connect "), "{stdout}");
    let last = stdout.lines().last().unwrap();
    assert!(last.contains("the server answers wrongly; no fault of the path shows"), "{stdout}");
    let (code, stdout, _) = tested(&[&address, "--expect", "echo", "--json"]);
    let greeted = "\nfar end: a server that sends back what it receives\n\nverdict  check ";
    assert!(tested(&[&address, "--only", "connect"]).1.contains(greeted));
    assert_eq!((code, &document(&stdout)["addresses"][0]["far"]), (Some(0), &"echo".into()), "{stdout}");
    let (code, stdout, _) = tested(&[&address, "--expect", "echo", "--idle", "5s"]);
    assert_eq!(code, Some(4), "a check that was asked for and cannot be made is no success: {stdout}");
    assert!(stdout.contains("\nunknown  idle "), "{stdout}");
}

#[test]
fn one_connection_that_is_reset_is_no_pass_whichever_check_has_it() {
    for fault in ["1: reset", "5: accept-then-reset", "7: reset", "8: accept-then-reset"] {
        let (_server, address) = Program::server(&["-q", "--fault", fault]);
        let (code, stdout, _) = tested(&[&address.to_string()]);
        assert_eq!(code, Some(4), "{fault}: {stdout}");
        assert!(stdout.lines().last().unwrap().contains("flaky"), "{fault}: {stdout}");
    }
}

#[test]
fn no_connection_at_all_is_a_network_failure() {
    let (_held, address) = closed_port();
    let address = address.to_string();
    let (code, stdout, stderr) = tested(&[&address, "--json"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("cannot connect to") && stderr.contains("refused: "), "{stderr}");
    let document = document(&stdout);
    assert_eq!(document["verdict"], "no_connection");
    assert_eq!(check(&document, "connect")["verdict"], "fail");
    let (code, stdout, _) = tested(&[&address, "--only", "integrity"]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("\nFAIL     connect "), "it says why integrity cannot be tried: {stdout}");
    assert!(stdout.contains(": no connection: "), "{stdout}");
}

#[test]
fn what_could_not_be_judged_is_neither_good_nor_bad() {
    // It hangs up after the first line: the server, or the path.
    let (_server, address) = Program::server(&["-q", "--proxy-protocol", "require"]);
    let (code, stdout, _) = tested(&[&address.to_string()]);
    assert_eq!(code, Some(4), "{stdout}");
    assert!(stdout.contains("skip     messages: the server reset the connection"), "{stdout}");
    assert!(stdout.contains("\nunknown  accept-truth ") && stdout.contains("not all could be judged"), "{stdout}");
}

#[test]
fn nothing_is_sent_to_a_server_that_speaks_first() {
    let (send, received) = std::sync::mpsc::channel();
    let port = foreign(move |listener| {
        loop {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut all = Vec::new();
            let read = stream.write_all(b"220 ready\r\n").and_then(|()| stream.read_to_end(&mut all));
            if send.send((read.is_ok(), all)).is_err() {
                return;
            }
        }
    });
    let (code, stdout, stderr) = tested(&["127.0.0.1", &port]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let row = stdout.lines().find(|line| line.starts_with("skip     messages, integrity, ")).expect(&stdout);
    assert!(row.ends_with(": the server speaks first, so nothing is sent to it"), "{stdout}");
    assert!(stdout.ends_with("skip\n"), "{stdout}");
    let (first, second) = (received.recv_timeout(PATIENCE).unwrap(), received.recv_timeout(PATIENCE).unwrap());
    assert_eq!((first.1.len(), second.1.len()), (0, 0), "{first:?} {second:?}");
}

#[test]
fn another_protocol_gets_no_further_messages() {
    let port = foreign(|listener| {
        for stream in listener.incoming().flatten() {
            let mut peer = Peer(stream);
            let _ = peer.0.read(&mut [0; 512]);
            let _ = peer.0.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nHello, server!");
        }
    });
    let (code, stdout, _) = tested(&["127.0.0.1", &port]);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("skip     messages: the server answers something else: HTTP/1.1 400"), "{stdout}");
    assert!(!stdout.contains("ASCII"), "{stdout}");
}

#[test]
fn checks_are_chosen_by_their_names() {
    let (_server, address) = Program::server(&["-q"]);
    let port = address.port().to_string();
    let ids = |args: &[&str]| -> Vec<String> {
        let (code, stdout, stderr) = tested(&[&[&port, "--json"], args].concat());
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        let document = document(&stdout);
        document["checks"].as_array().unwrap().iter().map(|check| check["id"].as_str().unwrap().into()).collect()
    };
    assert_eq!(ids(&["--only", "connect,mtu-in", "--only", "rtt"]), ["connect", "mtu-in", "rtt"]);
    assert_eq!(ids(&["--only", "messages"]), ["messages"]);
    let rest = ids(&["--skip", "messages,integrity"]);
    assert!(rest.contains(&"both-ways".into()), "{rest:?}");
    assert!(!rest.contains(&"messages".into()) && !rest.contains(&"integrity".into()), "{rest:?}");
    let (code, stdout, stderr) = tested(&[&port, "--only", "half-close"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("there is no check 'half-close': perhaps half-close-out or half-close-in"), "{stderr}");
    // The same flags stand behind `client HOST PORT test`, and mean nothing without the word.
    let (code, stdout, _) = run(&["client", "127.0.0.1", &port, "test", "-q", "--only", "connect", "--strict"], b"");
    assert_eq!(code, Some(0));
    assert!(String::from_utf8(stdout).unwrap().ends_with("as far as it was checked: 1 pass\n"));
    let (code, stdout, _) = run(&["client", "127.0.0.1", &port, "test", "--json", "--only", "connect"], b"");
    assert_eq!(code, Some(0));
    check(&document(&String::from_utf8(stdout).unwrap()), "connect");
    let (code, _, stderr) = run(&["client", "127.0.0.1", &port, "--only", "connect"], b"");
    assert!(code == Some(2) && stderr.contains("--only has no meaning without a test"), "{stderr}");
}

#[test]
fn each_kind_of_address_can_be_tested() {
    let folder = TempDir::new().unwrap();
    let socket = format!("unix:{}", folder.path().join("socket").display());
    let (mut server, _) = Program::server(&["--listen", &socket, "--tls"]);
    let pin = server.stdout.until("Trust it with:").split_whitespace().last().unwrap().to_string();
    if cfg!(unix) {
        let (code, stdout, _) = tested(&[&socket, "--tls", "--pin", &pin, "-q"]);
        assert_eq!(code, Some(0), "{stdout}");
        assert!(stdout.starts_with(&format!("VERDICT  {socket}: the path carries TCP correctly")), "{stdout}");
    }
    if TcpListener::bind("[::1]:0").is_err() {
        return crate::not_tested::not_tested("a test over IPv6", "this machine has no IPv6");
    }
    let mut six = Program::spawn(Program::command(&["server", "::1", "0", "--tls"]));
    let address = six.stdout.next().rsplit(' ').next().unwrap().to_string();
    let pin = six.stdout.until("Trust it with:").split_whitespace().last().unwrap().to_string();
    let (code, stdout, stderr) = tested(&[&address, "--tls", "--pin", &pin, "--json"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let document = document(&stdout);
    assert_eq!(document["addresses"][0]["family"], "ipv6");
    assert_eq!(check(&document, "integrity")["verdict"], "pass");
}

#[test]
fn a_server_of_its_own_shows_what_the_checks_do() {
    let (code, stdout, stderr) = tested(&["--loopback", "--self-check", "--only", "messages,connect,integrity"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.starts_with("self-check: 2 checks pass against a server of this program\n"), "{stdout}");
    assert!(stdout.contains("6 of 6 checks passed"), "{stdout}");
    let (code, stdout, _) = tested(&["--loopback", "--tls", "--only", "integrity", "-q"]);
    assert_eq!(code, Some(0), "{stdout}");
    let (code, _, stderr) = tested(&["--loopback", "127.0.0.1"]);
    assert!(code == Some(2) && stderr.contains("leave out the address"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_test_that_is_cut_short_shows_what_it_knows() {
    // The system connects it; nothing is ever answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = TempDir::new().unwrap();
    let json = folder.path().join("json");
    let option = format!("--json={}", json.display());
    let mut test = Program::spawn(Program::command(&["test", &address, "--skip", "messages", &option]));
    test.stdout.until("Path to ");
    test.signal(rustix::process::Signal::INT);
    let rest = test.stdout.rest();
    assert!(rest.iter().any(|line| line.starts_with("cut short, not done: ")), "{rest:?}");
    let last = rest.last().unwrap();
    assert!(last.starts_with(&format!("VERDICT  {address}: cut short: ")), "{rest:?}");
    assert_eq!(test.end().0, Some(130));
    let document = document(&std::fs::read_to_string(json).unwrap());
    assert_eq!((&document["cut_short"], &document["verdict"]), (&true.into(), &"cut_short".into()));
    // The limit on the whole run does the same.
    let (code, stdout, stderr) = tested(&[&address, "--skip", "messages", "--timeout", "500ms"]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stderr.contains("not done after 500ms") && stdout.contains(": cut short: "), "{stdout}{stderr}");
}

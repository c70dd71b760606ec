//! `--admin`: metrics, health checks, the list of connections and the page, by a client that speaks
//! HTTP over a plain socket.

mod documents;
mod guard;
mod health;
mod many;
mod top;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::child::{Lines, Program, run};
use crate::harness::{PATIENCE, engines, eventually};

/// The address behind `Admin on `.
pub(super) fn admin_of(line: &str) -> SocketAddr {
    line.split("http://").nth(1).expect(line).parse().expect(line)
}

/// A server with `--admin`, and both addresses.
fn started(args: &[&str]) -> (Program, SocketAddr, SocketAddr) {
    let (mut server, address) = Program::server(&[&["--admin", "0"], args].concat());
    let admin = admin_of(&server.stdout.until("Admin on "));
    (server, address, admin)
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection on which a message was answered.
fn answered(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(b"Hello\n").unwrap();
    stream.read_exact(&mut [0; "Server received: Hello\n".len()]).unwrap();
    stream
}

/// An answer: its status, its head and its body.
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    body: String,
}

impl Answer {
    pub(super) fn read(from: &mut impl BufRead) -> Self {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(from.read_line(&mut head).unwrap() > 0, "cut short: {head:?}");
        }
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length =
            head.split("content-length: ").nth(1).map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
        let mut body = vec![0; length];
        from.read_exact(&mut body).unwrap();
        Self { status, head, body: String::from_utf8(body).unwrap() }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }
}

/// Sends bytes on a connection of its own, and reads the answer.
fn raw(admin: SocketAddr, request: &str) -> Answer {
    let mut stream = connect(admin);
    stream.write_all(request.as_bytes()).unwrap();
    Answer::read(&mut BufReader::new(stream))
}

pub(super) fn get(admin: SocketAddr, path: &str) -> Answer {
    raw(admin, &format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n"))
}

/// The samples of a scrape, by name and labels.
pub(super) fn samples(admin: SocketAddr) -> BTreeMap<String, f64> {
    let answer = get(admin, "/metrics");
    assert_eq!(answer.status, 200);
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect(line);
        (name.to_string(), value.parse().expect(line))
    };
    samples.map(sample).collect()
}

/// The sum of the samples whose name and labels contain all of these.
pub(super) fn sum(samples: &BTreeMap<String, f64>, parts: &[&str]) -> f64 {
    let found = samples.iter().filter(|(name, _)| parts.iter().all(|part| name.contains(part)));
    found.map(|(_, value)| value).sum()
}

/// The events of `/live`, as they come.
pub(super) fn live(admin: SocketAddr) -> impl Iterator<Item = Value> {
    let mut stream = connect(admin);
    write!(stream, "GET /live HTTP/1.0\r\nHost: {admin}\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream);
    let head = Answer::read(&mut lines).head;
    assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
    let data = |line: std::io::Result<String>| line.unwrap().strip_prefix("data: ").map(|json| json.to_string());
    lines.lines().filter_map(data).map(|json| serde_json::from_str(&json).expect(&json))
}

#[test]
fn a_client_that_closes_its_side_after_a_request_is_answered() {
    for engine in engines() {
        let (_server, _, admin) = started(&["--engine", engine]);
        for _ in 0..20 {
            let mut client = connect(admin);
            // The FIN is there before an answer is, as with `nc -N`.
            write!(client, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\n\r\n").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 ") && answer.ends_with("}\n"), "{engine}: {answer:?}");
        }
    }
}

#[test]
fn metrics_count_what_has_happened_and_no_peer_has_a_label() {
    for engine in engines() {
        let (_server, address, admin) = started(&["--engine", engine, "--deny", "127.0.0.9"]);
        let names = |samples: &BTreeMap<String, f64>| samples.keys().cloned().collect::<BTreeSet<_>>();
        let before = names(&samples(admin));
        let clients: Vec<_> = (0..150).map(|_| answered(address)).collect();
        let (gone, stay) = clients.split_at(147);
        gone.iter().for_each(|client| client.shutdown(std::net::Shutdown::Both).unwrap());
        let refused = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        refused.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).unwrap();
        refused.connect(&address.into()).unwrap();
        let listener = format!("listener=\"{address}\"");
        let of = |name: &str| sum(&samples(admin), &[name, &listener]);
        eventually("all ends are counted", || of("resound_connections_closed_total") == 147.0);
        eventually("the refusal is counted", || of("resound_connections_refused_total") == 1.0);
        assert_eq!(of("resound_connections_accepted_total"), 150.0, "{engine}");
        assert_eq!(of("resound_connections_open"), stay.len() as f64);
        assert_eq!(of("resound_messages_total"), 150.0);
        assert_eq!((of("resound_received_bytes_total"), of("resound_sent_bytes_total")), (150.0 * 6.0, 150.0 * 23.0));
        let after = samples(admin);
        assert_eq!(sum(&after, &["refused_total", "reason=\"denied\""]), 1.0);
        assert!(after["process_resident_memory_bytes"] > 1e6 && after["process_open_fds"] > 5.0);
        assert_eq!(names(&after), before, "{engine}");
        assert!(after.len() <= 200, "{} series", after.len());
    }
}

#[test]
fn a_file_and_the_environment_may_set_the_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resound.toml");
    std::fs::write(&path, "[server]\nport = 0\nadmin = 0\n").unwrap();
    let mut command = Program::command(&["server", "--config", path.to_str().unwrap()]);
    command.env("RESOUND_SERVER_ADMIN_HOST", "one.example,two.example");
    let mut server = Program::spawn(command);
    let admin = admin_of(&server.stdout.until("Admin on "));
    let status = |host: &str| raw(admin, &format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")).status;
    assert_eq!(["one.example", "two.example", "three.example"].map(status), [200, 200, 403]);
}

#[test]
fn scrapers_get_the_format_that_they_take() {
    let (_server, _, admin) = started(&[]);
    let answer = get(admin, "/metrics");
    assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(answer.body.ends_with("\n# EOF\n"));
    let accepting = |accept| raw(admin, &format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nAccept: {accept}\r\n\r\n"));
    let plain = accepting("text/plain;version=0.0.4;q=1,*/*;q=0.1");
    assert!(plain.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{}", plain.head);
    assert!(!plain.body.contains("# EOF") && plain.body.contains("# TYPE resound_messages_total counter\n"));
    let both = accepting("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
    assert!(both.body.ends_with("\n# EOF\n"));
}

#[test]
fn handshakes_are_timed() {
    let (_server, address, admin) = started(&["--tls"]);
    let port = address.port().to_string();
    let (code, _, stderr) = run(&["client", &port, "--tls", "--insecure", "--timeout", "60s"], b"Hello\n");
    assert_eq!(code, Some(0), "{stderr}");
    let after = samples(admin);
    let of = |name: &str| sum(&after, &[name]);
    assert_eq!(of("resound_handshake_duration_seconds_count"), 1.0);
    assert_eq!(sum(&after, &["handshake_duration_seconds_bucket", "+Inf"]), 1.0);
    assert!(of("resound_handshake_duration_seconds_sum") > 0.0);
}

#[test]
fn connections_are_listed_in_the_order_that_is_asked_for() {
    for engine in engines() {
        let (_server, address, admin) = started(&["--engine", engine]);
        let mut clients: Vec<_> = (0..5).map(|_| answered(address)).collect();
        clients[2].write_all(b"once more\n").unwrap();
        clients[2].read_exact(&mut [0; 27]).unwrap();
        let most = || get(admin, "/connections?limit=2&sort=messages").json();
        eventually("both messages are counted", || most()["connections"][0]["messages"] == 2);
        let list = most();
        assert_eq!((&list["open"], &list["complete"], &list["sort"]), (&5.into(), &true.into(), &"messages".into()));
        assert_eq!(list["connections"].as_array().unwrap().len(), 2, "{engine}");
        let row = &list["connections"][0];
        assert_eq!(row["peer"], clients[2].local_addr().unwrap().to_string());
        assert_eq!((&row["listener"], &row["state"]), (&address.to_string().into(), &"open".into()));
        eventually("all bytes are counted", || most()["connections"][0]["bytes_out"] == 50);
        assert_eq!((&row["bytes_in"], &row["direction"]), (&16.into(), &"accepted".into()));
        assert!(row["age_seconds"].as_f64().unwrap() >= row["idle_seconds"].as_f64().unwrap());
        if cfg!(target_os = "linux") {
            assert!(row["tcp"]["congestion_window"].as_u64().unwrap() > 0 && row["send_queue_bytes"].is_u64(), "{row}");
        }
        let all = get(admin, "/connections").json();
        let numbers: Vec<_> = all["connections"].as_array().unwrap().iter().map(|row| row["conn"].as_u64()).collect();
        assert_eq!(numbers, (1..=5).map(Some).collect::<Vec<_>>(), "{engine}");
        drop(clients);
        eventually("none is open", || get(admin, "/connections").json()["connections"] == Value::Array(Vec::new()));
    }
}

#[test]
fn more_connections_than_a_worker_tells_of_at_a_time_are_listed() {
    for engine in engines() {
        let (_server, address, admin) = started(&["--engine", engine]);
        let clients: Vec<_> = (0..200).map(|_| answered(address)).collect();
        let list = get(admin, "/connections?limit=1000").json();
        let peer = |row: &Value| row["peer"].as_str().unwrap().to_string();
        let listed: BTreeSet<_> = list["connections"].as_array().unwrap().iter().map(peer).collect();
        let want = clients.iter().map(|client| client.local_addr().unwrap().to_string()).collect();
        assert_eq!(listed, want, "{engine}");
    }
}

#[test]
fn live_events_have_rates_and_totals() {
    let (_server, address, admin) = started(&["--workers", "2"]);
    let mut events = live(admin);
    let first = events.next().unwrap();
    assert_eq!((&first["command"], &first["totals"]["accepted"]), (&"server".into(), &0.into()));
    let _client = answered(address);
    let rate = |event: &Value| event["messages_per_second"].as_f64().unwrap() > 0.0;
    // There is one event a second.
    let busy = events.take(60).find(rate).expect("no event has a rate");
    assert!(busy["accepted_per_second"].as_f64().unwrap() > 0.0 && busy["bytes_in_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!((&busy["open"], &busy["totals"]["messages"]), (&1.into(), &1.into()));
    assert_eq!(busy["workers"].as_array().unwrap().len(), 2);
    assert_eq!(busy["listeners"][0]["listener"], address.to_string());
    assert_eq!(busy["status"], "ready");
}

#[test]
fn messages_that_a_reset_leaves_without_an_answer_are_counted() {
    for engine in engines() {
        let (_server, address, admin) = started(&["--engine", engine]);
        let mut stalled = connect(address);
        stalled.set_write_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        while stalled.write_all(&b"never read\n".repeat(1000)).is_ok() {}
        assert_eq!(sum(&samples(admin), &["resound_messages_unanswered_total"]), 0.0, "{engine}");
        socket2::SockRef::from(&stalled).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(stalled);
        let unanswered = || sum(&samples(admin), &["resound_messages_unanswered_total"]);
        eventually("they are counted", || unanswered() > 0.0);
    }
}

#[test]
fn a_relay_counts_both_of_its_sides_and_its_faults() {
    let (_server, target, _) = started(&["-q"]);
    let args = ["relay", "127.0.0.1:0", &target.to_string(), "--admin", "0", "--fault", "2: reset @0B"];
    let mut relay = Program::spawn(Program::command(&args));
    let line = relay.stdout.until("TCP Relay started on ");
    let address: SocketAddr = line.split([' ', ',']).nth(4).unwrap().parse().expect(&line);
    let admin = admin_of(&relay.stdout.until("Admin on "));
    let _client = answered(address);
    let mut faulty = connect(address);
    let _ = faulty.write_all(b"Hello\n");
    assert!(faulty.read_to_end(&mut Vec::new()).is_err(), "it is reset");
    let of = |parts: &[&str]| sum(&samples(admin), parts);
    eventually("the fault is counted", || of(&["faults_injected_total", "kind=\"reset\""]) == 1.0);
    assert_eq!(of(&["faults_injected_total"]), 1.0);
    assert_eq!(of(&["connections_accepted_total", &address.to_string()]), 2.0);
    assert!(of(&["connections_dialled_total"]) >= 1.0);
    eventually("one pair is left", || of(&["connections_open", "dialled"]) == 1.0);
    let rows = get(admin, "/connections").json();
    let directions = rows["connections"].as_array().unwrap().iter().map(|row| row["direction"].as_str().unwrap());
    assert_eq!(directions.collect::<BTreeSet<_>>(), BTreeSet::from(["accepted", "dialled"]));
    let client = rows["connections"].as_array().unwrap().iter().find(|row| row["direction"] == "accepted").unwrap();
    let of_client = rows["connections"].as_array().unwrap().iter().filter(|row| row["pair"] == client["conn"]);
    assert_eq!(of_client.count(), 2, "{rows}");
    let peers: Vec<_> = rows["connections"].as_array().unwrap().iter().map(|row| row["peer"].clone()).collect();
    assert!(peers.contains(&target.to_string().into()), "{peers:?}");
}

#[test]
fn a_load_that_runs_is_seen() {
    let (_server, target, _) = started(&["-q"]);
    let port = target.port().to_string();
    let args = ["load", "127.0.0.1", &port, "-c", "3", "-r", "50", "-d", "60s", "--admin", "0"];
    let mut load = Program::spawn(Program::command(&args));
    let admin = admin_of(&Lines::of(load.child.stderr.take().unwrap()).until("resound: Admin on "));
    let of = |parts: &[&str]| sum(&samples(admin), parts);
    eventually("messages are counted", || of(&["resound_messages_total"]) > 3.0);
    assert_eq!(of(&["resound_build_info", "command=\"load\""]), 1.0);
    assert_eq!(of(&["resound_connections_dialled_total"]), 3.0);
    assert_eq!(get(admin, "/connections").json()["open"], 3);
    assert_eq!(get(admin, "/readyz").status, 200);
}

//! The control API of `resound relay`, by a client that speaks HTTP over a plain socket.

mod limits;
mod served;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::child::{Program, run};
use crate::harness::{PATIENCE, engines};
use crate::program::tutorial::python;

/// A relay with a control API.
struct Controlled {
    relay: Program,
    address: SocketAddr,
    control: SocketAddr,
}

/// A reply: its status, its head and its body.
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    /// The events of the body, without their times.
    fn events(&self) -> Vec<Value> {
        String::from_utf8(self.body.clone()).unwrap().lines().map(event).collect()
    }
}

fn event(line: &str) -> Value {
    let mut event: Value = serde_json::from_str(line).expect(line);
    assert!(event.as_object_mut().unwrap().remove("time").is_some_and(|time| time.is_string()), "{line}");
    event
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads a head, up to the empty line.
fn head(from: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(from.read_line(&mut head).unwrap() > 0, "cut short: {head:?}");
    }
    head
}

/// Reads a chunk; `None` is the last one.
fn chunk(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut size = String::new();
    from.read_line(&mut size).unwrap();
    let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("{size:?}"));
    let mut chunk = vec![0; size + 2];
    from.read_exact(&mut chunk).unwrap();
    assert_eq!(chunk.split_off(size), b"\r\n");
    (size > 0).then_some(chunk)
}

fn read_reply(from: &mut impl BufRead) -> Reply {
    let head = head(from);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = Vec::new();
    if head.contains("Transfer-Encoding: chunked\r\n") {
        body.extend(std::iter::from_fn(|| chunk(from)).flatten());
    } else {
        let length = head.split("Content-Length: ").nth(1).unwrap().split('\r').next().unwrap();
        body = vec![0; length.parse().unwrap()];
        from.read_exact(&mut body).unwrap();
    }
    Reply { status, head, body }
}

impl Controlled {
    fn start(target: &str, args: &[&str]) -> Self {
        let control = ["relay", "127.0.0.1:0", target, "--control", "127.0.0.1:0"];
        let mut relay = Program::spawn(Program::command(&[&control, args].concat()));
        let line = relay.stdout.until("TCP Relay started on ");
        let address = line.split([' ', ',']).nth(4).unwrap().parse().expect(&line);
        let line = relay.stdout.until("Control on ");
        let control = line.strip_prefix("Control on http://").unwrap().parse().expect(&line);
        Self { relay, address, control }
    }

    /// Sends bytes on a connection of its own, and reads the reply.
    fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = connect(self.control);
        stream.write_all(bytes).unwrap();
        read_reply(&mut BufReader::new(stream))
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> Reply {
        let (host, length) = (self.control, body.len());
        self.raw(
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes(),
        )
    }

    fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, "")
    }

    /// Sets faults, and returns from which connection on they hold.
    fn put(&self, faults: &str) -> u64 {
        let reply = self.ask("PUT", "/faults", &json!({"faults": faults}).to_string());
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.json()["faults"], faults);
        reply.json()["from"].as_u64().unwrap()
    }

    /// One message through the relay: the answer, which is empty if the connection was reset.
    fn message(&self) -> String {
        let port = self.address.port().to_string();
        String::from_utf8(run(&["client", &port, "--timeout", "60s"], b"Hello\n").1).unwrap()
    }

    /// The lines of a stream of events.
    fn stream(&self, target: &str) -> BufReader<TcpStream> {
        let mut stream = connect(self.control);
        write!(stream, "GET {target} HTTP/1.0\r\nHost: {}\r\n\r\n", self.control).unwrap();
        let mut lines = BufReader::new(stream);
        let head = head(&mut lines);
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && !head.contains("Transfer-Encoding"), "{head}");
        assert!(head.contains("Content-Type: application/x-ndjson\r\n"), "{head}");
        lines
    }
}

fn next(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    assert!(lines.read_line(&mut line).unwrap() > 0, "the stream has ended");
    event(&line)
}

/// Starts a server, and a relay to it.
fn started(args: &[&str]) -> (Program, Controlled) {
    let (server, target) = Program::server(&["-q"]);
    let controlled = Controlled::start(&target.to_string(), args);
    (server, controlled)
}

#[test]
fn a_test_sets_faults_runs_its_client_and_reads_the_timeline() {
    for engine in engines().into_iter().filter(|engine| *engine != "threads") {
        let (_server, mut relay) = started(&["--engine", engine, "--seed", "7"]);
        let answered = "Server received: Hello\n";
        assert_eq!(relay.get("/faults").json(), json!({"from": 1, "seed": 7, "faults": ""}));
        assert_eq!(relay.message(), answered);
        let from = relay.put("reset @0B");
        assert_eq!(from, 2);
        assert_eq!(relay.relay.stdout.until("Faults"), "Faults from connection 2 on, seed 7: reset @0B");
        assert_eq!(relay.message(), "");
        assert_eq!(relay.put(""), 3);
        assert_eq!(relay.message(), answered);
        let mut lines = relay.stream("/events?from=2");
        let events: Vec<Value> = (0..7).map(|_| next(&mut lines)).collect();
        assert_eq!(events[0], json!({"event": "faults", "from": 2, "seed": 7, "faults": "reset @0B"}));
        let of = |name: &str, conn: u64| {
            let found = events.iter().find(|event| event["event"] == name && event["conn"] == conn);
            found.unwrap_or_else(|| panic!("{name} of {conn} in {events:?}"))
        };
        let fault = of("fault", 2);
        assert_eq!((&fault["kind"], &fault["offset"], &fault["direction"]), (&"reset".into(), &0.into(), &"up".into()));
        assert!(of("closed", 2)["ended_by"].is_string());
        assert!(events.contains(&json!({"event": "faults", "from": 3, "seed": 7, "faults": ""})));
        assert_eq!(of("closed", 3)["up"], json!({"bytes": 6, "fin": true}));
        of("opened", 2);
        of("opened", 3);
        assert!(events.iter().all(|event| event["conn"] != 1), "{events:?}");
        // The same, so far.
        assert_eq!(relay.get("/events?wait=0&from=2").events(), events);
        let all = relay.get("/events?wait=0").events();
        assert_eq!((all.len(), &all[0]), (10, &json!({"event": "faults", "from": 1, "seed": 7, "faults": ""})));
        // A stream that waits gets an event as it happens.
        relay.message();
        assert_eq!(next(&mut lines)["event"], "opened");
        assert_eq!(next(&mut lines)["conn"], 4);
    }
}

#[test]
fn rules_are_appended_and_the_seed_changes() {
    let (_server, relay) = started(&["--fault", "1: reset @0B", "--seed", "3"]);
    let patch = |body: Value| relay.ask("PATCH", "/faults", &body.to_string());
    for (body, want) in [
        (
            json!({"faults": "down: delay=1ms"}),
            json!({"from": 1, "seed": 3, "faults": "1: reset @0B; down: delay=1ms"}),
        ),
        (json!({"seed": 9}), json!({"from": 1, "seed": 9, "faults": "1: reset @0B; down: delay=1ms"})),
        (json!({"faults": " "}), json!({"from": 1, "seed": 9, "faults": "1: reset @0B; down: delay=1ms"})),
        (
            json!({"faults": "2: close", "seed": 4}),
            json!({"from": 1, "seed": 4, "faults": "1: reset @0B; down: delay=1ms; 2: close @0B"}),
        ),
    ] {
        let reply = patch(body);
        let mut got = reply.json();
        let printed = |text: &Value| text["faults"].as_str().unwrap().replace(" @0B", "");
        assert_eq!((reply.status, printed(&got)), (200, printed(&want)));
        got["faults"] = want["faults"].clone();
        assert_eq!(got, want);
    }
    let replaced = relay.ask("PUT", "/faults", r#"{"faults":"cap=9","seed":18446744073709551615}"#);
    assert_eq!(replaced.json(), json!({"from": 1, "seed": u64::MAX, "faults": "cap=9"}));
    assert_eq!(relay.get("/faults").json(), replaced.json());
}

#[test]
fn each_connection_suffers_what_was_set_before_it_and_nothing_else() {
    for engine in engines().into_iter().filter(|engine| *engine != "threads") {
        let (_server, relay) = started(&["--engine", engine, "--workers", "2", "--seed", "1"]);
        let is_over = AtomicBool::new(false);
        let mut froms = vec![1];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !is_over.load(Relaxed) {
                        let mut stream = connect(relay.address);
                        let _ = stream.write_all(b"Hello\n");
                        let _ = stream.shutdown(std::net::Shutdown::Write);
                        let _ = stream.read_to_end(&mut Vec::new());
                    }
                });
            }
            // Each setting has an offset of its own.
            for number in 1..=20 {
                froms.push(relay.put(&format!("down: corrupt @{number}B")));
                let mut lines = relay.stream(&format!("/events?from={}", froms.last().unwrap()));
                // Until connections have suffered it.
                let mut seen = 0;
                while seen < 25 {
                    seen += u32::from(next(&mut lines)["event"] == "closed");
                }
            }
            is_over.store(true, Relaxed);
        });
        assert!(froms.is_sorted(), "{froms:?}");
        let events = relay.get("/events?wait=0").events();
        let mut faults = 0;
        for event in events.iter().filter(|event| event["event"] == "fault") {
            let conn = event["conn"].as_u64().unwrap();
            let setting = froms.iter().rposition(|from| *from <= conn).unwrap();
            assert_eq!(event["offset"], setting, "connection {conn} of {froms:?}");
            faults += 1;
        }
        assert!(faults >= 20 * 20, "{faults}");
        // And none was left out.
        let is_late = |event: &&Value| event["event"] == "opened" && event["conn"].as_u64() >= Some(froms[1]);
        for opened in events.iter().filter(is_late) {
            let has_fault = |fault: &Value| fault["event"] == "fault" && fault["conn"] == opened["conn"];
            assert!(events.iter().any(has_fault), "{opened}");
        }
    }
}

#[test]
fn open_connections_are_listed_with_their_bytes() {
    for engine in engines().into_iter().filter(|engine| *engine != "threads") {
        let (_server, relay) = started(&["--engine", engine]);
        assert_eq!(relay.get("/connections").json(), json!({"open": 0, "connections": []}));
        let mut client = connect(relay.address);
        client.write_all(b"Hello\n").unwrap();
        client.read_exact(&mut [0; 23]).unwrap();
        // With faults too.
        relay.put("delay=1ms");
        let mut slow = connect(relay.address);
        slow.write_all(b"Hello\n").unwrap();
        slow.read_exact(&mut [0; 23]).unwrap();
        let list = relay.get("/connections").json();
        assert_eq!((&list["open"], list["connections"].as_array().unwrap().len()), (&2.into(), 2));
        for (index, stream) in [&client, &slow].into_iter().enumerate() {
            let pair = &list["connections"][index];
            assert_eq!((&pair["conn"], &pair["up"], &pair["down"]), (&(index + 1).into(), &6.into(), &23.into()));
            assert_eq!(pair["peer"], stream.local_addr().unwrap().to_string());
            assert!(pair["target"].is_string() && pair["seconds"].is_number(), "{pair}");
        }
        let mut lines = relay.stream("/events?from=1");
        drop((client, slow));
        let mut closed = 0;
        while closed < 2 {
            closed += u32::from(next(&mut lines)["event"] == "closed");
        }
        assert_eq!(relay.get("/connections").json()["open"], 0);
    }
}

#[test]
fn a_target_that_refuses_is_an_event() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let relay = Controlled::start(&closed, &[]);
    let mut lines = relay.stream("/events?from=1");
    assert_eq!(next(&mut lines)["event"], "faults");
    relay.message();
    let event = next(&mut lines);
    assert_eq!(
        (&event["event"], &event["class"], &event["target"]),
        (&"unanswered".into(), &"refused".into(), &closed.into())
    );
}

#[test]
fn changes_are_recorded_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let record = record.to_str().unwrap();
    let (_server, relay) = started(&["--record", record, "--seed", "4"]);
    relay.message();
    assert_eq!(relay.put("down: truncate @6B"), 2);
    assert_eq!(relay.message(), "Server");
    drop(relay);
    let text = std::fs::read_to_string(record).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({"from": 1, "seed": 4, "faults": ""}));
    assert_eq!(lines[1], json!({"from": 2, "seed": 4, "faults": "down: truncate @6B"}));
    assert_eq!(lines[2]["kind"], "truncate");
    let (_server, relay) = started(&["--replay", record]);
    assert_eq!(relay.get("/faults").json()["faults"], "", "what holds for the next connection");
    assert_eq!(relay.message(), "Server received: Hello\n");
    assert_eq!(relay.get("/faults").json()["faults"], "down: truncate @6B");
    assert_eq!(relay.message(), "Server");
}

/// A reader does not keep the relay, and sees that its stream is not complete.
#[cfg(unix)]
#[test]
fn the_relay_ends_while_events_are_read() {
    let (_server, relay) = started(&[]);
    let mut stream = BufReader::new(connect(relay.control));
    write!(stream.get_mut(), "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", relay.control).unwrap();
    assert!(head(&mut stream).contains("Transfer-Encoding: chunked\r\n"));
    assert!(chunk(&mut stream).is_some());
    relay.relay.signal(rustix::process::Signal::TERM);
    assert_eq!(relay.relay.end().0, Some(0));
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"", "no last chunk");
}

/// The document that the API serves, and what the API does.
#[test]
fn the_description_is_what_the_api_does() {
    let (_server, relay) = started(&[]);
    relay.put("1: reset @0B");
    relay.message();
    relay.message();
    let idle = connect(relay.address);
    let document = relay.get("/openapi.json").json();
    let committed = include_str!("../../../schema/control.openapi.json");
    assert_eq!(document, serde_json::from_str::<Value>(committed).unwrap());
    assert_eq!(document["openapi"], "3.1.0");
    let methods = ["get", "put", "patch", "post", "delete"];
    for (path, item) in document["paths"].as_object().unwrap() {
        let described: Vec<_> = methods.iter().filter(|method| item.get(**method).is_some()).collect();
        for method in methods {
            let target = if path == "/events" { "/events?wait=0" } else { path };
            let bodies = ["", r#"{"faults":"1: delay=1ms"}"#, r#"{"faults":"rset"}"#, r#"{"faults":"refuse"}"#];
            for body in bodies {
                let reply = relay.ask(&method.to_uppercase(), target, body);
                assert_eq!(reply.status != 405, described.contains(&&method), "{method} {path}");
                // What no method takes has the reply that each other method describes.
                let operation = item.get(method).unwrap_or(&item["get"]);
                let response = &operation["responses"][reply.status.to_string()];
                let content =
                    response["content"].as_object().unwrap_or_else(|| panic!("{method} {path} {}", reply.status));
                let (content_type, media) = content.iter().next().unwrap();
                assert!(reply.head.contains(&format!("Content-Type: {content_type}\r\n")), "{}", reply.head);
                assert_eq!(response["headers"].get("Allow").is_some(), reply.head.contains("\r\nAllow: "));
                let mut schema = media["schema"].clone();
                schema["components"] = document["components"].clone();
                let validator = jsonschema::validator_for(&schema).unwrap();
                let text = String::from_utf8(reply.body.clone()).unwrap();
                let values: Vec<&str> = if path == "/events" { text.lines().collect() } else { vec![&text] };
                for text in values {
                    let value: Value = serde_json::from_str(text).unwrap();
                    let wrong: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
                    assert!(wrong.is_empty(), "{method} {path}: {text} {wrong:?}");
                }
            }
        }
    }
    drop(idle);
    // The statuses of a wrong request are described for every operation.
    for item in document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values()) {
        for status in ["400", "403", "405", "408", "413", "431", "503"] {
            assert!(item["responses"].get(status).is_some(), "{status} of {}", item["operationId"]);
        }
    }
}

/// The test in the guide, as it is printed there.
#[test]
fn the_guides_test_in_python_passes() {
    let (_server, relay) = started(&[]);
    let guide = include_str!("../../../docs/faults.md");
    let script = guide.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let script = script.replace("127.0.0.1:8474", &relay.control.to_string());
    let script = script.replace("8889", &relay.address.port().to_string());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guide.py");
    std::fs::write(&file, script + "\ntest_the_client_tries_again_after_a_reset()\nprint('passed')\n").unwrap();
    let Some(mut python) = python(&file, &[]) else { return };
    assert_eq!(python.stdout.next(), "passed");
    assert_eq!(python.end().0, Some(0));
}

//! The control API of `resound server`.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use serde_json::{Value, json};

use super::Controlled;
use crate::child::Program;
use crate::harness::engines;

impl Controlled {
    fn serving(args: &[&str]) -> Self {
        let (mut relay, address) = Program::server(&[&["--control", "127.0.0.1:0"], args].concat());
        let line = relay.stdout.until("Control on ");
        let control = line.strip_prefix("Control on http://").unwrap().parse().expect(&line);
        Self { relay, address, control }
    }
}

#[test]
fn a_test_sets_the_faults_of_a_server_and_reads_the_timeline() {
    for engine in engines() {
        let mut server = Controlled::serving(&["--engine", engine, "--seed", "7"]);
        let answer = "Server received: Hello\n";
        assert_eq!(server.message(), answer);
        assert_eq!(server.put("duplicate-last-line @0B"), 2);
        let line = server.relay.stdout.until("Faults from connection 2");
        assert_eq!(line, "Faults from connection 2 on, seed 7: duplicate-last-line @0B");
        assert_eq!(server.message(), format!("{answer}{answer}"));
        assert_eq!(server.put(""), 3);
        assert_eq!(server.message(), answer);
        let names = |events: &[Value]| -> Vec<_> {
            events.iter().map(|event| event["event"].as_str().unwrap().to_string()).collect()
        };
        let of = || server.get("/events?from=2&wait=0").events();
        let closed = |events: &[Value]| events.iter().filter(|event| event["event"] == "closed").count();
        crate::harness::eventually("both are closed", || closed(&of()) == 2);
        let events = of();
        assert_eq!(names(&events), ["faults", "opened", "fault", "closed", "faults", "opened", "closed"], "{engine}");
        assert_eq!((&events[2]["kind"], &events[2]["conn"]), (&"duplicate-last-line".into(), &2.into()));
        assert_eq!((&events[3]["reason"], &events[3]["messages"]), (&"finished".into(), &1.into()));
    }
}

#[test]
fn a_server_lists_its_open_connections() {
    for engine in engines() {
        let server = Controlled::serving(&["--engine", engine]);
        let mut clients: Vec<_> = (0..3).map(|_| super::connect(server.address)).collect();
        for client in &mut clients {
            client.write_all(b"Hello\n").unwrap();
            client.read_exact(&mut [0; 23]).unwrap();
        }
        // A server may count a moment after its client has read.
        let all_counted = |open: &Value| open["connections"].as_array().unwrap().iter().all(|row| row["down"] == 23);
        crate::harness::eventually("all is counted", || all_counted(&server.get("/connections").json()));
        let open = server.get("/connections").json();
        assert_eq!(open["open"], 3, "{engine}");
        // Workers number them, and may do so in another order.
        let peers: BTreeSet<_> = clients.iter().map(|client| client.local_addr().unwrap().to_string()).collect();
        let rows = open["connections"].as_array().unwrap();
        assert_eq!(rows.iter().map(|row| row["peer"].as_str().unwrap().to_string()).collect::<BTreeSet<_>>(), peers);
        for row in rows {
            assert_eq!((&row["target"], &row["up"], &row["down"]), (&Value::Null, &6.into(), &23.into()));
        }
        drop(clients);
        crate::harness::eventually("all are closed", || server.get("/connections").json()["open"] == 0);
        let refused = server.ask("PUT", "/faults", &json!({"faults": "up: eat-fin"}).to_string());
        assert_eq!((refused.status, refused.json()["start"].clone()), (422, 4.into()));
    }
}

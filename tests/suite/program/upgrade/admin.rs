//! `--admin` of a server that another process replaces.

use std::io::{BufReader, Read, Write};

use super::{Generations, program};
use crate::harness::{Peer, engines, eventually};
use crate::program::admin::{Answer, admin_of, connect, get, live, samples, sum};

#[test]
fn metrics_and_health_checks_move_with_the_server() {
    for engine in engines() {
        let (mut server, address) = Generations::server(program(), &["--engine", engine, "--admin", "0"]);
        let admin = admin_of(&server.program.stdout.until("Admin on "));
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        let mut held = Peer::connect(address);
        held.ask("held by the first");
        eventually("the first is ready", || get(admin, "/readyz").status == 200);
        let mut events = live(admin);
        events.next().expect("an event");
        let mut idle = BufReader::new(connect(admin));
        idle.get_mut().write_all(request("/connections").as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut idle).json()["open"], 1);
        let mut silent = BufReader::new(connect(admin));
        assert_eq!(get(admin, "/healthz").status, 200, "it was accepted behind the other");
        server.upgrade();
        assert_eq!(silent.read(&mut [0]).unwrap(), 0, "{engine}: it is to ask the other process");
        assert_eq!(idle.read(&mut [0]).unwrap(), 0, "{engine}: it is to ask the other process");
        events.for_each(drop);
        eventually("the next is ready", || get(admin, "/readyz").status == 200);
        assert_eq!(get(admin, "/connections").json()["open"], 0);
        Peer::connect(address).ask("served by the next");
        assert_eq!(sum(&samples(admin), &["resound_connections_accepted_total"]), 1.0, "{engine}");
        held.ask("still there");
        drop(held);
        server.end();
    }
}

//! `cargo run --release --manifest-path benches/Cargo.toml`: resound's engines beside minimal echo
//! servers on tokio, monoio and a raw epoll loop, in turns on one machine, and what a message costs
//! each of them.

mod load;
mod options;
mod paired;
mod peers;
mod relay;
mod relays;
mod report;
mod server;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use load::LoadBench;
use report::{Figures, Report};
use server::ServerBench;

/// Connections, messages under way on each, bytes of a message.
const CELLS: [(usize, usize, usize); 7] = [
    (1, 1, 64),
    (8, 1, 64),
    (64, 1, 64),
    (1_000, 1, 64),
    (10_000, 1, 64),
    (64, 16, 64),
    (8, 1, 65_536),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, peer, port] = &arguments[..]
        && word == "peer"
    {
        return peers::serve(peer, port.parse().expect("a port"));
    }
    if let [word, cert, key, port] = &arguments[..]
        && word == "peer-tls"
    {
        return tls::serve(cert, key, port.parse().expect("a port"));
    }
    server::raise_descriptor_limit();
    if arguments.first().is_some_and(|word| word == "tls") {
        return tls::run();
    }
    if arguments.first().is_some_and(|word| word == "relay") {
        return relay::run();
    }

    let (rounds, time) = options::extent(3, 1.5);
    let servers = ServerBench::all();
    let mut report = Report::new(rounds, time);
    for cell in CELLS {
        let mut seen: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
        for _ in 0..rounds {
            for server in &servers {
                let figures = measure(server, cell, time);
                eprintln!(
                    "{:>6} x {:>2} x {:>6} bytes  {:<18} {figures}",
                    cell.0, cell.1, cell.2, server.name
                );
                seen.entry(server.name).or_default().push(figures);
            }
        }
        for server in &servers {
            report.add(cell, server.name, &seen[server.name]);
        }
    }
    for server in &servers {
        report.add_accepts(server.name, (0..rounds).map(|_| accepts(server, time)).collect());
    }
    report.write();
}

/// One server, one cell.
fn measure(server: &ServerBench, cell: (usize, usize, usize), time: Duration) -> Figures {
    let running = server.start();
    let before = running.memory();
    let load = LoadBench::new(running.address, cell);
    let spoken = load.speak_once();
    let memory = running.memory().saturating_sub(before);
    let result = spoken.run(time, || running.cpu());
    Figures {
        rate: result.rate,
        cpu: result.cpu,
        p50: result.p50,
        p99: result.p99,
        memory: memory as f64 / cell.0 as f64,
        start: running.took,
    }
}

/// Connect, one echo, close: how many in a second.
fn accepts(server: &ServerBench, time: Duration) -> f64 {
    let running = server.start();
    load::accepts(running.address, time)
}

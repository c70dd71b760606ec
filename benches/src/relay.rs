//! `cargo run --release --manifest-path benches/Cargo.toml -- relay`: what passing bytes on costs
//! resound's relay, HAProxy, nginx, socat and a relay in Go, in turns.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

use crate::load::LoadBench;
use crate::options;
use crate::paired::{Lots, PairedRatio};
use crate::relays::{BASES, OWN, RelayBench, relays};
use crate::report::{machine, median, write_result};
use crate::server::{RunningServer, ServerBench, connects, on_processor, work_folder};

/// What is measured of a relay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RelayScene {
    /// Connections, messages under way on each, bytes of a message; each message comes back.
    Messages(usize, usize, usize),
    /// One client sends as fast as the target reads.
    Stream,
    /// Pairs that have spoken once.
    Idle,
    /// One message at a time, beside the same without a relay.
    Added,
}

use RelayScene::{Added, Idle, Messages, Stream};

const SCENES: [RelayScene; 6] = [
    Messages(64, 1, 64),
    Messages(1_000, 1, 64),
    Messages(8, 1, 65_536),
    Stream,
    Idle,
    Added,
];

/// Pairs whose memory is counted, and those that there are before.
const IDLE: usize = 2_000;
const SOME: usize = 100;

/// The name of the way without a relay.
const DIRECT: &str = "no relay";

/// The values of each round, by scene and relay, each in the order of the scene's columns.
type Seen = BTreeMap<(RelayScene, &'static str), Vec<[f64; 4]>>;

impl RelayScene {
    fn title(self) -> String {
        match self {
            Messages(connections, depth, bytes) => {
                format!("{connections} connections, {depth} deep, {bytes} bytes")
            }
            Stream => "One stream, one direction".into(),
            Idle => "Memory of an idle pair".into(),
            Added => "One connection, 64 bytes".into(),
        }
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Messages(..) => &["messages/s", "CPU us/message", "p50 us", "p99 us"],
            Stream => &["MiB/s", "CPU us/MiB"],
            Idle => &["bytes/pair"],
            Added => &["added p50 us", "CPU us/message", "p50 us", "p99 us"],
        }
    }

    fn pairs(self) -> usize {
        match self {
            Messages(connections, ..) => connections,
            Stream | Added => 1,
            Idle => IDLE,
        }
    }

    fn is_bulk(self) -> bool {
        matches!(self, Messages(_, _, 16_384..))
    }

    fn takes(self, relay: &RelayBench) -> bool {
        self.pairs() <= relay.most_pairs && (self == Stream || !relay.only_streams)
    }
}

pub(crate) fn run() {
    let (rounds, time) = options::extent(9, 0.5);
    let work = work_folder();
    on_processor(1);
    let (machine, (relays, versions)) = (machine(), relays(&work));
    let (mut seen, mut lots) = (Seen::new(), Lots::new());
    let wanted: Option<String> = options::option("scene");
    let is_wanted = |scene: &RelayScene| wanted.as_deref().is_none_or(|words| scene.title().contains(words));
    let scenes: Vec<_> = SCENES.into_iter().filter(is_wanted).collect();
    for round in 1..=rounds {
        for scene in scenes.iter().copied() {
            // No relay comes after the same neighbour each time.
            let mut order: Vec<_> = relays.iter().filter(|relay| scene.takes(relay)).collect();
            lots.shuffle(&mut order);
            let mut direct = f64::NAN;
            if scene == Added {
                let figures = without_relay(time);
                direct = figures[2];
                add(&mut seen, round, scene, DIRECT, figures);
            }
            for relay in order {
                let figures = measure(scene, &relay.server, time, direct);
                add(&mut seen, round, scene, relay.server.name, figures);
            }
        }
    }
    let mut text = introduction(&machine, &versions, rounds, time);
    for scene in scenes {
        let names = relays.iter().map(|relay| relay.server.name);
        text += &table(scene, &seen, &[DIRECT].into_iter().chain(names).collect::<Vec<_>>());
    }
    if wanted.is_none() {
        write_result("relay.md", &text);
    }
    println!("{text}");
    let _ = std::fs::remove_dir_all(work);
}

fn add(seen: &mut Seen, round: u64, scene: RelayScene, name: &'static str, figures: [f64; 4]) {
    let line: Vec<_> = scene
        .columns()
        .iter()
        .zip(figures)
        .map(|(column, figure)| format!("{figure:.2} {column}"))
        .collect();
    eprintln!("round {round}  {:<32} {name:<18} {}", scene.title(), line.join(", "));
    seen.entry((scene, name)).or_default().push(figures);
}

/// The echo server behind a relay shares the processor of the generator. Neither copies what it
/// receives of long messages, so that the relay is the limit.
fn echo(scene: RelayScene) -> RunningServer {
    let echo = ServerBench::peer(if scene.is_bulk() { "splice" } else { "epoll" });
    echo.launch(1, None, echo.ready)
}

fn without_relay(time: Duration) -> [f64; 4] {
    let echo = echo(Added);
    let result = LoadBench::new(echo.address, (1, 1, 64))
        .speak_once()
        .run(time, || Duration::ZERO);
    [0.0, f64::NAN, result.p50, result.p99]
}

fn measure(scene: RelayScene, server: &ServerBench, time: Duration, direct: f64) -> [f64; 4] {
    if scene == Stream {
        return stream(server, time);
    }
    let echo = echo(scene);
    let relay = server.launch(0, Some(echo.address), server.ready);
    let load = |cell| {
        let load = LoadBench::new(relay.address, cell).speak_once();
        let load = if scene.is_bulk() { load.discarding() } else { load };
        load.run(time, || relay.cpu())
    };
    match scene {
        Messages(connections, depth, bytes) => {
            let result = load((connections, depth, bytes));
            [result.rate, result.cpu, result.p50, result.p99]
        }
        Added => {
            let result = load((1, 1, 64));
            [result.p50 - direct, result.cpu, result.p50, result.p99]
        }
        Idle => [idle(&relay), f64::NAN, f64::NAN, f64::NAN],
        Stream => unreachable!("it has no echo server"),
    }
}

/// Bytes of memory for each pair on which nothing happens any more.
fn idle(relay: &RunningServer) -> f64 {
    // What the first pairs cost is not for each.
    let some = LoadBench::new(relay.address, (SOME, 1, 64)).speak_once();
    let before = relay.memory();
    let more = LoadBench::new(relay.address, (IDLE, 1, 64)).speak_once();
    let memory = relay.memory().saturating_sub(before);
    drop((some, more));
    memory as f64 / IDLE as f64
}

/// MiB a second that reach the target, and what a MiB costs the relay.
fn stream(server: &ServerBench, time: Duration) -> [f64; 4] {
    let target = TcpListener::bind("127.0.0.1:0").expect("a target");
    let relay = server.launch(0, target.local_addr().ok(), connects);
    let client = TcpStream::connect(relay.address).expect("a connection");
    let mut sender = client.try_clone().expect("a descriptor");
    let sender = std::thread::spawn(move || while sender.write_all(&[b'x'; 256 * 1024]).is_ok() {});
    let received = first_with_bytes(&target);
    let (start, mut warm) = (Instant::now(), None);
    let mut bytes = 0;
    let mut unused = vec![0; 1024 * 1024];
    while start.elapsed() < time {
        if warm.is_none() && start.elapsed() > time / 10 {
            warm = Some((Instant::now(), relay.cpu()));
            bytes = 0;
        }
        // The kernel discards what it would copy: a target that is slower than the relay hides it.
        match rustix::net::recv(&received, &mut unused[..], RecvFlags::TRUNC) {
            Ok((_, n @ 1..)) => bytes += n,
            end => panic!("{}: the stream ended: {end:?}", server.name),
        }
    }
    let (began, cpu_then) = warm.expect("the run is longer than its beginning");
    let (elapsed, cpu) = (began.elapsed(), relay.cpu() - cpu_then);
    // The half-close ends the sender, and then the relay's stream in order.
    client.shutdown(Shutdown::Write).expect("an open connection");
    while let Ok((_, 1..)) = rustix::net::recv(&received, &mut unused[..], RecvFlags::TRUNC) {}
    sender.join().expect("the sender ends");
    let mib = bytes as f64 / 1024.0 / 1024.0;
    [
        mib / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / mib,
        f64::NAN,
        f64::NAN,
    ]
}

/// The connection on which bytes come. Others only asked whether the relay listens.
fn first_with_bytes(target: &TcpListener) -> TcpStream {
    loop {
        let (mut stream, _) = target.accept().expect("the relay connects");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("an option");
        if let Ok(1..) = stream.read(&mut [0]) {
            return stream;
        }
    }
}

fn introduction(machine: &str, versions: &str, rounds: u64, time: Duration) -> String {
    format!(
        "# Relays side by side\n\n{machine}{versions}\n\n\
         Medians of {rounds} rounds of {:.1} s, relays in turns in an order that changes, one thread each on a \
         processor of its own;\nthe generator and the target share another. CPU is what the relay's own clock says, \
         the kernel's work for it included.\nA row with two names is the ratio of the values of one round, as a \
         median with its 95 % interval (bootstrap).\n\n\
         - Messages: a closed loop, the target echoes. So that the relay is the limit, neither the generator nor the \
         target copies\n  what it receives of the long ones: the kernel discards them at the generator, and the target \
         sends them back with\n  splice(2).\n\
         - A stream: the target has the kernel discard what it receives, so that the relay is the limit rather than \
         its reader.\n\
         - An idle pair: what {IDLE} more of them that have spoken once add to resident memory, after {SOME} \
         others.\n  The kernel's memory for sockets is not in it.\n\
         - Added: the median round trip through the relay less the one without a relay in the same round. Two \
         programs on one\n  processor speak without a relay; with one, each way wakes the other processor and then \
         the first again.\n\
         - socat forks a process for each connection, so it is measured with one. HAProxy is in `mode tcp`; splice \
         is its\n  `option splice-auto`, `splice-request` and `splice-response`. Go is `io.Copy`, which uses \
         splice(2) too.\n",
        time.as_secs_f64()
    )
}

/// The medians of a scene's relays, and resound's as ratios of the bases.
fn table(scene: RelayScene, seen: &Seen, names: &[&'static str]) -> String {
    let columns = scene.columns();
    let line = |name: &str, cells: Vec<String>| format!("| {name} | {} |\n", cells.join(" | "));
    let mut text = format!("\n## {}\n\n", scene.title());
    text += &line("relay", columns.iter().map(ToString::to_string).collect());
    text += &line("---", vec!["---:".into(); columns.len()]);
    let runs = |name: &&'static str| seen.get(&(scene, *name)).map(|runs| (*name, runs));
    let column = |runs: &[[f64; 4]], at: usize| runs.iter().map(|run| run[at]).collect::<Vec<_>>().into_iter();
    for (name, runs) in names.iter().filter_map(runs) {
        let cell = |at| match median(column(runs, at)) {
            value if value.is_nan() => "-".into(),
            value if value < 100.0 => format!("{value:.2}"),
            value => format!("{value:.0}"),
        };
        text += &line(name, (0..columns.len()).map(cell).collect());
    }
    for (name, runs_of) in names.iter().filter(|name| name.starts_with(OWN)).filter_map(runs) {
        for (base, bases) in BASES.iter().filter_map(runs) {
            let ratio = |at| PairedRatio::of(column(runs_of, at), column(bases, at));
            let cell = |at| ratio(at).map_or_else(|| "-".into(), |ratio| ratio.to_string());
            let _ = write!(
                text,
                "{}",
                line(&format!("{name} / {base}"), (0..columns.len()).map(cell).collect())
            );
        }
    }
    text
}

//! Load from a test of one's own: `cargo run --release --example load_as_library`.
//!
//! Ten connections ask 2,000 questions a second, planned in advance, for two seconds. The program
//! then asserts on the percentiles, as an integration test would.

use std::time::Duration;

use resound::{Engine, Reply, Server};
use resound_load::{Arrivals, Load, Mode, Settings, Shape, Sizes, Timestamps};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::new().listen("127.0.0.1:0")?.serve(|_conn| Reply::default())?;
    let target = server.addresses()[0].clone();
    let settings = Settings {
        shape: Shape::Open,
        target: target.to_string(),
        mode: Mode::Reply,
        connections: 10,
        depth: 64,
        rate: Some(2000.0),
        arrivals: Arrivals::Poisson,
        size: Sizes::Range(16, 256),
        duration: Some(Duration::from_secs(2)),
        messages: None,
        messages_per_connection: None,
        direction: None,
        seed: 1,
        verify: true,
        think_time: Duration::ZERO,
        connect_rate: None,
        ramp: None,
        busy_poll: Duration::ZERO,
        timestamps: Timestamps::Clock,
        interval: Duration::from_secs(1),
        tls: None,
        proxy: None,
        command: String::new(),
    };
    let load = Load {
        settings,
        target,
        lines: true,
        warm_up: Duration::from_millis(500),
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        handshake: None,
        sources: Vec::new(),
        engine: Engine::Auto,
        workers: None,
        congestion: None,
        breaks: None,
    };
    let tick = Duration::from_millis(100);
    let record = load.start()?.watch(tick, std::future::pending(), |_phase, _since_the_last_tick| {}).await;

    let (counts, response) = (&record.total.counts, &record.total.response);
    let p99 = response.percentile(99.0).ok_or("nothing was answered")?;
    println!("{} of {} planned messages answered, p99 {p99:?}", counts.received, counts.planned);
    for warning in &record.warnings {
        println!("note: {warning}");
    }
    assert_eq!(counts.errors(), 0, "{:?}", record.failures);
    assert!(p99 < Duration::from_secs(1), "p99 is {p99:?}");
    server.drain(Duration::from_secs(10));
    server.finished().await;
    Ok(())
}

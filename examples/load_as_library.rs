//! Load from a test of one's own: `cargo run --release --example load_as_library`.
//!
//! Ten connections ask 2,000 questions a second, planned in advance, for two seconds. The program
//! then asserts on the percentiles, as an integration test would.

use std::time::Duration;

use resound::{Reply, Server};
use resound_load::{Arrivals, Load, Mode, Settings, Sizes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::new().listen("127.0.0.1:0")?.serve(|_conn| Reply::default())?;
    let target = server.addresses()[0].clone();
    let settings = Settings {
        mode: Mode::Reply,
        arrivals: Arrivals::Poisson,
        size: Sizes::Range(16, 256),
        duration: Some(Duration::from_secs(2)),
        ..Settings::open(10, 2000.0)
    };
    let load = Load { warm_up: Duration::from_millis(500), ..Load::new(target, settings) };
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

//! Metrics of one's own: `cargo run --example metrics_observer`.
//!
//! An observer sees what happens on the connections of one worker, on that worker's thread and on
//! the data path. So it counts into atomics and leaves the reading to others. (`Handle::totals` has
//! the counters that the server keeps anyway.)

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use resound::{Closed, ConnInfo, Observer, Reply, Server};

/// How long messages are: the count of those of up to 2^n bytes, for each n.
#[derive(Default)]
struct Metrics {
    lengths: [AtomicU64; 32],
    /// Written once per connection, so a lock is cheap enough.
    ends: Mutex<BTreeMap<&'static str, u64>>,
}

/// One worker's view of them.
struct WorkerMetrics(Arc<Metrics>);

impl Observer for WorkerMetrics {
    fn message(&mut self, _conn: &ConnInfo, message: &[u8]) {
        let bucket = message.len().next_power_of_two().trailing_zeros() as usize;
        self.0.lengths[bucket.min(31)].fetch_add(1, Relaxed);
    }

    fn closed(&mut self, _conn: &ConnInfo, how: &Closed) {
        *self.0.ends.lock().unwrap_or_else(PoisonError::into_inner).entry(how.reason.name()).or_default() += 1;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = Arc::new(Metrics::default());
    let theirs = Arc::clone(&metrics);
    let server = Server::new()
        .listen("127.0.0.1:0")?
        .observe(move |_worker| WorkerMetrics(Arc::clone(&theirs)))
        .serve(|_conn| Reply::default())?;

    for lines in ["a\n", "a longer line\nand another\n"] {
        let mut client = TcpStream::connect(server.addresses()[0].to_string())?;
        client.write_all(lines.as_bytes())?;
        client.shutdown(Shutdown::Write)?;
        client.read_to_end(&mut Vec::new())?;
    }
    server.drain(Duration::from_secs(10));
    server.wait();

    for (n, count) in metrics.lengths.iter().enumerate().filter(|(_, count)| count.load(Relaxed) > 0) {
        println!("messages_bytes_bucket{{le=\"{}\"}} {}", 1_u64 << n, count.load(Relaxed));
    }
    for (reason, count) in &*metrics.ends.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("connections_closed_total{{reason=\"{reason}\"}} {count}");
    }
    Ok(())
}

//! Bulk: bytes that are sent from where they stand, and what goes wrong with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use resound::{Bytes, Cx, Echo, Engine, Framing, Limits, Service};
use resound_load::{Counts, Mode, Settings};

use crate::harness::{Running, noise, on_each_engine, on_each_engine_plainly, patient, server};
use crate::load::{load, run_till, stream};
use crate::proto::bench::Bench;

on_each_engine!(shared_bytes_keep_their_place);

// What TLS does to bytes it does to copies of them.
mod plainly {
    use super::*;
    on_each_engine_plainly!(
        shared_bytes_count_as_unsent,
        two_ends_that_only_send_do_not_wait_for_each_other,
        a_block_that_goes_astray_in_a_stream_is_found,
    );
}

/// Answers each line with itself, between bytes that are copied and bytes that are shared: as many
/// as the line asks for.
struct Mixed {
    shared: Bytes,
    /// The most that was unsent when a line was delivered.
    most: Arc<AtomicUsize>,
}

impl Mixed {
    fn new(most: &Arc<AtomicUsize>) -> Self {
        Self { shared: noise(1, 1 << 20).into(), most: Arc::clone(most) }
    }

    fn answer(line: &[u8], n: usize, all: &[u8]) -> Vec<u8> {
        [b"<", &all[n..2 * n], line, b">", &all[..n], &all[n..2 * n], b"\n"].concat()
    }
}

impl Service for Mixed {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        self.most.fetch_max(cx.unsent(), Relaxed);
        let n: usize = std::str::from_utf8(line).unwrap().trim().parse().unwrap();
        let before = cx.unsent();
        cx.send(b"<");
        cx.send_shared(self.shared.slice(n..2 * n));
        cx.echo();
        cx.send(b">");
        cx.send_shared(self.shared.slice(..n));
        cx.send_shared(self.shared.slice(n..2 * n));
        cx.send(b"\n");
        assert_eq!(cx.unsent() - before, 3 * n + line.len() + 3);
    }
}

const SIZES: [usize; 8] = [0, 1, 1023, 1024, 5_000, 70_000, 3, 300_000];

fn shared_bytes_keep_their_place(engine: Engine) {
    let server = Running::start(server(engine), |_| Mixed::new(&Arc::default()));
    let all = noise(1, 1 << 20);
    let mut peer = server.connect();
    let lines: Vec<_> = SIZES.iter().map(|n| format!("{n}\n")).collect();
    // One by one, and all at once.
    for (line, n) in lines.iter().zip(SIZES) {
        peer.send(line);
        let want = Mixed::answer(line.as_bytes(), n, &all);
        assert!(peer.read(want.len()) == want, "{n}");
    }
    peer.send(lines.concat());
    peer.finish();
    let want: Vec<_> = lines.iter().zip(SIZES).map(|(line, n)| Mixed::answer(line.as_bytes(), n, &all)).collect();
    assert!(peer.rest() == want.concat());
}

fn shared_bytes_count_as_unsent(engine: Engine) {
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, limits) = (Arc::clone(&most), Limits { high_water: 64 * 1024, ..patient() });
    let server = Running::start(server(engine).limits(limits), move |_| Mixed::new(&seen));
    let mut peer = server.connect();
    peer.send("30000\n".repeat(200));
    peer.finish();
    let answer = Mixed::answer(b"30000\n", 30_000, &noise(1, 1 << 20));
    let got = peer.rest();
    assert!(got.len() == 200 * answer.len() && got.chunks(answer.len()).all(|got| got == answer));
    assert!(most.load(Relaxed) < 64 * 1024, "{} bytes waited, and more was delivered", most.load(Relaxed));
}

#[test]
fn an_engine_without_shared_sends_copies_shared_bytes() {
    let mut bench = Bench::new(Mixed::new(&Arc::default()), Limits::default());
    bench.receive(b"5000\n");
    assert!(bench.take_all() == Mixed::answer(b"5000\n", 5_000, &noise(1, 1 << 20)));
}

fn two_ends_that_only_send_do_not_wait_for_each_other(engine: Engine) {
    // More than all buffers between them hold.
    const ENOUGH: u64 = 64 << 20;
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings { connections: 1, ..stream(Mode::Echo) };
    let is_enough = |counts: &Counts| counts.bytes_received > ENOUGH || counts.errors() > 0;
    let record = run_till(load(engine, server.address(), settings), is_enough);
    assert_eq!(record.failures, []);
    assert_eq!(record.total.counts.verified, record.total.counts.received);
}

/// Echoes all but a block, which is elsewhere than it should be.
struct Astray {
    what: What,
    at: usize,
    len: usize,
    /// What came until the block and what it concerns is there.
    head: Vec<u8>,
    is_over: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Dropped,
    Twice,
    /// With the one that begins this far behind it.
    Swapped(usize),
}

impl Service for Astray {
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        if self.is_over {
            return cx.echo();
        }
        let Self { what, at, len, ref mut head, .. } = *self;
        head.extend_from_slice(bytes);
        let needed = at + len + if let What::Swapped(by) = what { by } else { 0 };
        if head.len() < needed {
            return;
        }
        match what {
            What::Dropped => drop(head.drain(at..at + len)),
            What::Twice => {
                let block = head[at..at + len].to_vec();
                head.splice(at..at, block);
            }
            What::Swapped(by) => (0..len).for_each(|n| head.swap(at + n, at + by + n)),
        }
        self.is_over = true;
        cx.send(&std::mem::take(&mut self.head));
    }
}

fn a_block_that_goes_astray_in_a_stream_is_found(engine: Engine) {
    let block = 64 * 1024;
    let cases = [
        (What::Dropped, 3 * block, block),
        (What::Dropped, 100_001, 1448),
        (What::Twice, 2 * block, block),
        (What::Twice, 77_777, 999),
        (What::Swapped(block), 2 * block, block),
        (What::Swapped(4096), 150_000, 4096),
        // As far apart as the table is long that they are made of.
        (What::Swapped(1 << 20), 3 * block, block),
        (What::Swapped(1 << 20), 12_345, 5_000),
    ];
    for (n, (what, at, len)) in cases.into_iter().enumerate() {
        let astray = move |_: &_| Astray { what, at, len, head: Vec::new(), is_over: false };
        let server = Running::start(server(engine), astray);
        let settings = Settings { connections: 1, seed: n as u64, ..stream(Mode::Echo) };
        let mut load = load(engine, server.address(), settings);
        load.lines = n % 2 == 0;
        let record = run_till(load, |counts| counts.errors() > 0);
        let first = &record.failures[0];
        // Two whole messages that changed places, or one that came twice, are reported as such.
        let message = (at / block) as u64;
        assert!(
            first.sequence.is_some_and(|sequence| sequence.abs_diff(message) <= 1),
            "{what:?} {at} {len}: {first:?}"
        );
    }
}

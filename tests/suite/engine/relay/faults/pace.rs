//! Faults that take time. Only lower bounds are checked: a busy machine is late.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use resound::faults::FaultKind;
use resound::faults::StreamDirection::{Down, Up};
use resound::{ConnInfo, Engine, Observer};
use socket2::SockRef;

use super::super::{error_of_next_read, patiently, settings};
use super::{Path, takes, tests_of_faults};
use crate::harness::{eventually, noise, shown};
use crate::not_tested::not_tested;

tests_of_faults!(
    Delay => delay_holds_bytes_and_the_fin_back,
    Rate => rate_limits_one_direction,
    Drip => drip_gives_a_portion_each_time,
    Stall => stall_stops_a_direction_for_its_time,
    StallThenBurst => stall_then_burst_takes_bytes_meanwhile,
    Slice => slice_sends_small_segments,
    Coalesce => coalesce_holds_bytes_together;
    delays_that_vary_keep_the_order,
    a_client_that_resets_leaves_delayed_bytes_behind,
    delayed_bytes_wait_for_a_target_that_answers_late,
    a_reset_at_a_time_loses_what_waits,
);

const TIME: Duration = Duration::from_millis(300);

fn delay_holds_bytes_and_the_fin_back(engine: Engine) {
    let path = Path::faulted(engine, "up: delay=300ms");
    let (mut client, mut target) = path.pair();
    let since = Instant::now();
    client.send("question");
    target.send("answer");
    client.expect("answer");
    target.expect("question");
    takes(TIME, since);
    let since = Instant::now();
    client.finish();
    assert_eq!(target.rest(), b"");
    takes(TIME, since);
    target.finish();
    assert_eq!(client.rest(), b"");
    path.injects(&[(1, Some(Up), 0, FaultKind::Delay)]);
    assert_eq!(path.report().ended, None);
}

fn delays_that_vary_keep_the_order(engine: Engine) {
    let path = Path::faulted(engine, "delay=20ms+-20ms");
    let (mut client, mut target) = path.pair();
    client.send(noise(1, 100_000));
    client.finish();
    assert!(target.rest() == noise(1, 100_000), "bytes have changed");
    target.send(noise(2, 100_000));
    target.finish();
    assert!(client.rest() == noise(2, 100_000), "bytes have changed");
    path.injects(&[(1, None, 0, FaultKind::Delay)]);
}

fn rate_limits_one_direction(engine: Engine) {
    let path = Path::faulted(engine, "down: rate=100KiB/s");
    let (mut client, mut target) = path.pair();
    let since = Instant::now();
    target.send(noise(1, 50 * 1024));
    client.expect(noise(1, 50 * 1024));
    takes(Duration::from_millis(400), since);
    path.injects(&[(1, Some(Down), 0, FaultKind::Rate)]);
}

fn drip_gives_a_portion_each_time(engine: Engine) {
    let path = Path::faulted(engine, "up: drip=10B/50ms");
    let (mut client, mut target) = path.pair();
    let since = Instant::now();
    client.send(noise(1, 80));
    client.finish();
    assert_eq!(target.rest(), noise(1, 80));
    takes(Duration::from_millis(7 * 50), since);
    path.injects(&[(1, Some(Up), 0, FaultKind::Drip)]);
}

fn stall_stops_a_direction_for_its_time(engine: Engine) {
    let path = Path::faulted(engine, "up: stall=300ms @5B");
    let (mut client, mut target) = path.pair();
    let since = Instant::now();
    client.send("helloworld");
    client.finish();
    target.expect("hello");
    target.send("answer");
    client.expect("answer");
    assert_eq!(target.rest(), b"world");
    takes(TIME, since);
    path.injects(&[(1, Some(Up), 5, FaultKind::Stall)]);
}

fn stall_then_burst_takes_bytes_meanwhile(engine: Engine) {
    let path = Path::faulted(engine, "down: stall-then-burst=300ms @5B");
    let (mut client, mut target) = path.pair();
    let since = Instant::now();
    target.send("helloworld");
    target.finish();
    client.expect("hello");
    client.send("question");
    target.expect("question");
    assert_eq!(client.rest(), b"world");
    takes(TIME, since);
    path.injects(&[(1, Some(Down), 5, FaultKind::StallThenBurst)]);
}

/// How many bytes the sockets of a relay have taken at once.
struct WriteSizes(Sender<usize>);

impl Observer for WriteSizes {
    fn sent(&mut self, _conn: &ConnInfo, bytes: usize) {
        let _ = self.0.send(bytes);
    }
}

fn slice_sends_small_segments(engine: Engine) {
    let (send, sizes) = channel();
    let path = Path::with_faults(settings(engine).observe(move |_| WriteSizes(send.clone())), "down: slice=3");
    let (mut client, mut target) = path.pair();
    target.send("abcdefgh");
    target.finish();
    let got = client.rest();
    assert_eq!(got, b"abcdefgh", "{}", shown(&got));
    client.finish();
    assert_eq!(target.rest(), b"");
    path.injects(&[(1, Some(Down), 0, FaultKind::Slice)]);
    path.report();
    // A kernel that takes less at once makes them smaller.
    let sizes: Vec<_> = sizes.try_iter().collect();
    assert!(sizes.iter().sum::<usize>() == 8 && sizes.iter().all(|bytes| *bytes <= 3), "{sizes:?}");
}

fn coalesce_holds_bytes_together(engine: Engine) {
    let path = Path::faulted(engine, "up: coalesce=300ms");
    let (mut client, mut target) = path.pair();
    let since = Instant::now();
    client.send("one");
    target.expect("one");
    takes(TIME, since);
    client.send("two");
    client.finish();
    assert_eq!(target.rest(), b"two");
    path.injects(&[(1, Some(Up), 0, FaultKind::Coalesce)]);
}

fn a_client_that_resets_leaves_delayed_bytes_behind(engine: Engine) {
    let path = Path::faulted(engine, "up: delay=100ms");
    // The relay may learn of all of it before the target has answered.
    for number in 1..=3 {
        let since = Instant::now();
        let mut client = path.client();
        client.send("last words");
        client.until_acknowledged();
        client.reset();
        let mut target = patiently(path.target.accept().unwrap().0);
        target.expect("last words");
        takes(Duration::from_millis(100), since);
        assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
        path.injects(&[(number, Some(Up), 0, FaultKind::Delay)]);
        assert_eq!(path.report().up.bytes, 10);
    }
}

fn delayed_bytes_wait_for_a_target_that_answers_late(engine: Engine) {
    if !cfg!(target_os = "linux") {
        return not_tested("a target that answers late", "other systems answer with a full backlog too");
    }
    let path = Path::faulted(engine, "up: delay=2s");
    let (listener, at) = (SockRef::from(&path.target), path.target.local_addr().unwrap());
    listener.listen(0).unwrap();
    let fill = || TcpStream::connect_timeout(&at, Duration::from_millis(50)).ok();
    let fillers: Vec<_> = std::iter::from_fn(fill).take(9).collect();
    assert!(fillers.len() < 9, "the backlog never fills");
    let mut client = path.client();
    client.send("last words");
    // The relay has read it.
    path.injects(&[(1, Some(Up), 0, FaultKind::Delay)]);
    client.until_acknowledged();
    client.reset();
    eventually("the client has left", || path.relay.connections().iter().sum::<usize>() == 0);
    listener.listen(128).unwrap();
    fillers.iter().for_each(|_| drop(path.target.accept().unwrap()));
    // The system of the relay repeats its SYN after a second.
    let mut target = patiently(path.target.accept().unwrap().0);
    target.expect("last words");
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    assert_eq!(path.report().up.bytes, 10);
}

fn a_reset_at_a_time_loses_what_waits(engine: Engine) {
    let path = Path::faulted(engine, "down: delay=60s; reset @300ms");
    let since = Instant::now();
    let (mut client, mut target) = path.pair();
    target.send("answer");
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    takes(TIME, since);
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    path.injects(&[(1, Some(Down), 0, FaultKind::Delay), (1, None, 0, FaultKind::Reset)]);
}

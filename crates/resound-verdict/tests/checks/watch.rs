//! A service is watched through what happens to it.

use std::num::NonZeroUsize;
use std::time::Duration;

use resound::relay::{Relay, RelayTarget};
use resound::server::Listener;
use resound::{Address, Chargen, Cx, Discard, Endpoint, Family, Framing, Handle, Reply, Server, Service};
use resound_verdict::watch::{Watch, WatchError, WatchProgress, WatchRecord, WatchSecond};
use resound_verdict::{FarKind, Path};
use tokio::sync::oneshot;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn address(handle: &Handle) -> Address {
    match &handle.addresses()[0] {
        Endpoint::Tcp(address) => Address::tcp(&address.ip().to_string(), &address.port().to_string()).unwrap(),
        other => panic!("{other}"),
    }
}

fn settings() -> Server {
    Server::new().workers(NonZeroUsize::MIN)
}

/// Echoes lines, and resets its connection when it is woken.
struct Lines;

impl Service for Lines {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        cx.send(line);
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.reset();
    }
}

fn reply() -> Reply {
    Reply::new(Reply::PREFIX.as_bytes(), Framing::auto())
}

fn server() -> Handle {
    settings().listen("127.0.0.1:0").unwrap().serve(|_| reply()).unwrap()
}

/// The same address again.
fn server_at(address: &Address) -> Handle {
    let listeners = Listener::bind(address, Family::Any).unwrap();
    listeners.into_iter().fold(settings(), Server::listener).serve(|_| reply()).unwrap()
}

fn relay(server: &Handle, faults: &str) -> Handle {
    let relay = Relay::new(settings()).map("127.0.0.1:0", RelayTarget::new(address(server)).unwrap()).unwrap();
    relay.faults().set(faults.parse().unwrap(), 7).unwrap();
    relay.start().unwrap()
}

fn watch(address: Address) -> Watch {
    Watch::of(&Path::to(address)).held(4).heartbeat(ms(20)).new_per_second(20)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Watches until `ready` is true of a second after those that `meanwhile` was told of.
async fn watched(watch: Watch, mut on_second: impl FnMut(u64, &WatchSecond) -> bool) -> WatchRecord {
    let (stop, stopped) = oneshot::channel::<()>();
    let (mut stop, mut count) = (Some(stop), 0);
    let mut tell = |progress: WatchProgress<'_>| {
        if let WatchProgress::Second(second) = progress {
            count += 1;
            // A second that never comes would let the test run for ever.
            if on_second(count, second) || count == 60 {
                stop.take();
            }
        }
    };
    let stopped = async {
        let _ = stopped.await;
    };
    watch.run(stopped, &mut tell).await.unwrap()
}

#[test]
fn a_clean_run_has_no_events() {
    let server = server();
    let record = run(watch(address(&server)).lasts(ms(3000)).run(std::future::pending(), &mut |_| ())).unwrap();
    let total = record.total;
    assert!(total.is_clean() && record.episodes.is_empty(), "{record:?}");
    assert_eq!((total.heartbeats.late, total.heartbeats.sent), (0, total.heartbeats.answered), "{total:?}");
    assert_eq!(total.heartbeats.due, total.heartbeats.sent + total.heartbeats.skipped, "{total:?}");
    assert_eq!((total.new.served, total.reconnecting.served), (total.new.tried, 4), "{total:?}");
    assert_eq!(total.new.tried + total.new.skipped, 60);
    assert!(record.seconds.len() >= 2 && record.length >= ms(3000), "{record:?}");
}

#[test]
fn a_restart_shows_its_gap_and_the_reconnects() {
    let first = server();
    let address = address(&first);
    let mut second = None;
    let record = run(watched(watch(address.clone()), |count, seen| {
        if count == 1 {
            first.drain(ms(1000));
        } else if seen.counts.reconnecting.refused > 0 && second.is_none() {
            second = Some(server_at(&address));
        }
        seen.open == 4 && second.is_some()
    }));
    let total = record.total;
    assert_eq!((total.held.closed, total.held.reset, total.held.reconnects), (4, 0, 4), "{record:?}");
    assert!(total.reconnecting.refused >= 4 && total.new.refused > 0, "{record:?}");
    assert!(total.gap > ms(20) && total.held.slowest_reconnect > ms(20), "{record:?}");
    assert!(total.heartbeats.unsent > 0 && !total.is_clean(), "{record:?}");
    assert_eq!(total.heartbeats.sent, total.heartbeats.answered + total.heartbeats.lost, "{record:?}");
    assert_eq!(record.episodes.len(), 1, "{record:?}");
    assert_eq!(record.episodes[0].counts.held.closed, 4);
}

#[test]
fn a_killed_server_resets() {
    let server = settings().listen("127.0.0.1:0").unwrap().serve(|_| Lines).unwrap();
    let record = run(watched(watch(address(&server)), |count, seen| {
        if count == 1 {
            server.wake_all();
        }
        count > 1 && seen.open == 4
    }));
    let total = record.total;
    assert_eq!((total.held.reset, total.held.closed, total.held.reconnects), (4, 0, 4), "{record:?}");
    assert!(total.reconnecting.failures() == 0 && !total.is_clean(), "{record:?}");
}

#[test]
fn a_silence_of_two_seconds_is_a_gap_and_no_loss() {
    let server = server();
    let relay = relay(&server, "down: stall-then-burst=2s @1s");
    let record = run(watch(address(&relay)).new_per_second(0).lasts(ms(4500)).run(std::future::pending(), &mut |_| ()));
    let record = record.unwrap();
    let total = record.total;
    let (lost, ended) = (total.heartbeats.lost + total.heartbeats.unsent, total.held.reset + total.held.closed);
    assert_eq!((lost, ended, total.is_clean()), (0, 0, false), "{record:?}");
    assert!(total.gap + total.stalled > ms(1700) && total.connection_gap >= total.gap, "{record:?}");
    assert_eq!(record.episodes.len(), 1, "{record:?}");
}

#[test]
fn a_line_that_comes_twice_is_counted() {
    let server = settings().listen("127.0.0.1:0").unwrap().serve(|_| Lines).unwrap();
    // The first connection is that of the greeting. Numbers of one digit make twelve bytes.
    let relay = relay(&server, "2-: down: duplicate=12B @message=2");
    let watch = watch(address(&relay)).held(2).heartbeat(ms(200)).new_per_second(0).lasts(ms(1500));
    let record = run(watch.run(std::future::pending(), &mut |_| ())).unwrap();
    let beats = record.total.heartbeats;
    assert_eq!((beats.duplicated, beats.wrong, beats.reordered, beats.lost), (2, 0, 0, 0), "{record:?}");
    assert!(!record.total.is_clean(), "{record:?}");
}

#[test]
fn a_limit_of_new_connections_lets_them_wait() {
    let server = server();
    let relay = relay(&server, "connect-rate=5/s");
    let watch = watch(address(&relay)).held(1).patience(ms(1000)).lasts(ms(3000));
    let record = run(watch.run(std::future::pending(), &mut |_| ())).unwrap();
    let new = record.total.new;
    assert!(new.timed_out > 0 && new.served > 0 && new.refused == 0, "{record:?}");
    assert!(record.total.heartbeats.lost == 0, "{record:?}");
}

#[test]
fn what_answers_no_lines_cannot_be_watched() {
    let refused = run(watch(Address::tcp("127.0.0.1", "1").unwrap()).run(std::future::pending(), &mut |_| ()));
    assert!(matches!(refused, Err(WatchError::NoConnection(Some(_), _))), "{refused:?}");
    let silent = settings().listen("127.0.0.1:0").unwrap().serve(|_| Discard).unwrap();
    let path = Path::to(address(&silent)).patience(ms(300));
    let error = run(Watch::of(&path).run(std::future::pending(), &mut |_| ())).unwrap_err();
    assert!(matches!(error, WatchError::NoAnswer(_)), "{error}");
    let speaks = settings().listen("127.0.0.1:0").unwrap().serve(|_| Chargen).unwrap();
    let error = run(watch(address(&speaks)).run(std::future::pending(), &mut |_| ())).unwrap_err();
    assert!(matches!(error, WatchError::NotLines(FarKind::SpeaksFirst, _)), "{error}");
}

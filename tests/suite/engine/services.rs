//! What an engine owes a service: to wake it, to keep its deadlines, and to outlive it. Every test
//! runs on every engine.

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::time::Duration;

use resound::{CloseReason, ConnId, Cx, Engine, Framing, Reply, Service};

use crate::harness::{Running, on_each_engine, server};

on_each_engine!(
    a_worker_that_never_sleeps_answers,
    a_paused_service_is_woken_with_input_waiting,
    a_service_is_woken_from_outside,
    a_service_is_woken_by_its_own_deadline,
    a_panicking_factory_ends_its_own_connection_only,
    a_service_behind_its_deadlines_still_receives,
);

// What TLS would hide.
mod plainly {
    crate::harness::on_each_engine_plainly!(
        a_panic_ends_its_own_connection_only,
        a_service_that_does_not_read_learns_of_a_reset,
        a_fin_behind_input_of_a_paused_service_waits,
    );
    use super::{
        a_fin_behind_input_of_a_paused_service_waits, a_panic_ends_its_own_connection_only,
        a_service_that_does_not_read_learns_of_a_reset,
    };
}

fn a_worker_that_never_sleeps_answers(engine: Engine) {
    let server = Running::start(server(engine).busy_poll(Duration::from_secs(3600)), |_| Reply::default());
    let (mut one, mut two) = (server.connect(), server.connect());
    for n in 0..20 {
        one.ask(&format!("one {n}"));
        two.ask(&format!("two {n}"));
    }
    drop((one, two));
    server.drain();
}

fn a_paused_service_is_woken_with_input_waiting(engine: Engine) {
    /// Takes a line every few milliseconds.
    struct Slowly;
    impl Service for Slowly {
        fn framing(&self) -> Framing {
            Framing::line()
        }
        fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
            cx.echo();
            cx.pause(true);
            cx.wake_at(cx.now() + Duration::from_millis(2));
        }
        fn wake(&mut self, cx: &mut Cx<'_>) {
            cx.pause(false);
        }
    }
    let server = Running::start(server(engine), |_| Slowly);
    let mut peer = server.connect();
    let lines: String = (0..20).map(|n| format!("line {n}\n")).collect();
    for line in lines.split_inclusive('\n') {
        peer.send(line);
    }
    peer.finish();
    assert_eq!(peer.rest(), lines.as_bytes());
}

fn a_service_is_woken_from_outside(engine: Engine) {
    struct News;
    impl Service for News {
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
        fn wake(&mut self, cx: &mut Cx<'_>) {
            cx.send(b"news");
        }
    }
    let server = Running::start(server(engine), |_| News);
    let mut peer = server.connect();
    let id = server.opened();
    server.handle.wake(id);
    peer.expect("news");
    // A thread that does not exist blocks no other.
    server.handle.wake(ConnId(u64::MAX));
    server.handle.wake(id);
    peer.expect("news");
}

fn a_service_is_woken_by_its_own_deadline(engine: Engine) {
    struct Clock(u32);
    impl Service for Clock {
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.wake_at(cx.now() + Duration::from_millis(5));
        }
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
        fn wake(&mut self, cx: &mut Cx<'_>) {
            self.0 += 1;
            cx.send(b"tick ");
            if self.0 == 3 {
                cx.close();
            } else {
                cx.wake_at(cx.now() + Duration::from_millis(5));
            }
        }
    }
    let server = Running::start(server(engine), |_| Clock(0));
    assert_eq!(server.connect().rest(), b"tick tick tick ");
}

/// Has paused from the beginning, until it is woken.
struct Paused;

impl Service for Paused {
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"go");
        cx.pause(true);
    }
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
    }
    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.pause(false);
    }
}

fn a_service_that_does_not_read_learns_of_a_reset(engine: Engine) {
    let paused = Running::start(server(engine), |_| Paused);
    for unread in ["", "unread"] {
        let mut peer = paused.connect();
        peer.expect("go");
        peer.send(unread);
        peer.until_acknowledged();
        peer.reset();
        assert_eq!(paused.closed(), CloseReason::Reset, "{unread:?}");
    }

    /// Its answer is not ready when the question has ended.
    struct Late;
    impl Service for Late {
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
        fn eof(&mut self, cx: &mut Cx<'_>) {
            cx.send(b"wait");
        }
    }
    let late = Running::start(server(engine), |_| Late);
    let mut peer = late.connect();
    peer.finish();
    peer.expect("wait");
    peer.reset();
    assert_eq!(late.closed(), CloseReason::Reset);
}

fn a_fin_behind_input_of_a_paused_service_waits(engine: Engine) {
    let server = Running::start(server(engine), |_| Paused);
    let mut peer = server.connect();
    let id = server.opened();
    peer.expect("go");
    peer.send("unread");
    peer.finish();
    peer.until_acknowledged();
    server.handle.wake(id);
    assert_eq!(peer.rest(), b"unread");
    assert_eq!(server.closed(), CloseReason::Finished);
}

fn a_panic_ends_its_own_connection_only(engine: Engine) {
    struct Fragile;
    impl Service for Fragile {
        fn framing(&self) -> Framing {
            Framing::line()
        }
        fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
            assert_ne!(line, b"panic\n", "as the test wants it");
            cx.echo();
        }
    }
    let server = Running::start(server(engine).max_connections(2), |_| Fragile);
    let mut healthy = server.connect();
    for _ in 0..3 {
        let mut fragile = server.connect();
        fragile.send("panic\n");
        assert!(fragile.is_reset());
        assert_eq!(server.closed(), CloseReason::Panicked);
        healthy.send("fine\n");
        healthy.expect("fine\n");
    }
    // There is room for two: the places came back.
    let mut another = server.connect();
    another.send("fine\n");
    another.expect("fine\n");
}

fn a_panicking_factory_ends_its_own_connection_only(engine: Engine) {
    struct Cursed;
    impl Service for Cursed {
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {
            panic!("as the test wants it");
        }
        fn closed(&mut self, _: &CloseReason) {
            panic!("as the test wants it, once more");
        }
    }
    for workers in [1, 2] {
        let server =
            Running::start(server(engine).workers(NonZeroUsize::new(workers).unwrap()), |conn| -> Box<dyn Service> {
                match conn.id.0 % 3 {
                    0 => panic!("as the test wants it"),
                    1 => Box::new(Cursed),
                    _ => Box::new(Reply::default()),
                }
            });
        for n in 1..=12 {
            let mut peer = server.connect();
            if n % 3 == 2 {
                peer.ask("fine");
            } else {
                // It may be gone already.
                let _ = peer.0.write_all(b"x");
                let mut rest = Vec::new();
                let _ = peer.0.read_to_end(&mut rest);
                assert!(rest.is_empty());
            }
        }
        assert!(!server.handle.is_finished());
        server.drain();
    }
}

fn a_service_behind_its_deadlines_still_receives(engine: Engine) {
    struct Late;
    impl Service for Late {
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.wake_at(cx.now());
        }
        fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
            cx.send(bytes);
            cx.close();
        }
        fn wake(&mut self, cx: &mut Cx<'_>) {
            cx.wake_at(cx.now());
        }
    }
    let server = Running::start(server(engine), |_| Late);
    let mut peer = server.connect();
    peer.send("heard");
    assert_eq!(peer.rest(), b"heard");
}

//! Who may come in, on each engine.

use std::num::NonZeroU32;

use resound::{Access, Engine, Rate, Refusal, Reply};

use crate::harness::{Running, on_each_engine_plainly, server};

on_each_engine_plainly!(
    who_is_denied_is_closed_and_counted,
    a_source_has_so_many_connections_at_once,
    a_source_connects_so_often,
    a_unix_socket_is_nobodys_network,
    a_drain_serves_only_those_who_may_come_in,
);

fn guarded(engine: Engine, access: Access) -> Running {
    Running::start(server(engine).access(access), |_| Reply::default())
}

fn refused(running: &Running, refusal: Refusal) -> u64 {
    running.handle.totals().refused[refusal as usize]
}

fn who_is_denied_is_closed_and_counted(engine: Engine) {
    let running = guarded(engine, Access::new().deny("127.0.0.0/8".parse().unwrap()));
    for n in 1..=20 {
        assert!(running.connect().is_closed());
        assert_eq!(refused(&running, Refusal::Denied), n);
    }
    let totals = running.drain();
    assert_eq!((totals.opened, totals.unopened, totals.refused_in_all()), (0, 0, 20));
    let running =
        guarded(engine, Access::new().deny("0.0.0.0/0".parse().unwrap()).allow("127.0.0.1/32".parse().unwrap()));
    running.connect().ask("may I?");
}

fn a_source_has_so_many_connections_at_once(engine: Engine) {
    let running = guarded(engine, Access::new().max_per_ip(NonZeroU32::new(2).unwrap()));
    let (mut one, mut two) = (running.connect(), running.connect());
    one.ask("first");
    two.ask("second");
    assert!(running.connect().is_closed());
    assert_eq!(refused(&running, Refusal::MaxPerIp), 1);
    two.ask("still here");
    one.finish();
    assert!(one.rest().is_empty());
    running.closed();
    // Its place is free once its descriptor is closed, a moment after its end was seen.
    while running.handle.connections().iter().sum::<usize>() > 1 {
        std::thread::yield_now();
    }
    running.connect().ask("third");
}

fn a_source_connects_so_often(engine: Engine) {
    let running = guarded(engine, Access::new().connect_rate(Rate::per_hour(NonZeroU32::new(3).unwrap())));
    for _ in 0..3 {
        running.connect().ask("in time");
    }
    for n in 1..=10 {
        assert!(running.connect().is_closed());
        assert_eq!(refused(&running, Refusal::ConnectRate), n);
    }
}

fn a_unix_socket_is_nobodys_network(engine: Engine) {
    #[cfg(unix)]
    {
        use std::io::{Read, Write};
        let folder = crate::harness::Folder::new();
        let path = folder.0.join("socket");
        let access = Access::new().allow("192.0.2.1/32".parse().unwrap());
        let server = server(engine).access(access).listen(&format!("unix:{}", path.display())).unwrap();
        let running = Running::start_on(server, |_| Reply::default());
        let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
        peer.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        peer.write_all(b"x").unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = String::new();
        peer.read_to_string(&mut got).unwrap();
        assert_eq!(got, "Server received: x");
        drop(running);
    }
    #[cfg(not(unix))]
    let _ = engine;
}

fn a_drain_serves_only_those_who_may_come_in(engine: Engine) {
    // They wait in the backlog until the one place is free, and the drain finds them there.
    let access = Access::new().connect_rate(Rate::per_hour(NonZeroU32::new(4).unwrap()));
    let running = Running::start(server(engine).access(access).max_connections(1), |_| Reply::default());
    let mut first = running.connect();
    first.ask("served");
    let mut waiting: Vec<_> = (0..10).map(|_| running.connect()).collect();
    running.handle.drain(crate::harness::PATIENCE);
    drop(first);
    let totals = running.wait();
    assert!(totals.opened <= 4, "{totals:?}");
    assert!(waiting.iter_mut().all(|peer| peer.is_closed()));
}

//! Faults that end a connection, or keep it from ending.

use std::io::{ErrorKind, Read, Write};

use resound::faults::FaultKind;
use resound::faults::StreamDirection::{Down, Up};
use resound::{Chargen, CloseReason, Engine, Reply};

use super::{Faulted, error_of_next_read, is_silent, tests_of_served_faults};
use crate::harness::{PATIENCE, noise, server};

tests_of_served_faults!(
    Reset => reset_comes_behind_the_bytes_before_it,
    Close => close_is_a_fin_and_loses_the_rest,
    HalfClose => half_close_is_a_fin_that_was_not_sent,
    Silent => silent_sends_nothing_more,
    OneWay => one_way_takes_one_direction,
    SplitHelloDrop => split_hello_drop_answers_no_long_hello;
    a_reset_at_connect_needs_no_byte,
    a_service_without_end_is_silenced_too,
    a_drain_resets_what_is_silent,
    a_drain_resets_what_has_no_end_of_its_own,
    an_end_without_close_notify_is_answered,
);

fn reset_comes_behind_the_bytes_before_it(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: down: reset @17B; 2: up: reset @4B");
    let mut client = faulted.connect();
    client.send("Hello\n");
    client.expect("Server received: ");
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    faulted.injects(&[(1, Some(Down), 17, FaultKind::Reset)]);
    assert_eq!(faulted.running.closed(), CloseReason::Aborted);
    let mut client = faulted.connect();
    client.send("two\nthree\n");
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    faulted.injects(&[(2, Some(Up), 4, FaultKind::Reset)]);
    faulted.works_for_another();
}

fn a_reset_at_connect_needs_no_byte(engine: Engine) {
    let faulted = Faulted::replying(engine, "1-2: reset @connect");
    for number in 1..=2 {
        assert_eq!(error_of_next_read(&mut faulted.connect()), ErrorKind::ConnectionReset);
        faulted.injects(&[(number, None, 0, FaultKind::Reset)]);
    }
    faulted.works_for_another();
}

fn close_is_a_fin_and_loses_the_rest(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: down: close @17B");
    let mut client = faulted.connect();
    client.send("Hello\n");
    assert_eq!(client.rest(), b"Server received: ");
    faulted.injects(&[(1, Some(Down), 17, FaultKind::Close)]);
    faulted.works_for_another();
}

fn half_close_is_a_fin_that_was_not_sent(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: down: half-close @17B; 2: up: half-close @6B");
    let mut client = faulted.connect();
    client.send("Hello\n");
    assert_eq!(client.rest(), b"Server received: ");
    client.send("The server reads on\n");
    client.finish();
    assert_eq!(faulted.running.closed(), CloseReason::Finished);
    faulted.injects(&[(1, Some(Down), 17, FaultKind::HalfClose)]);
    // A server that takes the client's input to be over answers and ends.
    let mut client = faulted.connect();
    client.send("Hello\nagain\n");
    assert_eq!(client.rest(), b"Server received: Hello\n");
    faulted.injects(&[(2, Some(Up), 6, FaultKind::HalfClose)]);
    faulted.works_for_another();
}

fn silent_sends_nothing_more(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: up: silent @message=2");
    let mut client = faulted.connect();
    client.ask("one");
    client.send("two\n");
    faulted.injects(&[(1, Some(Up), 4, FaultKind::Silent)]);
    // It is read, and not answered; the FIN is not either.
    client.send(noise(1, 4_000_000));
    client.finish();
    faulted.works_for_another();
    is_silent(&mut client);
    client.reset();
}

fn a_service_without_end_is_silenced_too(engine: Engine) {
    let faulted = Faulted::serving(server(engine), "1: down: silent @1MiB", |_| Chargen);
    let mut client = faulted.connect();
    assert_eq!(client.read(1 << 20).len(), 1 << 20);
    faulted.injects(&[(1, Some(Down), 1 << 20, FaultKind::Silent)]);
    is_silent(&mut client);
    // The others go on.
    assert_eq!(faulted.connect().read(1 << 20).len(), 1 << 20);
    is_silent(&mut client);
}

fn a_drain_resets_what_is_silent(engine: Engine) {
    let faulted = Faulted::replying(engine, "silent");
    let mut client = faulted.connect();
    client.send("one\n");
    faulted.injects(&[(1, Some(Up), 0, FaultKind::Silent)]);
    // Long before the drain is over.
    faulted.running.handle.drain(PATIENCE * 10);
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    faulted.running.wait();
}

fn a_drain_resets_what_has_no_end_of_its_own(engine: Engine) {
    for (spec, kind) in [("down: one-way", FaultKind::OneWay), ("never-read @message=2", FaultKind::NeverRead)] {
        let faulted = Faulted::replying(engine, spec);
        let mut client = faulted.connect();
        client.send("one\ntwo\nthree\n");
        let event = faulted.injected.recv_timeout(PATIENCE).unwrap();
        assert_eq!(event.kind, kind);
        if kind == FaultKind::NeverRead {
            client.expect("Server received: one\n");
            client.send("four\n");
        }
        // Long before the drain is over.
        faulted.running.handle.drain(PATIENCE * 10);
        assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset, "{spec}");
        faulted.running.wait();
    }
}

fn an_end_without_close_notify_is_answered(engine: Engine) {
    let faulted =
        Faulted::serving(server(engine).handshake(crate::tunnel::handshake()), "delay=1ms", |_| Reply::default());
    let settings = crate::tunnel::client();
    let session = rustls::ClientConnection::new(settings.config().clone(), settings.name().clone()).unwrap();
    let mut tls = rustls::StreamOwned::new(session, faulted.connect().0);
    tls.write_all(b"whole\ncut o").unwrap();
    tls.flush().unwrap();
    tls.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    // Ends with the server's close_notify, or this is an error.
    tls.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"Server received: whole\n");
    assert_eq!(faulted.running.closed(), CloseReason::Truncated);
}

fn one_way_takes_one_direction(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: down: one-way @23B; 2: up: one-way @4B");
    let mut client = faulted.connect();
    client.ask("Hello");
    client.send("two\n");
    client.finish();
    faulted.injects(&[(1, Some(Down), 23, FaultKind::OneWay)]);
    is_silent(&mut client);
    client.reset();
    let mut client = faulted.connect();
    client.send("one\ntwo\n");
    client.expect("Server received: one\n");
    client.finish();
    faulted.injects(&[(2, Some(Up), 4, FaultKind::OneWay)]);
    is_silent(&mut client);
    client.reset();
    faulted.works_for_another();
}

fn split_hello_drop_answers_no_long_hello(engine: Engine) {
    let faulted = Faulted::replying(engine, "split-hello-drop");
    let mut hello = vec![22, 3, 1, 6, 0, 1];
    hello.resize(6 * 256 + 5, b'x');
    let mut client = faulted.connect();
    client.send(&hello);
    client.send("\n");
    faulted.injects(&[(1, Some(Up), 1400, FaultKind::SplitHelloDrop)]);
    faulted.works_for_another();
    is_silent(&mut client);
    client.reset();
}

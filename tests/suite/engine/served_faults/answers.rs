//! Faults that only a server has.

use std::io::Write;
use std::time::{Duration, Instant};

use resound::faults::FaultKind;
use resound::faults::StreamDirection::Up;
use resound::{CloseReason, Echo, Engine, Reply};

use super::{Faulted, is_silent, takes};
use crate::harness::{Event, PATIENCE, noise, on_each_engine, server};

pub(super) const TESTED: &[FaultKind] = &[
    FaultKind::Garbage,
    FaultKind::NeverRead,
    FaultKind::HalfCloseFirst,
    FaultKind::DuplicateLastLine,
    FaultKind::WrongAnswer,
    FaultKind::LateAnswer,
];

on_each_engine! {
    garbage_comes_in_the_place_of_an_answer,
    never_read_lets_the_client_send_into_the_void,
    half_close_first_is_a_fin_before_the_clients,
    duplicate_last_line_answers_once_too_often,
    wrong_answer_differs_in_one_character,
    late_answer_keeps_one_answer_and_those_behind,
    several_answers_in_one_read_suffer_each_for_itself,
    a_drain_waits_for_a_late_answer,
    a_drain_answers_lines_that_wait_to_be_swapped,
    of_many_lines_in_one_write_the_right_one_suffers,
}

fn garbage_comes_in_the_place_of_an_answer(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: garbage @message=2");
    let mut client = faulted.connect();
    client.ask("one");
    client.send("two\n");
    let garbage = client.read("Server received: two\n".len());
    assert!(!garbage.starts_with(b"Server"), "{garbage:?}");
    client.ask("three");
    faulted.injects(&[(1, Some(Up), 4, FaultKind::Garbage)]);
    faulted.works_for_another();
}

fn never_read_lets_the_client_send_into_the_void(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: never-read @message=2");
    let mut client = faulted.connect();
    client.ask("one");
    client.send("two\n");
    faulted.injects(&[(1, Some(Up), 4, FaultKind::NeverRead)]);
    faulted.works_for_another();
    is_silent(&mut client);
    // Its socket and the server's are full at last.
    client.0.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let block = noise(1, 1 << 20);
    assert!((0..64).any(|_| client.0.write_all(&block).is_err()), "64 MiB were read");
    client.reset();
}

fn half_close_first_is_a_fin_before_the_clients(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: half-close-first; 2: half-close-first @message=2");
    let mut client = faulted.connect();
    assert_eq!(client.rest(), b"");
    client.send("question\n");
    client.finish();
    faulted.injects(&[(1, None, 0, FaultKind::HalfCloseFirst)]);
    assert_eq!(faulted.running.closed(), CloseReason::Finished);
    let mut client = faulted.connect();
    client.ask("one");
    client.send("two\n");
    assert_eq!(client.rest(), b"");
    client.finish();
    faulted.injects(&[(2, Some(Up), 4, FaultKind::HalfCloseFirst)]);
    assert_eq!(faulted.running.closed(), CloseReason::Finished);
    faulted.works_for_another();
}

fn duplicate_last_line_answers_once_too_often(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: duplicate-last-line @message=2");
    let mut client = faulted.connect();
    client.ask("one");
    client.send("two\n");
    client.expect("Server received: two\nServer received: two\n");
    client.ask("three");
    client.finish();
    assert_eq!(client.rest(), b"");
    faulted.injects(&[(1, Some(Up), 4, FaultKind::DuplicateLastLine)]);
    faulted.works_for_another();
}

fn wrong_answer_differs_in_one_character(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: wrong-answer");
    let mut client = faulted.connect();
    client.send("one\n");
    let want = "Server received: one\n";
    let got = client.read(want.len());
    let differing = got.iter().zip(want.as_bytes()).filter(|(got, want)| got != want).count();
    assert_eq!((differing, got.last()), (1, Some(&b'\n')), "{got:?}");
    client.ask("two");
    faulted.injects(&[(1, Some(Up), 0, FaultKind::WrongAnswer)]);
    faulted.works_for_another();
}

fn late_answer_keeps_one_answer_and_those_behind(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: late-answer=300ms @message=2");
    let mut client = faulted.connect();
    client.ask("one");
    let since = Instant::now();
    client.send("two\nthree\n");
    client.expect("Server received: two\nServer received: three\n");
    takes(Duration::from_millis(300), since);
    client.finish();
    assert_eq!(client.rest(), b"");
    faulted.injects(&[(1, Some(Up), 4, FaultKind::LateAnswer)]);
    assert_eq!(faulted.running.closed(), CloseReason::Finished);
    faulted.works_for_another();
}

fn several_answers_in_one_read_suffer_each_for_itself(engine: Engine) {
    let spec = "duplicate-last-line @message=2; late-answer=100ms @message=3; duplicate-last-line @message=4";
    let faulted = Faulted::replying(engine, spec);
    let mut client = faulted.connect();
    client.send("1\n2\n3\n4\n5\n");
    client.finish();
    let answers = String::from_utf8(client.rest()).unwrap();
    let numbers: Vec<_> = answers.lines().map(|line| line.strip_prefix("Server received: ").unwrap()).collect();
    assert_eq!(numbers, ["1", "2", "2", "3", "4", "4", "5"]);
}

/// What a client gets that writes so many lines, in pieces of this size at most.
fn pipelined(engine: Engine, spec: &str, piece: usize) -> Vec<u8> {
    let faulted = Faulted::replying(engine, spec);
    let mut client = faulted.connect();
    let mut sender = client.0.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let lines: String = (1..=LINES).map(|number| format!("{number}\n")).collect();
        for piece in lines.as_bytes().chunks(piece) {
            // One that has its end may reset what comes then.
            if sender.write_all(piece).is_err() {
                break;
            }
        }
        let _ = sender.shutdown(std::net::Shutdown::Write);
    });
    let got = client.rest();
    writer.join().unwrap();
    got
}

const LINES: usize = 20_000;

fn of_many_lines_in_one_write_the_right_one_suffers(engine: Engine) {
    let answers = |from: usize, to: usize| -> String {
        (from..=to).map(|number| format!("Server received: {number}\n")).collect()
    };
    let before = answers(1, 1999);
    let at = "Server received: 2000\n";
    for piece in [usize::MAX, 1000] {
        for fault in ["garbage", "wrong-answer", "duplicate-last-line", "late-answer=20ms"] {
            let got = pipelined(engine, &format!("{fault} @message=2000"), piece);
            let (head, rest) = got.split_at(before.len());
            let (answer, rest) = rest.split_at(at.len());
            assert!(head == before.as_bytes(), "{fault} in pieces of {piece}");
            let rest = match fault {
                "duplicate-last-line" => rest.strip_prefix(at.as_bytes()).expect("twice"),
                _ => rest,
            };
            let is_changed = matches!(fault, "garbage" | "wrong-answer");
            assert_eq!(answer != at.as_bytes(), is_changed, "{fault} in pieces of {piece}");
            assert!(rest == answers(2001, LINES).as_bytes(), "{fault} in pieces of {piece}");
        }
        let got = pipelined(engine, "half-close-first @message=2000", piece);
        assert!(got == before.as_bytes(), "{} bytes in pieces of {piece}", got.len());
    }
}

fn a_drain_waits_for_a_late_answer(engine: Engine) {
    let faulted = Faulted::serving(server(engine), "late-answer=300ms", |_| Reply::default());
    let mut client = faulted.connect();
    client.send("one\n");
    faulted.injects(&[(1, Some(Up), 0, FaultKind::LateAnswer)]);
    faulted.running.handle.drain(PATIENCE);
    client.expect("Server received: one\n");
    assert_eq!(client.rest(), b"");
    let totals = faulted.running.wait();
    assert_eq!((totals.opened, totals.messages), (1, 1));
    let closed = faulted.running.events.try_iter().find(|event| matches!(event, Event::Closed(..)));
    assert!(matches!(closed, Some(Event::Closed(_, CloseReason::Drained))), "{closed:?}");
}

fn a_drain_answers_lines_that_wait_to_be_swapped(engine: Engine) {
    let faulted = Faulted::serving(server(engine), "up: swap=1KiB @5B", |_| Reply::default());
    let mut client = faulted.connect();
    client.send("zero\none\ntwo\n");
    client.expect("Server received: zero\n");
    faulted.running.handle.drain(PATIENCE);
    client.expect("Server received: one\nServer received: two\n");
    assert_eq!(client.rest(), b"");
    assert_eq!(faulted.running.wait().messages, 3);
}

#[test]
fn chunks_of_an_echo_are_answers_too() {
    let faulted = Faulted::serving(server(Engine::Portable), "wrong-answer", |_| Echo);
    let mut client = faulted.connect();
    client.send("abc");
    assert_ne!(client.read(3), b"abc");
    client.send("abc");
    client.expect("abc");
}

//! The faults that only a server has.

use std::time::Duration;

use resound_faults::End;

use crate::bench::{Bench, Down, Up};

/// What a server of lines does with what it got: it echoes each line, once that is whole.
fn answers(bench: &mut Bench) -> Vec<(String, Duration)> {
    let lines = &mut bench.got[Up as usize];
    let mut all = Vec::new();
    while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
        let mut answer: Vec<u8> = lines.drain(..=end).collect();
        let late = bench.faults.answer(&mut answer);
        all.push((String::from_utf8_lossy(&answer).into_owned(), late));
    }
    all
}

/// The same for all of this, a poll at a time.
fn answers_in_turn(bench: &mut Bench, input: &[u8]) -> Vec<(String, Duration)> {
    let mut all = Vec::new();
    bench.faults.received(bench.now, Up, input);
    while bench.faults.needs_poll(Up) {
        bench.faults.poll(bench.now, Up, usize::MAX, &mut bench.got[Up as usize]);
        all.extend(answers(bench));
    }
    bench.events.extend(bench.faults.take_events());
    all
}

fn texts(answers: &[(String, Duration)]) -> Vec<&str> {
    answers.iter().map(|(text, _)| text.as_str()).collect()
}

#[test]
fn an_answer_suffers_from_what_its_message_has_triggered() {
    let mut bench = Bench::new("duplicate-last-line @message=2; late-answer=2s @message=3; duplicate-last-line @8B");
    let answers = answers_in_turn(&mut bench, b"one\ntwo\nfour\nfive\n");
    assert_eq!(texts(&answers), ["one\n", "two\ntwo\n", "four\nfour\n", "five\n"]);
    let late = answers.iter().map(|(_, late)| late.as_secs()).collect::<Vec<_>>();
    assert_eq!(late, [0, 0, 2, 0]);
    let want =
        [("duplicate-last-line", Some(Up), 4), ("late-answer", Some(Up), 8), ("duplicate-last-line", Some(Up), 8)];
    let mut got = bench.words();
    got.sort_by_key(|(_, _, offset)| *offset);
    assert_eq!(got[0], want[0]);
    assert!(want[1..].iter().all(|event| got[1..].contains(event)), "{got:?}");
}

#[test]
fn it_does_not_matter_how_reads_fell() {
    let spec = "wrong-answer @message=2; garbage @9B; late-answer=1s @message=4";
    let input = b"one\ntwo\nthree\nfour\nfive\n";
    let whole = answers_in_turn(&mut Bench::new(spec), input);
    assert_eq!(texts(&whole)[0], "one\n");
    assert_ne!(texts(&whole)[1], "two\n");
    for at in 1..input.len() {
        let mut bench = Bench::new(spec);
        let mut got = answers_in_turn(&mut bench, &input[..at]);
        got.extend(answers_in_turn(&mut bench, &input[at..]));
        assert_eq!(got, whole, "cut at {at}");
    }
}

#[test]
fn an_answer_can_be_late_from_a_time_on() {
    let mut bench = Bench::new("late-answer=1s @10s; wrong-answer @connect");
    assert!(bench.faults.changes_answer(), "@connect is over");
    bench.send(Up, b"one\n");
    assert_eq!(answers(&mut bench).len(), 1);
    assert!(!bench.faults.changes_answer());
    bench.at(10_000);
    assert!(bench.faults.changes_answer());
    bench.send(Up, b"two\n");
    bench.expect(Down, b"", End::Open);
    assert_eq!(bench.words(), [("wrong-answer", None, 0)], "none has suffered from the other yet");
    assert_eq!(answers(&mut bench), [("two\n".into(), Duration::from_secs(1))]);
    bench.at(10_001);
    assert_eq!(bench.words(), [("wrong-answer", None, 0), ("late-answer", None, 0)]);
}

#[test]
fn nothing_is_read_behind_the_place_where_a_server_stops_to_read() {
    let bench = Bench::new("never-read");
    assert!(!bench.faults.wants_input(Up));
    let mut bench = Bench::new("never-read @6B");
    assert!(bench.faults.wants_input(Up));
    bench.send(Up, b"one\ntwo\n");
    bench.expect(Up, b"one\ntw", End::Open);
    assert!(!bench.faults.wants_input(Up) && bench.faults.wants_input(Down));
    bench.send(Up, b"three\n");
    bench.fin(Up);
    bench.expect(Up, b"", End::Open);
    bench.send(Down, b"answer");
    bench.expect(Down, b"answer", End::Open);
    assert_eq!(bench.words(), [("never-read", Some(Up), 6)]);
    // A later ending still ends it.
    let mut bench = Bench::new("never-read; reset @1s");
    bench.at(1000);
    assert_eq!(bench.ends, [End::ResetNow; 2]);
}

#[test]
fn a_server_can_send_its_fin_first() {
    let mut bench = Bench::new("half-close-first");
    bench.at(0);
    bench.expect(Down, b"", End::HalfClose);
    bench.send(Up, b"question\n");
    bench.send(Down, b"answer\n");
    bench.expect(Up, b"question\n", End::Open);
    bench.expect(Down, b"", End::HalfClose);
    // After what it has sent by then.
    let mut bench = Bench::new("half-close-first @message=2");
    bench.send(Up, b"one\n");
    bench.send(Down, b"one\n");
    bench.send(Up, b"two\n");
    bench.send(Down, b"two\n");
    bench.expect(Down, b"one\n", End::HalfClose);
    bench.fin(Up);
    bench.fin(Down);
    assert_eq!(bench.ends, [End::HalfClose; 2]);
    assert_eq!(bench.words(), [("half-close-first", Some(Up), 4)]);
}

#[test]
fn a_fault_of_a_server_waits_for_the_answers_before_it() {
    let poll = |bench: &mut Bench, room| {
        let mut out = Vec::new();
        bench.faults.poll(bench.now, Up, room, &mut out);
        String::from_utf8(out).unwrap()
    };
    let mut bench = Bench::new("garbage @message=2; half-close-first @message=3");
    bench.faults.received(bench.now, Up, b"one\ntwo\nthree\n");
    assert_eq!(poll(&mut bench, 100), "one\n");
    assert_eq!((poll(&mut bench, 0).as_str(), bench.faults.changes_answer()), ("", false), "a full server");
    assert_eq!((poll(&mut bench, 100).as_str(), bench.faults.changes_answer()), ("two\n", true));
    bench.faults.holds_answers(true);
    assert_eq!((poll(&mut bench, 100).as_str(), bench.faults.has_new_end(Down)), ("", false));
    bench.faults.holds_answers(false);
    assert_eq!(poll(&mut bench, 100), "three\n");
    assert_eq!(bench.faults.poll(bench.now, Down, 100, &mut Vec::new()).end, End::HalfClose);
}

#[test]
fn it_shows_which_receiver_never_learns_of_its_end() {
    let mut bench = Bench::new("up: one-way");
    bench.send(Up, b"x");
    assert!(!bench.faults.never_ends(Up) && !bench.faults.never_finishes());
    bench.fin(Up);
    assert!(bench.faults.never_ends(Up) && !bench.faults.never_ends(Down) && bench.faults.never_finishes());
    let mut bench = Bench::new("up: one-way; down: delay=1s");
    bench.send(Up, b"x");
    bench.send(Down, b"x");
    bench.fin(Up);
    assert!(bench.faults.never_ends(Up) && !bench.faults.never_finishes(), "an answer is on its way");
    bench.at(1000);
    assert!(bench.faults.never_finishes());
    let mut bench = Bench::new("silent");
    bench.send(Up, b"x");
    assert!(bench.faults.never_ends(Up) && bench.faults.never_ends(Down) && bench.faults.never_finishes());
}

#[test]
fn half_a_line_does_not_wait_for_the_fault_behind_it() {
    let mut bench = Bench::new("late-answer=1s @2B");
    bench.faults.received(bench.now, Up, b"abcd");
    let mut out = Vec::new();
    assert!(bench.faults.poll(bench.now, Up, usize::MAX, &mut out).more);
    assert_eq!((&out[..], bench.faults.changes_answer()), (&b"ab"[..], false));
    bench.faults.poll(bench.now, Up, usize::MAX, &mut out);
    assert_eq!((&out[..], bench.faults.changes_answer()), (&b"abcd"[..], true));
}

use super::*;
use crate::Sizes;
use crate::length::Lengths;
use crate::payload::Payload;

/// Enough messages for every fault to be explained.
const MESSAGES: u64 = 200;

fn all_rules(sizes: &[Sizes]) -> Vec<Arc<Rules>> {
    let kinds = [(false, &b""[..]), (true, b""), (true, b"Server received: ")];
    let rules = |sizes: &Sizes, (lines, prefix)| {
        let lengths = Lengths::new(sizes);
        let payload = Payload::new(11, lines, prefix, lengths.longest());
        Arc::new(Rules { payload, lengths, verify: true })
    };
    sizes.iter().flat_map(|sizes| kinds.map(|kind| rules(sizes, kind))).collect()
}

fn usual() -> Vec<Sizes> {
    vec![Sizes::Fixed(16), Sizes::Fixed(64), Sizes::Range(8, 300), Sizes::Weighted(vec![(20, 1.0), (5000, 1.0)])]
}

fn answer(rules: &Rules, sequence: u64) -> Vec<u8> {
    let message = rules.message(5, sequence);
    rules.payload.answer_head(&message, rules.payload.answer_len(&message))
}

/// The events if `MESSAGES` messages, with `depth` in flight, get these answers in parts of `part`
/// bytes.
fn events_of(rules: &Arc<Rules>, depth: u64, part: usize, came: &[Vec<u8>]) -> Vec<AnswerEvent> {
    let mut answers = Answers::new(Arc::clone(rules), 5);
    let mut events = Vec::new();
    let mut asked = 0;
    let mut ask = |answers: &mut Answers| {
        while asked < MESSAGES && answers.in_flight() < depth as usize {
            answers.send(SendTimes::new(asked, asked));
            asked += 1;
        }
    };
    ask(&mut answers);
    for bytes in came {
        for part in bytes.chunks(part) {
            answers.received(part, &mut |event| events.push(event));
            ask(&mut answers);
        }
    }
    answers.end(&mut |event| events.push(event));
    events
}

fn right(rules: &Rules) -> Vec<Vec<u8>> {
    (0..MESSAGES).map(|sequence| answer(rules, sequence)).collect()
}

/// There is one fault, and all other answers are right.
fn assert_only(events: &[AnswerEvent], answered: usize, fault: LoadFailure, about: u64) {
    let (mut right, mut wrong) = (0, Vec::new());
    for event in events {
        match event {
            AnswerEvent::Answered(_) => right += 1,
            other => wrong.push(other),
        }
    }
    assert_eq!(right, answered, "{wrong:?}");
    match wrong[..] {
        [AnswerEvent::Wrong(sent, class, sequence, _)] => {
            assert_eq!((*class, *sequence, sent.planned), (fault, about, about));
        }
        [AnswerEvent::Missing(sent, sequence)] => {
            assert_eq!((LoadFailure::Missing, *sequence, sent.planned), (fault, about, about))
        }
        [AnswerEvent::Failure(class, sequence, _)] => assert_eq!((*class, *sequence), (fault, Some(about))),
        _ => panic!("not one event but {wrong:?}"),
    }
}

#[test]
fn right_answers_are_right_across_reads() {
    let sizes = [usual(), vec![Sizes::Fixed(1), Sizes::Fixed(2), Sizes::Range(1, 9)]].concat();
    for rules in all_rules(&sizes) {
        for depth in [1, 4, MESSAGES] {
            for part in [1, 3, 64, usize::MAX] {
                let events = events_of(&rules, depth, part, &right(&rules));
                let times: Vec<_> = (0..MESSAGES).map(|n| AnswerEvent::Answered(SendTimes::new(n, n))).collect();
                assert_eq!(events, times, "{depth} {part}");
            }
        }
        // In one read.
        let events = events_of(&rules, MESSAGES, usize::MAX, &[right(&rules).concat()]);
        assert_eq!(events.len() as u64, MESSAGES);
    }
}

#[test]
fn a_wrong_byte_is_found_at_every_position() {
    for rules in all_rules(&usual()) {
        for (depth, part) in [(1, 7), (8, usize::MAX), (8, 64)] {
            for at in [0, 1, 7, 15] {
                let mut came = right(&rules);
                came[50][at] ^= 0x20;
                assert_only(&events_of(&rules, depth, part, &came), 199, LoadFailure::Corrupt, 50);
            }
            let mut came = right(&rules);
            *came[199].last_mut().unwrap() ^= 1;
            assert_only(&events_of(&rules, depth, part, &came), 199, LoadFailure::Corrupt, 199);
        }
    }
}

#[test]
fn a_skipped_answer_is_missing() {
    for rules in all_rules(&usual()) {
        for (gone, part) in [(50, 7), (50, usize::MAX), (0, 64), (197, 64)] {
            let mut came = right(&rules);
            came.remove(gone);
            assert_only(&events_of(&rules, 8, part, &came), 199, LoadFailure::Missing, gone as u64);
        }
    }
}

#[test]
fn a_missing_answer_is_reported_while_others_arrive() {
    for rules in all_rules(&usual()) {
        let mut came = right(&rules);
        came.remove(50);
        came.truncate(50 + REORDER_WINDOW + 5);
        let mut answers = Answers::new(Arc::clone(&rules), 5);
        for n in 0..MESSAGES {
            answers.send(SendTimes::new(n, n));
        }
        let mut missing = Vec::new();
        answers.received(&came.concat(), &mut |event| match event {
            AnswerEvent::Missing(_, sequence) => missing.push(sequence),
            AnswerEvent::Answered(_) => {}
            other => panic!("{other:?}"),
        });
        assert_eq!(missing, [50]);
    }
}

#[test]
fn swapped_answers_are_reordered() {
    for rules in all_rules(&usual()) {
        for (at, part) in [(50, 7), (50, usize::MAX), (0, 64), (190, 64)] {
            let mut came = right(&rules);
            came.swap(at, at + 1);
            assert_only(&events_of(&rules, 8, part, &came), 199, LoadFailure::Reordered, at as u64);
        }
    }
}

#[test]
fn a_repeated_answer_is_a_duplicate() {
    for rules in all_rules(&usual()) {
        for (depth, part) in [(1, 7), (8, 64), (8, usize::MAX)] {
            let mut came = right(&rules);
            let twice = came[50].clone();
            came.insert(51, twice);
            assert_only(&events_of(&rules, depth, part, &came), 200, LoadFailure::Duplicate, 50);
        }
    }
}

#[test]
fn a_cut_answer_is_truncated() {
    for rules in all_rules(&usual()) {
        for part in [7, 64, usize::MAX] {
            let mut came = right(&rules);
            let length = came[50].len();
            came[50].truncate(length - 3);
            assert_only(&events_of(&rules, 8, part, &came), 199, LoadFailure::Truncated, 50);
            if rules.payload.lines {
                came[50].push(b'\n');
                assert_only(&events_of(&rules, 8, part, &came), 199, LoadFailure::Truncated, 50);
            }
        }
    }
}

#[test]
fn bytes_that_answer_nothing_lose_the_stream() {
    for rules in all_rules(&usual()) {
        let mut came = right(&rules);
        came.push(vec![b'?'; 100]);
        let events = events_of(&rules, 8, 64, &came);
        assert!(
            matches!(events[200..], [AnswerEvent::Failure(LoadFailure::Extra, None, _), AnswerEvent::Lost]),
            "{:?}",
            &events[200..]
        );
        let mut came = right(&rules);
        came[50] = vec![b'?'; 200_000];
        let events = events_of(&rules, 8, 64, &came);
        // All messages in flight, this one included, stay unanswered.
        assert!(matches!(events[50..52], [AnswerEvent::Failure(LoadFailure::Corrupt, Some(50), _), AnswerEvent::Lost]));
        let rest: Vec<_> = (50..58).map(|n| AnswerEvent::Unanswered(SendTimes::new(n, n))).collect();
        assert_eq!(events[52..], rest);
    }
}

#[test]
fn without_verification_answers_are_counted() {
    let payload = Payload::new(1, false, b"", 10);
    let rules = Rules { payload, lengths: Lengths::new(&Sizes::Fixed(10)), verify: false };
    let events = events_of(&Arc::new(rules), 8, 7, &[vec![0; 10 * MESSAGES as usize]]);
    assert_eq!(events.len() as u64, MESSAGES);
}

#[test]
fn many_faults_do_not_use_more_stack() {
    let little = std::thread::Builder::new().stack_size(128 * 1024);
    little.spawn(every_second_answer_is_wrong).unwrap().join().unwrap();
}

/// All answers arrive in one read.
fn every_second_answer_is_wrong() {
    let rules = all_rules(&[Sizes::Fixed(16)]).remove(0);
    let mut answers = Answers::new(Arc::clone(&rules), 5);
    let (mut came, mut right, mut wrong) = (Vec::new(), 0, 0);
    for n in 0..4000 {
        answers.send(SendTimes::new(n, n));
        let mut answer = answer(&rules, n);
        answer[3] ^= (n % 2) as u8;
        came.extend(answer);
    }
    answers.received(&came, &mut |event| match event {
        AnswerEvent::Answered(_) => right += 1,
        AnswerEvent::Wrong(_, LoadFailure::Corrupt, ..) => wrong += 1,
        other => panic!("{other:?}"),
    });
    assert!(right + wrong >= 3990 && wrong >= 1990, "{right} {wrong}");
}

#[test]
fn the_rest_of_a_reordered_answer_is_skipped() {
    let rules = all_rules(&[Sizes::Fixed(5000)]).remove(0);
    let mut answers = Answers::new(Arc::clone(&rules), 5);
    let mut events = Vec::new();
    for n in 0..4 {
        answers.send(SendTimes::new(n, n));
    }
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|n| answer(&rules, n));
    answers.received(&[&second[..], &first[..1000]].concat(), &mut |event| events.push(event));
    // A pause, and then the rest.
    answers.explain(true, &mut |event| events.push(event));
    assert!(answers.is_partial());
    answers.received(&first[1000..3000], &mut |event| events.push(event));
    answers.received(&[&first[3000..], &third[..], &fourth[..]].concat(), &mut |event| events.push(event));
    answers.end(&mut |event| events.push(event));
    let sent = |n| SendTimes::new(n, n);
    assert!(matches!(&events[1], AnswerEvent::Wrong(at, LoadFailure::Reordered, 0, _) if *at == sent(0)), "{events:?}");
    events.remove(1);
    assert_eq!(events, [1, 2, 3].map(|n| AnswerEvent::Answered(sent(n))));
}

#[test]
fn a_kernel_timestamp_replaces_the_send_time() {
    let rules = &all_rules(&[Sizes::Fixed(16)])[0];
    let mut answers = Answers::new(Arc::clone(rules), 5);
    for n in 0..4 {
        answers.send(SendTimes::new(n, n));
    }
    answers.departed(15, 100); // a part of the first message
    answers.departed(16, 101);
    answers.departed(48, 102); // the second left with the third
    answers.departed(48, 103);
    answers.departed(64, 2); // before the send: the time of day was set
    let mut events = Vec::new();
    (0..4).for_each(|n| answers.received(&answer(rules, n), &mut |event| events.push(event)));
    let by_kernel = |planned, sent| AnswerEvent::Answered(SendTimes { planned, sent, by_kernel: true });
    let wanted = [by_kernel(0, 101), by_kernel(1, 102), by_kernel(2, 102), AnswerEvent::Answered(SendTimes::new(3, 3))];
    assert_eq!(events, wanted);
}

#[test]
fn answers_to_reads_are_detected() {
    let lengths = Lengths::new(&Sizes::Fixed(2000));
    let payload = Payload::new(11, true, b"Server received: ", lengths.longest());
    let rules = Arc::new(Rules { payload, lengths, verify: true });
    let came: Vec<u8> =
        answer(&rules, 0)[17..].chunks(1024).flat_map(|read| [b"Server received: ", read].concat()).collect();
    let events = events_of(&rules, 1, 4096, &[came]);
    let is_detected = |event: &AnswerEvent| match event {
        AnswerEvent::Failure(LoadFailure::Corrupt, _, what) => what.contains("answer what one read returns"),
        _ => false,
    };
    assert!(events.iter().any(is_detected), "{events:?}");
}

//! A seed repeats a run: the same events and the same bytes, however the bytes arrive and whenever
//! they are polled.

use std::time::{Duration, Instant};

use resound_faults::{ConnectionFaults, End, FaultSpec, StreamDirection};

use crate::bench::{Down, Up};

/// Choices of a test, from its own seed.
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*: apart from what the crate draws with.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Faults of which each leaves the other direction alone.
const OF_A_DIRECTION: &[&str] = &[
    "delay=20ms",
    "delay=20ms+-5ms",
    "delay=5ms+-5ms~pareto",
    "rate=100KiB/s",
    "drip=500B/10ms",
    "stall=2s",
    "stall-then-burst=1s",
    "slice=1..7",
    "slice=100..900",
    "coalesce=40ms",
    "corrupt",
    "corrupt 30%",
    "truncate",
    "duplicate=100B",
    "duplicate=3KiB",
    "swap=64B",
    "swap=1KiB",
    "half-close",
    "eat-fin",
    "one-way",
    "hold=1KiB",
    "no-backpressure",
];
const OF_BOTH: &[&str] =
    &["reset", "reset-one-side", "close", "silent", "close-on-eof", "fin-to-rst", "split-hello-drop"];

fn random_spec(choices: &mut Choices, faults: &[&[&str]]) -> String {
    let rules: Vec<_> = (0..=choices.below(6))
        .map(|_| {
            loop {
                let list = faults[choices.below(faults.len() as u64) as usize];
                let fault = choices.one(list);
                let when = match choices.below(4) {
                    0 => String::new(),
                    1 => format!(" @message={}", choices.below(40) + 1),
                    _ => format!(" @{}B", choices.below(7000)),
                };
                let direction = if fault == "split-hello-drop" { "" } else { choices.one(&["", "up: ", "down: "]) };
                let chance = choices.one(&["", "", " 60%"]);
                let rule = format!("{direction}{fault}{when}{chance}");
                let rule = if fault.ends_with('%') { format!("{direction}{fault}") } else { rule };
                if rule.parse::<FaultSpec>().is_ok() {
                    return rule;
                }
            }
        })
        .collect();
    rules.join("; ")
}

#[derive(Debug, PartialEq)]
struct Outcome {
    bytes: [Vec<u8>; 2],
    ends: [End; 2],
    /// Of each direction in their order, and those of both at once.
    events: [Vec<(u64, &'static str)>; 3],
}

struct Run {
    faults: ConnectionFaults,
    now: Instant,
    outcome: Outcome,
}

impl Run {
    fn new(spec: &FaultSpec, seed: u64) -> Option<Self> {
        let now = Instant::now();
        let faults = spec.connection(seed, 3, None, now)?;
        let outcome = Outcome { bytes: Default::default(), ends: [End::Open; 2], events: Default::default() };
        Some(Self { faults, now, outcome })
    }

    fn poll(&mut self, direction: StreamDirection, room: usize) {
        let out = &mut self.outcome.bytes[direction as usize];
        let before = out.len();
        let polled = self.faults.poll(self.now, direction, room, out);
        assert!(out.len() - before <= room);
        self.outcome.ends[direction as usize] = polled.end;
        for event in self.faults.take_events() {
            let list = event.direction.map_or(2, |direction| direction as usize);
            self.outcome.events[list].push((event.offset, event.kind.word()));
        }
    }

    fn poll_all(&mut self) {
        while let Some(direction) = StreamDirection::BOTH.into_iter().find(|each| self.faults.needs_poll(*each)) {
            self.poll(direction, usize::MAX);
        }
        // Events without bytes.
        self.poll(Up, 0);
    }

    /// Until nothing more happens by itself.
    fn settle(&mut self) {
        self.poll_all();
        for _ in 0..1_000_000 {
            let Some(deadline) = self.faults.deadline() else { return };
            assert!(deadline > self.now);
            self.now = deadline;
            self.faults.timed_out(deadline);
            self.poll_all();
        }
        panic!("it never settles");
    }

    /// Everything at once, and polled as soon as it may be.
    fn whole(mut self, input: &[Vec<u8>; 2]) -> Outcome {
        for direction in StreamDirection::BOTH {
            for part in input[direction as usize].chunks(16 * 1024) {
                self.faults.received(self.now, direction, part);
                self.settle();
            }
        }
        self.ended(input)
    }

    fn ended(mut self, input: &[Vec<u8>; 2]) -> Outcome {
        for direction in StreamDirection::BOTH.into_iter().filter(|each| !input[*each as usize].is_empty()) {
            self.faults.received_fin(self.now, direction);
            self.settle();
        }
        self.settle();
        self.outcome
    }

    /// In random pieces, at random times, and polled at random with little room.
    fn in_pieces(mut self, input: &[Vec<u8>; 2], choices: &mut Choices) -> Outcome {
        let mut sent = [0, 0];
        while sent != [input[0].len(), input[1].len()] {
            let direction = if choices.below(2) == 0 { Up } else { Down };
            let at = sent[direction as usize];
            let rest = &input[direction as usize][at..];
            match choices.below(8) {
                0 => self.now += Duration::from_micros(choices.below(30_000)),
                1 => self.faults.timed_out(self.now),
                2..4 => self.poll(direction, choices.below(700) as usize),
                _ if !self.faults.wants_input(direction) => {
                    self.settle();
                    if self.faults.is_over() {
                        break;
                    }
                }
                _ => {
                    let most = [1, 10, 300, 5000][choices.below(4) as usize];
                    let length = (choices.below(most) as usize + 1).min(rest.len());
                    self.faults.received(self.now, direction, &rest[..length]);
                    sent[direction as usize] += length;
                }
            }
        }
        self.settle();
        self.ended(input)
    }
}

fn input(choices: &mut Choices) -> Vec<u8> {
    let mut bytes: Vec<u8> = if choices.below(3) == 0 { vec![22, 3, 1, 8, 0, 1] } else { Vec::new() };
    let length = choices.below(9000) + 1;
    bytes.extend((0..length).map(|_| if choices.below(150) == 0 { b'\n' } else { choices.below(256) as u8 }));
    bytes
}

fn compare(faults: &[&[&str]], directions: u64) {
    let mut compared = 0;
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 1..=200 {
        let mut choices = Choices(seed * 0x9E37_79B9 + directions);
        let text = random_spec(&mut choices, faults);
        let spec: FaultSpec = text.parse().unwrap();
        let mut bytes = [input(&mut choices), input(&mut choices)];
        if directions == 1 {
            bytes[choices.below(2) as usize].clear();
        }
        let Some(whole) = Run::new(&spec, seed).map(|run| run.whole(&bytes)) else { continue };
        compared += 1;
        kinds.extend(whole.events.iter().flatten().map(|event| event.1));
        for again in 1..=4 {
            let mut choices = Choices(seed << 8 | again);
            let run = Run::new(&spec, seed).expect("the same choice");
            let pieces = run.in_pieces(&bytes, &mut choices);
            assert_eq!(pieces.events, whole.events, "seed {seed}, run {again}: {text}");
            assert_eq!(pieces.ends, whole.ends, "seed {seed}, run {again}: {text}");
            assert!(pieces.bytes == whole.bytes, "seed {seed}, run {again}, other bytes: {text}");
        }
    }
    assert!(compared > 150, "{compared} of 200 seeds");
    assert!(kinds.len() >= if directions == 1 { 20 } else { 16 }, "{kinds:?}");
}

/// An ending of both directions cuts the other one where it happens to be: so one direction sends.
#[test]
fn a_direction_repeats_whatever_the_pieces_and_the_times() {
    compare(&[OF_A_DIRECTION, OF_BOTH], 1);
}

#[test]
fn both_directions_repeat_whatever_the_pieces_and_the_times() {
    compare(&[OF_A_DIRECTION], 2);
}

#[test]
fn a_connection_repeats_whatever_came_before() {
    let spec: FaultSpec = "corrupt 50%; reset @5000B 50%; delay=1ms+-1ms 50%; every 3rd: slice=1..9".parse().unwrap();
    let outcome = |number| {
        let now = Instant::now();
        let faults = spec.connection(11, number, None, now)?;
        let outcome = Outcome { bytes: Default::default(), ends: [End::Open; 2], events: Default::default() };
        Some(Run { faults, now, outcome }.whole(&[vec![0; 9000], vec![]]))
    };
    let up: Vec<_> = (1..=30).map(outcome).collect();
    let mut down: Vec<_> = (1..=30).rev().map(outcome).collect();
    down.reverse();
    assert_eq!(up, down);
    assert!((1..30).any(|n| up[n] != up[0]), "connections differ");
}

/// No order of calls panics, and what waits stays bounded.
#[test]
fn any_order_of_calls_is_survived() {
    for seed in 1..=200 {
        let mut choices = Choices(seed * 77);
        let text = random_spec(
            &mut choices,
            &[
                OF_A_DIRECTION,
                OF_BOTH,
                &[
                    "rst-to-fin",
                    "rst-eats-tail",
                    "accept-liar",
                    "idle-reset=1s",
                    "idle-silent=1s",
                    "half-closed-idle=1s",
                    "reset @1s",
                    "stall=1s @2s",
                    "swap=10B @idle=1s",
                ],
            ],
        );
        let spec: FaultSpec = text.parse().unwrap();
        let Some(mut run) = Run::new(&spec, seed) else { continue };
        let bytes = input(&mut choices);
        for _ in 0..300 {
            let direction = if choices.below(2) == 0 { Up } else { Down };
            match choices.below(12) {
                0 => run.faults.received_fin(run.now, direction),
                1 if choices.below(4) == 0 => run.faults.received_reset(run.now, direction),
                2 | 3 => run.now += Duration::from_millis(choices.below(900)),
                4 => run.faults.timed_out(run.now),
                5 | 6 => run.poll(direction, choices.below(900) as usize),
                _ => run.faults.received(run.now, direction, &bytes[..choices.below(bytes.len() as u64) as usize]),
            }
            let _ = (run.faults.wants_input(direction), run.faults.is_over(), run.faults.deadline());
        }
        run.settle();
    }
}

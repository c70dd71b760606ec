//! A connection with its faults, and both of its ends.

use std::time::{Duration, Instant};

use resound_faults::{ConnectionFaults, End, FaultEvent, FaultSpec, StreamDirection};

pub(crate) use StreamDirection::{Down, Up};

pub(crate) fn spec(text: &str) -> FaultSpec {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What both receivers have got so far.
pub(crate) struct Bench {
    pub(crate) faults: ConnectionFaults,
    pub(crate) opened: Instant,
    pub(crate) now: Instant,
    pub(crate) got: [Vec<u8>; 2],
    pub(crate) ends: [End; 2],
    pub(crate) events: Vec<FaultEvent>,
}

impl Bench {
    pub(crate) fn new(text: &str) -> Self {
        Self::with_seed(text, 1)
    }

    pub(crate) fn with_seed(text: &str, seed: u64) -> Self {
        let now = Instant::now();
        let faults = spec(text).connection(seed, 1, None, now).expect("a rule for the first connection");
        Self { faults, opened: now, now, got: Default::default(), ends: [End::Open; 2], events: Vec::new() }
    }

    /// Goes to a time, in milliseconds since the connection opened, through every deadline before.
    pub(crate) fn at(&mut self, at: u64) {
        let until = self.opened + millis(at);
        while let Some(deadline) = self.faults.deadline().filter(|deadline| *deadline <= until) {
            assert!(deadline > self.now, "a deadline that does not move on");
            self.now = deadline;
            self.faults.timed_out(deadline);
            self.poll();
        }
        self.now = until;
        self.faults.timed_out(until);
        self.poll();
    }

    pub(crate) fn send(&mut self, direction: StreamDirection, bytes: &[u8]) {
        self.faults.received(self.now, direction, bytes);
        self.poll();
    }

    pub(crate) fn fin(&mut self, direction: StreamDirection) {
        self.faults.received_fin(self.now, direction);
        self.poll();
    }

    pub(crate) fn rst(&mut self, direction: StreamDirection) {
        self.faults.received_reset(self.now, direction);
        self.poll();
    }

    /// Takes all that may leave now.
    pub(crate) fn poll(&mut self) {
        while StreamDirection::BOTH.into_iter().any(|direction| self.faults.needs_poll(direction)) {
            for direction in StreamDirection::BOTH {
                let out = &mut self.got[direction as usize];
                self.ends[direction as usize] = self.faults.poll(self.now, direction, usize::MAX, out).end;
            }
        }
        self.events.extend(self.faults.take_events());
    }

    /// What the receiver of a direction got since the last call.
    pub(crate) fn take(&mut self, direction: StreamDirection) -> Vec<u8> {
        std::mem::take(&mut self.got[direction as usize])
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, direction: StreamDirection, bytes: &[u8], end: End) {
        let got = self.take(direction);
        let found = (String::from_utf8_lossy(&got).into_owned(), self.ends[direction as usize]);
        assert_eq!(found, (String::from_utf8_lossy(bytes).into_owned(), end), "{direction}");
    }

    /// The word, the direction and the offset of each event.
    pub(crate) fn words(&self) -> Vec<(&'static str, Option<StreamDirection>, u64)> {
        self.events.iter().map(|event| (event.kind.word(), event.direction, event.offset)).collect()
    }

    pub(crate) fn times(&self) -> Vec<u128> {
        self.events.iter().map(|event| event.at.as_millis()).collect()
    }
}

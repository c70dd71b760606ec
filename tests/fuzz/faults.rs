//! What must hold of specifications of faults, of files of them and of a connection that suffers
//! from them, for any bytes: the body of the fuzz target, and of the test that replays its corpus.

use std::time::{Duration, Instant};

use resound_faults::{FaultFile, FaultSpec, SpecError, StreamDirection};

/// Panics where the grammar or a connection does not keep its word.
pub(crate) fn faults(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = FaultFile::parse(&text) {
        well_placed(&error);
    }
    match text.parse::<FaultSpec>() {
        Ok(spec) => {
            let printed = spec.to_string();
            assert_eq!(printed.parse(), Ok(spec.clone()), "{printed}");
            suffer(&spec, data);
        }
        Err(error) => well_placed(&error),
    }
}

/// The place of a mistake is a part of the text.
fn well_placed(error: &SpecError) {
    assert!(error.text().get(error.range()).is_some(), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 3, "{error}");
}

/// The same bytes as what arrives, in both directions and in parts.
fn suffer(spec: &FaultSpec, data: &[u8]) {
    let mut now = Instant::now();
    let Some(mut faults) = spec.connection(data.len() as u64, 1, None, now) else { return };
    let step = data.first().map_or(1, |&byte| usize::from(byte) % 7 + 1);
    for part in data.chunks(step) {
        for direction in StreamDirection::BOTH {
            faults.received(now, direction, part);
            let mut out = Vec::new();
            faults.poll(now, direction, step, &mut out);
            assert!(out.len() <= step, "more than there is room for");
        }
        now += Duration::from_millis(step as u64);
    }
    faults.received_fin(now, StreamDirection::Up);
    faults.received_reset(now, StreamDirection::Down);
    for _ in 0..64 {
        let Some(deadline) = faults.deadline() else { break };
        assert!(deadline > now, "a deadline that has passed");
        now = deadline;
        faults.timed_out(now);
        for direction in StreamDirection::BOTH {
            faults.poll(now, direction, usize::MAX, &mut Vec::new());
        }
    }
}

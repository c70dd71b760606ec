//! What must hold of specifications of defects and of a path with any packets: the body of the fuzz
//! target, and of the test that replays its corpus.

use std::time::Duration;

use resound_lab::{
    Capture, Decision, Defects, LabPath, OffloadHeader, PathOutput, Side, SpecError, StreamDirection, segments,
};

/// A line of a specification, and then packets, each behind a byte with its direction (the lowest
/// bit) and the time before it, and its length in two bytes.
pub(crate) fn lab(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let text = String::from_utf8_lossy(&data[..end]);
    if let Err(error) = Defects::from_file(&String::from_utf8_lossy(data)) {
        well_placed(&error);
    }
    match text.parse::<Defects>() {
        Ok(defects) => {
            let printed = defects.to_string();
            assert_eq!(printed.parse(), Ok(defects.clone()), "{printed}");
            suffer(&defects, data.get(end + 1..).unwrap_or_default());
        }
        Err(error) => well_placed(&error),
    }
}

/// The place of a mistake is a part of the text.
fn well_placed(error: &SpecError) {
    assert!(error.text().get(error.range()).is_some(), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 3, "{error}");
}

/// Counts what leaves, and writes it down.
struct Counted {
    packets: u64,
    capture: Capture<std::io::Sink>,
}

impl PathOutput for Counted {
    fn send(&mut self, _: StreamDirection, packet: &[u8]) {
        self.packets += 1;
        assert!(self.capture.packet(Side::Far, Duration::ZERO, packet, None).is_ok());
    }

    fn note(&mut self, decision: &Decision<'_>) {
        let comment = decision.comment();
        assert!(self.capture.packet(Side::Near, decision.at, decision.packet, comment.as_deref()).is_ok());
    }
}

fn suffer(defects: &Defects, mut data: &[u8]) {
    let mut path = LabPath::new(defects, data.len() as u64);
    let mut output = Counted { packets: 0, capture: Capture::new(std::io::sink(), Duration::ZERO).unwrap() };
    let (mut now, mut came) = (Duration::ZERO, 0);
    while let [kind, high, low, rest @ ..] = data {
        let (packet, behind) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes([*high, *low]))));
        data = behind;
        now += Duration::from_millis(u64::from(kind >> 1));
        path.run_due(now, &mut output);
        let direction = if kind & 1 == 0 { StreamDirection::Up } else { StreamDirection::Down };
        let header = OffloadHeader { needs_checksum: kind & 2 != 0, segment_size: u16::from(kind >> 2) };
        segments(header, &mut packet.to_vec(), |segment| {
            came += 1;
            path.receive(direction, segment, now, &mut output);
        });
    }
    // All that is late leaves, and what waits for good is bounded.
    for _ in 0..10_000 {
        let Some(due) = path.next_due() else { break };
        assert!(due >= now, "a time that has passed");
        now = due;
        path.run_due(now, &mut output);
    }
    let summary = path.summary();
    assert_eq!(summary.up.arrived + summary.down.arrived, came);
    assert_eq!(summary.up.left + summary.down.left, output.packets);
}

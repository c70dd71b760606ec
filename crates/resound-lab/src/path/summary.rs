//! What passed the router.

use std::fmt;

use resound_faults::StreamDirection;
use serde::Serialize;

use super::decision::Touch;

/// What passed the router, and what each defect did to it. It prints as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// From the near end to the far end.
    pub up: PassedTotals,
    /// From the far end to the near end.
    pub down: PassedTotals,
    /// The defects that touched a packet, in the order of their first touch.
    pub defects: Vec<TouchTotals>,
    /// The bytes that waited in the router at most.
    pub most_waiting: usize,
    /// The flows that were seen.
    pub flows: u64,
}

/// What passed the router in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PassedTotals {
    /// Packets that came.
    pub arrived: u64,
    /// Their bytes.
    pub arrived_bytes: u64,
    /// Packets that left, the router's own among them.
    pub left: u64,
    /// Their bytes.
    pub left_bytes: u64,
    /// Packets that came and never leave.
    pub dropped: u64,
    /// Packets that the router made.
    pub made: u64,
}

/// How many packets a defect touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TouchTotals {
    /// Its word.
    pub defect: &'static str,
    /// From the near end to the far end.
    pub up: u64,
    /// From the far end to the near end.
    pub down: u64,
}

impl Summary {
    pub(super) fn lane(&mut self, direction: StreamDirection) -> &mut PassedTotals {
        match direction {
            StreamDirection::Up => &mut self.up,
            StreamDirection::Down => &mut self.down,
        }
    }

    pub(super) fn touched(&mut self, direction: StreamDirection, touches: &[Touch]) {
        for touch in touches {
            let known = self.defects.iter().position(|each| each.defect == touch.defect);
            let index = known.unwrap_or_else(|| {
                self.defects.push(TouchTotals { defect: touch.defect, up: 0, down: 0 });
                self.defects.len() - 1
            });
            match direction {
                StreamDirection::Up => self.defects[index].up += 1,
                StreamDirection::Down => self.defects[index].down += 1,
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (up, down) = (&self.up, &self.down);
        let mut rows = vec![("packets".to_string(), "up".to_string(), "down".to_string())];
        let mut row = |name: &str, up: u64, down: u64| rows.push((name.into(), up.to_string(), down.to_string()));
        row("arrived", up.arrived, down.arrived);
        row("left", up.left, down.left);
        row("dropped", up.dropped, down.dropped);
        row("made by the router", up.made, down.made);
        row("bytes arrived", up.arrived_bytes, down.arrived_bytes);
        row("bytes left", up.left_bytes, down.left_bytes);
        for each in &self.defects {
            row(each.defect, each.up, each.down);
        }
        let width = |of: fn(&(String, String, String)) -> usize| rows.iter().map(of).max().unwrap_or_default();
        let (names, ups, downs) = (width(|row| row.0.len()), width(|row| row.1.len()), width(|row| row.2.len()));
        for (name, up, down) in &rows {
            writeln!(f, "{name:<names$}  {up:>ups$}  {down:>downs$}")?;
        }
        Ok(())
    }
}

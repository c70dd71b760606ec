//! What the router did to a packet, and where its packets go.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use resound_faults::StreamDirection;

use super::flow_id::FlowId;

/// Takes what leaves the router.
pub trait PathOutput {
    /// A packet leaves the router in this direction, whether it came or the router made it.
    fn send(&mut self, direction: StreamDirection, packet: &[u8]);

    /// What was decided about a packet: once for each that came, and once for each that the router
    /// made. It comes before the packet leaves.
    fn note(&mut self, decision: &Decision<'_>);
}

/// What was decided about one packet.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// Since the lab began.
    pub at: Duration,
    /// The way that the packet takes: of one that the router made, the way on which it leaves.
    pub direction: StreamDirection,
    /// Did the router make it?
    pub is_own: bool,
    /// Its flow; `None` where the packet belongs to none, because it could not be read or a NAT
    /// knows nothing of it.
    pub flow: Option<FlowId>,
    /// Its place among the packets that came of that flow and direction, from 1; 0 for one that the
    /// router made.
    pub index: u64,
    /// What each defect did to it, in order; none if it passed as it was.
    pub touches: &'a [Touch],
    /// The packet as it came, or as the router made it.
    pub packet: &'a [u8],
}

impl Decision<'_> {
    /// The touches as one line, such as `tcp 3, up 17: loss: dropped`; `None` where there is none.
    pub fn comment(&self) -> Option<String> {
        let touches: Vec<_> = self.touches.iter().map(Touch::to_string).collect();
        let flow = self.flow.map_or_else(|| "no flow".into(), |flow| flow.to_string());
        let place = match self.is_own {
            true => format!("{flow}, the router's own"),
            false => format!("{flow}, {} {}", self.direction, self.index),
        };
        (!touches.is_empty()).then(|| format!("{place}: {}", touches.join("; ")))
    }

    /// Does it leave the router no more?
    pub fn is_dropped(&self) -> bool {
        self.touches.iter().any(|touch| touch.action == PacketAction::Dropped)
    }
}

/// What one defect did to one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The word of the defect.
    pub defect: &'static str,
    /// What it did.
    pub action: PacketAction,
}

/// What was done to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketAction {
    /// It is gone.
    Dropped,
    /// It leaves this much later.
    Delayed(Duration),
    /// It leaves after this many of the packets that follow it.
    Overtaken(u32),
    /// This many copies leave beside it.
    Copied(u32),
    /// It was changed as the text says.
    Changed(Cow<'static, str>),
    /// The router made it, as the text says.
    Made(Cow<'static, str>),
}

impl fmt::Display for PacketAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PacketAction::Dropped => f.write_str("dropped"),
            PacketAction::Delayed(time) => write!(f, "{:.3} ms later", time.as_secs_f64() * 1e3),
            PacketAction::Overtaken(count) => write!(f, "after the next {count}"),
            PacketAction::Copied(count) => write!(f, "and {count} more of it"),
            PacketAction::Changed(what) | PacketAction::Made(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.defect, self.action)
    }
}

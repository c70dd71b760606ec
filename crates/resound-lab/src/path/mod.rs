//! The router between the two ends, without I/O.

mod capture;
mod decision;
mod defects;
mod offload;
mod router;
mod summary;

pub use capture::{Capture, Side};
pub use decision::{Decision, PacketAction, PathOutput, Touch};
pub use defects::Defects;
pub use offload::{OffloadHeader, segments};
pub use router::Path;
pub use summary::Summary;

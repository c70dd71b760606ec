//! A network with planted defects, for tests of programs that use one: packets are lost, changed,
//! late or stopped, as a seed decides.
//!
//! [`LabPath`] is the router in the middle as a state machine. It holds no socket, clock or thread:
//! time is an argument, and packets are slices.

mod builder;
mod error;
#[cfg(target_os = "linux")]
mod lab;
mod path;
mod settings;
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod sys;

pub use builder::LabBuilder;
pub use error::{LabError, LabStep};
#[cfg(target_os = "linux")]
pub use lab::{Lab, LabEnd, LabProcess, LabReport, LabStreams, RouterReport, take_terminal};
pub use path::{
    Capture, Decision, DefectKind, Defects, FlowId, LabPath, OffloadHeader, PacketAction, PassedTotals, PathOutput,
    ROUTER_V4, ROUTER_V6, Side, Summary, Touch, TouchTotals, segments,
};
pub use resound_faults::{SpecError, StreamDirection};

//! The router between the two ends, without I/O.

mod apply;
mod capture;
mod checksum;
mod connections;
mod corruption;
mod decision;
mod defects;
mod filter;
mod flow_id;
mod flows;
mod fragments;
mod grammar;
mod headers;
mod kind;
mod made;
mod nat;
mod odds;
mod offload;
mod packet;
mod passing;
mod router;
mod rule;
mod summary;
mod tcp_options;
mod timing;
mod waiting;

pub use capture::{Capture, Side};
pub use decision::{Decision, PacketAction, PathOutput, Touch};
pub use defects::Defects;
pub use flow_id::FlowId;
pub use kind::DefectKind;
pub use made::{ROUTER_V4, ROUTER_V6};
pub use offload::{OffloadHeader, segments};
pub use router::Path;
pub use summary::{PassedTotals, Summary, TouchTotals};

//! A lab: two networks of their own, and the router between them.

mod channel;
mod end;
mod init;
mod isolate;
mod lab_report;
mod lateness;
mod netlink;
mod network;
mod request;
mod router;
mod side;
mod start;
mod terminal;

pub use end::{LabEnd, LabProcess, LabStreams};
pub use lab_report::{LabReport, RouterReport};
pub use start::Lab;
pub(crate) use start::start;
pub use terminal::take_terminal;

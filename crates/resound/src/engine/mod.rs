//! [`Server`], [`Dialer`], [`Handle`], listening, dialling, and the engines that drive a
//! [`Conn`](crate::conn::Conn).
//!
//! An engine owns sockets, clocks and threads, and does not interpret the bytes. What engines share
//! is in the files of this folder: the driver of one connection (`driver`), the workers and their
//! inboxes (`workers`), the accept queue (`accept_queue`), the start (`launch`). Engines never
//! import each other.

mod accept;
mod accept_queue;
mod access;
mod acknowledgement;
mod address;
mod address_race;
mod call_observer;
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "a section that the loader reads")]
#[path = "sys/closed_stdout.rs"]
mod closed_stdout;
mod config;
mod connect;
mod connection_limit;
mod descriptors;
mod dial;
mod dial_driver;
mod dial_plan;
mod dialer;
mod drain_barrier;
mod driver;
#[cfg(target_os = "linux")]
mod error_queue;
mod fault_config;
mod faults;
mod handle;
mod heartbeat;
#[cfg(unix)]
#[allow(unsafe_code, reason = "calls without a safe wrapper")]
#[path = "sys/inherited.rs"]
mod inherited;
mod inspector;
mod interface;
mod launch;
mod listener;
mod live_limits;
mod local;
#[cfg(unix)]
mod path_owner;
mod plain_stream;
mod portable;
mod queue;
mod recorder;
mod relay;
#[cfg(unix)]
#[allow(unsafe_code, reason = "descriptors of other owners")]
#[path = "sys/resets.rs"]
mod resets;
mod rows;
mod server;
mod shared;
#[cfg(unix)]
#[allow(unsafe_code, reason = "a call without a safe wrapper")]
#[path = "sys/signals.rs"]
mod signals;
mod socket;
mod socket_report;
mod stream;
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "memory that the kernel reads and writes, and calls without a safe wrapper")]
mod sys;
mod threads;
#[cfg(target_os = "linux")]
mod timestamps;
mod tls_stream;
#[cfg(target_os = "linux")]
mod uring;
mod workers;

pub use access::{Access, ConnectRate};
pub use address::{Address, Family};
pub use call_observer::{CallObserver, IcmpError, StreamCall};
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use closed_stdout::stdout_was_closed;
pub use config::MAX_WORKERS;
pub use descriptors::{processor_time, raise_descriptor_limit};
pub use dial::{DialOptions, dial, dial_observed};
pub use dial_plan::{DialPlan, DialRequest, DialTiming, NextDial};
pub use dialer::Dialer;
#[cfg(feature = "fault-injection")]
pub use fault_config::RingFaultConfig;
pub use faults::{FaultSetting, LiveFaults};
pub use handle::Handle;
pub use heartbeat::WorkerHeartbeat;
#[cfg(unix)]
pub use inherited::{inherited_descriptor, take_variables};
pub use inspector::Inspector;
pub use interface::{interface_index, interface_names};
pub use listener::Listener;
#[cfg(unix)]
pub use path_owner::remove_dead_socket;
pub use relay::{
    DirectionReport, OpenPair, Relay, RelayConnections, RelayEnd, RelayEvent, RelayReport, RelayTarget,
    client_addresses,
};
#[cfg(unix)]
pub use resets::reset_on_exit;
pub use rows::{ConnectionRow, RowBatch};
pub use server::Server;
pub use shared::HandshakeFactory;
#[cfg(unix)]
pub use signals::{SignalArrivals, ignores_signal};
pub use stream::Stream;
pub use tls_stream::TlsStream;

/// An engine: how bytes move between the sockets and the services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// The io_uring engine if the system allows it, otherwise the portable one. [`Handle::engine`]
    /// returns the choice, and [`Handle::refusal`] the reason.
    #[default]
    Auto,
    /// io_uring: one ring per worker. A batch of messages costs one system call. Linux 6.1 and
    /// later.
    Uring,
    /// tokio: one current-thread runtime per worker, one task per connection.
    Portable,
    /// The reference: one blocking thread per connection.
    Threads,
}

impl Engine {
    /// Its name, as flags and reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Portable => "portable",
            Self::Threads => "threads",
        }
    }
}

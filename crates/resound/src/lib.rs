//! **resound**: a TCP endpoint you can trust.
//!
//! A [`Service`] is one end of one connection: it receives messages and decides what to send. A
//! [`Server`] serves it on sockets, and a [`Dialer`] makes connections and drives services on them
//! in the same way; which [`Engine`] moves the bytes makes no difference to a service. [`dial`]
//! makes one connection as a [`Stream`] to read and write.
//!
//! The names that most programs need stand here. The others stand in one module each: [`server`],
//! [`client`], [`tls`], [`proxy`], [`conn`] and [`system`].
//!
//! ```
//! use resound::{Cx, Framing, Server, Service};
//!
//! struct Shout;
//!
//! impl Service for Shout {
//!     fn framing(&self) -> Framing {
//!         Framing::line()
//!     }
//!     fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
//!         cx.send(&line.to_ascii_uppercase());
//!     }
//! }
//!
//! # fn main() -> Result<(), resound::Error> {
//! let handle = Server::new().listen("127.0.0.1:0")?.serve(|_conn| Shout)?;
//! println!("shouting on {}", handle.addresses()[0]);
//! handle.drain(std::time::Duration::from_secs(10));
//! let totals = handle.wait();
//! assert_eq!(totals.opened, 0);
//! # Ok(())
//! # }
//! ```

mod engine;
mod error;
mod files;
mod metrics;
#[cfg(all(test, target_os = "linux"))]
#[path = "../../../tests/suite/not_tested.rs"]
mod not_tested;
pub mod tls;

#[cfg(feature = "fault-injection")]
pub use engine::RingFaultConfig;
pub use engine::{Address, DialOptions, Dialer, Engine, Family, Handle, Server, Stream, dial};
pub use error::Error;
pub use metrics::Totals;
/// Memory with several owners, for [`Cx::send_shared`].
pub use resound_proto::Bytes;
pub use resound_proto::{
    Chargen, CloseReason, Closed, ConnId, ConnInfo, Cx, Discard, Echo, Endpoint, Framing, Handshake, Limits, Observer,
    Reply, Service, SocketReport, SocketStep,
};

/// More for servers: listening sockets, and which peers may connect.
pub mod server {
    pub use crate::engine::{Access, ConnectRate, HandshakeFactory, Listener, MAX_WORKERS};
    pub use resound_proto::Refusal;
    /// Networks in CIDR notation, for [`Access`] and [`Proxies`](crate::proxy::Proxies).
    pub use resound_proto::ipnet;
}

/// Inspection of a running server or dialer: counts, connections, and whether the workers' event
/// loops respond.
pub mod inspect {
    pub use crate::engine::{ConnectionRow, Inspector, RowBatch, WorkerHeartbeat};
    pub use crate::metrics::HandshakeTimes;
    pub use resound_proto::ConnStatus;
}

/// More for clients: the plan of a [`Dialer`], and why a connection could not be made.
pub mod client {
    pub use crate::engine::{
        CallObserver, DialPlan, DialRequest, DialTiming, IcmpError, NextDial, StreamCall, TlsStream, dial_observed,
    };
    pub use crate::error::{Attempt, DialError, FailureClass};
    pub use resound_proto::{KernelTimestamps, SendTimestamp, TcpInfo, TcpOptions};
}

/// The PROXY protocol: its headers, and what they say of a connection.
pub mod proxy {
    pub use resound_proto::proxy::*;
    pub use resound_proto::{
        DetectedProtocol, HeaderProgress, ProxiedAddresses, ProxiedTls, ProxyError, ReadHeader, detect_protocol,
    };
}

/// A relay: connections to a listener continue as connections to a target.
pub mod relay {
    pub use crate::engine::{
        DirectionReport, OpenPair, Relay, RelayConnections, RelayEnd, RelayEvent, RelayReport, RelayTarget,
        client_addresses,
    };
}

/// Fault injection: their grammar, their schedule, and the events of those that were injected.
pub mod faults {
    pub use crate::engine::{FaultSetting, LiveFaults};
    pub use resound_faults::{
        Effect, EffectValue, FaultEvent, FaultFile, FaultKind, FaultProfile, FaultRule, FaultSpec, PROFILES, Role,
        SpecError, StreamDirection,
    };
}

/// A connection as a state machine without I/O, for an engine of your own.
pub mod conn {
    pub use resound_proto::{Action, Conn, ServiceSource, Then};
}

/// What a program asks of the operating system: interfaces, limits, signals and errors.
pub mod system {
    #[cfg(target_os = "linux")]
    #[doc(hidden)]
    pub use crate::engine::stdout_was_closed;
    #[cfg(unix)]
    #[doc(hidden)]
    pub use crate::engine::{SignalArrivals, remove_dead_socket, reset_on_exit};
    #[cfg(unix)]
    pub use crate::engine::{ignores_signal, inherited_descriptor, take_variables};
    pub use crate::engine::{interface_index, interface_names, processor_time, raise_descriptor_limit};
    pub use crate::error::{InheritedProblem, InterfaceProblem, is_descriptor_shortage, plain};
    pub use crate::files::open_file;
}

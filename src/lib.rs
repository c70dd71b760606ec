//! **resound**: a TCP endpoint you can trust.
//!
//! A [`Service`] is one end of one connection: it is told what arrived and says what to send. A [`Server`] serves it on sockets; which
//! [`Engine`] moves the bytes makes no difference to it. Between the two stands [`Conn`], the connection as a state machine without I/O:
//! framing, limits, backpressure and half-close live there, once for all engines. A [`Dialer`] is the other side: it makes connections, and drives
//! services on them in the same way. The load generator in [`load`] is such a service.
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

/// The TLS library behind [`TlsServer`] and [`TlsClient`], for those who configure it themselves.
pub use rustls;

mod engine;
mod error;
pub mod load;
mod metrics;
#[cfg(test)]
#[path = "../tests/suite/not_tested.rs"]
mod not_tested;
mod proto;
mod service;
mod tls;

/// Memory that many may read, for [`Cx::send_shared`].
pub use bytes::Bytes;
#[cfg(unix)]
pub use engine::ignores_signal;
pub use engine::{
    Access, Address, ConnectRate, Dial, DialPlan, DialRequest, DialTiming, Dialer, Engine, Family, Handle, Listener,
    MAX_WORKERS, NextDial, Server, Stream, TcpInfo, TlsStream, dial, interface_index, interface_names, processor_time,
    raise_descriptor_limit,
};
pub use error::{
    Attempt, CertificateFlaw, CloseReason, DetectedProtocol, DialError, Error, FailureClass, ProxyError, Refusal,
    TlsFailure,
};
/// Networks in CIDR notation, for [`proxy::Proxies`] and [`Access`].
pub use ipnet;
pub use metrics::{REASONS, REFUSALS, Totals};
pub use proto::proxy;
pub use proto::{Closed, Conn, Handshake, HeaderProgress, Limits, Observer, ProxyHeader, Then, Verdict};
pub use service::{
    Chargen, ConnId, ConnInfo, Cx, Discard, Echo, Endpoint, Framing, KernelTimestamps, Peer, ProxiedAddresses,
    ProxiedTls, Reply, SendTimestamp, Service, TlsInfo,
};
pub use tls::{Authorities, Certificate, Fingerprint, Identity, TlsClient, TlsServer, TlsSettings, Trust};

//! **resound**: a TCP endpoint you can trust.
//!
//! A [`Service`] is one end of one connection: it is told what arrived and says what to send. A [`Server`] serves it on sockets; which
//! [`Engine`] moves the bytes makes no difference to it. Between the two stands [`Conn`], the connection as a state machine without I/O:
//! framing, limits, backpressure and half-close live there, once for all engines. A [`Dialer`] is the other side: it makes connections, and drives
//! services on them in the same way.
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
mod metrics;
#[cfg(test)]
#[path = "../../../tests/suite/not_tested.rs"]
mod not_tested;
mod tls;

#[cfg(unix)]
pub use engine::ignores_signal;
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use engine::stdout_was_closed;
pub use engine::{
    Access, Address, ConnectRate, Dial, DialPlan, DialRequest, DialTiming, Dialer, Engine, Family, Handle,
    HandshakeFactory, Listener, MAX_WORKERS, NextDial, Server, Stream, TcpInfo, TlsStream, dial, interface_index,
    interface_names, processor_time, raise_descriptor_limit,
};
pub use error::{
    Attempt, CertificateProblem, DialError, Error, FailureClass, FileForm, InterfaceProblem, PemKind,
    is_descriptor_shortage, plain,
};
pub use metrics::Totals;
/// Memory that many may read, for [`Cx::send_shared`].
pub use resound_proto::Bytes;
/// Networks in CIDR notation, for [`proxy::Proxies`] and [`Access`].
pub use resound_proto::ipnet;
pub use resound_proto::proxy;
/// The TLS library behind [`TlsServer`] and [`TlsClient`], for those who configure it themselves.
pub use resound_proto::rustls;
pub use resound_proto::{
    CertificateFlaw, Chargen, CloseReason, Closed, Conn, ConnId, ConnInfo, Cx, DetectedProtocol, Discard, Echo,
    Endpoint, Framing, Handshake, HeaderProgress, KernelTimestamps, Limits, Observer, Peer, ProxiedAddresses,
    ProxiedTls, ProxyError, ProxyHeader, Refusal, Reply, SendTimestamp, Service, Then, TlsFailure, TlsInfo, Verdict,
};
pub use tls::{Authorities, Certificate, Fingerprint, Identity, TlsClient, TlsServer, TlsSettings, Trust};

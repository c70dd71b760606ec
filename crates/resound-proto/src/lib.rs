//! Connections without I/O: [`Conn`], one end of one connection as a state machine, its
//! [`Service`], and its [`Limits`].
//!
//! Nothing here holds a socket, a clock, a lock or a thread. Time is an argument, bytes are slices,
//! and an engine does the rest.

mod action;
mod conn;
mod delivery;
mod detect;
mod error;
mod exporter;
mod framing;
mod guard;
mod handshake;
mod input_queue;
mod limits;
mod names;
mod observer;
mod ordered;
pub mod proxy;
mod service;
mod session;
mod silence;
mod state;
mod tls;

pub use action::{Action, Then};
pub use bytes::Bytes;
pub use conn::{Conn, ConnStatus};
pub use detect::{DETECTION_BYTES, DetectedProtocol, detect_protocol};
pub use error::{CertificateFlaw, CloseReason, ProxyError, Refusal, TlsFailure};
pub use exporter::EXPORTER_LABEL;
pub use handshake::{Handshake, HeaderProgress, MakeService, ReadHeader, ServiceSource};
pub use ipnet;
pub use limits::Limits;
pub use names::{group, suite};
pub use observer::{Closed, Observer, SocketStep};
pub use rustls;
pub use service::{
    CHARGEN_LINE, Chargen, ConnId, ConnInfo, Cx, Discard, Echo, Endpoint, Framing, KernelTimestamps, PeerCertificate,
    ProxiedAddresses, ProxiedTls, Reply, SendTimestamp, Service, SharedBytes, SocketReport, SocketRequests, TcpInfo,
    TcpOptions, TlsInfo, canonical, chargen_pattern, chargen_pattern_without_space, unmapped,
};
pub use session::{AskedName, ClientSession, HandshakePermit, ReadCertificate, ServerSession};
pub use tls::agreed;

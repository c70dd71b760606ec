//! Errors: [`Error`] at start-up, [`DialError`] and its [`FailureClass`] for a network failure. A
//! [`CloseReason`](resound_proto::CloseReason) tells why one connection ended.

mod certificate;
mod network;

use std::fmt;
use std::io;

pub use certificate::{CertificateProblem, FileForm, PemKind};
pub use network::{Attempt, DialError, FailureClass};

/// Why something could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not an address.
    #[error("invalid address '{input}': {reason}")]
    Address {
        /// What was given.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host name does not resolve (in the wanted family).
    #[error("unknown host '{host}': {source}")]
    UnknownHost {
        /// The name as given.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// Another socket listens on the address already (`EADDRINUSE`).
    #[error("{address} is already in use")]
    InUse {
        /// The address that was asked for.
        address: String,
    },
    /// The path of a unix socket belongs to a file that is no socket.
    #[error("{address} cannot be listened on: something is at that path, and it is not a socket")]
    NotASocket {
        /// The address that was asked for.
        address: String,
    },
    /// Ports below 1024 need a privilege (`EACCES`).
    #[error("no permission to listen on {address}")]
    Permission {
        /// The address that was asked for.
        address: String,
    },
    /// The address belongs to no interface of this machine (`EADDRNOTAVAIL`).
    #[error("{address} is not an address of this machine")]
    NotLocal {
        /// The address that was asked for.
        address: String,
    },
    /// A link-local address that does not name its interface, or an interface that this machine
    /// does not have (RFC 4007).
    #[error("{address}: {problem}")]
    Interface {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        problem: InterfaceProblem,
        /// The interfaces of this machine, the likeliest first; empty where the system does not
        /// list them.
        interfaces: Vec<String>,
    },
    /// No descriptor is left for what has to be opened (`EMFILE`, `ENFILE`).
    #[error("no file descriptors left to listen on {address}")]
    Descriptors {
        /// The address that was asked for.
        address: String,
    },
    /// Any other failure to listen.
    #[error("cannot listen on {address}: {}", plain(.source))]
    Listen {
        /// The address that was asked for.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// A descriptor that was passed to this program cannot be served.
    #[error("descriptor {descriptor}, which was passed to this program, {problem}")]
    Inherited {
        /// Its number.
        descriptor: i32,
        /// What is wrong with it.
        problem: InheritedProblem,
    },
    /// The threads engine serves each connection on a thread of its own, so it cannot relay.
    #[error("the threads engine cannot relay")]
    NoRelay,
    /// The specification contains a fault that this program cannot cause.
    #[error("{0}")]
    Faults(resound_faults::SpecError),
    /// The faults `refuse` and `never-accept` are of the listener, and decided when it starts.
    #[error("refuse and never-accept are decided at the start: a change can neither add nor end them")]
    ListenerFaults,
    /// The server has no listener.
    #[error("the server has no address to listen on")]
    NoListener,
    /// A worker could not be started.
    #[error("cannot start a worker: {0}")]
    Worker(#[source] io::Error),
    /// The system has no such congestion control, or reserves it for privileged programs.
    #[error("no congestion control '{algorithm}': {source}")]
    Congestion {
        /// What was asked for.
        algorithm: String,
        /// The system's error.
        source: io::Error,
    },
    /// The program asked for the io_uring engine, and the system refuses it.
    #[error("io_uring is not available: {0}")]
    Uring(#[source] io::Error),
    /// A certificate or a key cannot be used.
    #[error("cannot use {what}: {problem}")]
    Certificate {
        /// The file, or what else it is.
        what: String,
        /// What is wrong with it.
        problem: CertificateProblem,
    },
    /// These TLS settings cannot be used.
    #[error("no TLS: {0}")]
    Tls(String),
}

/// Why an address has no usable interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceProblem {
    /// The interface that the address names does not exist.
    #[error("this machine has no such interface")]
    Unknown,
    /// A link-local address without an interface.
    #[error("it is a link-local address, and needs the interface that leads there")]
    Missing,
}

/// Why a descriptor that was passed to this program cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InheritedProblem {
    /// It is not open, or was opened by this program itself.
    #[error("is not open: {0}")]
    Closed(io::Error),
    /// It is a file, or a pipe.
    #[error("is not a socket")]
    NoSocket,
    /// It is a datagram socket, or of another family.
    #[error("is not a stream socket of TCP or of a unix path")]
    NoStream,
    /// It is one connection.
    #[error("is a socket that does not listen")]
    NotListening,
}

impl Error {
    /// Names the failure of listening on `address` that the system reported as `source`.
    pub(crate) fn listen(address: impl fmt::Display, source: io::Error) -> Self {
        let address = address.to_string();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::AlreadyExists => Self::NotASocket { address },
            io::ErrorKind::PermissionDenied => Self::Permission { address },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address },
            _ if is_family_missing(&source) => Self::NotLocal { address },
            _ if is_descriptor_shortage(&source) => Self::Descriptors { address },
            _ => Self::Listen { address, source },
        }
    }

    pub(crate) fn certificate(what: impl AsRef<std::path::Path>, problem: CertificateProblem) -> Self {
        Self::Certificate { what: what.as_ref().display().to_string(), problem }
    }
}

/// Is this `EMFILE` or `ENFILE`: no descriptor left in the process or the system?
#[must_use]
pub fn is_descriptor_shortage(error: &io::Error) -> bool {
    #[cfg(unix)]
    let numbers = [rustix::io::Errno::MFILE.raw_os_error(), rustix::io::Errno::NFILE.raw_os_error()];
    #[cfg(not(unix))]
    let numbers = [10024]; // WSAEMFILE
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

/// Is this `EAFNOSUPPORT`: a system without this family, such as one with IPv6 switched off?
fn is_family_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    let number = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    #[cfg(not(unix))]
    let number = 10047; // WSAEAFNOSUPPORT
    error.raw_os_error() == Some(number)
}

/// The text of an error without the operating system's number.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.rfind(" (os error ").map_or(text.as_str(), |at| &text[..at]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_errors_are_told_apart_by_kind() {
        let of = |kind: io::ErrorKind| Error::listen("here", kind.into());
        assert!(matches!(of(io::ErrorKind::AddrInUse), Error::InUse { .. }));
        assert!(matches!(of(io::ErrorKind::PermissionDenied), Error::Permission { .. }));
        assert!(matches!(of(io::ErrorKind::AddrNotAvailable), Error::NotLocal { .. }));
        assert!(matches!(of(io::ErrorKind::Other), Error::Listen { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn a_descriptor_shortage_is_recognised() {
        assert!(matches!(Error::listen("here", rustix::io::Errno::MFILE.into()), Error::Descriptors { .. }));
        assert!(matches!(Error::listen("here", rustix::io::Errno::AFNOSUPPORT.into()), Error::NotLocal { .. }));
        assert!(!is_descriptor_shortage(&io::ErrorKind::AddrInUse.into()));
    }

    #[test]
    fn plain_text_has_no_error_number() {
        let refused = io::Error::from_raw_os_error(111);
        assert!(!plain(&refused).contains("os error"), "{refused}");
    }
}

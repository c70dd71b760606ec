//! Why a lab could not be started or could not go on.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a lab could not be started or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The system refuses a step of the start. Nothing is left of the lab.
    #[error("this system refuses a lab: {step}: {reason}")]
    Refused {
        /// What was refused.
        step: LabStep,
        /// The system's answer.
        reason: io::Error,
    },
    /// The lab's first process has ended, so its namespaces are gone.
    #[error("the lab has ended: its first process was killed")]
    Ended,
    /// The file of packets could not be written.
    #[error("cannot write {}: {reason}", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// A call of the router or of the lab's own side failed.
    #[error("the lab failed: {0}")]
    Io(#[from] io::Error),
}

/// A step of a lab's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabStep {
    /// This system is not Linux.
    System,
    /// A child process.
    Process,
    /// A user namespace, and its user and group.
    UserNamespace,
    /// Namespaces of networks, processes and mounts.
    Namespaces,
    /// The links between the ends and the router.
    Links,
    /// The addresses of the ends.
    Addresses,
    /// The packet sockets of the router.
    PacketSockets,
}

impl LabStep {
    #[cfg(target_os = "linux")]
    pub(crate) const ALL: [LabStep; 7] = [
        LabStep::System,
        LabStep::Process,
        LabStep::UserNamespace,
        LabStep::Namespaces,
        LabStep::Links,
        LabStep::Addresses,
        LabStep::PacketSockets,
    ];
}

impl fmt::Display for LabStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LabStep::System => "a lab needs Linux",
            LabStep::Process => "a child process",
            LabStep::UserNamespace => "a user namespace",
            LabStep::Namespaces => "namespaces of networks, processes and mounts",
            LabStep::Links => "a pair of virtual links (veth)",
            LabStep::Addresses => "addresses of the ends",
            LabStep::PacketSockets => "packet sockets of the router",
        })
    }
}

//! [`Setup`]: how a ring is set up, and which kernels can.

use std::io;

use io_uring::{IoUring, Probe, Submitter, opcode};

use crate::engine::fault_config::RingFaultConfig;

/// Operations that one call submits; further ones take further calls.
const SUBMISSIONS: u32 = 1024;
/// Completions that the shared queue holds; further ones wait in the kernel.
const COMPLETIONS: u32 = 16 * 1024;

/// How a ring is set up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    /// The kernel flags pending completions, for workers that poll for them without a call
    /// ([`Ring::needs_enter`](super::Ring)).
    pub(crate) flags_pending: bool,
    /// Features that a test takes away, and faults that it injects.
    pub(crate) faults: RingFaultConfig,
}

impl Setup {
    /// Opens a ring. The operations that this program needs exist since Linux 6.1.
    pub(super) fn open(&self) -> io::Result<IoUring> {
        if self.faults.no_uring {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a test refuses it"));
        }
        let (submissions, completions) = self.faults.queue_sizes.unwrap_or((SUBMISSIONS, COMPLETIONS));
        let build = |no_sqarray: bool| {
            let mut builder = IoUring::builder();
            builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
            if self.flags_pending {
                builder.setup_taskrun_flag();
            }
            builder.setup_clamp().setup_cqsize(completions);
            if no_sqarray {
                builder.setup_no_sqarray();
            }
            builder.build(submissions)
        };
        let invalid = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
        let built = match build(!self.faults.no_sqarray) {
            Err(error) if invalid(&error) => build(false),
            built => built,
        };
        let ring = match built {
            Err(error) if invalid(&error) => Err(too_old("the kernel is older than 6.1")),
            built => built.map_err(explained),
        }?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::AcceptMulti::CODE,
            opcode::Connect::CODE,
            opcode::RecvMulti::CODE,
            opcode::Send::CODE,
            opcode::PollAdd::CODE,
            opcode::AsyncCancel2::CODE,
        ];
        if !needed.iter().all(|&code| probe.is_supported(code)) {
            return Err(too_old("the kernel lacks an operation"));
        }
        Ok(ring)
    }

    /// Registers the ring, so that calls need not look up its descriptor.
    pub(super) fn register(&self, submitter: &mut Submitter<'_>) {
        if !self.faults.no_registered_ring {
            // An unregistered ring works too, a little slower.
            let _ = submitter.register_ring_fd();
        }
    }
}

fn too_old(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

/// An error of io_uring_setup(2), with the reason of the refusal.
fn explained(error: io::Error) -> io::Error {
    let words = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "the system forbids it (seccomp, as in many containers, or the sysctl kernel.io_uring_disabled)"
        }
        Some(libc::ENOSYS) => "the kernel has none, or a sandbox hides it",
        Some(libc::ENOMEM) => "no memory for its queues (`ulimit -l`)",
        Some(libc::EMFILE | libc::ENFILE) => return error,
        _ => return error,
    };
    io::Error::new(error.kind(), words)
}

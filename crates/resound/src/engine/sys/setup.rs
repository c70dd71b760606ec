//! What a ring is set up with, and what of it a kernel lacks.

use std::io;

use io_uring::{IoUring, Probe, Submitter, opcode};

/// What a kernel may lack. Tests take more away than theirs does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MissingFeatures {
    /// All of io_uring: too old a kernel, or one that refuses.
    pub(crate) everything: bool,
    /// Buffers that are used up a receive at a time (Linux 6.12).
    pub(crate) incremental_buffers: bool,
    /// Submission without an index (Linux 6.6).
    pub(crate) no_sqarray: bool,
    /// A ring that is known by a number of its own.
    pub(crate) registered_ring: bool,
}

/// What a ring is set up with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) missing: MissingFeatures,
    /// Operations that are handed over at once; more are handed over in several goes.
    pub(crate) submissions: u32,
    /// Completions that may wait; more wait in the kernel.
    pub(crate) completions: u32,
    /// The kernel marks that it has something to tell, for those who look for it without a call ([`Ring::looks_busy`](super::Ring)).
    pub(crate) marks: bool,
    /// The seed of what goes wrong on purpose.
    pub(crate) faults: Option<u64>,
    /// After how many calls the ring fails for good, on purpose.
    pub(crate) calls: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            missing: MissingFeatures::default(),
            submissions: 1024,
            completions: 16 * 1024,
            marks: false,
            faults: None,
            calls: None,
        }
    }
}

impl Setup {
    /// What this program cannot do without needs Linux 6.1.
    pub(super) fn open(&self) -> io::Result<IoUring> {
        if self.missing.everything {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a test wants it so"));
        }
        let build = |no_sqarray: bool| {
            let mut builder = IoUring::builder();
            builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
            if self.marks {
                builder.setup_taskrun_flag();
            }
            builder.setup_clamp().setup_cqsize(self.completions);
            if no_sqarray {
                builder.setup_no_sqarray();
            }
            builder.build(self.submissions)
        };
        let invalid = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
        let built = match build(!self.missing.no_sqarray) {
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

    /// A ring that is known by a number of its own is not looked up at each call.
    pub(super) fn register(&self, submitter: &mut Submitter<'_>) {
        if !self.missing.registered_ring {
            // One that cannot be registered does as well, a little slower.
            let _ = submitter.register_ring_fd();
        }
    }
}

fn too_old(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

/// An error of io_uring_setup(2), in words that say who refuses.
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

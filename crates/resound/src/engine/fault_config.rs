//! [`RingFaultConfig`]: features that tests take from the io_uring engine, and faults that they
//! inject.

/// What the io_uring engine has to cope with in a test. The other engines ignore it.
///
/// The feature `fault-injection` makes it public, with `Server::inject_ring_faults` and
/// `Dialer::inject_ring_faults`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "fault-injection"), allow(unreachable_pub, reason = "public with the feature"))]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has io_uring"))]
pub struct RingFaultConfig {
    /// The system refuses io_uring.
    pub no_uring: bool,
    /// The kernel does not use up buffers one receive at a time (Linux 6.12).
    pub no_incremental_buffers: bool,
    /// The kernel needs an index array for submissions (before Linux 6.6).
    pub no_sqarray: bool,
    /// The ring is not registered, so each call looks up its descriptor.
    pub no_registered_ring: bool,
    /// Sizes of the submission and completion queues. Small ones overflow.
    pub queue_sizes: Option<(u32, u32)>,
    /// The ring fails for good after this many calls.
    pub calls: Option<u32>,
    /// Operations fail, fall short or complete late, by a random sequence with this seed.
    pub seed: Option<u64>,
}

#[cfg(feature = "fault-injection")]
impl RingFaultConfig {
    /// Nothing is taken away, and no fault is injected.
    pub const NONE: Self = Self {
        no_uring: false,
        no_incremental_buffers: false,
        no_sqarray: false,
        no_registered_ring: false,
        queue_sizes: None,
        calls: None,
        seed: None,
    };
}

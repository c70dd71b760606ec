//! [`DialPlan`]: which targets a worker of a [`Dialer`](super::Dialer) dials, and when.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use resound_proto::{CloseReason, ConnInfo, Endpoint, Handshake, Service};

/// Which targets one worker dials, when, and which service each connection gets.
///
/// The function given to [`Dialer::start`](super::Dialer::start) makes one plan per worker, on the
/// worker's thread. A plan never leaves that thread, so it may share state with its services
/// without a lock. None of its methods may block.
pub trait DialPlan {
    /// The next step. A worker calls this at the start, after each dial that succeeded or failed,
    /// after each connection that ended, and at the instant of a [`NextDial::At`]; each time until
    /// the plan returns something other than [`NextDial::Dial`].
    ///
    /// A worker without free descriptors or ports calls it again only once one of its connections
    /// has ended or 100 ms have passed, so that it never spins. An engine may also call it without
    /// an event: a worker of the threads engine does so every 100 ms while it has no connection.
    ///
    /// A panic here, in [`failed`](DialPlan::failed) or in the function that makes the plan is as
    /// good as [`NextDial::Done`]: the worker dials no more, and ends with its last connection.
    fn next(&mut self, now: Instant) -> NextDial;

    /// A dial succeeded: the handshake before its service, such as TLS. By default there is none,
    /// and [`DialPlan::answered`] follows at once. Otherwise that follows the handshake, or
    /// [`DialPlan::unopened`] does.
    fn handshake(&mut self, _request: &DialRequest, _conn: &ConnInfo) -> Handshake {
        Handshake::new()
    }

    /// A dial succeeded, and the handshake is over: the service of the connection.
    fn answered(&mut self, call: &DialRequest, took: DialTiming, conn: &ConnInfo) -> Box<dyn Service>;

    /// A dial failed: the target refused, or no answer came in time ([`io::ErrorKind::TimedOut`]),
    /// or this machine could not dial.
    fn failed(&mut self, call: &DialRequest, error: &io::Error, now: Instant);

    /// A dial succeeded, and its connection ended before its service was made: TLS failed, or the
    /// server's certificate is not trusted. By default this is ignored, and the dialer goes on
    /// without a word.
    fn unopened(&mut self, _request: &DialRequest, _why: CloseReason, _now: Instant) {}
}

/// How long a connection took until its service was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialTiming {
    /// From the dial to its answer: TCP's handshake.
    pub connect: Duration,
    /// From then on to the end of the handshake before the service ([`DialPlan::handshake`]), such
    /// as TLS's.
    pub handshake: Duration,
}

/// What a worker does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextDial {
    /// Dial, and call [`DialPlan::next`] again.
    Dial(DialRequest),
    /// Nothing before this instant, unless an event comes first.
    At(Instant),
    /// Nothing before the next event: an answer, a failure, the end of a connection.
    Wait,
    /// Nothing more: the worker does not call [`DialPlan::next`] again, and ends with its last
    /// connection. Dials under way are still reported.
    Done,
}

/// One attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialRequest {
    /// The plan's own number for this request.
    pub number: u64,
    /// The address to dial.
    pub target: Endpoint,
    /// The address of this machine to connect from. The port is chosen only when the target is
    /// known (ip(7), `IP_BIND_ADDRESS_NO_PORT`, on Linux), so each address has all of its ports for
    /// each target.
    pub source: Option<IpAddr>,
    /// How long an answer may take.
    pub timeout: Duration,
}

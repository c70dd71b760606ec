//! [`DialPlan`]: whom a worker of a [`Dialer`](super::Dialer) dials, and when.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use resound_proto::{CloseReason, ConnInfo, Endpoint, Handshake, Service};

/// Whom one worker dials, and when, and what is said on what comes of it.
///
/// One value per worker, made on the worker's thread by what is given to [`Dialer::start`](super::Dialer::start), and never leaving it:
/// it may share state with its services without a lock. None of its methods may block.
pub trait DialPlan {
    /// What to do now. Asked at the start, after each call that was answered or failed, after each connection that ended, and at
    /// the instant of a [`NextDial::At`]; each time until it says something other than [`NextDial::Dial`].
    ///
    /// A worker that has run out of descriptors or ports is asked again only once one of its connections has ended or 100 ms
    /// have passed, so that trying again is never a loop.
    fn next(&mut self, now: Instant) -> NextDial;

    /// A call was answered: what comes before its service, such as TLS. By default nothing does, and [`DialPlan::answered`] follows at once; otherwise
    /// that follows once it is over, or [`DialPlan::unopened`].
    fn opening(&mut self, _call: &DialRequest, _conn: &ConnInfo) -> Handshake {
        Handshake::new()
    }

    /// A call was answered, and what comes before its service is over: what is said on the connection.
    fn answered(&mut self, call: &DialRequest, took: DialTiming, conn: &ConnInfo) -> Box<dyn Service>;

    /// A call failed: it was refused, or nobody answered in time ([`io::ErrorKind::TimedOut`]), or this machine could not make it.
    fn failed(&mut self, call: &DialRequest, error: &io::Error, now: Instant);

    /// A call was answered, and its connection ended before its service was made.
    fn unopened(&mut self, _call: &DialRequest, _why: CloseReason, _now: Instant) {}
}

/// How long it took until a service could be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialTiming {
    /// From the call to its answer: TCP's handshake.
    pub connect: Duration,
    /// From then on until what comes before the service was over ([`DialPlan::opening`]): TLS's handshake, for one.
    pub opening: Duration,
}

/// What a worker does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextDial {
    /// Dial, and ask again.
    Dial(DialRequest),
    /// Nothing before this instant, unless something happens meanwhile.
    At(Instant),
    /// Nothing before something happens: an answer, a failure, the end of a connection.
    Wait,
    /// Nothing any more: once the connections there are have ended, so has the worker. It is not asked again.
    Done,
}

/// One attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialRequest {
    /// A number of the plan's own, to know the call by.
    pub number: u64,
    /// Whom to dial.
    pub target: Endpoint,
    /// The address of this machine to connect from. The port is chosen only when the target is known (ip(7),
    /// `IP_BIND_ADDRESS_NO_PORT`, on Linux), so each address has all of its ports for each target.
    pub source: Option<IpAddr>,
    /// How long an answer may take.
    pub timeout: Duration,
}

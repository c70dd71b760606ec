//! The load library's data as a file of results has it: one declaration a field, for writing,
//! reading and the schema. The library itself stays free of serialisation, and a file format keeps
//! its promises to old files even if the types in memory change.

use std::time::Duration;

use resound_load::{
    Arrivals, Counts, Direction, Failure, Generator, LoadFailure, Mode, NegotiatedTls, RampSteps, RampVariable,
    Security, Settings, Shape, Sizes, Timestamps,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec::{ByClass, Codec, Name, Nullable, Seconds};

/// The settings of the run.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Settings")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct SettingsFormat {
    /// The kind of load.
    #[serde(with = "Name::<Shape>")]
    shape: Shape,
    /// The target's address.
    target: String,
    /// What the target does with a message.
    #[serde(with = "Name::<Mode>")]
    mode: Mode,
    /// Connections open at once.
    connections: u64,
    /// Messages in flight on one connection at most.
    depth: u64,
    /// Messages planned per second; null in a closed loop.
    #[serde(rename = "rate_per_s")]
    rate: Option<f64>,
    /// How planned instants are spaced.
    #[serde(with = "Name::<Arrivals>")]
    arrivals: Arrivals,
    /// The length of a message.
    #[serde(with = "SizesFormat")]
    size: Sizes,
    /// How long to measure; null without a limit.
    #[serde(rename = "duration_s", with = "Nullable::<Seconds>")]
    duration: Option<Duration>,
    /// How many messages to send; null without a limit.
    messages: Option<u64>,
    /// Messages on a connection before it is closed.
    messages_per_connection: Option<u64>,
    /// The direction of a stream; null for every other shape.
    #[serde(with = "Nullable::<Name<Direction>>")]
    direction: Option<Direction>,
    /// The steps of a ramp; null for every other shape.
    #[serde(with = "Nullable::<RampFormat>")]
    ramp: Option<RampSteps>,
    /// The seed of payloads and arrivals.
    seed: u64,
    /// Every answer is compared with its message.
    verify: bool,
    /// The pause between an answer and the next message.
    #[serde(rename = "think_time_s", with = "Seconds")]
    think_time: Duration,
    /// Connections opened per second at most.
    #[serde(rename = "connect_rate_per_s")]
    connect_rate: Option<f64>,
    /// How long a worker polls before it sleeps.
    #[serde(rename = "busy_poll_s", with = "Seconds")]
    busy_poll: Duration,
    /// The clock of the service times: the program's, or the kernel's at the network device.
    // Absent before there were two.
    #[serde(default, with = "Name::<Timestamps>")]
    timestamps: Timestamps,
    /// The length of an interval, before neighbours are joined.
    #[serde(rename = "interval_s", with = "Seconds")]
    interval: Duration,
    /// TLS; null without it. The negotiated values are those of the first connection.
    #[serde(default, with = "Nullable::<TlsPart>")]
    tls: Option<Security>,
    /// The version of the PROXY header at the start of each connection; null without one.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("enum" = [null, 1, 2])))]
    proxy: Option<u8>,
    /// The command line.
    command: String,
}

/// The length of messages, in bytes.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Sizes")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum SizesFormat {
    /// All messages have this length.
    #[serde(rename = "fixed_bytes")]
    Fixed(u64),
    /// Uniform from the first to the second, inclusive.
    #[serde(rename = "range_bytes")]
    Range(u64, u64),
    /// Pairs of a length and its weight.
    #[serde(rename = "weighted_bytes")]
    Weighted(Vec<(u64, f64)>),
}

/// The steps of a ramp. Levels are messages per second or connections.
#[derive(Serialize, Deserialize)]
#[serde(remote = "RampSteps")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RampFormat {
    /// What the levels count.
    #[serde(rename = "raises", with = "Name::<RampVariable>")]
    of: RampVariable,
    /// The first level.
    from: f64,
    /// The highest level allowed.
    to: f64,
    /// The difference between two steps.
    by: f64,
    /// The length of a step.
    #[serde(rename = "every_s", with = "Seconds")]
    every: Duration,
    /// The ramp ends with the step in which one of these conditions is true.
    until: Vec<String>,
}

/// The TLS of a run. The negotiated values are null if no handshake succeeded.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TlsPart {
    /// The server's certificate was checked.
    checked: bool,
    /// Connections may resume earlier sessions. Otherwise each handshake is a full one.
    resumes: bool,
    /// The protocol version, such as TLSv1.3.
    version: Option<String>,
    /// The cipher suite, by its IANA name.
    cipher_suite: Option<String>,
    /// The key exchange group, by its IANA name.
    group: Option<String>,
}

impl Codec for TlsPart {
    type Value = Security;

    fn serialize<S: Serializer>(tls: &Security, to: S) -> Result<S::Ok, S::Error> {
        let agreed = tls.agreed.clone();
        let part = Self {
            checked: tls.is_checked,
            resumes: tls.resumes,
            version: agreed.as_ref().map(|agreed| agreed.version.clone()),
            cipher_suite: agreed.as_ref().map(|agreed| agreed.cipher_suite.clone()),
            group: agreed.and_then(|agreed| agreed.group),
        };
        Serialize::serialize(&part, to)
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Security, D::Error> {
        let part: Self = Deserialize::deserialize(from)?;
        // Older versions wrote rustls's names where IANA has others.
        let iana = |name: String| match name.strip_prefix("TLS13_") {
            Some(suite) => format!("TLS_{suite}"),
            None if name == "X25519" => "x25519".into(),
            None => name,
        };
        let group = part.group.map(iana);
        let agreed = part.version.zip(part.cipher_suite).map(|(version, cipher_suite)| NegotiatedTls {
            version,
            cipher_suite: iana(cipher_suite),
            group,
        });
        Ok(Security { is_checked: part.checked, resumes: part.resumes, agreed })
    }
}

/// The counters of an interval.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Counts")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct CountsFormat {
    /// Messages that were due. Messages of an open loop that were never sent count as failures of
    /// the class unsent, or as lagged.
    planned: u64,
    /// Messages sent.
    sent: u64,
    /// Messages sent 1 ms or more later than planned because they waited for an answer, for room in
    /// the socket's buffer or for a connection.
    #[serde(default)]
    held: u64,
    // Older versions did not count it, which changes what a reader makes of `planned`: the interval
    // has it.
    #[serde(skip)]
    lagged: u64,
    /// Messages answered.
    received: u64,
    /// Answers that arrived after the time measured. They count toward no rate.
    late: u64,
    /// Messages sent and never answered: skipped, or in flight when their connection ended.
    unanswered: u64,
    /// Answers compared with their messages and found right.
    verified: u64,
    /// Answers whose service time was taken by the kernel, at the network device.
    #[serde(default)]
    by_kernel: u64,
    /// Bytes sent.
    bytes_sent: u64,
    /// Bytes received.
    bytes_received: u64,
    /// Bytes received after the time measured.
    bytes_late: u64,
    /// Connections made.
    opened: u64,
    /// Connections that failed, and those that were pending for long at the end of the run.
    #[serde(default)]
    unconnected: u64,
    /// Connections without a plan that waited for an answer at the end of the run and had received
    /// none in all the time measured.
    #[serde(default)]
    silent: u64,
    /// Connections ended.
    closed: u64,
    /// Failures by class. A class without failures is left out.
    #[serde(rename = "errors_by_class", with = "ByClass")]
    failures: [u64; LoadFailure::ALL.len()],
}

/// A failure.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Failure")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FailureFormat {
    /// The class of the failure.
    #[serde(with = "Name::<LoadFailure>")]
    class: LoadFailure,
    /// When it happened, counted from `started`.
    #[serde(rename = "at_s", with = "Seconds")]
    at: Duration,
    /// The number of the connection.
    connection: u64,
    /// The number of the message on its connection; null if it concerns no message.
    sequence: Option<u64>,
    /// What happened.
    what: String,
}

// One of several failures. The schema has the format itself.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(super) struct FailurePart(#[serde(with = "FailureFormat")] pub(super) Failure);

/// A load generator.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Generator")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct GeneratorFormat {
    /// The version of resound.
    version: String,
    /// The name of the machine.
    host: String,
    /// The engine.
    engine: String,
    /// Worker threads.
    workers: u64,
    /// Processor time in user mode.
    #[serde(rename = "cpu_user_s", with = "Seconds")]
    cpu_user: Duration,
    /// Processor time in the kernel.
    #[serde(rename = "cpu_system_s", with = "Seconds")]
    cpu_system: Duration,
}

impl Codec for RampFormat {
    type Value = RampSteps;

    fn serialize<S: Serializer>(ramp: &RampSteps, to: S) -> Result<S::Ok, S::Error> {
        // The inherent function that the derive made.
        <RampFormat>::serialize(ramp, to)
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RampSteps, D::Error> {
        <RampFormat>::deserialize(from)
    }
}

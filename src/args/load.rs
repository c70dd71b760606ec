//! The flags of `resound load`.

pub(super) mod check;

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use resound::Address;
use resound_load::{
    Arrivals, BULK, Direction, MOST_IN_FLIGHT, Mode, RampSteps, RampVariable, Security, Settings, Shape, Sizes,
    Timestamps,
};

use super::admin::AdminArgs;
use super::amounts::{self, Range};
use super::config::ConfigArgs;
use super::output::{OutputArgs, ProgressArgs};
use super::serving::EngineArg;
use super::{FamilyArgs, address, examples};
use crate::client::{ClientTlsArgs, ConnectSetup, HandshakeOptions, SendProxy, TlsOptions};
use crate::load::{LoadPlan, LoadTarget};
use crate::report::Gate;
use crate::server::ServerMode;
use crate::units::{self, Timeout};

// Headings in the help, and tables in docs/load.md.
const LOAD: &str = "Load";
const CONNECT: &str = "With --shape connect";
const RAMP: &str = "With --shape ramp";
const CONNECTIONS: &str = "Connections";
const TLS: &str = "TLS";

#[derive(Args)]
#[command(after_help = examples::LOAD_NOTES, after_long_help = examples::long_help("load"))]
pub(crate) struct LoadArgs {
    /// Host to load [default: 127.0.0.1]
    host: Option<String>,
    /// Port [default: 8888]
    port: Option<String>,
    /// Start `resound server` on a free port of 127.0.0.1, and load that
    ///
    /// The server is a process of its own. It echoes unless --mode names another answer.
    #[arg(long, conflicts_with_all = ["host", "port"])]
    loopback: bool,
    #[command(flatten)]
    family: FamilyArgs,

    /// What the connections do
    #[arg(help_heading = LOAD, long, value_enum, default_value_t = ShapeArg::Messages)]
    shape: ShapeArg,
    /// What the target answers [default: found by sending one line]
    #[arg(help_heading = LOAD, long, value_enum)]
    mode: Option<ServerMode>,
    /// Messages per second over all connections, sent by a plan (open loop) [default: none, a
    /// closed loop]
    ///
    /// In a closed loop each answer is followed by the next message.
    #[arg(help_heading = LOAD, short, long, value_name = "N", value_parser = amounts::rate)]
    rate: Option<f64>,
    /// How planned messages are spaced [default: fixed]
    #[arg(help_heading = LOAD, long, value_enum)]
    arrivals: Option<ArrivalsArg>,
    /// Unanswered messages on one connection at most [default: 1; with --rate 65536]
    #[arg(help_heading = LOAD, long, value_name = "N", value_parser = units::positive)]
    depth: Option<NonZeroUsize>,
    /// Bytes of a message: `64`, a range `16..1k`, or weighted sizes `64*9,4k*1` [default: 64; in a
    /// stream 64k]
    ///
    /// A line's newline is part of its size.
    #[arg(help_heading = LOAD, long, value_name = "SIZES", value_parser = amounts::sizes)]
    size: Option<Sizes>,
    /// How long to measure [default: 10s, without -n]
    #[arg(help_heading = LOAD, short, long, value_name = "DURATION", value_parser = units::duration)]
    duration: Option<Duration>,
    /// Messages to send over all connections: 1000, 10k, 1M [default: no limit]
    ///
    /// With --rate the run takes as long as the plan says, at least. Without -d a run that has lost
    /// all its connections is given up after three times --connect-timeout.
    #[arg(help_heading = LOAD, short = 'n', long, value_name = "N", value_parser = amounts::count)]
    messages: Option<NonZeroU64>,
    /// How long to send before measuring; the results exclude those messages [default: none]
    #[arg(help_heading = LOAD, long, value_name = "DURATION", value_parser = units::duration)]
    warm_up: Option<Duration>,
    /// Pause between an answer and the next message of its connection [default: none]
    #[arg(help_heading = LOAD, long, value_name = "DURATION", value_parser = units::duration)]
    think_time: Option<Duration>,
    /// How long an answer may take before its connection is given up
    #[arg(help_heading = LOAD, long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    timeout: Duration,
    /// Compare each answer with its message, byte by byte
    #[arg(help_heading = LOAD, long, value_enum, default_value_t = OnOff::On)]
    verify: OnOff,
    /// Seed of the messages' bytes and of Poisson arrivals [default: random, and in the results]
    #[arg(help_heading = LOAD, long, value_name = "N")]
    seed: Option<u64>,

    /// Messages on each connection before it is closed [default: 1]
    #[arg(help_heading = CONNECT, long, value_name = "N", value_parser = units::positive)]
    each: Option<NonZeroUsize>,
    /// Levels: messages per second `1000..20000+1000` or, with `c`, connections `10c..100c+10c`
    #[arg(help_heading = RAMP, long, value_name = "FROM..TO+STEP", value_parser = amounts::steps)]
    steps: Option<RampSteps>,
    /// How long a step is [default: 2s]
    #[arg(help_heading = RAMP, long, value_name = "DURATION", value_parser = units::duration)]
    every: Option<Duration>,
    /// Condition that ends the ramp (repeatable) [default: 'errors>0' and 'p99>10ms']
    #[arg(help_heading = RAMP, long, value_name = "CONDITION", value_parser = Gate::parse)]
    until: Vec<Gate>,

    /// Connections open at once [default: 1]
    ///
    /// Measuring starts when all of them are open.
    #[arg(help_heading = CONNECTIONS, short, long, value_name = "N", value_parser = units::positive)]
    connections: Option<NonZeroUsize>,
    /// New connections per second at most [default: no limit]
    #[arg(help_heading = CONNECTIONS, long, value_name = "N", value_parser = amounts::rate)]
    connect_rate: Option<f64>,
    /// How long connecting may take, and then the TLS handshake
    #[arg(
        help_heading = CONNECTIONS, long, value_name = "DURATION", value_parser = units::duration,
        default_value = "10s"
    )]
    connect_timeout: Duration,
    /// Address of this machine to connect from, or a range 127.0.0.2-127.0.0.9 (repeatable)
    ///
    /// Connections take the addresses in turns. Each has all of its ports for each target
    /// (IP_BIND_ADDRESS_NO_PORT, Linux).
    #[arg(help_heading = CONNECTIONS, long, value_name = "IP", value_parser = amounts::range)]
    source: Vec<Range>,
    /// Start each connection with a PROXY header: v1 or v2, and fields after commas
    ///
    /// The fields are those of `resound client`, such as src=IP:PORT.
    #[arg(help_heading = CONNECTIONS, long, value_name = "HEADER")]
    send_proxy: Option<SendProxy>,
    /// How the generator waits for sockets and moves bytes
    #[arg(help_heading = CONNECTIONS, long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
    /// Threads that generate [default: one per core]
    #[arg(help_heading = CONNECTIONS, long, value_name = "N", value_parser = units::positive)]
    workers: Option<NonZeroUsize>,
    /// How long a worker polls before it sleeps: more exact times, a busy core
    ///
    /// With 1ms, planned instants are kept to a few microseconds.
    #[arg(
        help_heading = CONNECTIONS, long, value_name = "DURATION", value_parser = units::timeout,
        default_value = "off"
    )]
    busy_poll: Timeout,
    /// Clock of the service times [default: kernel with --busy-poll, where the system has it; else
    /// clock]
    #[arg(help_heading = CONNECTIONS, long, value_enum, value_name = "WHOSE")]
    timestamps: Option<TimestampsArg>,
    /// Congestion control of TCP connections, such as cubic (Linux, FreeBSD) [default: the
    /// system's]
    #[arg(help_heading = CONNECTIONS, long, value_name = "ALGORITHM")]
    congestion: Option<String>,

    #[command(flatten)]
    tls: ClientTlsArgs,
    /// Resume the TLS sessions of earlier connections
    ///
    /// Off, each handshake is a full one, with its full cost for the server.
    #[arg(help_heading = TLS, long, value_name = "RESUME", value_enum, default_value_t = Resume::Off, requires = "tls")]
    tls_resume: Resume,
    /// The one key exchange group to use, such as x25519 [default: the best that both ends support]
    #[arg(help_heading = TLS, long, value_name = "GROUP", requires = "tls")]
    tls_group: Option<String>,

    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    _config: ConfigArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShapeArg {
    /// Messages and answers, on connections that stay open
    Messages,
    /// Connect, send --each messages, close, and again
    Connect,
    /// Bulk at full speed: sent to a target that discards, received from one that generates, both
    /// ways with one that answers
    Stream,
    /// --steps of rising rate or connections, until a condition breaks. The last level that held is
    /// the knee
    Ramp,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TimestampsArg {
    /// The program's: from handing the message to the engine to reading its answer
    Clock,
    /// The kernel's, at the network device, without the time between kernel and program (Linux 6.3,
    /// TCP; a few calls more for each message)
    Kernel,
}

#[derive(Clone, Copy, ValueEnum)]
enum ArrivalsArg {
    /// At equal intervals
    Fixed,
    /// At random, as independent events are
    Poisson,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    /// Only count; the results note it
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Resume {
    On,
    Off,
}

/// The command line, for a reader of the results who repeats the run. File names need not be text.
fn command() -> String {
    let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

impl From<ServerMode> for Mode {
    fn from(mode: ServerMode) -> Self {
        match mode {
            ServerMode::Reply => Self::Reply,
            ServerMode::Echo => Self::Echo,
            ServerMode::Discard => Self::Discard,
            ServerMode::Chargen => Self::Chargen,
        }
    }
}

impl LoadArgs {
    pub(crate) fn meaning(self) -> Result<LoadPlan> {
        let handshakes = HandshakeOptions { are_full: self.tls_resume == Resume::Off, group: self.tls_group.clone() };
        let target = match self.loopback {
            true => LoadTarget::Loopback(self.tls.is_wanted().then(|| handshakes.clone())),
            false => LoadTarget::At(address(self.host.as_deref(), self.port.as_deref())?),
        };
        let address = match &target {
            LoadTarget::At(address) => Some(address),
            LoadTarget::Loopback(_) => None,
        };
        self.check(address)?;
        let tls = address.map_or(Ok(None), |address| self.tls.meaning(address, &handshakes))?;
        let mut settings = self.settings(address);
        settings.tls = self.tls.is_wanted().then(|| Security {
            is_checked: tls.as_ref().is_none_or(TlsOptions::is_checked),
            resumes: !handshakes.are_full,
            agreed: None,
        });
        let until =
            settings.ramp.iter().flat_map(|ramp| &ramp.until).filter_map(|text| Gate::parse(text).ok()).collect();
        let sources = self.source.iter().flat_map(Range::addresses).collect();
        let output = self.output.meaning_with(self.progress)?;
        Ok(LoadPlan {
            target,
            family: self.family.meaning(),
            mode: self.mode.map(Mode::from),
            settings: Settings { interval: output.interval(), ..settings },
            warm_up: self.warm_up.unwrap_or_default(),
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            sources,
            engine: self.engine.meaning(),
            workers: self.workers,
            congestion: self.congestion,
            before: ConnectSetup { send_proxy: self.send_proxy, tls },
            until,
            beside: self.admin.descriptors(),
            admin: self.admin.meaning(),
            output,
        })
    }

    /// What the results record of the flags. The interval and TLS follow in `meaning`.
    fn settings(&self, address: Option<&Address>) -> Settings {
        let is_open = self.rate.is_some() || self.raised() == Some(RampVariable::Rate);
        let shape = match self.shape {
            ShapeArg::Messages if is_open => Shape::Open,
            ShapeArg::Messages => Shape::Closed,
            ShapeArg::Connect => Shape::Connect,
            ShapeArg::Stream => Shape::Stream,
            ShapeArg::Ramp => Shape::Ramp,
        };
        let counted = self.messages.is_some() || shape == Shape::Ramp;
        let number = |n: NonZeroUsize| n.get() as u64;
        Settings {
            shape,
            target: String::new(),
            mode: self.mode.map_or(Mode::Echo, Mode::from),
            connections: self.connections(),
            depth: self.depth.map_or(if is_open { MOST_IN_FLIGHT } else { 1 }, number),
            rate: self.rate,
            arrivals: match self.arrivals {
                Some(ArrivalsArg::Poisson) => Arrivals::Poisson,
                _ => Arrivals::Fixed,
            },
            size: self.size.clone().unwrap_or(Sizes::Fixed(if shape == Shape::Stream { BULK } else { 64 })),
            duration: self.duration.or((!counted).then_some(Duration::from_secs(10))),
            messages: self.messages.map(NonZeroU64::get),
            messages_per_connection: (shape == Shape::Connect).then(|| self.each.map_or(1, number)),
            direction: (shape == Shape::Stream).then_some(Direction::Both),
            ramp: self.ramp(),
            seed: self.seed.unwrap_or_else(|| u64::from(fastrand::u32(..))),
            verify: self.verify == OnOff::On,
            think_time: self.think_time.unwrap_or_default(),
            connect_rate: self.connect_rate,
            busy_poll: self.busy_poll.0.unwrap_or_default(),
            timestamps: self.timestamps(address),
            interval: Duration::from_secs(1),
            tls: None,
            proxy: self.send_proxy.as_ref().map(SendProxy::version),
            command: command(),
        }
    }

    /// The clock of the service times: with --busy-poll the kernel's, where the system has it.
    fn timestamps(&self, address: Option<&Address>) -> Timestamps {
        let can = cfg!(target_os = "linux")
            && !matches!(address, Some(Address::Unix(_)))
            && !matches!(self.engine, EngineArg::Portable)
            && self.shape != ShapeArg::Stream
            && !self.tls.is_wanted()
            && self.send_proxy.is_none();
        match self.timestamps {
            Some(TimestampsArg::Kernel) => Timestamps::Kernel,
            None if can && self.busy_poll.0.is_some() => Timestamps::Kernel,
            _ => Timestamps::Clock,
        }
    }

    fn connections(&self) -> u64 {
        self.connections.map_or(1, |connections| connections.get() as u64)
    }

    /// What --steps raise.
    fn raised(&self) -> Option<RampVariable> {
        self.steps.as_ref().map(|steps| steps.of)
    }

    fn ramp(&self) -> Option<RampSteps> {
        let mut steps = self.steps.clone()?;
        steps.every = self.every.unwrap_or(steps.every);
        if !self.until.is_empty() {
            steps.until = self.until.iter().map(|gate| gate.text.clone()).collect();
        }
        Some(steps)
    }
}

//! The flags of `resound load`.

mod check;

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use resound::Address;
use resound_load::{
    Arrivals, BULK, Direction, MOST_IN_FLIGHT, Mode, RampVariable, Security, Settings, Shape, Sizes, Timestamps,
};

use super::amounts::{self, Range, StepRange};
use super::output::{OutputArgs, ProgressArgs};
use super::server::EngineArg;
use super::{FamilyArgs, LOAD_EXIT_CODES, address};
use crate::client::{ClientTlsArgs, ConnectSetup, HandshakeOptions, SendProxy, TlsOptions};
use crate::load::{LoadPlan, LoadTarget, RampPlan};
use crate::report::Gate;
use crate::units::{self, Timeout};

const LOAD: &str = "Load";
const CONNECTIONS: &str = "Connections";

#[derive(Args)]
#[command(after_help = LOAD_EXIT_CODES)]
pub(crate) struct LoadArgs {
    /// Host to load [default: 127.0.0.1]
    host: Option<String>,
    /// Port [default: 8888]
    port: Option<String>,
    /// Start a server of our own on a free port, as a child process, and load that
    #[arg(long, conflicts_with_all = ["host", "port"])]
    loopback: bool,
    #[command(flatten)]
    family: FamilyArgs,

    /// What is done on the connections
    #[arg(help_heading = LOAD, long, value_enum, default_value_t = ShapeArg::Messages)]
    shape: ShapeArg,
    /// What the far end does with a message [default: found by sending one line]
    #[arg(help_heading = LOAD, long, value_enum)]
    mode: Option<super::ServerMode>,
    /// Messages per second over all connections: an open loop, which sends by plan. Without it each answer is followed by the next message
    #[arg(help_heading = LOAD, short, long, value_name = "N", value_parser = amounts::rate)]
    rate: Option<f64>,
    /// How planned messages are spaced [default: fixed]
    #[arg(help_heading = LOAD, long, value_enum)]
    arrivals: Option<ArrivalsArg>,
    /// Messages in flight on one connection at most [default: 1; with --rate 65536]
    #[arg(help_heading = LOAD, long, value_name = "N", value_parser = units::positive)]
    depth: Option<NonZeroUsize>,
    /// How long a message is: 64, a range 16..1k, or sizes with weights 64*9,4k*1 [default: 64; in a stream 64k]
    #[arg(help_heading = LOAD, long, value_name = "SIZES", value_parser = amounts::sizes)]
    size: Option<Sizes>,
    /// How long to measure [default: 10s, unless -n is given]
    #[arg(help_heading = LOAD, short, long, value_name = "DURATION", value_parser = units::duration)]
    duration: Option<Duration>,
    /// How many messages to send, over all connections: 1000, 10k, 1M
    #[arg(help_heading = LOAD, short = 'n', long, value_name = "N", value_parser = amounts::count)]
    messages: Option<NonZeroU64>,
    /// What comes before measuring
    #[arg(help_heading = LOAD, long, value_name = "DURATION", value_parser = units::duration)]
    warm_up: Option<Duration>,
    /// A pause between an answer and the next message of its connection (not with --rate)
    #[arg(help_heading = LOAD, long, value_name = "DURATION", value_parser = units::duration)]
    think_time: Option<Duration>,
    /// How long an answer may take, before its connection is given up
    #[arg(help_heading = LOAD, long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    timeout: Duration,
    /// Compare each answer with its message, byte by byte
    #[arg(help_heading = LOAD, long, value_enum, default_value_t = OnOff::On)]
    verify: OnOff,
    /// What the bytes of the messages and Poisson arrivals are made from [default: another each time, in the results]
    #[arg(help_heading = LOAD, long, value_name = "N")]
    seed: Option<u64>,

    /// Of --shape connect: messages on each connection before it is closed
    #[arg(help_heading = LOAD, long, value_name = "N", value_parser = units::positive)]
    each: Option<NonZeroUsize>,
    /// Of --shape ramp: from, to, and by how much a step, in messages per second (of -c connections) or with `c` in connections:
    /// 1000..20000+1000, or 10c..100c+10c
    #[arg(help_heading = LOAD, long, value_name = "FROM..TO+STEP", value_parser = amounts::steps)]
    steps: Option<StepRange>,
    /// Of --shape ramp: how long a step is [default: 2s]
    #[arg(help_heading = LOAD, long, value_name = "DURATION", value_parser = units::duration)]
    every: Option<Duration>,
    /// Of --shape ramp: end with the step of which this is true (repeatable) [default: 'errors>0' and 'p99>10ms']
    #[arg(help_heading = LOAD, long, value_name = "CONDITION", value_parser = Gate::parse)]
    until: Vec<Gate>,

    /// Connections open at once [default: 1]
    #[arg(help_heading = CONNECTIONS, short, long, value_name = "N", value_parser = units::positive)]
    connections: Option<NonZeroUsize>,
    /// Connections made per second at most [default: no limit]
    #[arg(help_heading = CONNECTIONS, long, value_name = "N", value_parser = amounts::rate)]
    connect_rate: Option<f64>,
    /// How long connecting may take, and then TLS's handshake
    #[arg(help_heading = CONNECTIONS, long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    connect_timeout: Duration,
    /// An address of this machine to connect from, or a range 127.0.0.2-127.0.0.9 (repeatable): connections take them in turns
    #[arg(help_heading = CONNECTIONS, long, value_name = "IP", value_parser = amounts::range)]
    source: Vec<Range>,
    /// What moves the bytes
    #[arg(help_heading = CONNECTIONS, long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
    /// Threads that generate [default: one per core; the threads engine has one per connection]
    #[arg(help_heading = CONNECTIONS, long, value_name = "N", value_parser = units::positive)]
    workers: Option<NonZeroUsize>,
    /// Look for events in a loop for this long before sleeping: truer times, a busy processor (not with threads)
    #[arg(help_heading = CONNECTIONS, long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    busy_poll: Timeout,
    /// Begin each connection with a PROXY header, as a proxy does: v1 or v2, and behind commas what `resound client` takes there too, such as
    /// src=IP:PORT
    #[arg(help_heading = CONNECTIONS, long, value_name = "HEADER")]
    send_proxy: Option<SendProxy>,
    /// Whose clock takes the service times [default: the kernel's with --busy-poll, where it can be had]
    #[arg(help_heading = CONNECTIONS, long, value_enum, value_name = "WHOSE")]
    timestamps: Option<TimestampsArg>,
    /// Congestion control of TCP connections, e.g. cubic (Linux, FreeBSD) [default: the system's]
    #[arg(help_heading = CONNECTIONS, long, value_name = "ALGORITHM")]
    congestion: Option<String>,

    #[command(flatten)]
    tls: ClientTlsArgs,
    /// Resume the sessions of earlier connections; off, each handshake is a full one, and costs the server what it costs
    #[arg(help_heading = "TLS", long, value_enum, default_value_t = Resume::Off, requires = "tls")]
    tls_resume: Resume,
    /// Exchange keys in this way only, such as x25519 [default: the best that both ends know, X25519MLKEM768 first]
    #[arg(help_heading = "TLS", long, value_name = "GROUP", requires = "tls")]
    tls_group: Option<String>,

    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShapeArg {
    /// Messages and their answers, on connections that stay
    Messages,
    /// Connect, a few messages, close, again and again
    Connect,
    /// Bulk, as fast as it goes: sent where the far end discards, received where it generates, both where it answers
    Stream,
    /// Steps of rising rate or connections, until a threshold breaks
    Ramp,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TimestampsArg {
    /// This program's: from handing the message over to hearing of the answer
    Clock,
    /// The kernel's, at the network device (Linux 6.3, TCP; not with the portable engine): without the ways between the two
    Kernel,
}

#[derive(Clone, Copy, ValueEnum)]
enum ArrivalsArg {
    /// Evenly
    Fixed,
    /// As independent events are
    Poisson,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    /// Only count; the results say so
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Resume {
    On,
    Off,
}

/// The command line, for whoever wants to repeat the run. Its names of files need not be text.
fn command() -> String {
    let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

impl LoadArgs {
    pub(crate) fn meaning(self) -> Result<LoadPlan> {
        let handshakes = HandshakeOptions { resume: self.tls_resume == Resume::On, group: self.tls_group.clone() };
        let target = match self.loopback {
            true => LoadTarget::Loopback(self.tls.is_wanted().then(|| handshakes.clone())),
            false => LoadTarget::At(address(self.host.as_deref(), self.port.as_deref())?),
        };
        self.check(match &target {
            LoadTarget::At(address) => Some(address),
            LoadTarget::Loopback(_) => None,
        })?;
        let tls = match &target {
            LoadTarget::Loopback(_) => None,
            LoadTarget::At(address) => self.tls.meaning_with(address, &handshakes)?,
        };
        let mode = self.mode.map(|mode| match mode {
            super::ServerMode::Reply => Mode::Reply,
            super::ServerMode::Echo => Mode::Echo,
            super::ServerMode::Discard => Mode::Discard,
            super::ServerMode::Chargen => Mode::Chargen,
        });
        let ramp = self.ramp();
        let raises_rate = ramp.as_ref().is_some_and(|ramp| ramp.steps.of == RampVariable::Rate);
        let is_open = self.rate.is_some() || raises_rate;
        let shape = match self.shape {
            ShapeArg::Messages if is_open => Shape::Open,
            ShapeArg::Messages => Shape::Closed,
            ShapeArg::Connect => Shape::Connect,
            ShapeArg::Stream => Shape::Stream,
            ShapeArg::Ramp => Shape::Ramp,
        };
        let size = self.size.clone().unwrap_or(Sizes::Fixed(if shape == Shape::Stream { BULK } else { 64 }));
        let counted = self.messages.is_some() || shape == Shape::Ramp;
        let number = |n: NonZeroUsize| n.get() as u64;
        let settings = Settings {
            shape,
            target: String::new(),
            mode: mode.unwrap_or(Mode::Echo),
            connections: self.connections(),
            depth: self.depth.map_or(if is_open { MOST_IN_FLIGHT } else { 1 }, number),
            rate: self.rate,
            arrivals: match self.arrivals {
                Some(ArrivalsArg::Poisson) => Arrivals::Poisson,
                _ => Arrivals::Fixed,
            },
            size,
            duration: self.duration.or((!counted).then_some(Duration::from_secs(10))),
            messages: self.messages.map(NonZeroU64::get),
            messages_per_connection: (shape == Shape::Connect).then(|| self.each.map_or(1, number)),
            direction: (shape == Shape::Stream).then_some(Direction::Both),
            ramp: ramp.as_ref().map(RampPlan::settings),
            seed: self.seed.unwrap_or_else(|| u64::from(fastrand::u32(..))),
            verify: self.verify == OnOff::On,
            think_time: self.think_time.unwrap_or_default(),
            connect_rate: self.connect_rate,
            busy_poll: self.busy_poll.0.unwrap_or_default(),
            timestamps: self.timestamps(&target),
            interval: Duration::from_secs(1),
            tls: self.tls.is_wanted().then(|| Security {
                is_checked: tls.as_ref().is_none_or(TlsOptions::is_checked),
                resumes: handshakes.resume,
                agreed: None,
            }),
            proxy: self.send_proxy.as_ref().map(SendProxy::version),
            command: command(),
        };
        let sources = self.source.iter().flat_map(Range::addresses).collect();
        let output = self.output.meaning_with(self.progress)?;
        Ok(LoadPlan {
            target,
            family: self.family.meaning(),
            mode,
            settings: Settings { interval: output.interval(), ..settings },
            warm_up: self.warm_up.unwrap_or_default(),
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            sources,
            engine: self.engine.meaning(),
            workers: self.workers,
            congestion: self.congestion,
            before: ConnectSetup { send_proxy: self.send_proxy, tls },
            ramp,
            output,
        })
    }

    /// Whose clock takes the service times: the kernel's where the times are to be true and it can be asked.
    fn timestamps(&self, target: &LoadTarget) -> Timestamps {
        let can = cfg!(target_os = "linux")
            && !matches!(target, LoadTarget::At(Address::Unix(_)))
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

    fn ramp(&self) -> Option<RampPlan> {
        let until = match self.until.is_empty() {
            false => self.until.clone(),
            true => ["errors>0", "p99>10ms"].into_iter().filter_map(|text| Gate::parse(text).ok()).collect(),
        };
        let steps = self.steps?;
        Some(RampPlan { steps, every: self.every.unwrap_or(Duration::from_secs(2)), until })
    }
}

//! What was typed ([`Cli`]), and what it means (`meaning`): only the second travels.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use resound::{Address, Dial, Engine, Error, Family, Framing, Limits};

use crate::client::{self, Connect, Expect, Patience, PipeOptions};
use crate::console::Format;
use crate::server;
use crate::units::{self, Timeout};

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 8888;

/// A TCP endpoint you can trust: stand one up, talk to it, prove the path to it.
#[derive(Parser)]
#[command(name = "resound", version, propagate_version = true, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Addresses: HOST PORT, HOST:PORT, [IPv6]:PORT or unix:/path; without one, 127.0.0.1 8888.
Exit codes: 0 ok, 1 network failure, 2 usage or environment, 3 a check failed, 130 cut short by a signal.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve: answer each line with `Server received: <line>`, echo, discard or generate
    Server(ServerArgs),
    /// Talk to a server: interactively at a terminal, as a pipe otherwise
    Client(ClientArgs),
    /// Send a handful of messages and check every reply
    Test(TestArgs),
    /// Write what a shell needs to complete resound's commands and flags on Tab
    Completions(CompletionsArgs),
    /// Write the manual page
    Man(ManArgs),
}

#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args)]
pub(crate) struct ManArgs {
    /// The command whose page it is [default: the page of resound itself]
    pub(crate) page: Option<String>,
    /// Write all pages into this folder instead
    #[arg(long, value_name = "FOLDER", conflicts_with = "page")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ServerArgs {
    /// Address to listen on, or the port alone [default: 127.0.0.1]
    host: Option<String>,
    /// Port to listen on; 0 picks a free one and prints it [default: 8888]
    port: Option<String>,
    /// Another address to listen on (repeatable), e.g. [::1]:8888 or unix:/tmp/resound
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    #[command(flatten)]
    family: FamilyArgs,
    /// What to answer
    #[arg(long, value_enum, default_value_t = Mode::Reply)]
    mode: Mode,
    /// What a message is, in reply mode [default: line]
    #[arg(long, value_enum)]
    framing: Option<FramingArg>,
    /// What moves the bytes
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
    /// Look for events in a loop for this long after the last one, before sleeping: quicker answers, a busy processor (not with threads)
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    busy_poll: Timeout,
    /// Congestion control of TCP connections, e.g. cubic (Linux, FreeBSD) [default: the system's]
    #[arg(long, value_name = "ALGORITHM")]
    congestion: Option<String>,
    /// Threads that serve [default: one per core; the threads engine has one per connection]
    #[arg(long, value_name = "N", value_parser = units::positive, allow_hyphen_values = true)]
    workers: Option<NonZeroUsize>,
    /// Connections served at once; further ones wait [default: as many as descriptors allow]
    #[arg(long, value_name = "N", value_parser = units::positive, allow_hyphen_values = true)]
    max_connections: Option<NonZeroUsize>,
    /// Longest line, without its newline; a longer one gets an error line and the connection ends (reply mode with lines only)
    /// [default: 64k]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_line: Option<usize>,
    /// Unsent bytes of one connection from which on no more is read from it
    #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "256k")]
    high_water: usize,
    /// Close a connection that completes no message and takes no byte for this long
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    idle_timeout: Timeout,
    /// Reset a connection whose peer takes none of the waiting bytes for this long
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "30s")]
    write_timeout: Timeout,
    /// After Ctrl+C or SIGTERM, how long open connections may take to finish
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    drain_timeout: Duration,
    /// Print nothing but the port that was chosen for port 0
    #[arg(short, long)]
    quiet: bool,
    /// How the console is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ClientArgs {
    /// Server to talk to, or the port alone [default: 127.0.0.1]
    host: Option<String>,
    /// Its port [default: 8888]
    port: Option<String>,
    /// `test` checks the server instead of talking to it: the same as `resound test`
    #[arg(value_enum)]
    action: Option<Action>,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    checks: CheckArgs,
    #[command(flatten)]
    talk: TalkArgs,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct TestArgs {
    /// Server to check, or the port alone [default: 127.0.0.1]
    host: Option<String>,
    /// Its port [default: 8888]
    port: Option<String>,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    checks: CheckArgs,
}

#[derive(Args)]
struct HowArgs {
    #[command(flatten)]
    family: FamilyArgs,
    /// How long the resolver, and then each address, may take
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    connect_timeout: Duration,
    /// How long the whole run may take, or off
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    timeout: Timeout,
    /// Dial up to N times more, with growing pauses, while the address does not answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_hyphen_values = true, conflicts_with = "wait")]
    retry: Option<u32>,
    /// Dial until the address answers; --timeout limits it
    #[arg(long)]
    wait: bool,
    /// Connect from this address of this machine
    #[arg(long, value_name = "IP")]
    source_address: Option<IpAddr>,
    /// Connect from this port
    #[arg(long, value_name = "PORT")]
    source_port: Option<NonZeroU16>,
    /// Probe a server that has been silent for so long, in whole seconds, and give up when it stays silent; or off
    #[arg(long, value_name = "DURATION", value_parser = units::keepalive, default_value = "off")]
    keepalive: Timeout,
    /// Let small messages wait for acknowledgements (Nagle's algorithm); they are sent at once otherwise
    #[arg(long)]
    nagle: bool,
    /// Say on stderr where the connection went and what a pipe carried; at a terminal also how long each answer took
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Args)]
struct CheckArgs {
    /// In a test, what the server should answer [default: reply]
    #[arg(long, value_name = "WHAT", value_enum)]
    expect: Option<Expect>,
}

/// What makes a pipe even of a terminal.
const PIPE: &str = "As a pipe";

#[derive(Args)]
struct TalkArgs {
    /// Wait for one connection to this address, and be the client of whoever it is
    #[arg(long, conflicts_with_all = ["connect_timeout", "retry", "wait", "source_address", "source_port"])]
    listen: bool,
    /// At a terminal, connect again whenever the connection is lost
    #[arg(long)]
    reconnect: bool,
    /// Give up when nothing is sent or received for so long, or off
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    idle_timeout: Timeout,
    /// End lines with CR LF
    #[arg(long)]
    crlf: bool,
    /// Do not half-close at the end of stdin, and leave when the server closes
    #[arg(help_heading = PIPE, long, conflicts_with_all = ["recv_only", "reconnect"])]
    no_half_close: bool,
    /// Send stdin, let what comes back fall, and leave when the server closes or a second after the end of stdin
    #[arg(help_heading = PIPE, long, conflicts_with_all = ["recv_only", "reconnect"])]
    send_only: bool,
    /// Send nothing, and leave stdin alone
    #[arg(help_heading = PIPE, long, conflicts_with_all = ["crlf", "line_delay", "quit_after", "reconnect"])]
    recv_only: bool,
    /// After the end of stdin wait so long for the server to close, then leave
    #[arg(help_heading = PIPE, long, value_name = "DURATION", value_parser = units::duration, conflicts_with = "reconnect")]
    quit_after: Option<Duration>,
    /// Pause so long between lines
    #[arg(help_heading = PIPE, long, value_name = "DURATION", value_parser = units::duration, conflicts_with = "reconnect")]
    line_delay: Option<Duration>,
    /// Write what happens as JSON, one event a line, instead of the bytes
    #[arg(help_heading = PIPE, short, long, conflicts_with_all = ["send_only", "reconnect"])]
    json: bool,
}

#[derive(Args)]
struct FamilyArgs {
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// `Server received: ` and the message
    Reply,
    /// The bytes as they came (RFC 862)
    Echo,
    /// Nothing (RFC 863)
    Discard,
    /// A rotating pattern of characters (RFC 864)
    Chargen,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FramingArg {
    /// A line, with its ending
    Line,
    /// What one read returned, as tutorial servers have it. TCP keeps no message boundaries, so two sends may arrive as one chunk and one
    /// send as several: a chunk is not what the peer sent
    Chunk,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineArg {
    /// io_uring where the system allows it, portable elsewhere (a line on stderr says why)
    Auto,
    /// io_uring: one ring per worker (Linux 6.1 and later)
    Uring,
    /// tokio: one runtime per worker
    Portable,
    /// One blocking thread per connection: the reference
    Threads,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Send a handful of messages and check every reply
    Test,
}

impl FamilyArgs {
    fn meaning(&self) -> Family {
        match (self.ipv4, self.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Any,
        }
    }
}

/// The address behind `[HOST] [PORT]`. A lone number is a port, with or without a colon.
fn address(host: Option<&str>, port: Option<&str>) -> Result<Address, Error> {
    match (host, port) {
        (None, _) => Address::parse(DEFAULT_HOST, DEFAULT_PORT),
        (Some(port), None) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => {
            Address::tcp(DEFAULT_HOST, port)
        }
        (Some(text), None) if text.strip_prefix(':').is_some_and(|port| !port.contains(':')) => {
            Address::tcp(DEFAULT_HOST, &text[1..])
        }
        (Some(host), None) => Address::parse(host, DEFAULT_PORT),
        (Some(host), Some(port)) if host.starts_with("unix:") => {
            Err(Error::Address { input: format!("{host} {port}"), reason: "a unix socket has no port".into() })
        }
        (Some(host), Some(port)) => Address::tcp(host, port),
    }
}

impl ServerArgs {
    pub(crate) fn meaning(self) -> Result<server::Plan> {
        let mut addresses = Vec::new();
        if self.host.is_some() || self.listen.is_empty() {
            addresses.push(address(self.host.as_deref(), self.port.as_deref())?);
        }
        for text in &self.listen {
            addresses.push(address(Some(text), None)?);
        }
        if self.mode != Mode::Reply && (self.framing.is_some() || self.max_line.is_some()) {
            bail!("--framing and --max-line concern --mode reply only: the other modes know no messages");
        }
        if self.framing == Some(FramingArg::Chunk) && self.max_line.is_some() {
            bail!("--max-line has no meaning with --framing chunk");
        }
        let most = resound::MAX_WORKERS;
        if self.workers.is_some_and(|workers| workers.get() > most) {
            bail!(
                "--workers {}: more workers than {most} are of no use to anybody",
                self.workers.map_or(0, NonZeroUsize::get)
            );
        }
        let framing = match self.framing {
            Some(FramingArg::Chunk) => Framing::Chunk,
            _ => Framing::Line { max: self.max_line.unwrap_or(Framing::DEFAULT_MAX_LINE) },
        };
        Ok(server::Plan {
            addresses,
            family: self.family.meaning(),
            mode: self.mode,
            framing,
            engine: match self.engine {
                EngineArg::Auto => Engine::Auto,
                EngineArg::Uring => Engine::Uring,
                EngineArg::Threads => Engine::Threads,
                EngineArg::Portable => Engine::Portable,
            },
            busy_poll: self.busy_poll.0.unwrap_or_default(),
            congestion: self.congestion,
            workers: self.workers,
            max_connections: self.max_connections.map(NonZeroUsize::get),
            limits: Limits {
                high_water: self.high_water,
                idle_timeout: self.idle_timeout.0,
                write_timeout: self.write_timeout.0,
                ..Limits::default()
            },
            drain_timeout: self.drain_timeout,
            quiet: self.quiet,
            format: self.log_format,
        })
    }
}

impl ClientArgs {
    pub(crate) fn meaning(self) -> Result<client::Plan> {
        // `resound client test` checks the default server, as a person would expect who has just read the help.
        let (host, action) = match (self.host.as_deref(), self.port.as_deref(), self.action) {
            (Some("test"), None, None) => (None, Some(Action::Test)),
            (host, _, action) => (host, action),
        };
        let (port, action) = match (self.port.as_deref(), action) {
            (Some("test"), None) => (None, Some(Action::Test)),
            other => other,
        };
        let task = match action {
            Some(Action::Test) => {
                if let Some(flag) = self.talk.first_given() {
                    bail!("{flag} has no meaning in a test");
                }
                client::Task::Check(self.checks.expect.unwrap_or(Expect::Reply))
            }
            None if self.checks.expect.is_some() => bail!("--expect has no meaning without a test: add the word test"),
            None => client::Task::Talk { reconnect: self.talk.reconnect, pipe: self.talk.pipe() },
        };
        Ok(client::Plan {
            connect: self.how.connect(address(host, port)?, self.talk.listen)?,
            timeout: self.how.timeout.0,
            idle_timeout: self.talk.idle_timeout.0,
            verbose: self.how.verbose,
            crlf: self.talk.crlf,
            task,
        })
    }
}

impl TestArgs {
    pub(crate) fn meaning(self) -> Result<client::Plan> {
        Ok(client::Plan {
            connect: self.how.connect(address(self.host.as_deref(), self.port.as_deref())?, false)?,
            timeout: self.how.timeout.0,
            idle_timeout: None,
            verbose: self.how.verbose,
            crlf: false,
            task: client::Task::Check(self.checks.expect.unwrap_or(Expect::Reply)),
        })
    }
}

impl HowArgs {
    fn connect(&self, address: Address, listen: bool) -> Result<Connect> {
        if !listen && matches!(address, Address::Tcp { port: 0, .. }) {
            let reason = "nobody can be reached at port 0".into();
            return Err(Error::Address { input: address.to_string(), reason }.into());
        }
        if matches!(address, Address::Unix(_)) && (self.source_address.is_some() || self.source_port.is_some()) {
            bail!("a unix socket has no source address and no source port");
        }
        Ok(Connect {
            address,
            dial: Dial {
                family: self.family.meaning(),
                timeout: self.connect_timeout,
                source_address: self.source_address,
                source_port: self.source_port.map(NonZeroU16::get),
            },
            patience: if self.wait { Patience::Wait } else { Patience::Retry(self.retry.unwrap_or(0)) },
            listen,
            nagle: self.nagle,
            keepalive: self.keepalive.0,
        })
    }
}

impl TalkArgs {
    /// What only a pipe can do makes one.
    fn pipe(&self) -> Option<PipeOptions> {
        let is_wanted = self.no_half_close
            || self.send_only
            || self.recv_only
            || self.quit_after.is_some()
            || self.line_delay.is_some()
            || self.json;
        is_wanted.then_some(PipeOptions {
            no_half_close: self.no_half_close,
            send_only: self.send_only,
            recv_only: self.recv_only,
            quit_after: self.quit_after,
            line_delay: self.line_delay,
            json: self.json,
        })
    }

    /// The name of a flag that was given, if one was.
    fn first_given(&self) -> Option<&'static str> {
        [
            (self.listen, "--listen"),
            (self.reconnect, "--reconnect"),
            (self.idle_timeout.0.is_some(), "--idle-timeout"),
            (self.crlf, "--crlf"),
            (self.no_half_close, "--no-half-close"),
            (self.send_only, "--send-only"),
            (self.recv_only, "--recv-only"),
            (self.quit_after.is_some(), "--quit-after"),
            (self.line_delay.is_some(), "--line-delay"),
            (self.json, "--json"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn hosts_and_ports() {
        let cases: [(&[&str], &str); 9] = [
            (&[":7000"], "127.0.0.1:7000"),
            (&[], "127.0.0.1:8888"),
            (&["9999"], "127.0.0.1:9999"),
            (&["0.0.0.0"], "0.0.0.0:8888"),
            (&["0.0.0.0", "9999"], "0.0.0.0:9999"),
            (&["localhost:1"], "localhost:1"),
            (&["::1", "5"], "[::1]:5"),
            (&["[::1]:5"], "[::1]:5"),
            (&["[::1]"], "[::1]:8888"),
        ];
        for (typed, want) in cases {
            let got = address(typed.first().copied(), typed.get(1).copied()).unwrap();
            assert_eq!(got.to_string(), want, "{typed:?}");
        }
        assert!(address(Some("unix:/tmp/x"), Some("1")).is_err());
    }

    #[test]
    fn flags_of_a_talk_are_refused_in_a_test() {
        let command = Cli::command();
        let of = |name| command.find_subcommand(name).unwrap().get_arguments();
        let known: Vec<_> = of("test").map(clap::Arg::get_id).collect();
        let flags: Vec<_> =
            of("client").filter(|arg| !known.contains(&arg.get_id()) && arg.get_long().is_some()).collect();
        assert!(flags.len() >= 10, "{flags:?}");
        for flag in flags {
            let name = format!("--{}", flag.get_long().unwrap());
            let mut typed = vec!["resound", "client", "h", "1", "test", &name];
            if flag.get_action().takes_values() {
                typed.push("1s");
            }
            let Command::Client(typed) = Cli::try_parse_from(typed).unwrap().command else {
                panic!("client was typed")
            };
            assert_eq!(
                typed.meaning().err().map(|error| error.to_string()),
                Some(format!("{name} has no meaning in a test"))
            );
        }
    }

    #[test]
    fn test_is_an_action_wherever_the_address_ends() {
        for typed in [&["client", "test"][..], &["client", "h", "test"], &["client", "h", "1", "test"], &["test", "h"]]
        {
            let cli = Cli::try_parse_from([&["resound"], typed].concat()).unwrap();
            let plan = match cli.command {
                Command::Client(typed) => typed.meaning().unwrap(),
                Command::Test(typed) => typed.meaning().unwrap(),
                _ => unreachable!("neither was typed"),
            };
            assert!(matches!(plan.task, client::Task::Check(_)), "{typed:?}");
        }
    }
}

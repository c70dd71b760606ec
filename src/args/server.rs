//! The flags of `resound server`.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use resound::faults::Role;
use resound::{Engine, Framing};

use super::config::ConfigArgs;
use super::faults::{FaultArgs, profile};
use super::logging::set_verbose;
use super::serving::{LIMITS, ServingArgs};
use super::{examples, listen_address};
use crate::server::{self, ServerMode};
use crate::units::{self, Timeout};

#[derive(Args)]
#[command(after_help = examples::NOTES, after_long_help = examples::long_help("server"))]
#[command(mut_arg("profiles", |boxes| boxes.value_parser(profile(Role::Server))))]
pub(crate) struct ServerArgs {
    /// Address to listen on, or a port alone [default: 127.0.0.1]
    host: Option<String>,
    /// Port to listen on; 0 picks a free one and prints it [default: 8888]
    port: Option<String>,
    /// What the server answers
    #[arg(long, value_enum, default_value_t = ServerMode::Reply)]
    mode: ServerMode,
    /// Where a message ends, in reply mode [default: auto]
    #[arg(long, value_enum)]
    framing: Option<FramingArg>,
    /// Treat the first line of `resound test` as any other message, in reply mode
    ///
    /// Otherwise the server plays the far end of the checks (docs/probe.md).
    #[arg(long)]
    no_probe: bool,
    /// Another address to listen on, such as `[::1]:8888` or `unix:/tmp/resound` (repeatable)
    ///
    /// `systemd` stands for the sockets that systemd has passed to the server, and `systemd:NAME`
    /// for those of this name.
    ///
    /// With --listen and without HOST the server listens on the addresses of --listen alone.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Print for each connection the proxy it came through, and what the proxy's header contains
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Print on stderr each call on a socket, and what it does on the wire
    ///
    /// With --engine auto the threads engine serves, which makes the calls of a tutorial.
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    serving: ServingArgs,
    /// Close a connection that completes no message and takes no byte for this long
    ///
    /// Bytes of an unfinished line do not count.
    #[arg(help_heading = LIMITS, long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    idle_timeout: Timeout,
    /// Longest line, without its line ending, in reply mode with lines [default: 64k]
    ///
    /// The client of a longer line gets a line with the error, and the connection ends.
    #[arg(help_heading = LIMITS, long, value_name = "SIZE", value_parser = units::size)]
    max_line: Option<usize>,
    /// Waiting bytes of one connection at which the server stops reading from it
    ///
    /// Bytes wait until they are sent, or until the service has read them.
    #[arg(help_heading = LIMITS, long, value_name = "SIZE", value_parser = units::size, default_value = "24k")]
    high_water: usize,
    #[command(flatten)]
    faults: FaultArgs,
    #[command(flatten)]
    _config: ConfigArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FramingArg {
    /// A line; or, from a client that has never sent a newline, the bytes before a pause of 300 ms
    /// (20 ms from the second message on). After the first newline, only a newline ends a
    /// message
    Auto,
    /// A line, with its ending
    Line,
    /// The bytes of one read, as in tutorial servers. TCP keeps no message boundaries: two sends
    /// may
    /// arrive as one chunk, and one send as several
    Chunk,
}

impl ServerArgs {
    pub(crate) fn meaning(self) -> Result<server::ServerPlan> {
        let mut addresses = Vec::new();
        if self.host.is_some() || self.listen.is_empty() {
            addresses.push(listen_address(self.host.as_deref(), self.port.as_deref())?);
        }
        for text in &self.listen {
            addresses.push(listen_address(Some(text), None)?);
        }
        if self.mode != ServerMode::Reply && (self.framing.is_some() || self.max_line.is_some()) {
            bail!("--framing and --max-line concern --mode reply only: the other modes have no messages");
        }
        if self.framing == Some(FramingArg::Chunk) && self.max_line.is_some() {
            bail!("--max-line has no meaning with --framing chunk");
        }
        let max = self.max_line.unwrap_or(Framing::DEFAULT_MAX_LINE);
        let framing = match self.framing {
            Some(FramingArg::Chunk) => Framing::Chunk,
            Some(FramingArg::Line) => Framing::Line { max },
            Some(FramingArg::Auto) | None => Framing::Auto { max },
        };
        let mut serving = self.serving.meaning(addresses)?;
        (serving.limits.high_water, serving.limits.idle_timeout) = (self.high_water, self.idle_timeout.0);
        set_verbose(&mut serving.console, self.verbose)?;
        if self.explain && serving.engine == Engine::Auto {
            serving.engine = Engine::Threads;
        }
        let faults = match self.faults.is_used() {
            true => Some(self.faults.meaning(&mut serving)?),
            false => None,
        };
        let probe = self.mode == ServerMode::Reply && !self.no_probe;
        Ok(server::ServerPlan { serving, mode: self.mode, framing, probe, explain: self.explain, faults })
    }
}

//! The flags of `resound server`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use resound::proxy::Proxies;
use resound::server::{Access, ConnectRate, ipnet::IpNet};
use resound::{Address, Engine, Framing, Limits};

use super::{FamilyArgs, address, examples};
use crate::certificates::ServerTlsArgs;
use crate::console::Format;
use crate::server::{self, ServerMode};
use crate::units::{self, Timeout};

// Headings in the help, and tables in docs/server.md.
const ENGINE: &str = "Engine";
const LIMITS: &str = "Limits";
const PROXY: &str = "Behind a proxy";
const ACCESS: &str = "Access";

#[derive(Args)]
#[command(after_help = examples::NOTES, after_long_help = examples::long_help("server"))]
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
    /// Another address to listen on, such as `[::1]:8888` or `unix:/tmp/resound` (repeatable)
    ///
    /// With --listen and without HOST the server listens on the addresses of --listen alone.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    #[command(flatten)]
    family: FamilyArgs,
    /// How the console prints events
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,
    /// Print only the port that the system chose for port 0
    #[arg(short, long)]
    quiet: bool,
    /// Print for each connection the proxy it came through, and what the proxy's header contains
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// After Ctrl+C or SIGTERM, how long open connections may take to finish
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    drain_timeout: Duration,
    /// End when stdin ends: for a program that starts a server for itself
    #[arg(long, hide = true)]
    while_stdin: bool,
    /// How the server waits for sockets and moves bytes
    #[arg(help_heading = ENGINE, long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
    /// Threads that serve; each new connection goes to the one with the fewest [default: one per
    /// core]
    ///
    /// The threads engine has one thread per connection instead, and takes no --workers.
    #[arg(help_heading = ENGINE, long, value_name = "N", value_parser = units::positive, allow_hyphen_values = true)]
    workers: Option<NonZeroUsize>,
    /// How long a worker polls for the next event before it sleeps
    ///
    /// Answers come sooner, and a core stays busy. Not with --engine threads.
    #[arg(help_heading = ENGINE, long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    busy_poll: Timeout,
    /// Congestion control of TCP connections, such as cubic (Linux, FreeBSD) [default: the
    /// system's]
    #[arg(help_heading = ENGINE, long, value_name = "ALGORITHM")]
    congestion: Option<String>,
    /// Connections served at once; further ones wait [default: as many as descriptors allow]
    #[arg(help_heading = LIMITS, long, value_name = "N", value_parser = units::positive, allow_hyphen_values = true)]
    max_connections: Option<NonZeroUsize>,
    /// Longest line, without its newline, in reply mode with lines [default: 64k]
    ///
    /// The client of a longer line gets a line with the error, and the connection ends.
    #[arg(help_heading = LIMITS, long, value_name = "SIZE", value_parser = units::size)]
    max_line: Option<usize>,
    /// Waiting bytes of one connection at which the server stops reading from it
    ///
    /// Bytes wait until they are sent, or until the service has read them.
    #[arg(help_heading = LIMITS, long, value_name = "SIZE", value_parser = units::size, default_value = "24k")]
    high_water: usize,
    /// Close a connection that completes no message and takes no byte for this long
    ///
    /// Bytes of an unfinished line do not count.
    #[arg(help_heading = LIMITS, long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    idle_timeout: Timeout,
    /// Reset a connection whose peer takes none of the waiting bytes for this long
    #[arg(help_heading = LIMITS, long, value_name = "DURATION", value_parser = units::timeout, default_value = "5m")]
    write_timeout: Timeout,
    /// How long the PROXY header and the TLS handshake of a connection may take together
    #[arg(
        help_heading = LIMITS, long, visible_alias = "handshake-timeout", value_name = "DURATION",
        value_parser = units::timeout, default_value = "10s"
    )]
    opening_timeout: Timeout,
    #[command(flatten)]
    tls: ServerTlsArgs,
    /// Expect a PROXY header (version 1 or 2) at the start of each connection, and reset one
    /// without it
    #[arg(help_heading = PROXY, long, value_name = "HOW", value_enum)]
    proxy_protocol: Option<ProxyProtocol>,
    /// Addresses of trusted proxies, such as 10.0.0.0/8 (repeatable); others are reset [default:
    /// this machine's]
    ///
    /// Needed where other machines can connect to the server.
    #[arg(help_heading = PROXY, long, value_name = "CIDR", value_parser = units::network, requires = "proxy_protocol")]
    proxy_from: Vec<IpNet>,
    /// Keep the proxies' own connections (`LOCAL`, such as health checks) out of the log
    #[arg(help_heading = PROXY, long, requires = "proxy_protocol")]
    quiet_local: bool,
    /// Allow only these addresses, such as 10.0.0.0/8 or ::1 (repeatable)
    ///
    /// With --proxy-protocol the rule applies to the clients that the headers name.
    #[arg(help_heading = ACCESS, long, value_name = "CIDR", value_parser = units::network)]
    allow: Vec<IpNet>,
    /// Refuse these addresses (repeatable); the longest prefix of --allow and --deny decides
    ///
    /// Of two prefixes of one length --deny decides.
    #[arg(help_heading = ACCESS, long, value_name = "CIDR", value_parser = units::network)]
    deny: Vec<IpNet>,
    /// Connections at once from one IPv4 address or one IPv6 /64 [default: no limit]
    #[arg(
        help_heading = ACCESS, long, value_name = "N", value_parser = units::positive_u32, allow_hyphen_values = true
    )]
    max_per_ip: Option<NonZeroU32>,
    /// How often one IPv4 address or one IPv6 /64 may connect: 20/s, 100/m or 1000/h [default: no
    /// limit]
    ///
    /// The number is also how many connections may come at once.
    #[arg(help_heading = ACCESS, long, value_name = "RATE", value_parser = units::limit, allow_hyphen_values = true)]
    connect_rate_limit: Option<ConnectRate>,
    /// File mode of unix sockets in octal, such as 0660 [default: left by the umask]
    ///
    /// A user who may write to the file may connect.
    #[arg(help_heading = ACCESS, long, value_name = "MODE", value_parser = units::mode)]
    unix_mode: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProxyProtocol {
    /// Each connection starts with a header
    Require,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FramingArg {
    /// A line; or, from a client that has never sent a newline, the bytes before a pause of 300 ms
    /// (20 ms from the second message on). The first newline makes the connection a line one for
    /// good
    Auto,
    /// A line, with its ending
    Line,
    /// The bytes of one read, as in tutorial servers. TCP keeps no message boundaries: two sends
    /// may
    /// arrive as one chunk, and one send as several
    Chunk,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum EngineArg {
    /// io_uring where the system allows it, portable elsewhere (a line on stderr gives the reason)
    Auto,
    /// io_uring: one ring per worker (Linux 6.1 and later)
    Uring,
    /// tokio: one runtime per worker
    Portable,
    /// One blocking thread per connection, the reference implementation
    Threads,
}

impl EngineArg {
    pub(super) fn meaning(self) -> Engine {
        match self {
            Self::Auto => Engine::Auto,
            Self::Uring => Engine::Uring,
            Self::Threads => Engine::Threads,
            Self::Portable => Engine::Portable,
        }
    }
}

impl ServerArgs {
    pub(crate) fn meaning(self) -> Result<server::ServerPlan> {
        let mut addresses = Vec::new();
        if self.host.is_some() || self.listen.is_empty() {
            addresses.push(address(self.host.as_deref(), self.port.as_deref())?);
        }
        for text in &self.listen {
            addresses.push(address(Some(text), None)?);
        }
        if self.mode != ServerMode::Reply && (self.framing.is_some() || self.max_line.is_some()) {
            bail!("--framing and --max-line concern --mode reply only: the other modes have no messages");
        }
        if self.framing == Some(FramingArg::Chunk) && self.max_line.is_some() {
            bail!("--max-line has no meaning with --framing chunk");
        }
        let most = resound::server::MAX_WORKERS;
        if self.workers.is_some_and(|workers| workers.get() > most) {
            bail!("--workers {}: at most {most} workers are allowed", self.workers.map_or(0, NonZeroUsize::get));
        }
        if self.unix_mode.is_some() && !addresses.iter().any(|address| matches!(address, Address::Unix(_))) {
            bail!("--unix-mode has no meaning without an address like unix:/path");
        }
        let max = self.max_line.unwrap_or(Framing::DEFAULT_MAX_LINE);
        let framing = match self.framing {
            Some(FramingArg::Chunk) => Framing::Chunk,
            Some(FramingArg::Line) => Framing::Line { max },
            Some(FramingArg::Auto) | None => Framing::Auto { max },
        };
        let (proxies, access) = (self.proxies(), self.access());
        Ok(server::ServerPlan {
            addresses,
            family: self.family.meaning(),
            mode: self.mode,
            framing,
            engine: self.engine.meaning(),
            busy_poll: self.busy_poll.0.unwrap_or_default(),
            congestion: self.congestion,
            workers: self.workers,
            max_connections: self.max_connections.map(NonZeroUsize::get),
            limits: Limits {
                high_water: self.high_water,
                opening_timeout: self.opening_timeout.0,
                idle_timeout: self.idle_timeout.0,
                write_timeout: self.write_timeout.0,
                ..Limits::default()
            },
            proxies,
            access,
            tls: self.tls.meaning()?,
            unix_mode: self.unix_mode,
            verbose: self.verbose,
            quiet_local: self.quiet_local,
            drain_timeout: self.drain_timeout,
            quiet: self.quiet,
            while_stdin: self.while_stdin,
            format: self.log_format,
        })
    }

    fn proxies(&self) -> server::ProxyMode {
        match (self.proxy_protocol, self.proxy_from.is_empty()) {
            (None, _) => server::ProxyMode::Not,
            (Some(ProxyProtocol::Require), true) => server::ProxyMode::Here,
            (Some(ProxyProtocol::Require), false) => {
                server::ProxyMode::By(Proxies::from(self.proxy_from.iter().copied()))
            }
        }
    }

    fn access(&self) -> Access {
        let access = self.allow.iter().fold(Access::new(), |access, network| access.allow(*network));
        let access = self.deny.iter().fold(access, |access, network| access.deny(*network));
        let access = self.max_per_ip.into_iter().fold(access, Access::max_per_ip);
        let access = self.connect_rate_limit.into_iter().fold(access, Access::connect_rate);
        // The rules are for clients; --proxy-from has the proxies.
        if self.proxy_protocol.is_some() { access.behind_proxies() } else { access }
    }
}

//! The flags of `resound server`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use resound::{Access, Address, ConnectRate, Engine, Framing, Limits, ipnet::IpNet, proxy::Proxies};

use super::{EXIT_CODES, FamilyArgs, address};
use crate::certificates::ServerTlsArgs;
use crate::console::Format;
use crate::server;
use crate::units::{self, Timeout};

/// What stands between the clients and us.
const PROXY: &str = "Behind a proxy";
/// Who may come.
const ACCESS: &str = "Access";

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
    #[arg(long, value_enum, default_value_t = ServerMode::Reply)]
    mode: ServerMode,
    /// What a message is, in reply mode [default: auto]
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
    /// Bytes waiting in one connection, unsent or unread by the service, from which on no more is read from it
    #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "24k")]
    high_water: usize,
    /// Close a connection that completes no message and takes no byte for this long
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    idle_timeout: Timeout,
    /// Reset a connection whose peer takes none of the waiting bytes for this long
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "5m")]
    write_timeout: Timeout,
    #[command(flatten)]
    tls: ServerTlsArgs,
    /// How long a connection's beginning may take in all, its PROXY header and its TLS handshake, or off
    #[arg(long, visible_alias = "handshake-timeout", value_name = "DURATION", value_parser = units::timeout, default_value = "10s")]
    opening_timeout: Timeout,
    /// Begin each connection with a PROXY header (version 1 or 2), which says who the client is; one without it is reset
    #[arg(help_heading = PROXY, long, value_name = "HOW", value_enum)]
    proxy_protocol: Option<ProxyProtocol>,
    /// Addresses of the proxies that are believed, e.g. 10.0.0.0/8 (repeatable); others are reset [default: this machine's own, where
    /// only those can connect]
    #[arg(help_heading = PROXY, long, value_name = "CIDR", value_parser = units::network, requires = "proxy_protocol")]
    proxy_from: Vec<IpNet>,
    /// Keep the proxies' own connections (LOCAL, such as health checks) out of the log
    #[arg(help_heading = PROXY, long, requires = "proxy_protocol")]
    quiet_local: bool,
    /// Let these addresses in and no others, e.g. 10.0.0.0/8 or ::1 (repeatable); behind --proxy-protocol, those of the clients
    #[arg(help_heading = ACCESS, long, value_name = "CIDR", value_parser = units::network)]
    allow: Vec<IpNet>,
    /// Keep these addresses out (repeatable); where both name one, the longer prefix decides, and of equals this
    #[arg(help_heading = ACCESS, long, value_name = "CIDR", value_parser = units::network)]
    deny: Vec<IpNet>,
    /// Connections at once from one IPv4 address, or one IPv6 /64
    #[arg(help_heading = ACCESS, long, value_name = "N", value_parser = units::positive_u32, allow_hyphen_values = true)]
    max_per_ip: Option<NonZeroU32>,
    /// How often one IPv4 address, or one IPv6 /64, may connect: 20/s, 100/m or 1000/h, so many of them at once
    #[arg(help_heading = ACCESS, long, value_name = "RATE", value_parser = units::limit, allow_hyphen_values = true)]
    connect_rate_limit: Option<ConnectRate>,
    /// Mode of the files of unix sockets, e.g. 0660 [default: what the umask leaves]
    #[arg(help_heading = ACCESS, long, value_name = "MODE", value_parser = units::mode)]
    unix_mode: Option<u32>,
    /// After Ctrl+C or SIGTERM, how long open connections may take to finish
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    drain_timeout: Duration,
    /// Print nothing but the port that was chosen for port 0
    #[arg(short, long)]
    quiet: bool,
    /// Say of each connection which proxy it came through, and what that said of it
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// End once stdin does: for whoever starts a server for itself only
    #[arg(long, hide = true)]
    while_stdin: bool,
    /// How the console is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerMode {
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
enum ProxyProtocol {
    /// Each connection begins with a header
    Require,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FramingArg {
    /// A line; and from a client that has never sent a newline, what it sent before a pause of 300 ms (then of 20 ms). Its first newline makes
    /// the connection one of lines for good
    Auto,
    /// A line, with its ending
    Line,
    /// What one read returned, as tutorial servers have it. TCP keeps no message boundaries, so two sends may arrive as one chunk and one
    /// send as several: a chunk is not what the peer sent
    Chunk,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum EngineArg {
    /// io_uring where the system allows it, portable elsewhere (a line on stderr says why)
    Auto,
    /// io_uring: one ring per worker (Linux 6.1 and later)
    Uring,
    /// tokio: one runtime per worker
    Portable,
    /// One blocking thread per connection: the reference
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
        // A proxy is known by --proxy-from.
        if self.proxy_protocol.is_some() { access.behind_proxies() } else { access }
    }
}

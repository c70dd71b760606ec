//! The flags that `resound server` and `resound relay` share: how connections are accepted.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use resound::proxy::Proxies;
use resound::server::{Access, ConnectRate, ipnet::IpNet};
use resound::{Engine, Family, Limits};
use resound_console::settings::LogDetail;

use super::FamilyArgs;
use super::admin::AdminArgs;
use super::logging::LogArgs;
use crate::certificates::ServerTlsArgs;
use crate::listening::ListenAddress;
use crate::server::{ProxyMode, ServingPlan};
use crate::units::{self, Timeout};
use crate::upgrade::UpgradeSettings;

// Headings in the help, and tables in the guides.
const ENGINE: &str = "Engine";
pub(super) const LIMITS: &str = "Limits";
const PROXY: &str = "Behind a proxy";
const ACCESS: &str = "Access";

#[derive(Args)]
pub(super) struct ServingArgs {
    #[command(flatten)]
    family: FamilyArgs,
    /// Print only the port that the system chose for port 0
    #[arg(short, long)]
    quiet: bool,
    /// After Ctrl+C or SIGTERM, how long open connections may take to finish
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    drain_timeout: Duration,
    /// After SIGUSR2, how long the open connections of the old process may go on
    ///
    /// The new process serves all later ones. Then the old process ends as it does after SIGTERM.
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "1h")]
    upgrade_timeout: Timeout,
    /// After SIGUSR2, how long the new process may take to start; otherwise the old one goes on
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "30s")]
    upgrade_start_timeout: Duration,
    /// End when stdin ends: for a program that starts a server for itself
    #[arg(long, hide = true)]
    while_stdin: bool,
    /// How the server waits for sockets and moves bytes
    #[arg(help_heading = ENGINE, long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
    /// Threads that serve; each new connection goes to the one with the fewest [default: one per
    /// core]
    ///
    /// The threads engine has one thread per connection instead: --workers changes nothing there.
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
    log: LogArgs,
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
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProxyProtocol {
    /// Each connection starts with a header
    Require,
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

impl ServingArgs {
    pub(super) fn engine(&self) -> Engine {
        self.engine.meaning()
    }

    pub(super) fn family(&self) -> Family {
        self.family.meaning()
    }

    pub(super) fn meaning(self, addresses: Vec<ListenAddress>) -> Result<ServingPlan> {
        let most = resound::server::MAX_WORKERS;
        if self.workers.is_some_and(|workers| workers.get() > most) {
            bail!("--workers {}: at most {most} workers are allowed", self.workers.map_or(0, NonZeroUsize::get));
        }
        if self.unix_mode.is_some() && !addresses.iter().any(ListenAddress::is_unix) {
            bail!("--unix-mode has no meaning without an address like unix:/path");
        }
        if self.engine.meaning() == Engine::Threads && self.busy_poll.0.is_some() {
            bail!("--busy-poll has no meaning with --engine threads: its threads block");
        }
        let (proxies, access) = (self.proxies(), self.access());
        let (console, log_file) = self.log.meaning(self.quiet, self.quiet_local);
        Ok(ServingPlan {
            addresses,
            targets: Vec::new(),
            config: None,
            program: None,
            family: self.family.meaning(),
            engine: self.engine.meaning(),
            busy_poll: self.busy_poll.0.unwrap_or_default(),
            congestion: self.congestion,
            workers: self.workers,
            max_connections: self.max_connections.map(NonZeroUsize::get),
            limits: Limits {
                opening_timeout: self.opening_timeout.0,
                write_timeout: self.write_timeout.0,
                ..Limits::default()
            },
            proxies,
            access,
            tls: self.tls.meaning()?,
            #[cfg(unix)]
            unix_mode: self.unix_mode,
            #[cfg(not(unix))]
            unix_mode: None,
            drain_timeout: self.drain_timeout,
            upgrade: UpgradeSettings {
                timeout: self.upgrade_timeout.0,
                start_timeout: self.upgrade_start_timeout,
                refusal: None,
            },
            quiet: console.detail == Some(LogDetail::Off),
            beside: self.admin.descriptors(),
            admin: self.admin.meaning(),
            while_stdin: self.while_stdin,
            console,
            log_file,
        })
    }

    fn proxies(&self) -> ProxyMode {
        match (self.proxy_protocol, self.proxy_from.is_empty()) {
            (None, _) => ProxyMode::Not,
            (Some(ProxyProtocol::Require), true) => ProxyMode::Here,
            (Some(ProxyProtocol::Require), false) => ProxyMode::By(Proxies::from(self.proxy_from.iter().copied())),
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

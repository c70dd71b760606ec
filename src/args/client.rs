//! The flags of `resound client` and `resound test`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use resound::{Address, DialOptions, Error};
use tokio::sync::Notify;

use super::config::ConfigArgs;
use super::test::TestFlags;
use super::watch::WatchArgs;
use super::{FamilyArgs, address, examples};
use crate::calls::ClientCalls;
use crate::client::{self, Connect, ConnectSetup, HandshakeOptions, PipeOptions, RetryPolicy, SendProxy};
use crate::source_address::SourceAddress;
use crate::units::{self, Timeout};
use crate::watch::WatchPlan;

#[derive(Args)]
#[command(after_help = examples::NOTES, after_long_help = examples::long_help("client"))]
pub(crate) struct ClientArgs {
    /// Server to connect to, or a port alone [default: 127.0.0.1]
    host: Option<String>,
    /// Port of the server [default: 8888]
    port: Option<String>,
    /// `test` checks the server instead, as `resound test` does
    #[arg(value_enum)]
    action: Option<ClientMode>,
    #[command(flatten)]
    talk: TalkArgs,
    #[command(flatten)]
    test: TestFlags,
    #[command(flatten)]
    how: ConnectionArgs,
    #[command(flatten)]
    _config: ConfigArgs,
}

#[derive(Args)]
#[command(after_help = examples::NOTES, after_long_help = examples::long_help("test"))]
pub(crate) struct TestArgs {
    /// Server to check, or a port alone [default: 127.0.0.1]
    host: Option<String>,
    /// Port of the server [default: 8888]
    port: Option<String>,
    #[command(flatten)]
    test: TestFlags,
    /// Print the results as one JSON document instead of tables, or write it to FILE beside them
    ///
    /// With --watch, an object for each second, one a line, and last the totals.
    #[arg(
        help_heading = "Test", short, long, value_name = "FILE", num_args = 0..=1, require_equals = true,
        default_missing_value = "-"
    )]
    json: Option<PathBuf>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    how: ConnectionArgs,
    #[command(flatten)]
    _config: ConfigArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Connecting")]
struct ConnectionArgs {
    #[command(flatten)]
    family: FamilyArgs,
    /// How long the resolver may take, and then each address
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "10s")]
    connect_timeout: Duration,
    /// How long the whole run may take
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    timeout: Timeout,
    /// Connect up to N times more while the address does not answer [default: 0]
    ///
    /// The pauses double from 250 ms to 10 s, and vary by a quarter.
    #[arg(
        long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_hyphen_values = true,
        conflicts_with = "wait"
    )]
    retry: Option<u32>,
    /// Connect again and again until the address answers; --timeout limits it
    ///
    /// For scripts that start a server. Attempts are about a second apart.
    #[arg(long)]
    wait: bool,
    /// Address of this machine to connect from
    #[arg(long, value_name = "IP")]
    source_address: Option<SourceAddress>,
    /// Port to connect from
    #[arg(long, value_name = "PORT", value_parser = source_port)]
    source_port: Option<NonZeroU16>,
    /// Probe a peer that has been silent for this long (whole seconds), and give up if it stays
    /// silent
    #[arg(long, value_name = "DURATION", value_parser = units::keepalive, default_value = "off")]
    keepalive: Timeout,
    /// Leave Nagle's algorithm on: small messages may wait for acknowledgements (RFC 896)
    #[arg(long)]
    nagle: bool,
    /// Start the connection with a PROXY header, as a proxy does: v1 or v2, and fields after commas
    ///
    /// Fields: src=IP:PORT, dst=IP:PORT (default: the connection's own addresses), local or
    /// unknown;
    /// with v2 also alpn=, authority=, id=, netns=, tls=, cipher=, cn=, noop=BYTES, tlv=0xTYPE:HEX
    /// and crc32c.
    #[arg(long, value_name = "HEADER", value_parser = typed_header)]
    send_proxy: Option<TypedHeader>,
    #[command(flatten)]
    tls: client::ClientTlsArgs,
    /// Print on stderr the addresses of the connection, and how many bytes it carried
    ///
    /// In a conversation also how long each answer took, in a test the messages, and with --tls
    /// what
    /// the handshake agreed on.
    #[arg(short, long)]
    verbose: bool,
}

/// The header, and how it was typed.
#[derive(Clone)]
struct TypedHeader {
    text: String,
    header: SendProxy,
}

fn source_port(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| "it is not a port from 1 to 65535; without the flag the system chooses one".into())
}

fn typed_header(text: &str) -> Result<TypedHeader, String> {
    Ok(TypedHeader { text: text.into(), header: text.parse()? })
}

/// Flags that have no meaning for a client that is dialled. Those of TLS are named one by one:
/// beside --listen, clap does not ask for --tls.
const DIALLING: [&str; 14] = [
    "connect_timeout",
    "retry",
    "wait",
    "source_address",
    "source_port",
    "send_proxy",
    "tls",
    "ca",
    "server_name",
    "pin",
    "insecure",
    "cert",
    "key",
    "alpn",
];

/// A heading in the help. Each of these flags makes a pipe even of a terminal.
const PIPE: &str = "As a pipe";

#[derive(Args)]
struct TalkArgs {
    /// Wait for one connection to the address, and talk to that peer; port 0 picks a free port
    #[arg(long, conflicts_with_all = DIALLING)]
    listen: bool,
    /// In a conversation, connect again whenever the connection is lost
    #[arg(long)]
    reconnect: bool,
    /// Give up when no byte is sent, received or acknowledged for this long
    #[arg(long, value_name = "DURATION", value_parser = units::timeout, default_value = "off")]
    idle_timeout: Timeout,
    /// End lines with CR LF, those of a pipe too
    #[arg(long)]
    crlf: bool,
    /// Print on stderr each call on the socket, and what it does on the wire
    #[arg(long)]
    explain: bool,
    /// Send no FIN at the end of stdin, and end when the server closes
    #[arg(help_heading = PIPE, long, conflicts_with_all = ["recv_only", "reconnect"])]
    no_half_close: bool,
    /// Send stdin and discard received bytes
    ///
    /// Ends when the server closes, or once its system has acknowledged every byte and it has sent
    /// nothing for 1 s.
    #[arg(help_heading = PIPE, long, conflicts_with_all = ["recv_only", "reconnect"])]
    send_only: bool,
    /// Send nothing, and leave stdin unread
    #[arg(help_heading = PIPE, long, conflicts_with_all = ["crlf", "line_delay", "quit_after", "reconnect"])]
    recv_only: bool,
    /// After the end of stdin, wait this long for the server to close, then end [default: no limit]
    ///
    /// A failure (`timeout`) if the server's system has not acknowledged every byte by then.
    #[arg(
        help_heading = PIPE, long, value_name = "DURATION", value_parser = units::duration,
        conflicts_with = "reconnect"
    )]
    quit_after: Option<Duration>,
    /// Pause this long between lines
    #[arg(
        help_heading = PIPE, long, value_name = "DURATION", value_parser = units::duration,
        conflicts_with = "reconnect"
    )]
    line_delay: Option<Duration>,
    /// Print events as JSON, one per line, instead of the received bytes; in a test, print the
    /// results
    #[arg(
        help_heading = PIPE, short, long, value_name = "FILE", num_args = 0..=1, require_equals = true,
        default_missing_value = "-", conflicts_with_all = ["send_only", "reconnect"]
    )]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClientMode {
    /// Send a few messages and check every byte of the answers
    Test,
}

impl ClientArgs {
    pub(crate) fn meaning(self) -> Result<client::ClientPlan> {
        // `resound client test` checks the default server.
        let (host, action) = match (self.host.as_deref(), self.port.as_deref(), self.action) {
            (Some("test"), None, None) => (None, Some(ClientMode::Test)),
            (host, _, action) => (host, action),
        };
        let (port, action) = match (self.port.as_deref(), action) {
            (Some("test"), None) => (None, Some(ClientMode::Test)),
            other => other,
        };
        let task = match action {
            Some(ClientMode::Test) => {
                if let Some(flag) = self.talk.first_given() {
                    bail!("{flag} has no meaning in a test");
                }
                let flags = self.how.flags();
                client::ClientTask::Test(Box::new(self.test.meaning(self.talk.json.clone(), flags)?))
            }
            None if self.test.first_given().is_some() => {
                let flag = self.test.first_given().unwrap_or_default();
                bail!("{flag} has no meaning without a test: add the word test")
            }
            None if self.talk.json.as_ref().is_some_and(|path| path.as_os_str() != "-") => {
                bail!("--json=FILE has no meaning without a test: events go to stdout")
            }
            None => client::ClientTask::Talk { reconnect: self.talk.reconnect, pipe: self.talk.pipe() },
        };
        if self.test.has_own_server() && (host.is_some() || port.is_some()) {
            bail!("--loopback tests a server of its own: leave out the address");
        }
        let mut plan = self.how.plan(address(host, port)?, self.talk.listen, task)?;
        plan.connect.calls = self.talk.explain.then(|| Arc::new(ClientCalls::new()));
        Ok(client::ClientPlan { idle_timeout: self.talk.idle_timeout.0, crlf: self.talk.crlf, ..plan })
    }
}

impl TestArgs {
    pub(crate) fn watches(&self) -> bool {
        self.watch.is_asked_for()
    }

    pub(crate) fn watch(self) -> Result<WatchPlan> {
        if let Some(flag) = self.test.first_given() {
            bail!("{flag} has no meaning with --watch");
        }
        if self.json.as_ref().is_some_and(|path| path.as_os_str() != "-") {
            bail!("--json=FILE has no meaning with --watch: its objects go to stdout");
        }
        let is_json = self.json.is_some();
        let address = address(self.host.as_deref(), self.port.as_deref())?;
        self.watch.meaning(self.how.connect(address, false)?, is_json)
    }

    pub(crate) fn meaning(self) -> Result<client::ClientPlan> {
        if self.test.has_own_server() && self.host.is_some() {
            bail!("--loopback tests a server of its own: leave out the address");
        }
        let task = client::ClientTask::Test(Box::new(self.test.meaning(self.json, self.how.flags())?));
        self.how.plan(address(self.host.as_deref(), self.port.as_deref())?, false, task)
    }
}

impl ConnectionArgs {
    /// The flags that lead to the server, as they can be typed again.
    fn flags(&self) -> Vec<String> {
        let valued = |name: &str, value: Option<String>| value.map(|value| [name.to_string(), value]);
        let of_tls = &self.tls;
        let file = |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string());
        let source = self.source_address.as_ref().map(|source| source.ip.to_string());
        let timeout = humantime::format_duration(self.connect_timeout).to_string().replace(' ', "");
        let simple = [
            (self.family.ipv4, "-4"),
            (self.family.ipv6, "-6"),
            (of_tls.tls, "--tls"),
            (of_tls.insecure, "--insecure"),
        ];
        let simple = simple.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag.to_string());
        let values = [
            valued("--connect-timeout", Some(timeout).filter(|timeout| timeout != "10s")),
            valued("--source-address", source),
            valued("--send-proxy", self.send_proxy.as_ref().map(|typed| typed.text.clone())),
            valued("--ca", file(&of_tls.ca)),
            valued("--server-name", of_tls.server_name.clone()),
            valued("--pin", of_tls.pin.map(|pin| pin.to_string())),
            valued("--cert", file(&of_tls.cert)),
            valued("--key", file(&of_tls.key)),
        ];
        let alpn = of_tls.alpn.iter().flat_map(|name| ["--alpn".to_string(), name.clone()]);
        simple.chain(values.into_iter().flatten().flatten()).chain(alpn).collect()
    }

    fn plan(&self, address: Address, listen: bool, task: client::ClientTask) -> Result<client::ClientPlan> {
        let connect = self.connect(address, listen)?;
        let (timeout, verbose) = (self.timeout.0, self.verbose);
        Ok(client::ClientPlan { connect, timeout, idle_timeout: None, verbose, crlf: false, task })
    }

    fn connect(&self, address: Address, listen: bool) -> Result<Connect> {
        if !listen && matches!(address, Address::Tcp { port: 0, .. }) {
            let reason = "port 0 cannot be connected to".into();
            return Err(Error::Address { input: address.to_string(), reason }.into());
        }
        if matches!(address, Address::Unix(_)) && (self.source_address.is_some() || self.source_port.is_some()) {
            bail!("a unix socket has no source address and no source port");
        }
        Ok(Connect {
            enough: Notify::new(),
            before: ConnectSetup {
                send_proxy: self.send_proxy.as_ref().map(|typed| typed.header.clone()),
                tls: self.tls.meaning(&address, &HandshakeOptions::default())?,
            },
            address,
            dial: DialOptions {
                family: self.family.meaning(),
                timeout: self.connect_timeout,
                source_address: self.source_address.map(|source| source.ip),
                source_interface: self.source_address.map_or(0, |source| source.interface),
                source_port: self.source_port.map(NonZeroU16::get),
                ..DialOptions::default()
            },
            patience: if self.wait { RetryPolicy::Wait } else { RetryPolicy::Retry(self.retry.unwrap_or(0)) },
            listen,
            nagle: self.nagle,
            keepalive: self.keepalive.0,
            calls: None,
        })
    }
}

impl TalkArgs {
    /// The pipe's options, if a flag asks for a pipe.
    fn pipe(&self) -> Option<PipeOptions> {
        let options = PipeOptions {
            no_half_close: self.no_half_close,
            send_only: self.send_only,
            recv_only: self.recv_only,
            quit_after: self.quit_after,
            line_delay: self.line_delay,
            json: self.json.is_some(),
        };
        (options != PipeOptions::default()).then_some(options)
    }

    /// The first of these flags that was given.
    fn first_given(&self) -> Option<&'static str> {
        [
            (self.listen, "--listen"),
            (self.reconnect, "--reconnect"),
            (self.idle_timeout.0.is_some(), "--idle-timeout"),
            (self.crlf, "--crlf"),
            (self.explain, "--explain"),
            (self.no_half_close, "--no-half-close"),
            (self.send_only, "--send-only"),
            (self.recv_only, "--recv-only"),
            (self.quit_after.is_some(), "--quit-after"),
            (self.line_delay.is_some(), "--line-delay"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }
}

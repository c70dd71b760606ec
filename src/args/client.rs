//! The flags of `resound client` and `resound test`.

use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use resound::{Address, Dial, Error};
use tokio::sync::Notify;

use super::{EXIT_CODES, FamilyArgs, address};
use crate::client::{self, Connect, ConnectSetup, Expect, PipeOptions, SendProxy, SilencePolicy};
use crate::units::{self, SourceAddress, Timeout};

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
    how: ConnectionArgs,
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
    how: ConnectionArgs,
    #[command(flatten)]
    checks: CheckArgs,
}

#[derive(Args)]
struct ConnectionArgs {
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
    #[arg(long, value_name = "IP", value_parser = units::source_address)]
    source_address: Option<SourceAddress>,
    /// Connect from this port
    #[arg(long, value_name = "PORT")]
    source_port: Option<NonZeroU16>,
    /// Probe a server that has been silent for so long, in whole seconds, and give up when it stays silent; or off
    #[arg(long, value_name = "DURATION", value_parser = units::keepalive, default_value = "off")]
    keepalive: Timeout,
    /// Let small messages wait for acknowledgements (Nagle's algorithm); they are sent at once otherwise
    #[arg(long)]
    nagle: bool,
    /// Begin with a PROXY header, as a proxy does: v1 or v2, and behind commas src=IP:PORT, dst=IP:PORT (by default the connection's own),
    /// local or unknown; with v2 also alpn=, authority=, id=, netns=, tls=, cipher=, cn=, noop=BYTES, tlv=0xTYPE:HEX, crc32c
    #[arg(long, value_name = "HEADER")]
    send_proxy: Option<SendProxy>,
    #[command(flatten)]
    tls: client::ClientTlsArgs,
    /// Say on stderr where the connection went and what a pipe carried; at a terminal also how long each answer took, in a test the messages
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
    #[arg(long, conflicts_with_all = ["connect_timeout", "retry", "wait", "source_address", "source_port", "send_proxy", "tls"])]
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Send a handful of messages and check every reply
    Test,
}

impl ClientArgs {
    pub(crate) fn meaning(self) -> Result<client::ClientPlan> {
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
                client::ClientTask::Check(self.checks.expect.unwrap_or(Expect::Reply))
            }
            None if self.checks.expect.is_some() => bail!("--expect has no meaning without a test: add the word test"),
            None => client::ClientTask::Talk { reconnect: self.talk.reconnect, pipe: self.talk.pipe() },
        };
        Ok(client::ClientPlan {
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
    pub(crate) fn meaning(self) -> Result<client::ClientPlan> {
        Ok(client::ClientPlan {
            connect: self.how.connect(address(self.host.as_deref(), self.port.as_deref())?, false)?,
            timeout: self.how.timeout.0,
            idle_timeout: None,
            verbose: self.how.verbose,
            crlf: false,
            task: client::ClientTask::Check(self.checks.expect.unwrap_or(Expect::Reply)),
        })
    }
}

impl ConnectionArgs {
    fn connect(&self, address: Address, listen: bool) -> Result<Connect> {
        if !listen && matches!(address, Address::Tcp { port: 0, .. }) {
            let reason = "nobody can be reached at port 0".into();
            return Err(Error::Address { input: address.to_string(), reason }.into());
        }
        if matches!(address, Address::Unix(_)) && (self.source_address.is_some() || self.source_port.is_some()) {
            bail!("a unix socket has no source address and no source port");
        }
        Ok(Connect {
            enough: Notify::new(),
            before: ConnectSetup { send_proxy: self.send_proxy.clone(), tls: self.tls.meaning(&address)? },
            address,
            dial: Dial {
                family: self.family.meaning(),
                timeout: self.connect_timeout,
                source_address: self.source_address.map(|source| source.ip),
                source_interface: self.source_address.map_or(0, |source| source.interface),
                source_port: self.source_port.map(NonZeroU16::get),
                ..Dial::default()
            },
            patience: if self.wait { SilencePolicy::Wait } else { SilencePolicy::Retry(self.retry.unwrap_or(0)) },
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

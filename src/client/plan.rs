//! [`ClientPlan`]: the meaning of the flags of `resound client` and `resound test`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use resound::Stream;
use resound::client::FailureClass;
use resound_verdict::{CheckId, Profile};

use super::connect::{self, Connect, ConnectEvent};
use super::failure::ClientFailure;
use crate::stdio::say;

/// The meaning of the flags of a client or a test.
pub(crate) struct ClientPlan {
    pub(crate) connect: Connect,
    /// Limit for the whole run.
    pub(crate) timeout: Option<Duration>,
    /// Limit for a connection without traffic.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) verbose: bool,
    /// Lines end with CR LF.
    pub(crate) crlf: bool,
    pub(crate) task: ClientTask,
}

pub(crate) enum ClientTask {
    /// A conversation at a terminal, a pipe otherwise.
    Talk {
        /// In a conversation: connect again after a lost connection.
        reconnect: bool,
        /// The flags of a pipe. Any of them makes a pipe at a terminal too.
        pipe: Option<PipeOptions>,
    },
    Test(Box<TestTask>),
}

/// What `resound test` does.
pub(crate) struct TestTask {
    /// The answer that the messages must get. Without it, the server's first answer decides whether
    /// there are any.
    pub(crate) expect: Option<Expect>,
    /// The messages are sent, where the server answers such.
    pub(crate) has_messages: bool,
    /// `None`: no check of the path is wanted.
    pub(crate) path: Option<PathSelection>,
    pub(crate) output: TestOutput,
    /// Checks that are flaky or warn have failed.
    pub(crate) strict: bool,
    /// The server is this program's own.
    pub(crate) loopback: bool,
    /// Checks that fail against this program's own server are left out.
    pub(crate) self_check: bool,
    /// The flags that lead to the server, to repeat a check.
    pub(crate) flags: Vec<String>,
}

/// Which checks of the path, and how.
#[derive(Clone)]
pub(crate) struct PathSelection {
    /// These alone; all without any.
    pub(crate) only: Vec<CheckId>,
    pub(crate) skip: Vec<CheckId>,
    pub(crate) profile: Profile,
    pub(crate) seed: u64,
    /// The longest wait of the idle checks.
    pub(crate) idle: Option<Duration>,
    pub(crate) finds_idle_timeout: bool,
    /// Connections at once of the check `cap`.
    pub(crate) connections: Option<u32>,
}

/// Where the results of a test go.
#[derive(Default)]
pub(crate) struct TestOutput {
    /// The document; `-` is stdout, which has nothing else then.
    pub(crate) json: Option<PathBuf>,
    pub(crate) junit: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    /// The verdict alone.
    pub(crate) quiet: bool,
}

/// The expected answer of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expect {
    /// `Server received: ` and the line
    Reply,
    /// The line as it was sent
    Echo,
}

/// The flags of a pipe.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct PipeOptions {
    pub(crate) no_half_close: bool,
    pub(crate) send_only: bool,
    pub(crate) recv_only: bool,
    pub(crate) quit_after: Option<Duration>,
    pub(crate) line_delay: Option<Duration>,
    pub(crate) json: bool,
}

impl ClientPlan {
    /// The error of a run without a connection at its deadline. Dialling returns its own error,
    /// with the last attempt.
    pub(super) fn unconnected(&self) -> anyhow::Error {
        let limit = humantime::format_duration(self.timeout.unwrap_or_default());
        let what = format!("no connection on {} after {limit}", self.connect.address);
        let advice = self.connect.listen.then_some("No peer connected: start it, or wait longer.");
        ClientFailure { advice, ..ClientFailure::new(FailureClass::Timeout, what) }.into()
    }

    /// Makes the connection, and with --verbose describes it.
    pub(super) async fn connect(&self, start: Instant) -> Result<Stream> {
        let Connect { patience, listen, .. } = self.connect;
        let stream = self.connect.connect(patience, async |news: ConnectEvent<'_>| self.report(news).await).await?;
        if self.verbose {
            say(&connect::described(&stream, listen, start));
        }
        Ok(stream)
    }

    /// Prints a notice about connecting at a terminal or with --verbose: a log needs none.
    pub(super) async fn report(&self, news: ConnectEvent<'_>) {
        // With port 0 the user needs to learn the port.
        if let ConnectEvent::Notice(text) = news
            && (self.verbose || io::stderr().is_terminal() || self.connect.is_any_port())
        {
            say(&text);
        }
    }
}

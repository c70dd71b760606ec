//! [`ClientPlan`]: the meaning of the flags of `resound client` and `resound test`.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use resound::Stream;
use resound::client::FailureClass;

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
    Check(Expect),
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
        ClientFailure { class: FailureClass::Timeout, what, advice }.into()
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

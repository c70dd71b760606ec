//! [`ClientPlan`]: the meaning of the flags of `resound client` and `resound test`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::ValueEnum;
use resound::client::FailureClass;

use super::connect::{Connect, ConnectEvent};
use super::failure::ClientFailure;
use crate::stdio::say;

/// What `resound client` or `resound test` was asked to do.
pub(crate) struct ClientPlan {
    pub(crate) connect: Connect,
    /// For the whole run.
    pub(crate) timeout: Option<Duration>,
    /// For a connection on which nothing moves.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) verbose: bool,
    /// Lines end with CR LF.
    pub(crate) crlf: bool,
    pub(crate) task: ClientTask,
}

pub(crate) enum ClientTask {
    /// At a terminal a conversation, else a pipe.
    Talk {
        /// In a conversation: connect again whenever the connection is lost.
        reconnect: bool,
        /// Of a pipe. What only a pipe can do makes it one at a terminal too.
        pipe: Option<PipeOptions>,
    },
    Check(Expect),
}

/// What a server should answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expect {
    /// `Server received: ` and the line
    Reply,
    /// The line as it was sent
    Echo,
}

/// The flags of a pipe.
#[derive(Default)]
pub(crate) struct PipeOptions {
    pub(crate) no_half_close: bool,
    pub(crate) send_only: bool,
    pub(crate) recv_only: bool,
    pub(crate) quit_after: Option<Duration>,
    pub(crate) line_delay: Option<Duration>,
    pub(crate) json: bool,
}

impl ClientPlan {
    /// What ends a run that was not dialled in time. One that dials says itself what its last
    /// attempt came to.
    pub(super) fn unconnected(&self) -> anyhow::Error {
        let limit = humantime::format_duration(self.timeout.unwrap_or_default());
        let what = format!("no connection on {} after {limit}", self.connect.address);
        let failure = match self.connect.listen {
            true => ClientFailure::advised(FailureClass::Timeout, what, "No peer connected: start it, or wait longer."),
            false => ClientFailure::new(FailureClass::Timeout, what),
        };
        failure.into()
    }

    /// Tells a person who waits for a connection what they may want to know, and that a script's log need not be filled with.
    pub(super) async fn report(&self, news: ConnectEvent<'_>) {
        // Who asked for any port must be told which it is.
        if let ConnectEvent::Notice(text) = news
            && (self.verbose || io::stderr().is_terminal() || self.connect.is_any_port())
        {
            say(&text);
        }
    }
}

//! `resound client` and `resound test`: independent of the library's engines, on tokio's streams.

mod check;
mod connect;
mod failure;
mod idleness;
mod interactive;
mod mistaken;
mod pipe;
mod send_proxy;
mod tls;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use resound::client::FailureClass;
use tokio::time::{Instant, sleep_until};

use crate::stdio::say;

use self::connect::ConnectEvent;
pub(crate) use self::connect::{Connect, ConnectSetup, SilencePolicy};
pub(crate) use self::failure::ClientFailure;
use self::idleness::Idleness;
pub(crate) use self::pipe::Options as PipeOptions;
pub(crate) use self::send_proxy::SendProxy;
pub(crate) use self::tls::{ClientTlsArgs, HandshakeOptions, TlsOptions};

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

pub(crate) fn run(mut plan: ClientPlan) -> Result<ExitCode> {
    crate::descriptors::for_client(if matches!(plan.task, ClientTask::Check(_)) { "a test" } else { "a client" })?;
    // Whatever ends by then says itself what it has waited for.
    let start = std::time::Instant::now();
    plan.connect.dial.deadline = plan.timeout.and_then(|limit| start.checked_add(limit));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(async {
        match &plan.task {
            ClientTask::Check(expect) => check::run(&plan, *expect).await,
            ClientTask::Talk { pipe: Some(options), .. } => pipe::run(&plan, options).await,
            ClientTask::Talk { reconnect, .. } if io::stdin().is_terminal() && io::stdout().is_terminal() => {
                within(plan.timeout, interactive::run(&plan, *reconnect)).await
            }
            ClientTask::Talk { reconnect: true, .. } => {
                bail!("--reconnect is for a conversation at a terminal: a pipe cannot know what was lost in between")
            }
            ClientTask::Talk { .. } => pipe::run(&plan, &PipeOptions::default()).await,
        }
    });
    // A resolver that never answers must not keep the process.
    runtime.shutdown_background();
    result
}

impl ClientPlan {
    /// What ends a run that was not dialled in time. One that dials says itself what its last
    /// attempt came to.
    fn unconnected(&self) -> anyhow::Error {
        let limit = humantime::format_duration(self.timeout.unwrap_or_default());
        let what = format!("no connection on {} after {limit}", self.connect.address);
        let failure = match self.connect.listen {
            true => ClientFailure::advised(FailureClass::Timeout, what, "No peer connected: start it, or wait longer."),
            false => ClientFailure::new(FailureClass::Timeout, what),
        };
        failure.into()
    }

    /// Tells a person who waits for a connection what they may want to know, and that a script's log need not be filled with.
    async fn tell(&self, news: ConnectEvent<'_>) {
        // Who asked for any port must be told which it is.
        if let ConnectEvent::Notice(text) = news
            && (self.verbose || io::stderr().is_terminal() || self.connect.is_any_port())
        {
            say(&text);
        }
    }
}

/// Holds the work to the limit on the whole run.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(limit) = limit else { return work.await };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late(limit)))
}

/// What ends a run that takes too long.
fn late(limit: Duration) -> anyhow::Error {
    ClientFailure::new(FailureClass::Timeout, format!("not done after {}", humantime::format_duration(limit))).into()
}

/// Waits for an instant, or forever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

//! `resound client` and `resound test`: independent of the library's engines, on tokio's streams.

mod check;
mod connect;
mod crlf;
mod failure;
mod idleness;
mod interactive;
mod limits;
mod mistaken;
mod pipe;
mod plan;
mod send_proxy;
mod tls;
mod verdict;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

pub(crate) use self::connect::{Connect, ConnectSetup, RetryPolicy};
pub(crate) use self::failure::ClientFailure;
pub(crate) use self::interactive::{SavedTerminal, TerminalSignals};
pub(crate) use self::plan::{ClientPlan, ClientTask, Expect, PathSelection, PipeOptions, TestOutput, TestTask};
pub(crate) use self::send_proxy::SendProxy;
pub(crate) use self::tls::{ClientTlsArgs, HandshakeOptions, TlsOptions};
pub(crate) use self::verdict::MESSAGES;
use self::verdict::OwnServer;

pub(crate) fn run(mut plan: ClientPlan) -> Result<ExitCode> {
    let own = match &plan.task {
        ClientTask::Test(task) => {
            crate::descriptors::for_test(verdict::descriptors(task))?;
            task.loopback.then(|| OwnServer::start(plan.connect.before.tls.is_some())).transpose()?
        }
        ClientTask::Talk { .. } => {
            crate::descriptors::for_client("a client")?;
            None
        }
    };
    if let Some(own) = &own {
        plan.connect.address = own.address.clone();
        plan.connect.before.tls = own.tls()?;
    }
    // Each step has its own error for the deadline.
    let start = std::time::Instant::now();
    plan.connect.dial.deadline = plan.timeout.and_then(|limit| start.checked_add(limit));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(async {
        match &plan.task {
            ClientTask::Test(task) => verdict::run(&plan, task).await,
            ClientTask::Talk { pipe: Some(options), .. } => pipe::run(&plan, options).await,
            ClientTask::Talk { reconnect, .. } if io::stdin().is_terminal() && io::stdout().is_terminal() => {
                interactive::run(&plan, *reconnect).await
            }
            ClientTask::Talk { reconnect: true, .. } => {
                bail!("--reconnect is for a conversation at a terminal: a pipe cannot know what was lost in between")
            }
            ClientTask::Talk { .. } => pipe::run(&plan, &PipeOptions::default()).await,
        }
    });
    // A resolver that never answers must not keep the process.
    runtime.shutdown_background();
    if !plan.connect.listen {
        return result;
    }
    result.map_err(|error| match error.downcast::<ClientFailure>() {
        Ok(failure) => failure.of_peer().into(),
        Err(error) => error,
    })
}

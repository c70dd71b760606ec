//! `resound client` and `resound test`: independent of the library's engines, on tokio's streams.

mod check;
mod interactive;
mod pipe;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use resound::{Address, Dial, FailureClass, Stream, dial};

use crate::units;

/// What `resound client` or `resound test` was asked to do.
pub(crate) struct Plan {
    pub(crate) address: Address,
    pub(crate) dial: Dial,
    pub(crate) timeout: Option<Duration>,
    pub(crate) verbose: bool,
    pub(crate) task: Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Talk,
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

/// A network failure after the connection was made.
#[derive(Debug, thiserror::Error)]
#[error("{class}: {what}")]
pub(crate) struct Failure {
    class: FailureClass,
    what: String,
}

impl Failure {
    pub(crate) fn new(class: FailureClass, what: impl Into<String>) -> Self {
        Self { class, what: what.into() }
    }

    /// The failure behind a socket's error while doing `what`; anything but a network failure stays what it is.
    fn of(error: io::Error, what: &str) -> anyhow::Error {
        match FailureClass::of(&error) {
            Some(FailureClass::Reset) => {
                Self::new(FailureClass::Reset, format!("the server reset the connection {what}")).into()
            }
            Some(class) => Self::new(class, format!("the connection failed {what}")).into(),
            None => anyhow::Error::new(error).context(format!("the connection failed {what}")),
        }
    }

    pub(crate) fn advice(&self) -> &'static str {
        match self.class {
            FailureClass::Timeout => "The server, or the path to it, is too slow or stuck.",
            FailureClass::Reset => {
                "The server crashed, refused this connection, or closed it with something unread: its log may say why."
            }
            FailureClass::Eof => "The server ended the conversation early: its log may say why.",
            _ => "Check the server and the path to it.",
        }
    }
}

pub(crate) fn run(plan: Plan) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(async {
        let work = connect_and_work(&plan);
        match plan.timeout {
            None => work.await,
            Some(limit) => match tokio::time::timeout(limit, work).await {
                Ok(result) => result,
                Err(_) => {
                    if plan.task == Task::Talk && is_interactive() {
                        // Leave the prompt's line.
                        let _ = writeln!(io::stdout());
                    }
                    let what = format!("not done after {}", humantime::format_duration(limit));
                    Err(Failure::new(FailureClass::Timeout, what).into())
                }
            },
        }
    });
    // A resolver that never answers must not keep the process.
    runtime.shutdown_background();
    result
}

async fn connect_and_work(plan: &Plan) -> Result<ExitCode> {
    let start = Instant::now();
    let stream = dial(&plan.address, plan.dial).await?;
    if plan.verbose {
        let _ =
            writeln!(io::stderr(), "resound: connected to {} in {}", stream.peer(), units::elapsed(start.elapsed()));
    }
    match plan.task {
        Task::Check(expect) => check::run(stream, &plan.address, expect).await,
        Task::Talk if is_interactive() => interactive::run(stream, &plan.address).await,
        Task::Talk => {
            let carried = pipe::run(stream).await?;
            if plan.verbose {
                let (sent, received) = (units::bytes(carried.sent), units::bytes(carried.received));
                let took = units::elapsed(start.elapsed());
                let _ = writeln!(io::stderr(), "resound: sent {sent}, received {received} in {took}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The two directions of a connection.
type Halves = (tokio::io::ReadHalf<Stream>, tokio::io::WriteHalf<Stream>);

fn halves(stream: Stream) -> Halves {
    tokio::io::split(stream)
}

//! The `resound` program: a thin layer over the library's public API.

mod args;
mod client;
mod colour;
mod console;
mod escape;
mod generate;
mod json;
mod printer;
mod server;
mod units;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use resound::{DialError, Error, FailureClass};

/// What the program ends with; the README lists them.
mod exit {
    /// A network failure.
    pub(crate) const NETWORK: u8 = 1;
    /// Wrong usage, or an environment that does not allow it.
    pub(crate) const USAGE: u8 = 2;
    /// A check failed.
    pub(crate) const VERDICT: u8 = 3;
    /// Cut short by a signal.
    pub(crate) const SIGNAL: u8 = 130;
}

fn main() -> ExitCode {
    let typed = args::Cli::parse();
    let result = match typed.command {
        args::Command::Server(typed) => typed.meaning().and_then(server::run),
        args::Command::Client(typed) => typed.meaning().and_then(client::run),
        args::Command::Test(typed) => typed.meaning().and_then(client::run),
        args::Command::Completions(typed) => generate::completions(typed.shell),
        args::Command::Man(typed) => generate::man(typed.page.as_deref(), typed.output.as_deref()),
    };
    result.unwrap_or_else(|error| {
        // Of the errors that reach us only stdout's is of this kind: its reader has left, and has seen enough.
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        let (code, _, advice) = explain(&error);
        // Where nobody listens any more there is nobody to tell.
        let _ = complain(&error, advice);
        ExitCode::from(code)
    })
}

fn complain(error: &anyhow::Error, advice: Option<&str>) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    match advice {
        // What has advice of its own names its cause itself.
        Some(_) => writeln!(stderr, "resound: {error}")?,
        None => writeln!(stderr, "resound: {error:#}")?,
    }
    if let Some(dial) = error.downcast_ref::<DialError>().filter(|dial| dial.attempts.len() > 1) {
        for attempt in &dial.attempts {
            writeln!(stderr, "  {:<40} {} after {}", attempt.address, attempt.cause(), units::elapsed(attempt.took))?;
        }
    }
    if let Some(advice) = advice {
        writeln!(stderr, "  {advice}")?;
    }
    Ok(())
}

/// An error's exit code, its class where it is a network failure, and what to do about it.
fn explain(error: &anyhow::Error) -> (u8, Option<FailureClass>, Option<&'static str>) {
    if let Some(error) = error.downcast_ref::<Error>() {
        return (exit::USAGE, None, Some(error.advice()));
    }
    if let Some(error) = error.downcast_ref::<DialError>() {
        // Without a class it is this machine that refused: a permission, a descriptor limit.
        let code = if error.class.is_some() { exit::NETWORK } else { exit::USAGE };
        return (code, error.class, Some(error.advice()));
    }
    if let Some(failure) = error.downcast_ref::<client::Failure>() {
        return (exit::NETWORK, Some(failure.class), Some(failure.advice()));
    }
    (exit::USAGE, None, None)
}

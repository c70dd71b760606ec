//! The `resound` program: a thin layer over the library's public API.

mod advice;
mod args;
mod certificates;
mod client;
mod colour;
mod console;
mod descriptors;
mod escape;
mod findings;
mod generate;
mod json;
mod load;
mod printer;
mod proxied;
mod report;
mod server;
mod signals;
mod sink;
mod stdio;
mod tls_summary;
mod units;

use std::borrow::Cow;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use resound::Error;
use resound::client::{DialError, FailureClass};

use self::colour::Colour;
use self::findings::Findings;
use self::stdio::StdStream;

/// What the program ends with; docs/exit-codes.md lists them.
mod exit {
    /// A network failure.
    pub(crate) const NETWORK: u8 = 1;
    /// Wrong usage, or an environment that does not allow it.
    pub(crate) const USAGE: u8 = 2;
    /// A check failed.
    pub(crate) const VERDICT: u8 = 3;
    /// Nothing failed, but something that was asked could not be judged.
    pub(crate) const CANNOT_TELL: u8 = 4;
    /// Cut short by a signal.
    pub(crate) const SIGNAL: u8 = 130;
}

fn main() -> ExitCode {
    findings::judged(match args::Cli::try_parse() {
        Ok(typed) => run(typed),
        Err(unparsed) => show(&unparsed),
    })
}

/// What was asked for instead of anything to do, such as help; or what is wrong with what was
/// typed.
fn show(unparsed: &clap::Error) -> ExitCode {
    if let Some(said) = meant().filter(|_| unparsed.use_stderr()) {
        return refused(&said);
    }
    let (text, is_wrong) = (unparsed.render(), unparsed.use_stderr());
    let coloured = if is_wrong { Colour::of(&std::io::stderr()) } else { Colour::of(&std::io::stdout()) };
    let text = if coloured.is_on() { text.ansi().to_string() } else { text.to_string() };
    // Where the reader of either has left, what was typed is as wrong as before.
    let _ = if is_wrong { StdStream::Stderr.write_all(text.as_bytes()) } else { Findings.write_all(text.as_bytes()) };
    if is_wrong { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
}

fn run(typed: args::Cli) -> ExitCode {
    let result = match typed.command {
        args::CliCommand::Server(typed) => typed.meaning().and_then(server::run),
        args::CliCommand::Client(typed) => typed.meaning().and_then(client::run),
        args::CliCommand::Test(typed) => typed.meaning().and_then(client::run),
        args::CliCommand::Load(typed) => typed.meaning().and_then(load::run),
        args::CliCommand::Report(typed) => typed.meaning().and_then(report::run),
        args::CliCommand::Completions(typed) => generate::completions(typed.shell),
        args::CliCommand::Man(typed) => generate::man(typed.page.as_deref(), typed.output.as_deref()),
    };
    result.unwrap_or_else(|error| {
        if let Some(Error::Address { .. }) = error.downcast_ref::<Error>()
            && let Some(said) = meant()
        {
            return refused(&said);
        }
        let (code, _, advice) = explain(&error);
        // Where its reader has left there is nothing more to be done.
        let _ = StdStream::Stderr.write_all(complaint(&error, advice.as_deref()).as_bytes());
        ExitCode::from(code)
    })
}

/// The command that was meant, where that can be seen of what was typed.
fn meant() -> Option<String> {
    let typed: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    args::meant(&typed)
}

/// Says what is wrong with what was typed.
fn refused(said: &str) -> ExitCode {
    let _ = StdStream::Stderr.write_all(said.as_bytes());
    ExitCode::from(exit::USAGE)
}

/// What is said of an error: what it is, each address that was tried, and what to do.
fn complaint(error: &anyhow::Error, advice: Option<&str>) -> String {
    let mut text = match advice {
        // What has advice of its own names its cause itself.
        Some(_) => format!("resound: {error}\n"),
        None => format!("resound: {error:#}\n"),
    };
    if let Some(dial) = error.downcast_ref::<DialError>().filter(|dial| dial.attempts.len() > 1) {
        for attempt in &dial.attempts {
            text += &format!("  {:<40} {} after {}\n", attempt.address, attempt.cause(), units::elapsed(attempt.took));
        }
    }
    if let Some(advice) = advice {
        text += &format!("  {advice}\n");
    }
    text
}

/// An error's exit code, its class where it is a network failure, and what to do about it.
fn explain(error: &anyhow::Error) -> (u8, Option<FailureClass>, Option<Cow<'static, str>>) {
    if let Some(error) = error.downcast_ref::<Error>() {
        return (exit::USAGE, None, Some(advice::of_error(error)));
    }
    if let Some(error) = error.downcast_ref::<DialError>() {
        // Without a class it is this machine that refused: a permission, a descriptor limit.
        let code = if error.class.is_some() { exit::NETWORK } else { exit::USAGE };
        return (code, error.class, Some(advice::of_dial(error)));
    }
    if let Some(failure) = error.downcast_ref::<client::ClientFailure>() {
        return (exit::NETWORK, Some(failure.class), Some(failure.advice().into()));
    }
    (exit::USAGE, None, None)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use resound::client::Attempt;
    use std::time::Duration;

    #[test]
    fn each_address_that_failed_is_listed_and_the_last_line_says_what_to_try() {
        let attempt = |address: &str, kind: io::ErrorKind| Attempt {
            address: address.into(),
            error: kind.into(),
            took: Duration::from_micros(85),
        };
        let error = DialError {
            target: "host:1".into(),
            class: Some(FailureClass::Refused),
            attempts: vec![
                attempt("[::1]:1", io::ErrorKind::NetworkUnreachable),
                attempt("127.0.0.1:1", io::ErrorKind::ConnectionRefused),
            ],
            before: None,
        };
        let error = anyhow::Error::new(error);
        let (code, class, advice) = explain(&error);
        assert_eq!((code, class), (1, Some(FailureClass::Refused)));
        let text = complaint(&error, advice.as_deref());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "resound: cannot connect to host:1: refused: none of its 2 addresses answered");
        assert!(
            lines[1].starts_with("  [::1]:1 ") && lines[1].ends_with("unreachable: network unreachable after 85 us")
        );
        assert!(
            lines[2].starts_with("  127.0.0.1:1 ") && lines[2].ends_with("refused: connection refused after 85 us")
        );
        assert!(lines[3].starts_with("  Nothing listens there: start the server"));
    }
}

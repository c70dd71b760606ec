//! The `resound` program: a thin layer over the library's public API.

mod advice;
mod args;
mod certificates;
mod client;
mod colour;
mod console;
mod descriptors;
mod escape;
mod exit;
mod explain;
mod faults;
mod findings;
mod generate;
mod json;
mod lab;
mod load;
mod printer;
mod proxied;
mod relay;
mod report;
mod server;
mod signals;
mod sink;
mod stdio;
mod tls_summary;
mod typed_condition;
mod units;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use resound::Error;

use self::colour::Colour;
use self::findings::Findings;
use self::stdio::StdStream;

fn main() -> ExitCode {
    findings::judged(match args::Cli::try_parse() {
        Ok(typed) => run(typed),
        Err(unparsed) => print_parse_result(&unparsed),
    })
}

/// Prints help, a version, or a usage error.
fn print_parse_result(unparsed: &clap::Error) -> ExitCode {
    if let Some(text) = suggestion().filter(|_| unparsed.use_stderr()) {
        return print_usage_error(&text);
    }
    let (text, is_wrong) = (unparsed.render(), unparsed.use_stderr());
    let coloured = if is_wrong { Colour::of(&std::io::stderr()) } else { Colour::of(&std::io::stdout()) };
    let text = if coloured.is_on() { text.ansi().to_string() } else { text.to_string() };
    // A reader that has left does not change the exit code.
    let _ = if is_wrong { StdStream::Stderr.write_all(text.as_bytes()) } else { Findings.write_all(text.as_bytes()) };
    if is_wrong { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
}

fn run(typed: args::Cli) -> ExitCode {
    let result = match typed.command {
        args::CliCommand::Server(typed) => typed.meaning().and_then(server::run),
        args::CliCommand::Client(typed) => typed.meaning().and_then(client::run),
        args::CliCommand::Test(typed) if typed.watches() => typed.watch().and_then(watch::run),
        args::CliCommand::Test(typed) => typed.meaning().and_then(client::run),
        args::CliCommand::Load(typed) => typed.meaning().and_then(load::run),
        args::CliCommand::Relay(typed) => typed.meaning().and_then(relay::run),
        args::CliCommand::Lab(typed) => typed.meaning().and_then(lab::run),
        args::CliCommand::Report(typed) => typed.meaning().and_then(report::run),
        args::CliCommand::Completions(typed) => generate::completions(typed.shell),
        args::CliCommand::Man(typed) => generate::man(typed.page.as_deref(), typed.output.as_deref()),
    };
    result.unwrap_or_else(|error| {
        if let Some(Error::Address { .. }) = error.downcast_ref::<Error>()
            && let Some(text) = suggestion()
        {
            return print_usage_error(&text);
        }
        let (code, _, advice) = explain::explain(&error);
        // Without a reader of stderr nothing remains to do.
        let _ = StdStream::Stderr.write_all(explain::message(&error, advice.as_deref()).as_bytes());
        ExitCode::from(code)
    })
}

/// The command that was probably meant, if the arguments show it.
fn suggestion() -> Option<String> {
    let typed: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    args::meant(&typed)
}

/// Prints a usage error.
fn print_usage_error(text: &str) -> ExitCode {
    let _ = StdStream::Stderr.write_all(text.as_bytes());
    ExitCode::from(exit::USAGE)
}

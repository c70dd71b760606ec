//! The `resound` program: a thin layer over the library's public API.

mod admin;
mod advice;
mod args;
mod calls;
mod certificates;
mod client;
mod colour;
mod config;
mod consoles;
mod descriptors;
mod exit;
mod explain;
mod faults;
mod file_identity;
mod generate;
mod health;
mod http;
mod inherited_sockets;
mod journal;
mod keys;
mod lab;
mod leaving;
mod listening;
mod load;
mod log_file;
mod relay;
mod reload;
mod report;
mod reread;
mod result_output;
mod server;
mod signals;
mod source_address;
mod stdio;
mod supervision;
mod systemd;
mod text_file;
mod top;
mod typed_condition;
mod units;
mod upgrade;
mod warnings;
mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue};
use resound::Error;
use resound_console::escape;

use self::args::CliCommand;
use self::colour::Colour;
use self::config::{Config, ConfiguredCommand, Request, Unconfigured};
use self::journal::LinePriority;
use self::reload::LiveConfig;
use self::result_output::ResultOutput;
use self::stdio::{StdStream, say};
use self::upgrade::StartedProgram;

fn main() -> ExitCode {
    let program = StartedProgram::of_this();
    signals::survive_large_files();
    let typed: Vec<OsString> = std::env::args_os().collect();
    result_output::exit_code(match config::read(&typed) {
        Ok(ConfiguredCommand { command, config }) => run(command, config.as_ref(), &typed, program),
        Err(Unconfigured::Unparsed(unparsed, config)) => print_parse_result(&with_visible_value(unparsed), &config),
        Err(Unconfigured::Invalid(error)) => print_usage_error(&error.text()),
    })
}

/// The error with a value that a terminal shows as it is: clap leaves out what moves the cursor.
fn with_visible_value(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        let value = escape::plain(value.as_bytes());
        error.insert(ContextKind::InvalidValue, ContextValue::String(value));
    }
    error
}

/// Prints help, a version, or a usage error.
fn print_parse_result(unparsed: &clap::Error, config: &Config) -> ExitCode {
    if let Some(text) = suggestion().filter(|_| unparsed.use_stderr()) {
        return print_usage_error(&text);
    }
    let (text, is_wrong) = (unparsed.render(), unparsed.use_stderr());
    let coloured = if is_wrong { Colour::of(&std::io::stderr()) } else { Colour::of(&std::io::stdout()) };
    let notes = if is_wrong { config.notes(&text.to_string()) } else { String::new() };
    let text = if coloured.is_on() { text.ansi().to_string() } else { text.to_string() } + &notes;
    // A reader that has left does not change the exit code.
    let _ =
        if is_wrong { StdStream::Stderr.write_all(text.as_bytes()) } else { ResultOutput.write_all(text.as_bytes()) };
    if is_wrong { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
}

fn run(command: CliCommand, config: Option<&Config>, typed: &[OsString], program: StartedProgram) -> ExitCode {
    let warnings = config.into_iter().flat_map(|config| &config.warnings);
    warnings.for_each(|warning| say(&format!("warning: {warning}")));
    let result = match (config, config.map_or(Request::Run, |config| config.request)) {
        (Some(config), Request::Print) => print_config(config),
        (_, Request::Check) => check_config(command),
        _ => start(command, reread::live_config(config, typed), program),
    };
    result.unwrap_or_else(|error| {
        if let Some(Error::Address { .. }) = error.downcast_ref::<Error>()
            && let Some(text) = suggestion()
        {
            return print_usage_error(&text);
        }
        let (code, _, advice) = explain::explain(&error);
        let text = explain::message(&error, advice.as_deref());
        let notes = config.map(|config| config.notes(&text)).unwrap_or_default();
        // Without a reader of stderr nothing remains to do.
        let text = journal::marked(&(text + &notes), LinePriority::Error);
        let _ = StdStream::Stderr.write_all(text.as_bytes());
        ExitCode::from(code)
    })
}

fn start(command: CliCommand, config: Option<LiveConfig>, program: StartedProgram) -> Result<ExitCode> {
    match command {
        CliCommand::Server(typed) => typed.meaning().and_then(|mut plan| {
            (plan.serving.config, plan.serving.program) = (config, Some(program));
            server::run(plan)
        }),
        CliCommand::Client(typed) => typed.meaning().and_then(client::run),
        CliCommand::Test(typed) if typed.watches() => typed.watch().and_then(watch::run),
        CliCommand::Test(typed) => typed.meaning().and_then(client::run),
        CliCommand::Load(typed) => typed.meaning().and_then(load::run),
        CliCommand::Relay(typed) => typed.meaning().and_then(|mut plan| {
            (plan.serving.config, plan.serving.program) = (config, Some(program));
            relay::run(plan)
        }),
        CliCommand::Lab(typed) => typed.meaning().and_then(lab::run),
        CliCommand::Health(typed) => typed.meaning().and_then(health::run),
        CliCommand::Top(typed) => typed.meaning().and_then(top::run),
        CliCommand::Report(typed) => typed.meaning().and_then(report::run),
        CliCommand::Completions(typed) => generate::completions(typed.shell),
        CliCommand::Man(typed) => generate::man(typed.page.as_deref(), typed.output.as_deref()),
    }
}

fn print_config(config: &Config) -> Result<ExitCode> {
    ResultOutput.write_all(config.print()?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn check_config(command: CliCommand) -> Result<ExitCode> {
    let warnings = reread::check(command)?;
    warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    ResultOutput.write_all(b"The configuration is right.\n")?;
    Ok(ExitCode::SUCCESS)
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

//! The command line: what was typed ([`Cli`]), and what it means (`meaning`). The rest of the
//! program sees the meaning alone.

mod admin;
mod amounts;
mod client;
mod config;
pub(crate) mod examples;
mod faults;
#[cfg(test)]
mod guides;
mod health;
mod lab;
mod load;
mod logging;
mod mistakes;
mod output;
mod outputs;
#[cfg(test)]
mod packaged;
mod relay;
mod report;
mod server;
mod serving;
mod test;
mod top;
mod unknown;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use resound::{Address, Error, Family};

use crate::listening::ListenAddress;

pub(crate) use client::{ClientArgs, TestArgs};
pub(crate) use config::CONFIGURATION;
pub(crate) use health::HealthArgs;
pub(crate) use lab::LabArgs;
pub(crate) use load::LoadArgs;
pub(crate) use mistakes::meant;
pub(crate) use outputs::overwritten;
pub(crate) use relay::RelayArgs;
pub(crate) use report::ReportArgs;
pub(crate) use server::ServerArgs;
pub(crate) use top::TopArgs;

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 8888;

/// A TCP endpoint you can trust: stand one up, talk to it, break the path to it, check it, load it.
#[derive(Parser)]
#[command(name = "resound", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = examples::NOTES, after_long_help = examples::long_help("resound"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

#[derive(Subcommand)]
pub(crate) enum CliCommand {
    /// Run a server: answer each line with `Server received: <line>`, echo, discard or generate
    Server(Box<ServerArgs>),
    /// Talk to a server: a conversation at a terminal, a pipe otherwise
    Client(Box<ClientArgs>),
    /// Test a server and the path to it: is TCP carried correctly, and if not, what is wrong?
    Test(Box<TestArgs>),
    /// Relay connections to a target: half-closes, resets and backpressure included
    Relay(Box<RelayArgs>),
    /// Run a command in a network of its own with planted defects: loss, delay, NAT, MTU and more
    Lab(Box<LabArgs>),
    /// Load a server: many connections, each answer verified and timed
    Load(Box<LoadArgs>),
    /// Merge, compare and plot saved results of load runs
    Report(ReportArgs),
    /// Ask once whether a server answers, for a container's probe
    Health(HealthArgs),
    /// Show what a server, a relay or a load that runs with --admin does, in a terminal
    Top(TopArgs),
    /// Print a shell's completion script for resound
    Completions(CompletionsArgs),
    /// Print a manual page
    Man(ManArgs),
}

#[derive(Args)]
#[command(after_long_help = examples::long_help("completions"))]
pub(crate) struct CompletionsArgs {
    /// Shell to complete in
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args)]
#[command(after_long_help = examples::long_help("man"))]
pub(crate) struct ManArgs {
    /// Command to print the page of [default: resound itself]
    pub(crate) page: Option<String>,
    /// Write all pages to this folder instead
    #[arg(long, value_name = "FOLDER", conflicts_with = "page")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args)]
struct FamilyArgs {
    /// Use IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
}

impl FamilyArgs {
    fn meaning(&self) -> Family {
        match (self.ipv4, self.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Any,
        }
    }
}

/// The address that `[HOST] [PORT]` names. A lone number is a port, with or without a colon.
pub(crate) fn address(host: Option<&str>, port: Option<&str>) -> Result<Address, Error> {
    match (host, port) {
        (None, _) => Address::parse(DEFAULT_HOST, DEFAULT_PORT),
        (Some(port), None) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => {
            Address::tcp(DEFAULT_HOST, port)
        }
        (Some(text), None) if text.strip_prefix(':').is_some_and(|port| !port.contains(':')) => {
            Address::tcp(DEFAULT_HOST, &text[1..])
        }
        (Some(host), None) => Address::parse(host, DEFAULT_PORT),
        (Some(host), Some(port)) if host.starts_with("unix:") => {
            Err(Error::Address { input: format!("{host} {port}"), reason: "a unix socket has no port".into() })
        }
        (Some(host), Some(port)) => Address::tcp(host, port),
    }
}

/// The same for an address to listen on, which may name sockets of systemd.
fn listen_address(host: Option<&str>, port: Option<&str>) -> Result<ListenAddress, Error> {
    let systemd = host.filter(|_| port.is_none()).and_then(ListenAddress::systemd);
    systemd.map_or_else(|| address(host, port).map(ListenAddress::Bound), Ok)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::client;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn hosts_and_ports() {
        let cases: [(&[&str], &str); 9] = [
            (&[":7000"], "127.0.0.1:7000"),
            (&[], "127.0.0.1:8888"),
            (&["9999"], "127.0.0.1:9999"),
            (&["0.0.0.0"], "0.0.0.0:8888"),
            (&["0.0.0.0", "9999"], "0.0.0.0:9999"),
            (&["localhost:1"], "localhost:1"),
            (&["::1", "5"], "[::1]:5"),
            (&["[::1]:5"], "[::1]:5"),
            (&["[::1]"], "[::1]:8888"),
        ];
        for (typed, want) in cases {
            let got = address(typed.first().copied(), typed.get(1).copied()).unwrap();
            assert_eq!(got.to_string(), want, "{typed:?}");
        }
        assert!(address(Some("unix:/tmp/x"), Some("1")).is_err());
    }

    /// The words of a command as a shell takes them: quotes hold them together, and a comment, a
    /// pipe or a redirection ends it.
    fn words(command: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        let mut chars = command.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, quote) {
                (c, Some(open)) if c == open => quote = None,
                (c, Some(_)) => word.get_or_insert_default().push(c),
                ('\'' | '"', None) => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                ('|' | ';' | '&' | '<' | '>', None) => {
                    // The number of the stream that is led elsewhere.
                    word = word.filter(|word| word != "2");
                    break;
                }
                ('#', None) if word.is_none() => break,
                ('\\', None) => word.get_or_insert_default().extend(chars.next()),
                (c, None) if c.is_whitespace() => words.extend(word.take()),
                (c, None) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    /// The commands of this program that a page shows: in blocks of code, behind a prompt, a pipe
    /// or
    /// what goes before.
    fn commands(page: &str) -> Vec<String> {
        let mut is_fenced = false;
        let mut commands = Vec::new();
        for line in page.lines() {
            is_fenced ^= line.trim_start().starts_with("```");
            if !is_fenced && !line.starts_with("    ") {
                continue;
            }
            for part in line.split(['|', ';']).flat_map(|part| part.split("&&")) {
                let part = part.trim_start().trim_start_matches("$ ");
                if part.starts_with("resound ") {
                    commands.push(part.into());
                }
            }
        }
        commands
    }

    #[test]
    fn each_command_in_the_documents_can_be_typed() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let pages = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
        let mut count = 0;
        for page in pages.chain([root.join("README.md")]) {
            for command in commands(&std::fs::read_to_string(&page).unwrap()) {
                count += 1;
                // A fingerprint is too long to be shown whole.
                let whole = |word: String| if word.ends_with("...") { "0".repeat(64) } else { word };
                if let Err(error) = Cli::try_parse_from(words(&command).into_iter().map(whole)) {
                    let is_asked_for = !error.use_stderr();
                    assert!(is_asked_for, "{}: {command}\n{error}", page.display());
                }
            }
        }
        assert!(count >= 40, "{count} commands");
    }

    #[test]
    fn a_flag_that_needs_another_one_is_not_ignored() {
        let pin = "a".repeat(64);
        let tls = [["--ca", "x"], ["--server-name", "x"], ["--pin", &pin], ["--cert", "x"], ["--alpn", "x"]];
        let watch = [["--for", "1s"], ["--held", "3"], ["--heartbeat", "1s"], ["--new", "1/s"], ["--lost-after", "1s"]];
        let not_watched = [["--timeout", "1s"], ["--retry", "1"], ["--source-port", "9"], ["--keepalive", "9s"]];
        let listening = tls.map(|flag| [&["client", "--listen"], &flag[..]].concat());
        let gate = [["--fail-if", "gap>1s"]];
        let watching = watch.iter().chain(&gate).flat_map(|flag| {
            not_watched.iter().map(move |other| [&["test", "127.0.0.1:1"], &flag[..], &other[..]].concat())
        });
        let others =
            [vec!["client", "--listen", "--insecure"], vec!["client", "--listen", "--cert", "x", "--key", "x"]];
        for words in listening.into_iter().chain(others).chain(watching) {
            let parsed = Cli::try_parse_from([&["resound"], &words[..]].concat());
            assert!(parsed.is_err(), "{words:?}");
        }
    }

    #[test]
    fn flags_of_a_talk_are_refused_in_a_test() {
        let command = Cli::command();
        let of = |name| command.find_subcommand(name).unwrap().get_arguments();
        let known: Vec<_> = of("test").map(clap::Arg::get_id).collect();
        let flags: Vec<_> =
            of("client").filter(|arg| !known.contains(&arg.get_id()) && arg.get_long().is_some()).collect();
        assert!(flags.len() >= 9, "{flags:?}");
        for flag in flags {
            let name = format!("--{}", flag.get_long().unwrap());
            let mut typed = vec!["resound", "client", "h", "1", "test", &name];
            if flag.get_action().takes_values() {
                typed.push("1s");
            }
            let CliCommand::Client(typed) = Cli::try_parse_from(typed).unwrap().command else {
                panic!("client was typed")
            };
            assert_eq!(
                typed.meaning().err().map(|error| error.to_string()),
                Some(format!("{name} has no meaning in a test"))
            );
        }
    }

    #[test]
    fn test_is_an_action_wherever_the_address_ends() {
        for typed in [&["client", "test"][..], &["client", "h", "test"], &["client", "h", "1", "test"], &["test", "h"]]
        {
            let cli = Cli::try_parse_from([&["resound"], typed].concat()).unwrap();
            let plan = match cli.command {
                CliCommand::Client(typed) => typed.meaning().unwrap(),
                CliCommand::Test(typed) => typed.meaning().unwrap(),
                _ => unreachable!("neither was typed"),
            };
            assert!(matches!(plan.task, client::ClientTask::Test(_)), "{typed:?}");
        }
    }
}

//! The ends of the help texts and manual pages: examples, addresses and exit codes.

use resound::faults::{FaultKind, Role};
use resound_lab::DefectKind;
use resound_verdict::CheckId;

use crate::client::MESSAGES;

/// A command to copy, and what it does.
pub(crate) struct Example(pub(crate) &'static str, pub(crate) &'static str);

/// The end of a help text that concerns an address.
pub(crate) const NOTES: &str = "\
Addresses: HOST PORT, HOST:PORT, [IPv6]:PORT or unix:/path; without one, 127.0.0.1 8888.
Exit codes: 0 ok; 1 network failure; 2 usage or environment; 3 a check failed; 4 something could not be judged; \
130 cut short by a signal.";

/// The same for `relay`.
pub(crate) const RELAY_NOTES: &str = "\
Addresses: HOST:PORT, PORT, [IPv6]:PORT or unix:/path; a host alone has port 8889 to listen on, and 8888 to connect to.
Exit codes: 0 ok; 2 usage or environment; 130 cut short: connections were open at the end of --drain-timeout.";

/// The same for `lab`.
pub(crate) const LAB_NOTES: &str = "\
Addresses: 10.77.0.1 and fd77::1 are the near end (`near`), 10.77.0.2 and fd77::2 the far end (`far`).
Exit codes: that of COMMAND, and 128 and the number of the signal that has ended it; 2 usage, or a system that \
refuses a lab; 126 COMMAND cannot be run; 127 it was not found.";

/// The same for `health`.
pub(crate) const HEALTH_NOTES: &str = "\
Addresses: HOST PORT, HOST:PORT, [IPv6]:PORT or unix:/path; without one, 127.0.0.1 8888.
Exit codes: 0 it answers, or is ready; 1 it is not; 2 usage.";

/// The same for `top`.
pub(crate) const TOP_NOTES: &str = "\
Addresses: PORT, HOST:PORT or [IPv6]:PORT of --admin; without one, 127.0.0.1:9464.
Exit codes: 0 ok; 1 nothing answers there, or something else; 2 usage; 130 cut short by a signal.";

/// The same for `load` and `report`.
pub(crate) const LOAD_NOTES: &str = "\
Addresses: HOST PORT, HOST:PORT, [IPv6]:PORT or unix:/path; without one, 127.0.0.1 8888.
Exit codes: 0 ok; 1 no connection, a lost connection, no answer within --timeout, or planned messages never sent; \
2 usage or environment; 3 a --fail-if is true, or answers were wrong or left out; 4 nothing failed, but a condition \
could not be judged; 130 cut short by a signal.";

const PROGRAM: &[Example] = &[
    Example("Serve on 127.0.0.1:8888", "resound server"),
    Example("Talk to that server", "resound client"),
    Example("Test its answers, and the path to it", "resound test"),
    Example("Load it for ten seconds over 64 connections", "resound load -c 64 -d 10s"),
];

const SERVER: &[Example] = &[
    Example("Serve on 127.0.0.1:8888, and print each message", "resound server"),
    Example("Echo on all addresses of this machine", "resound server 0.0.0.0 9999 --mode echo"),
    Example("Serve TLS with a certificate made for this run", "resound server 127.0.0.1 8443 --tls"),
    Example("See each call on a socket, and what it does on the wire", "resound server --explain"),
    Example("Log events as JSON, one a line", "resound server --log-format json"),
    Example(
        "Log connections to a file, with times, for logrotate",
        "resound server --log connections --log-time --log-file resound.log",
    ),
    Example("Keep a load balancer's health checks out of the log", "resound server :: --quiet-from 10.0.0.0/24"),
    Example("Serve behind HAProxy, and print the real clients", "resound server --proxy-protocol require -v"),
    Example(
        "Reset the first two connections, and answer late then",
        "resound server --fault '1-2: reset; 3-: late-answer=2s'",
    ),
    Example("Take the flags from a file, which SIGHUP reads again", "resound server --config resound.toml"),
    Example("Metrics, health checks and a page on 127.0.0.1:9464", "resound server --admin 9464"),
    Example("Serve the sockets that systemd passes (docs/operate.md)", "resound server systemd"),
    Example("Allow one network, and 20 connections per client", "resound server :: --allow 10.0.0.0/8 --max-per-ip 20"),
];

const CLIENT: &[Example] = &[
    Example("Talk to a server on this machine", "resound client"),
    Example("Send two lines, and print the answers", "printf 'a\\nb\\n' | resound client 127.0.0.1 8888"),
    Example("Print what the server sends, and send nothing", "resound client 127.0.0.1 8888 --recv-only"),
    Example("Wait until a server starts, for 10 s at most", "resound client 8888 --wait --timeout 10s < /dev/null"),
    Example("Talk to a TLS server with a private authority", "resound client db.example 8443 --tls --ca ca.pem"),
    Example("See each call, from the SYN to TIME_WAIT", "printf 'hi\\n' | resound client 127.0.0.1 8888 --explain"),
    Example("Wait for one peer to connect, and talk to it", "resound client 127.0.0.1 9999 --listen"),
];

const TEST: &[Example] = &[
    Example("Test the server on 127.0.0.1:8888, and the path to it", "resound test"),
    Example("See it again, with the same bytes", "resound test db.example 7 --only half-close-out --seed 7"),
    Example("Does a connection survive 20 minutes of silence?", "resound test db.example 7 --only idle --idle 20m"),
    Example("For programs: one JSON object, and a page", "resound test db.example 7 --json --html path.html"),
    Example("See what the checks do", "resound test --loopback -v"),
    Example("Check an echo server, and print the messages", "resound test 127.0.0.1 7 --expect echo -v"),
    Example("Wait for a server that is starting, then check it", "resound test 8888 --wait --timeout 30s"),
    Example("Watch a deploy: connections, heartbeats, and a gate", "resound test 8888 --watch --fail-if 'gap>2s'"),
    Example("Check a server behind a PROXY header", "resound test 8888 --send-proxy v2,src=192.0.2.7:54321"),
];

const LOAD: &[Example] = &[
    Example("Closed loop: 64 connections, each as fast as its answers", "resound load 127.0.0.1 8888 -c 64 -d 10s"),
    Example(
        "Open loop: a planned 20,000 messages/s, with a gate",
        "resound load -c 64 -r 20k -d 30s --fail-if 'p99>5ms'",
    ),
    Example("New connections as fast as possible", "resound load --shape connect -c 32 -d 10s"),
    Example("Find the highest rate that holds", "resound load --shape ramp --steps 1000..50000+1000 --until 'p99>5ms'"),
    Example("Throughput", "resound load --shape stream -c 4 -d 10s"),
    Example("Load a server of this program's own", "resound load --loopback -c 1000 -n 1M"),
    Example("Let Prometheus read along", "resound load -r 20k -d 10m --admin 9464"),
    Example("Save results for a comparison", "resound load -r 20k -d 30s --json > new.json"),
];

const RELAY: &[Example] = &[
    Example("Relay 127.0.0.1:8889 to a server on this machine", "resound relay 127.0.0.1:8888"),
    Example("Choose the address, and print each connection", "resound relay 127.0.0.1:9000 db.internal:5432 -v"),
    Example("Log to a file that is opened anew at SIGHUP", "resound relay 9000 db.internal:5432 --log-file relay.log"),
    Example("Put TLS in front of a plain server", "resound relay 0.0.0.0:8443 127.0.0.1:8888 --tls"),
    Example("Talk to a TLS server in plain text", "resound relay 9000 db.example:8443 --target-tls"),
    Example("Tell the target who its client is", "resound relay 9000 127.0.0.1:8888 --send-proxy v2"),
    Example("Let a test set faults while it runs", "resound relay 127.0.0.1:8888 --control 8474"),
    Example("Metrics, health checks and a page beside it", "resound relay 127.0.0.1:8888 --admin 9464"),
    Example(
        "Print what a file and the environment say",
        "resound relay 9000 db:5432 --config resound.toml --print-config",
    ),
    Example("Relay a socket that systemd passes", "resound relay systemd:web db.internal:5432"),
    Example("Relay two addresses", "resound relay --map 9000=127.0.0.1:8888 --map unix:/tmp/a=db:5432"),
];

const LAB: &[Example] = &[
    Example("A shell in a network that loses one packet of a hundred", "resound lab --loss 1%"),
    Example(
        "A server and a client, and a slow link between them",
        "resound lab --rate 1Mbit/s --far 'resound server far' -- resound test far",
    ),
    Example("Large packets vanish on their way back", "resound lab --defect 'down: mtu=1400' -- ./client.sh"),
    Example("See what happened, packet by packet", "resound lab --loss 1% --pcap lab.pcapng -- ./client.sh"),
    Example("Repeat a run", "resound lab --loss 1% --seed 2947 -- ./client.sh"),
];

const REPORT: &[Example] = &[
    Example("Print saved results", "resound report run.json"),
    Example("Merge two generators of one load into a page", "resound report a.json b.json --html load.html"),
    Example(
        "Fail if a run is proven more than 10 % slower than a base",
        "resound report new.json --compare base.json --fail-if 'p99 worse>10%'",
    ),
    Example("Compare repeated runs", "resound report new*.json --repeated --compare a.json --compare b.json"),
];

const HEALTH: &[Example] = &[
    Example("Does the server on 127.0.0.1:8888 answer a message?", "resound health"),
    Example("Ask another one, for a second at most", "resound health db.internal 9999 --timeout 1s"),
    Example("Is a server that was started with --admin 9464 ready?", "resound health --admin 9464"),
];

const TOP: &[Example] = &[
    Example("Watch a server that was started with --admin 9464", "resound top"),
    Example("Another one, with the slowest peers first", "resound top db.internal:9464 --sort rtt"),
    Example("Once, as text: the five peers that have sent most", "resound top --once --sort in | grep -A 5 peer"),
];

const COMPLETIONS: &[Example] = &[
    Example("Complete in this shell (bash)", "source <(resound completions bash)"),
    Example("Install the script for fish", "resound completions fish > ~/.config/fish/completions/resound.fish"),
];

const MAN: &[Example] = &[
    Example("Read the page of a command", "resound man load | man -l -"),
    Example("Install all pages", "resound man --output ~/.local/share/man/man1"),
];

/// The examples of a command, or of `resound` itself.
pub(crate) fn examples(command: &str) -> &'static [Example] {
    match command {
        "server" => SERVER,
        "client" => CLIENT,
        "test" => TEST,
        "load" => LOAD,
        "relay" => RELAY,
        "lab" => LAB,
        "report" => REPORT,
        "health" => HEALTH,
        "top" => TOP,
        "completions" => COMPLETIONS,
        "man" => MAN,
        _ => PROGRAM,
    }
}

/// The grammar of `--fault` or `--defect`, or the names of checks, for the commands that have such,
/// and its heading.
pub(crate) fn grammar(command: &str) -> Option<(&'static str, String)> {
    let role = match command {
        "lab" => return Some(("Defects", defects())),
        "test" => return Some(("Checks", checks())),
        "server" => Role::Server,
        "relay" => Role::Relay,
        _ => return None,
    };
    let kinds = FaultKind::all().filter(|kind| kind.works_for(role));
    let faults = format!(
        "[CONNECTIONS:] [DIRECTION:] FAULT [@WHEN] [CHANCE], joined by `;`.\n  \
         CONNECTIONS: `3`, `1-2`, `5-`, `every 5th`, `from=10.0.0.0/8`; all without one.\n  \
         DIRECTION: `up` (what the client sends), `down`; both without one.\n  \
         WHEN: `@connect`, `@0B`, `@1MiB`, `@message=3`, `@2s`, `@idle=30s`. CHANCE: `25%`.\n  \
         FAULT: {}.\n  docs/faults.md says what each does.",
        kinds.map(FaultKind::example).collect::<Vec<_>>().join(", ")
    );
    Some(("Faults", faults))
}

/// The names of the checks.
fn checks() -> String {
    let names = std::iter::once(MESSAGES).chain(CheckId::ALL.into_iter().map(CheckId::name));
    format!("{}.\n  docs/verdict.md says what each does.", names.collect::<Vec<_>>().join(", "))
}

/// The grammar of `--defect`.
fn defects() -> String {
    format!(
        "[CONNECTIONS:] [DIRECTION:] DEFECT OPTION... FILTER... [@WHEN] [CHANCE], joined by `;`.\n  \
         CONNECTIONS: `3`, `1-2`, `5-`, `every 5th`; all without one.\n  \
         DIRECTION: `up` (from the near end to the far end), `down`; both without one.\n  \
         FILTER: `port=443`, `length=1000..`, `flags=syn+!ack`, `protocol=udp`.\n  \
         WHEN: `@64KiB`, `@packet=3`, `@2s`, `@idle=30s`. CHANCE: `25%`.\n  \
         DEFECT: {}.\n  docs/lab.md says what each does.",
        DefectKind::all().map(DefectKind::example).collect::<Vec<_>>().join(", ")
    )
}

/// What `--help` prints after the flags.
pub(super) fn long_help(command: &str) -> String {
    let notes = match command {
        "load" | "report" => LOAD_NOTES,
        "relay" => RELAY_NOTES,
        "lab" => LAB_NOTES,
        "health" => HEALTH_NOTES,
        "top" => TOP_NOTES,
        "completions" | "man" => "",
        _ => NOTES,
    };
    let mut text = String::from("Examples:\n");
    for Example(what, line) in examples(command) {
        text += &format!("  {what}:\n    {line}\n");
    }
    let grammar = grammar(command).map(|(heading, text)| format!("{heading}: {text}\n")).unwrap_or_default();
    format!("{text}\n{grammar}{notes}").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::{Cli, CliCommand};

    /// The words after `resound`, as a shell takes them: quotes, pipes and redirections.
    fn words(line: &str) -> Vec<String> {
        let command = &line[line.find("resound").expect("the program's name")..];
        let mut words = Vec::new();
        for (at, part) in command.split('\'').enumerate() {
            match at % 2 {
                0 => words.extend(part.split([' ', ')']).filter(|word| !word.is_empty()).map(String::from)),
                _ => words.push(part.into()),
            }
        }
        let end = words.iter().position(|word| ["|", ">", "<"].contains(&word.as_str()));
        words.truncate(end.unwrap_or(words.len()));
        words
    }

    #[test]
    fn each_example_can_be_typed() {
        let mut program = Cli::command();
        program.build();
        let commands = program.get_subcommands().map(|command| command.get_name()).filter(|name| *name != "help");
        for command in ["resound"].into_iter().chain(commands) {
            assert!(examples(command).len() >= 2, "{command}");
            assert!(command == "resound" || !std::ptr::eq(examples(command), PROGRAM), "{command} has no examples");
            for Example(what, line) in examples(command) {
                let parsed = Cli::try_parse_from(words(line)).unwrap_or_else(|error| panic!("{line}\n{error}"));
                let meant = match parsed.command {
                    CliCommand::Server(typed) => typed.meaning().err(),
                    CliCommand::Client(typed) => typed.meaning().err(),
                    CliCommand::Test(typed) => typed.meaning().err(),
                    CliCommand::Relay(typed) => typed.meaning().map(drop).err(),
                    CliCommand::Load(typed) => typed.meaning().err(),
                    CliCommand::Lab(typed) => typed.meaning().map(drop).err(),
                    CliCommand::Report(typed) => typed.meaning().err(),
                    CliCommand::Health(typed) => typed.meaning().err(),
                    CliCommand::Top(typed) => typed.meaning().map(drop).err(),
                    _ => None,
                };
                // The file of an authority is the reader's own, and unix sockets need Unix.
                let meant = meant.filter(|_| !line.contains("--ca ") && (cfg!(unix) || !line.contains("unix:")));
                assert!(meant.is_none(), "{line}: {meant:?}");
                assert!(!what.ends_with('.') && line.len() <= 74, "{line}");
            }
        }
    }
}

//! Common mistakes for `HOST PORT`, and the command that was probably meant.

use clap::{Command, CommandFactory, Parser};

use super::{Cli, DEFAULT_HOST};

/// The names of the host flag in other programs.
const HOST: &str = "--host -H --hostname --bind -b --bind-address --bind-host --address --addr -a --ip --server \
                    --target --remote --connect --url --listen-address";
/// The names of the port flag.
const PORT: &str = "--port -p -P --listen-port --bind-port --server-port";

/// The arguments, sorted.
#[derive(Default)]
struct TypedArgs {
    /// The foreign flag, and its value.
    host: Option<(String, Option<String>)>,
    port: Option<(String, Option<String>)>,
    positional: Vec<String>,
    /// Flags, with their values.
    flags: Vec<String>,
    /// Flags that the command does not have.
    unknown: Vec<String>,
}

/// The error for a failed command line, with the command that was probably meant. `None` if that is
/// unclear.
pub(crate) fn meant(args: &[String]) -> Option<String> {
    let mut program = Cli::command();
    program.build();
    // Without a command it may be a server or a client.
    let at = args.iter().position(|arg| program.find_subcommand(arg).is_some());
    let name = at.map_or("server", |at| &args[at]);
    let command = program.find_subcommand(name)?;
    if !command.get_positionals().any(|arg| arg.get_id() == "port") {
        return None;
    }
    let others: Vec<&str> = args.iter().enumerate().filter(|(n, _)| Some(*n) != at).map(|(_, arg)| &**arg).collect();
    let typed = sort(command, &others);
    let names: Vec<&str> = [&typed.host, &typed.port].into_iter().flatten().map(|(name, _)| &**name).collect();
    let wrong = if names.is_empty() {
        // The argument after an unknown flag may be its value.
        if let Some(flag) = typed.unknown.first() {
            let names: Vec<_> = HOST.split(' ').chain(PORT.split(' ')).collect();
            return super::unknown::explained(&program, command, flag, &names);
        }
        swapped(&typed)?
    } else {
        format!("there is no {}: host and port are positional, the host first", names.join(" and no "))
    };
    // A flag without a value leaves nothing to suggest.
    let is_whole = [&typed.host, &typed.port].into_iter().flatten().all(|(_, value)| value.is_some());
    let commands = if is_whole { commands(name, typed) } else { Vec::new() };
    // A suggestion must itself parse.
    let works = |words: &&Vec<String>| {
        Cli::try_parse_from(std::iter::once("resound").chain(words.iter().map(|w| &**w))).is_ok()
    };
    let shown: Vec<String> =
        commands.iter().filter(works).map(|words| format!("  resound {}\n", quoted(words))).collect();
    match shown.is_empty() {
        true => Some(format!("resound: {wrong}\n  resound {name} HOST PORT\n")),
        false => Some(format!("resound: {wrong}\n{}", shown.concat())),
    }
}

/// The error for host and port in the wrong order, or for a URL.
fn swapped(typed: &TypedArgs) -> Option<String> {
    match &typed.positional[..] {
        [url, ..] if url.contains("://") => Some("an address has no scheme: it is HOST PORT".into()),
        [port, host, ..] if is_port(port) && is_host(host) => {
            Some("host and port are the other way round: the host comes first".into())
        }
        _ => None,
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_host(text: &str) -> bool {
    // `test` may follow a port alone.
    text != "test" && text.bytes().any(|byte| !byte.is_ascii_digit())
}

/// The possible commands: as typed and, for a port alone, also with the default host.
fn commands(name: &str, typed: TypedArgs) -> Vec<Vec<String>> {
    let mut positional: Vec<String> = typed.positional.iter().map(|text| without_scheme(text)).collect();
    if let [port, host, ..] = &mut positional[..]
        && is_port(port)
        && is_host(host)
    {
        std::mem::swap(port, host);
    }
    let mut positional = positional.into_iter().peekable();
    let given = |named: Option<(String, Option<String>)>| named.and_then(|(_, value)| Some(without_scheme(&value?)));
    let (named_host, named_port) = (given(typed.host), given(typed.port));
    // A positional argument is the one without a flag.
    let host = match (named_host, &named_port) {
        (Some(host), _) => Some(host),
        (None, Some(_)) => positional.next_if(|text| is_host(text)),
        (None, None) => positional.next(),
    };
    let port = named_port.or_else(|| positional.next_if(|text| is_port(text)));
    let rest: Vec<String> = positional.chain(typed.flags).collect();
    let with = |address: Vec<String>| [vec![name.to_string()], address, rest.clone()].concat();
    match (host, port) {
        (None, Some(port)) => vec![with(vec![port.clone()]), with(vec![DEFAULT_HOST.into(), port])],
        (host, port) => vec![with(host.into_iter().chain(port).collect())],
    }
}

/// The address in a URL.
fn without_scheme(text: &str) -> String {
    match text.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default().into(),
        None => text.into(),
    }
}

/// Sorts the arguments of a command, as far as it has such flags.
fn sort(command: &Command, args: &[&str]) -> TypedArgs {
    let mut typed = TypedArgs::default();
    let mut args = args.iter().copied().peekable();
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) if arg.starts_with('-') => (name, Some(value)),
            _ => (arg, None),
        };
        if !arg.starts_with('-') || arg == "-" {
            typed.positional.push(arg.into());
            continue;
        }
        if let Some(known) = flag(command, name) {
            typed.flags.push(arg.into());
            if value.is_none() && known.get_action().takes_values() && !is_attached(arg) {
                typed.flags.extend(args.next().map(Into::into));
            }
            continue;
        }
        let whole = name;
        // `-p9999` as well.
        let (name, value) = match name.split_at_checked(2) {
            Some((short, rest)) if !short.starts_with("--") && !rest.is_empty() => (short, Some(rest)),
            _ => (name, value),
        };
        let slot = match [HOST, PORT].map(|names| names.split(' ').any(|known| known == name)) {
            [true, _] => &mut typed.host,
            [_, true] => &mut typed.port,
            _ => {
                typed.flags.push(arg.into());
                typed.unknown.push(whole.into());
                continue;
            }
        };
        let value = value.or_else(|| args.next_if(|next| !next.starts_with('-')));
        *slot = Some((name.into(), value.map(Into::into)));
    }
    typed
}

/// The flag of this name, if the command has one.
fn flag<'a>(command: &'a Command, name: &str) -> Option<&'a clap::Arg> {
    let mut known = command.get_arguments();
    match name.strip_prefix("--") {
        Some(long) => known.find(|arg| {
            arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
        }),
        None => known.find(|arg| arg.get_short().is_some() && arg.get_short() == name.chars().nth(1)),
    }
}

/// Is the value in the same word as the short flag?
fn is_attached(arg: &str) -> bool {
    !arg.starts_with("--") && arg.chars().count() > 2
}

/// The words, quoted for a shell.
fn quoted(words: &[String]) -> String {
    words.iter().map(|word| resound_console::escape::shell_word(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> Option<String> {
        meant(&line.split_whitespace().map(Into::into).collect::<Vec<_>>())
    }

    #[test]
    fn a_mistake_gets_the_command_that_was_meant() {
        let cases: [(&str, &[&str]); 27] = [
            ("server --port 9999", &["server 9999", "server 127.0.0.1 9999"]),
            ("server -p 9999", &["server 9999", "server 127.0.0.1 9999"]),
            ("server -p9999", &["server 9999", "server 127.0.0.1 9999"]),
            ("server --port=9999", &["server 9999", "server 127.0.0.1 9999"]),
            ("--port 9999 server", &["server 9999", "server 127.0.0.1 9999"]),
            ("server --host 0.0.0.0 --port 9999", &["server 0.0.0.0 9999"]),
            ("server --port 9999 --host=0.0.0.0", &["server 0.0.0.0 9999"]),
            ("server --bind 0.0.0.0 9999", &["server 0.0.0.0 9999"]),
            ("server --address 0.0.0.0:9999", &["server 0.0.0.0:9999"]),
            ("server --bind ::1 -p 1", &["server ::1 1"]),
            ("server -H 0.0.0.0", &["server 0.0.0.0"]),
            (
                "server --mode echo --port 9999 -q",
                &["server 9999 --mode echo -q", "server 127.0.0.1 9999 --mode echo -q"],
            ),
            ("server --idle-timeout 10s --host h", &["server h --idle-timeout 10s"]),
            ("client --host 192.168.1.100 --port 9999", &["client 192.168.1.100 9999"]),
            ("client 192.168.1.100 --port 9999", &["client 192.168.1.100 9999"]),
            ("client --port 9999 192.168.1.100 test", &["client 192.168.1.100 9999 test"]),
            ("client -H example.org 80 test", &["client example.org 80 test"]),
            ("test --host h -p 1 --expect echo", &["test h 1 --expect echo"]),
            ("load --host h --port 1 -c 64 -d10s", &["load h 1 -c 64 -d10s"]),
            ("load -p 1", &["load 1", "load 127.0.0.1 1"]),
            ("server 9999 0.0.0.0", &["server 0.0.0.0 9999"]),
            ("client 9999 localhost", &["client localhost 9999"]),
            ("test 9999 ::1 -v", &["test ::1 9999 -v"]),
            ("load 9999 127.0.0.1 -c 2", &["load 127.0.0.1 9999 -c 2"]),
            ("client tcp://127.0.0.1:9999", &["client 127.0.0.1:9999"]),
            ("client http://localhost:8888/", &["client localhost:8888"]),
            ("--port 9999", &["server 9999", "server 127.0.0.1 9999"]),
        ];
        for (typed, want) in cases {
            let text = text(typed).unwrap_or_else(|| panic!("{typed}"));
            let lines: Vec<&str> = text.lines().collect();
            let want: Vec<String> = want.iter().map(|words| format!("  resound {words}")).collect();
            assert_eq!(lines[1..], want, "{typed}");
            assert!(lines[0].contains("host") || lines[0].contains("HOST PORT"), "{text}");
        }
    }

    #[test]
    fn an_unknown_flag_gets_a_similar_one() {
        for (typed, want) in [
            ("load --connection 5 127.0.0.1 18888", "there is no --connection: perhaps --connections was meant"),
            ("client --tsl localhost 8888", "there is no --tsl: perhaps --tls was meant"),
            ("client --prot 8888", "there is no --prot and no --port: host and port are positional"),
            ("server --shape ramp", "--shape belongs to `resound load`, not to `resound server`"),
            ("server 127.0.0.1 -1", "'-1' is not a port"),
        ] {
            let text = text(typed).unwrap_or_else(|| panic!("{typed}: the error has no explanation"));
            assert!(text.starts_with(&format!("resound: {want}")), "{typed}: {text}");
        }
    }

    #[test]
    fn an_incomplete_mistake_gets_the_rule() {
        for typed in ["server --port", "client --host", "server --port --quiet", "load --port x --bogus"] {
            let text = text(typed).unwrap();
            let command = typed.split(' ').next().unwrap();
            assert!(
                text.contains("are positional") && text.contains(&format!("  resound {command} HOST PORT\n")),
                "{text}"
            );
        }
        let odd = ["client", "--host", "h", "--tls", "--server-name", "a b'c"].map(Into::into);
        assert!(meant(&odd).unwrap().ends_with("  resound client h --tls --server-name 'a b'\\''c'\n"));
    }

    #[test]
    fn other_mistakes_get_no_suggestion() {
        for typed in [
            "",
            "frobnicate",
            "server --framing x",
            "server 8888 9999",
            "client 8888 test",
            "client 8888 test --bogus",
            "report --port 1",
            "completions -p",
            "client --source-port 1 --bogus",
            "client --server-name --port --bogus",
            "server localhost x",
        ] {
            assert_eq!(text(typed), None, "{typed}");
        }
    }
}

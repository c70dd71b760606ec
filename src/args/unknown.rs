//! Unknown flags, and the flag that was probably meant.

use clap::Command;

/// The error for an unknown flag of `command`, if its cause is clear. `names` are the names of host
/// and port in other programs.
pub(super) fn explained(program: &Command, command: &Command, flag: &str, names: &[&str]) -> Option<String> {
    let name = command.get_name();
    if flag.len() > 1 && flag[1..].bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(format!("resound: '{flag}' is not a port: it is a number from 0 to 65535\n"));
    }
    let word = flag.strip_prefix("--")?;
    let has = |command: &Command| command.get_arguments().any(|arg| arg.get_long() == Some(word));
    let others: Vec<_> = program
        .get_subcommands()
        .filter(|other| other.get_name() != name && has(other))
        .map(|other| format!("`resound {}`", other.get_name()))
        .collect();
    if !others.is_empty() {
        return Some(format!("resound: {flag} belongs to {}, not to `resound {name}`\n", others.join(" and ")));
    }
    let ours = command.get_arguments().filter_map(|arg| arg.get_long());
    let theirs = names.iter().filter_map(|name| name.strip_prefix("--"));
    let near =
        |known: &str| Some(strsim::osa_distance(word, known)).filter(|n| *n <= if word.len() < 5 { 1 } else { 2 });
    let (_, is_theirs, meant) = ours
        .map(|known| (false, known))
        .chain(theirs.map(|known| (true, known)))
        .filter_map(|(is_theirs, known)| Some((near(known)?, is_theirs, known)))
        .min()?;
    Some(match is_theirs {
        true => format!(
            "resound: there is no {flag} and no --{meant}: host and port are positional, the host first\n  \
             resound {name} HOST PORT\n"
        ),
        false => format!("resound: there is no {flag}: perhaps --{meant} was meant\n"),
    })
}

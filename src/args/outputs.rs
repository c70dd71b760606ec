//! The files that a command writes: none may be one that it reads, or another output.

use std::path::{Path, PathBuf};

use clap::ArgMatches;

use crate::file_identity::FileIdentity;

/// The flags with a file that is written.
const OUTPUTS: [&str; 7] = ["record", "log_file", "pcap", "json", "hdr", "html", "junit"];

/// Those whose files are checked where they are written ([`crate::report`]).
const REPORTS: [&str; 4] = ["json", "hdr", "html", "junit"];

/// Outputs that a command writes beside what it prints.
const BESIDE_STDOUT: [&str; 2] = ["record", "pcap"];

/// The output of a command that would destroy what another flag names, in a sentence. Those of
/// `report` are checked beside the results that it reads.
pub(crate) fn overwritten(command: &str, matches: &ArgMatches) -> Option<String> {
    if command == "report" {
        return None;
    }
    let of = |id: &str| matches.try_get_many::<PathBuf>(id).ok().flatten().map(Vec::from_iter).unwrap_or_default();
    let files: Vec<(&str, &PathBuf)> = matches
        .ids()
        .flat_map(|id| of(id.as_str()).into_iter().map(|path| (id.as_str(), path)))
        .filter(|(_, path)| path.as_os_str() != "-")
        .collect();
    let flag = |id: &str| format!("--{}", id.replace('_', "-"));
    files.iter().filter(|(id, _)| OUTPUTS.contains(id)).find_map(|&(output, path)| {
        let identity = FileIdentity::of(path)?;
        let (name, shown) = (flag(output), path.display());
        if BESIDE_STDOUT.contains(&output) && is_file_behind_stdout(&identity) {
            return Some(format!("{name} {shown} is standard output: write to a file of its own"));
        }
        let is_other = |id: &str| id != output && !(REPORTS.contains(&output) && REPORTS.contains(&id));
        let same = |(_, other): &&(&str, &PathBuf)| FileIdentity::of(other).as_ref() == Some(&identity);
        let (other, _) = files.iter().filter(|(id, _)| is_other(id)).find(same)?;
        let other_name = flag(other);
        Some(match OUTPUTS.contains(other) {
            true => format!("{name} and {other_name} would write one file, {shown}: give each its own"),
            false => format!("{name} {shown} would overwrite what {other_name} reads: write to another file"),
        })
    })
}

/// A pipe or a terminal takes several outputs. In a file, one would overwrite the other.
fn is_file_behind_stdout(identity: &FileIdentity) -> bool {
    let stdout = Path::new("/dev/stdout");
    stdout.metadata().is_ok_and(|found| found.is_file()) && FileIdentity::of(stdout).as_ref() == Some(identity)
}

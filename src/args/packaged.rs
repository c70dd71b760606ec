//! The command lines in `packaging/`: images, manifests and units call the program as it is.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{Cli, CliCommand};

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A list of words as Dockerfiles and YAML's flow style have it, from its bracket on. Commas may be
/// followed by new lines.
fn list(text: &str) -> Vec<String> {
    let end = text.find(']').expect("the list ends");
    serde_json::from_str(&text[text.find('[').expect("the list begins")..=end]).expect(text)
}

/// The arguments of each call of resound in a file.
fn calls(name: &str, text: &str) -> Vec<Vec<String>> {
    let after = |mark: &'static str| text.match_indices(mark).map(move |(at, mark)| &text[at + mark.len()..]);
    let line = |text: &str| text.lines().next().unwrap_or_default().split_whitespace().map(String::from).collect();
    let is_list = |rest: &&str| rest.starts_with('[');
    match name {
        "Dockerfile" => {
            let mut calls: Vec<Vec<String>> = after("CMD ").filter(is_list).map(list).collect();
            // The command of a health check names the program; the other one is behind ENTRYPOINT.
            calls.iter_mut().for_each(|call| call.retain(|word| word != "/usr/bin/resound"));
            calls
        }
        name if name.ends_with(".yaml") => after(" args: ").map(list).collect(),
        name if name.ends_with(".service") || name.ends_with(".conf") => {
            after("ExecStart=/usr/bin/resound ").map(line).collect()
        }
        name if name.ends_with(".md") => {
            let indented = text.lines().filter_map(|line| line.strip_prefix("    resound "));
            indented.map(|call| line(call.split(" #").next().unwrap_or_default())).collect()
        }
        _ => Vec::new(),
    }
}

/// Each file of `packaging/`, and each call in it.
fn packaged() -> Vec<(String, Vec<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let files = files(&folder).into_iter().filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?)));
    files
        .flat_map(|(path, text)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let place = path.strip_prefix(&folder).unwrap().display().to_string();
            calls(&name, &text).into_iter().map(move |call| (place.clone(), call))
        })
        .collect()
}

#[test]
fn each_packaged_command_line_can_be_typed() {
    let calls = packaged();
    for place in
        ["docker/Dockerfile", "kubernetes/base/deployment.yaml", "kubernetes/load/job.yaml", "debian/config.conf"]
    {
        assert!(calls.iter().any(|(file, _)| Path::new(file) == Path::new(place)), "no call was found in {place}");
    }
    for (place, call) in calls {
        // Kubernetes puts the number of the pod there.
        let words: Vec<_> = call.iter().map(|word| word.replace("$(INDEX)", "3")).collect();
        let parsed = Cli::try_parse_from([vec!["resound".to_string()], words].concat());
        let parsed = parsed.unwrap_or_else(|error| panic!("{place}: {call:?}\n{error}"));
        let meant = match parsed.command {
            CliCommand::Load(typed) => typed.meaning().err(),
            CliCommand::Report(typed) => typed.meaning().err(),
            _ => None,
        };
        assert!(meant.is_none(), "{place}: {call:?}: {meant:?}");
    }
}

/// A pod has time to drain: as long as its connections may take, after it has left the load
/// balancers.
#[test]
fn a_pod_is_not_killed_before_its_server_has_drained() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes/base/deployment.yaml");
    let text = fs::read_to_string(file).unwrap();
    let number = |mark: &str| {
        let (_, rest) = text.split_once(mark).unwrap_or_else(|| panic!("{mark} is missing"));
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap()
    };
    let (grace, pause) = (number("terminationGracePeriodSeconds: "), number("sleep:\n                seconds: "));
    let drain = number("\"--drain-timeout\", \"");
    assert!(grace > pause + drain, "{grace} s for {pause} s and {drain} s");
}

/// The records that the report merges are those that the generators write.
#[test]
fn each_generator_of_the_packaged_load_is_in_its_report() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes");
    let load = fs::read_to_string(folder.join("load/job.yaml")).unwrap();
    let report = list(fs::read_to_string(folder.join("report/job.yaml")).unwrap().split_once(" args: ").unwrap().1);
    let written = list(load.split_once(" args: ").unwrap().1);
    let written = written.iter().find_map(|word| word.strip_prefix("--json=")).expect("each writes a record");
    let (_, completions) = load.split_once("completions: ").unwrap();
    let completions: usize = completions.lines().next().unwrap().parse().unwrap();
    let want: Vec<_> = (0..completions).map(|index| written.replace("$(INDEX)", &index.to_string())).collect();
    let read: Vec<_> = report[1..].iter().take_while(|word| !word.starts_with("--")).cloned().collect();
    assert_eq!(read, want);
    assert!(load.contains(&format!("parallelism: {completions}\n")), "all load at once");
}

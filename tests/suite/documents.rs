//! The documents keep their promises.

use std::fs;
use std::path::Path;

use crate::harness::run;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// The long flags in a text.
fn flags(text: &str) -> Vec<String> {
    let mut flags: Vec<String> = text
        .split(|c: char| c.is_whitespace() || "`|,()[]='".contains(c))
        .filter(|word| word.starts_with("--") && word.len() > 4)
        .map(|word| word.trim_end_matches(['.', ':', ';']).to_string())
        .collect();
    flags.sort();
    flags.dedup();
    flags
}

#[test]
fn readme_names_every_flag_and_no_other() {
    let mut help = String::new();
    for command in ["server", "client", "test", "load", "report", "completions", "man"] {
        help += &String::from_utf8(run(&[command, "--help"], b"").1).unwrap();
    }
    let (readme, known) = (document("README.md"), flags(&help));
    for flag in known.iter().filter(|flag| !["--help", "--version"].contains(&flag.as_str())) {
        assert!(readme.contains(&format!("`{flag}")), "README does not explain {flag}");
    }
    let cargo = ["--manifest-path", "--release", "--ignored", "--test", "--example", "--path", "--open", "--help"];
    for flag in flags(&readme) {
        assert!(known.contains(&flag) || cargo.contains(&flag.as_str()), "README promises {flag}");
    }
}

/// What README says of completions and manual pages, typed by a user whose folders are not there yet.
#[cfg(unix)]
#[test]
fn what_readme_has_typed_works_for_a_new_user() {
    let home = crate::harness::Folder::new();
    let readme = document("README.md");
    let section = readme.split("## Completions and manual pages\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let typed: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(typed.len() >= 3, "{typed:?}");
    let program = Path::new(env!("CARGO_BIN_EXE_resound")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("sh");
    let done = shell.args(["-ec", &typed.join("\n")]).env("HOME", &home.0).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "{typed:?}: {}", String::from_utf8_lossy(&done.stderr));
    for file in ["bash-completion/completions/resound", "man/man1/resound.1", "man/man1/resound-client.1"] {
        assert!(home.0.join(".local/share").join(file).metadata().unwrap().len() > 0, "{file}");
    }
}

#[test]
fn the_hop_list_names_what_exists() {
    let text = document("ARCHITECTURE.md");
    let mut checked = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let Some((file, function)) = word.split_once("::").filter(|(file, _)| file.ends_with(".rs")) else {
            if word.starts_with("src/") && !word.contains(['*', '<']) {
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(word).exists(), "ARCHITECTURE.md names {word}");
            }
            continue;
        };
        let code = document(file);
        let name = function.trim_end_matches("()").rsplit("::").next().unwrap();
        assert!(code.contains(&format!("fn {name}")), "ARCHITECTURE.md: {file} has no function {name}");
        checked += 1;
    }
    assert!(checked >= 10, "the hop list names functions as `file.rs::function`");
}

#[test]
fn a_test_stands_behind_every_failure_mode_that_names_one() {
    let text = document("ARCHITECTURE.md");
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let mut code = String::new();
    for entry in fs::read_dir(suite).unwrap() {
        code += &fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    for file in ["accept", "socket", "address", "dial"] {
        code += &document(&format!("src/engine/{file}.rs"));
    }
    for file in ["printer", "escape", "console", "json", "client/pipe/output"] {
        code += &document(&format!("src/bin/resound/{file}.rs"));
    }
    for file in ["sys/tests", "sys/tokens", "uring/timers", "queue"] {
        code += &document(&format!("src/engine/{file}.rs"));
    }
    code += &document("src/proto/framing.rs");
    for file in ["v1", "v2"] {
        code += &document(&format!("src/proto/proxy/{file}.rs"));
    }
    code += &document("src/error/close.rs");
    let table = text.split("## Failure modes").nth(1).expect("the table");
    let mut named = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        for name in row.split('`').skip(1).step_by(2) {
            assert!(code.contains(&format!("fn {name}(")), "no test {name}");
            named += 1;
        }
    }
    assert!(named >= 20, "{named} tests named");
}

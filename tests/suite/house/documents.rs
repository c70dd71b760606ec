//! The documents match the program and the code.

use std::fs;
use std::path::Path;

use crate::child::run;

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

/// README and the guides.
fn guides() -> String {
    let mut text = document("README.md");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

#[test]
fn the_front_page_is_short() {
    let size = document("README.md").len();
    assert!(size <= 10 * 1024, "README.md has {size} bytes; a guide in docs/ has room for the rest");
}

#[test]
fn the_front_page_shows_an_example_that_compiles() {
    let page = document("README.md");
    let shown = page.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(document("examples/shout.rs").ends_with(shown), "README.md and examples/shout.rs differ");
}

/// Each link leads to a file of the project, and to a heading that exists.
#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root.join(name)).into_iter().chain(docs);
    let mut checked = 0;
    for page in pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).chain(text.split("src=\"").skip(1)).chain(text.split("srcset=\"").skip(1));
        for link in links.map(|rest| rest.split([')', '"']).next().unwrap()).filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if let Some(heading) = heading {
                let slug = |line: &str| {
                    let line = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                    line.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect::<String>()
                };
                let headings = fs::read_to_string(&target).unwrap();
                let is_there = headings.lines().any(|line| line.starts_with('#') && slug(line) == heading);
                assert!(is_there, "{}: {link} names no heading", page.display());
            }
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked} links");
}

#[test]
fn the_guides_name_every_flag_and_no_other() {
    let mut help = String::new();
    for command in ["server", "client", "test", "relay", "lab", "load", "report", "top", "completions", "man"] {
        help += &String::from_utf8(run(&[command, "--help"], b"").1).unwrap();
    }
    let (guides, known) = (guides(), flags(&help));
    for flag in known.iter().filter(|flag| !["--help", "--version"].contains(&flag.as_str())) {
        assert!(guides.contains(&format!("`{flag}")), "no guide explains {flag}");
    }
    let cargo = [
        "--bin",
        "--manifest-path",
        "--release",
        "--ignored",
        "--test",
        "--example",
        "--path",
        "--open",
        "--help",
        "--version",
    ];
    let benchmark = ["--binary", "--rounds", "--scene", "--seconds"];
    for flag in flags(&guides) {
        let is_other = cargo.iter().chain(&benchmark).any(|other| *other == flag);
        assert!(known.contains(&flag) || is_other, "a guide promises {flag}");
    }
}

/// The guide's commands for completions and manual pages, typed by a user without the folders.
#[cfg(unix)]
#[test]
fn the_guides_commands_for_completions_and_pages_work_for_a_new_user() {
    let home = tempfile::TempDir::new().unwrap();
    let guide = document("docs/client.md");
    let section = guide.split("## Completions and manual pages\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let typed: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(typed.len() >= 3, "{typed:?}");
    let program = Path::new(env!("CARGO_BIN_EXE_resound")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("sh");
    let done = shell.args(["-ec", &typed.join("\n")]).env("HOME", home.path()).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "{typed:?}: {}", String::from_utf8_lossy(&done.stderr));
    for file in ["bash-completion/completions/resound", "man/man1/resound.1", "man/man1/resound-client.1"] {
        assert!(home.path().join(".local/share").join(file).metadata().unwrap().len() > 0, "{file}");
    }
}

/// The pages that ARCHITECTURE.md links to.
fn design() -> String {
    ["conn", "engines", "uring", "load", "lab", "failures"]
        .map(|name| document(&format!("docs/design/{name}.md")))
        .concat()
}

#[test]
fn architecture_is_one_page() {
    let size = document("ARCHITECTURE.md").len();
    assert!(size <= 12 * 1024, "ARCHITECTURE.md has {size} bytes; docs/design/ has room for the rest");
}

#[test]
fn the_hop_list_names_what_exists() {
    let text = document("ARCHITECTURE.md") + &design();
    let mut checked = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let Some((file, function)) = word.split_once("::").filter(|(file, _)| file.ends_with(".rs")) else {
            if (word.starts_with("src/") || word.starts_with("crates/")) && !word.contains(['*', '<']) {
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(word).exists(), "ARCHITECTURE.md names {word}");
            }
            continue;
        };
        let code = document(file);
        let name = function.trim_end_matches("()").rsplit("::").next().unwrap();
        // The whole name, not a prefix of it.
        let has = ["(", "<"].iter().any(|end| code.contains(&format!("fn {name}{end}")));
        assert!(has, "{file} has no function {name}");
        checked += 1;
    }
    assert!(checked >= 10, "the hop list names functions as `file.rs::function`");
}

#[test]
fn a_test_stands_behind_every_failure_mode_that_names_one() {
    let text = document("docs/design/failures.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = ["tests/suite", "src", "crates"].map(|folder| root.join(folder)).to_vec();
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let mut named = 0;
    for row in text.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        for name in row.split('`').skip(1).step_by(2) {
            assert!(code.contains(&format!("fn {name}(")), "no test {name}");
            named += 1;
        }
    }
    assert!(named >= 20, "{named} tests named");
}

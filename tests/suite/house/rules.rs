//! The rules of CONTRIBUTING.md that a machine can check.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::arrows::{CRATES, code, sources};
use super::imports;

/// The folders with Rust in them.
const FOLDERS: &[&str] = &["src", "crates", "tests", "examples", "benches/src", "fuzz"];

const CODE: usize = 120;
const COMMENT: usize = 100;
const FILE: usize = 500;
const FUNCTION: usize = 80;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below some folders that end so.
fn files(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let inside = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            open.extend(inside.filter(|path| !path.ends_with("target")));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    assert!(found.len() > 1, "no .{extension} in {folders:?}");
    found
}

/// The name of each Rust file in some folders, and its text.
fn rust(folders: &[&str]) -> Vec<(String, String)> {
    texts(files(folders, "rs"))
}

fn texts(files: Vec<PathBuf>) -> Vec<(String, String)> {
    let name = |path: &Path| path.strip_prefix(root()).unwrap_or(path).display().to_string();
    files.into_iter().map(|path| (name(&path), fs::read_to_string(path).unwrap())).collect()
}

fn nothing(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn lines_fit_their_columns() {
    let mut found = Vec::new();
    for (path, text) in rust(FOLDERS) {
        for (number, line) in text.lines().enumerate() {
            let most = if line.trim_start().starts_with("//") { COMMENT } else { CODE };
            if line.chars().count() > most {
                found.push(format!("{path}:{}: {} columns", number + 1, line.chars().count()));
            }
        }
    }
    nothing(&found, "code has 120 columns and a comment 100");
}

/// Does a function of several lines begin with this line?
fn begins_function(line: &str) -> bool {
    let is_modifier = |word: &str| {
        word.starts_with("pub") || word.ends_with(')') || ["async", "const", "unsafe", "extern"].contains(&word)
    };
    let before = line.trim_start().split_once("fn ").map(|(before, _)| before);
    before.is_some_and(|before| before.split_whitespace().all(is_modifier)) && !line.ends_with(['}', ';'])
}

#[test]
fn files_and_functions_are_short() {
    let mut found = Vec::new();
    for (path, text) in rust(FOLDERS) {
        let lines: Vec<_> = text.lines().collect();
        if lines.len() > FILE {
            found.push(format!("{path}: {} lines", lines.len()));
        }
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
            let end = format!("{}}}", " ".repeat(line.len() - line.trim_start().len()));
            let length = lines[start..].iter().position(|line| *line == end).map_or(1, |length| length + 1);
            if length > FUNCTION {
                found.push(format!("{path}:{}: a function of {length} lines", start + 1));
            }
        }
    }
    nothing(&found, "a file has at most 500 lines and a function 80");
}

#[test]
fn a_type_name_stands_for_one_type() {
    let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let outside = files(&["examples", "benches/src"], "rs");
    for path in CRATES.iter().flat_map(|folder| sources(folder)).chain(outside) {
        for line in code(&path).lines().filter(|line| !line.starts_with("    type ")) {
            let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub") || *word == "unsafe");
            let Some("struct" | "enum" | "trait" | "union" | "type") = words.next() else { continue };
            let name: String = words.next().unwrap_or_default().chars().take_while(|c| c.is_alphanumeric()).collect();
            declared.entry(name).or_default().push(path.display().to_string());
        }
    }
    assert!(declared.len() > 300, "{}", declared.len());
    let twice = declared.into_iter().filter(|(_, places)| places.len() > 1);
    let twice: Vec<_> = twice.map(|(name, places)| format!("{name}: {}", places.join(", "))).collect();
    nothing(&twice, "a type name has one meaning");
}

#[test]
fn modules_import_in_one_direction() {
    let mut found = Vec::new();
    for folder in CRATES.iter().copied().chain(["benches/src"]) {
        for cycle in imports::cycles(&root().join(folder)) {
            found.push(format!("{folder}: {}", cycle.into_iter().collect::<Vec<_>>().join(", ")));
        }
    }
    nothing(&found, "modules do not import each other");
}

#[test]
fn the_subject_of_a_sentence_is_a_thing() {
    // Joined here, so that this file does not count.
    let words =
        ["who", "no", "some", "any"].map(|start| format!("{start}{}", if start == "who" { "ever" } else { "body" }));
    let mut found = Vec::new();
    let mut documents = files(&["docs"], "md");
    documents.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)));
    for (path, text) in rust(FOLDERS).into_iter().chain(texts(documents)) {
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            let has = line.split(|c: char| !c.is_alphanumeric()).any(|word| words.iter().any(|w| w == word));
            if has {
                found.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert!(found.len() <= 10, "name the thing that acts:\n{}", found.join("\n"));
}

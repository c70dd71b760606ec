//! The rooms and the arrows between them, as ARCHITECTURE.md draws them.

use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may use.
const ARROWS: [(&str, &[&str]); 7] = [
    ("error", &[]),
    ("metrics", &[]),
    ("service", &["error"]),
    ("tls", &["error"]),
    ("proto", &["service", "tls", "error"]),
    ("engine", &["proto", "service", "tls", "metrics", "error"]),
    ("load", &["engine", "proto", "service", "tls", "metrics", "error"]),
];

fn sources(room: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file = root.join(format!("{room}.rs"));
    let mut found = if file.exists() { vec![file] } else { Vec::new() };
    let mut folders = vec![root.join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no room '{room}'");
    found
}

/// The code of a file, without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn rooms_use_only_what_they_may() {
    for (room, allowed) in ARROWS {
        for path in sources(room) {
            for part in code(&path).split("crate::").skip(1) {
                let used: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                assert!(
                    used == room || allowed.contains(&used.as_str()),
                    "{}: the room '{room}' uses crate::{used}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn engines_never_import_each_other() {
    let engines = ["portable", "threads", "uring"];
    for (engine, other) in engines.iter().flat_map(|one| engines.map(|other| (one, other))).filter(|(a, b)| *a != b) {
        let engine = &format!("engine/{engine}");
        for path in sources(engine) {
            assert!(!code(&path).contains(&format!("{other}::")), "{} uses {other}", path.display());
        }
    }
}

#[test]
fn unsafe_code_has_one_room() {
    for path in sources("engine").into_iter().filter(|path| !path.to_string_lossy().contains("/engine/sys/")) {
        // As a word: not in `unsafe_code`.
        assert!(
            !code(&path).split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe"),
            "{} is unsafe",
            path.display()
        );
    }
    for path in sources("engine/sys") {
        let (blocks, reasons) = (code(&path).matches("unsafe {").count(), fs::read_to_string(&path).unwrap());
        let reasons = reasons.matches("// SAFETY:").count();
        assert!(blocks <= reasons, "{}: {blocks} unsafe blocks, {reasons} reasons", path.display());
    }
}

#[test]
fn what_is_said_holds_no_socket_no_clock_and_no_thread() {
    for room in ["service", "proto"] {
        for path in sources(room) {
            let code = code(&path);
            let forbidden = [
                "Instant::now",
                "SystemTime",
                "TcpStream",
                "UdpSocket",
                "socket2",
                "tokio",
                "std::thread",
                "std::io",
                "unsafe",
            ];
            for word in forbidden {
                assert!(!code.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

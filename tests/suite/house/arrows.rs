//! The crates and what they may hold, as ARCHITECTURE.md draws them. The compiler checks the arrows
//! between crates; this checks what it cannot.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) const CRATES: [&str; 9] = [
    "crates/resound-proto/src",
    "crates/resound-faults/src",
    "crates/resound/src",
    "crates/resound-load/src",
    "crates/resound-lab/src",
    "crates/resound-probe/src",
    "crates/resound-verdict/src",
    "crates/resound-console/src",
    "src",
];
/// The crates without I/O.
const PURE: [&str; 2] = ["resound-proto", "resound-faults"];
/// What holds no I/O: those crates, and a folder of another.
const PURE_FOLDERS: [&str; 3] =
    ["crates/resound-proto/src", "crates/resound-faults/src", "crates/resound-lab/src/path"];

/// The Rust files in a folder, without files of tests.
pub(super) fn sources(folder: &str) -> Vec<PathBuf> {
    sources_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
}

pub(super) fn sources_in(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {}", root.display());
    found
}

/// The code of a file, without its tests and comments.
pub(super) fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|found| found == word)
}

#[test]
fn engines_never_import_each_other() {
    let engines = ["portable", "threads", "uring"];
    for engine in engines {
        let folder = format!("crates/resound/src/engine/{engine}");
        for other in engines.iter().filter(|other| **other != engine) {
            for path in sources(&folder) {
                assert!(!code(&path).contains(&format!("{other}::")), "{} uses {other}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_lives_in_one_folder() {
    for path in CRATES.iter().flat_map(|folder| sources(folder)) {
        let path_text = path.to_string_lossy();
        let is_sys = ["/engine/sys/", "/resound-lab/src/sys/"].iter().any(|folder| path_text.contains(folder));
        assert!(is_sys || !has_word(&code(&path), "unsafe"), "{} is unsafe", path.display());
        if is_sys {
            let blocks = code(&path).matches("unsafe {").count();
            let reasons = fs::read_to_string(&path).unwrap().matches("// SAFETY:").count();
            assert!(blocks <= reasons, "{}: {blocks} unsafe blocks, {reasons} reasons", path.display());
        }
    }
}

fn manifest(krate: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates").join(krate).join("Cargo.toml");
    fs::read_to_string(path).unwrap()
}

#[test]
fn pure_code_holds_no_socket_clock_lock_thread_or_log() {
    for folder in PURE_FOLDERS {
        for path in sources(folder) {
            let code = code(&path);
            for call in ["Instant::now", "SystemTime", "std::thread", "std::fs", ".elapsed()"] {
                assert!(!code.contains(call), "{} uses {call}", path.display());
            }
            for word in ["TcpStream", "UdpSocket", "Mutex", "RwLock", "Condvar"] {
                assert!(!has_word(&code, word), "{} uses {word}", path.display());
            }
        }
    }
    for krate in PURE {
        for dependency in ["tokio", "socket2", "tracing", "rustix", "libc"] {
            assert!(
                !manifest(krate).lines().any(|line| line.starts_with(dependency)),
                "{krate} depends on {dependency}"
            );
        }
    }
}

/// Faults know no connection of the protocol, and the other libraries no fault of a path.
#[test]
fn faults_stand_beside_the_other_libraries() {
    let is_ours = |line: &str| line.starts_with("resound");
    assert!(!manifest("resound-faults").lines().any(is_ours), "resound-faults uses a crate of the project");
    for krate in ["resound", "resound-proto", "resound-load"] {
        let uses = |line: &str| line.starts_with(&format!("{krate}.")) || line.starts_with(&format!("{krate} "));
        assert!(!manifest("resound-lab").lines().any(uses), "resound-lab uses {krate}");
    }
    for (krate, own) in [("resound-probe", vec!["resound"]), ("resound-console", vec!["resound", "resound-load"])] {
        let uses: Vec<_> = manifest(krate).lines().filter(|line| is_ours(line)).map(str::to_string).collect();
        let own: Vec<_> = own.iter().map(|name| format!("{name}.workspace = true")).collect();
        assert_eq!(uses, own, "{krate}");
    }
    for krate in ["resound-proto", "resound-load"] {
        assert!(!manifest(krate).contains("resound-faults"), "{krate} uses resound-faults");
    }
}

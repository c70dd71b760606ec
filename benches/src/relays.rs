//! The relays: resound's, and those that a Debian machine may have installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{ServerBench, built, program, source};

/// Every pair takes two descriptors of a relay.
const MOST_PAIRS: usize = 4_000;

const HAPROXY: &str = "HAProxy";
const SPLICING: &str = "HAProxy splice";
const NGINX: &str = "nginx";

/// The relays that the others are compared with.
pub(crate) const BASES: [&str; 3] = [HAPROXY, SPLICING, NGINX];
/// How the names of resound's own relays begin.
pub(crate) const OWN: &str = "resound";

/// A relay, and what it takes part in.
pub(crate) struct RelayBench {
    pub(crate) server: ServerBench,
    /// The most pairs that it is measured with.
    pub(crate) most_pairs: usize,
    pub(crate) only_streams: bool,
}

impl RelayBench {
    fn of(name: &'static str, command: &[&str]) -> Self {
        let command = command.iter().copied().map(Into::into).collect();
        Self {
            server: ServerBench::of(name, command),
            most_pairs: MOST_PAIRS,
            only_streams: false,
        }
    }

    fn with_config(mut self, path: &Path, text: String) -> Self {
        self.server.config = Some((path.to_owned(), text));
        self
    }
}

/// The relays that this machine can run, each on one thread, and the versions of the foreign ones.
pub(crate) fn relays(work: &Path) -> (Vec<RelayBench>, String) {
    let resound = program();
    let own = |name, engine| {
        let fixed = [
            &resound,
            "relay",
            "127.0.0.1:PORT",
            "TARGET",
            "--quiet",
            "--workers",
            "1",
            "--engine",
            engine,
        ];
        RelayBench::of(name, &fixed)
    };
    let mut relays = vec![own("resound uring", "uring"), own("resound portable", "portable")];
    let mut versions = Vec::new();
    if let Some(program) = installed(HAPROXY, "haproxy", "-v", &mut versions) {
        let splice = "  option splice-auto\n  option splice-request\n  option splice-response\n";
        for (name, file, more) in [(HAPROXY, "haproxy.cfg", ""), (SPLICING, "splice.cfg", splice)] {
            let path = work.join(file);
            let command = [&program, "-db", "-f", &path.display().to_string()];
            relays.push(RelayBench::of(name, &command).with_config(&path, haproxy(more)));
        }
        relays.last_mut().expect("two relays").only_streams = true;
    }
    if let Some(program) = installed(NGINX, "nginx", "-v", &mut versions) {
        if let Some(module) = stream_module(&program) {
            let path = work.join("nginx.conf");
            let (prefix, file) = (work.display().to_string(), path.display().to_string());
            let command = [&program, "-p", &prefix, "-e", "stderr", "-c", &file];
            relays.push(RelayBench::of(NGINX, &command).with_config(&path, nginx(&prefix, &module)));
        } else {
            println!("NOT MEASURED {NGINX}: it has no stream module here");
        }
    }
    if let Some(program) = installed("socat", "socat", "-V", &mut versions) {
        let command = [&program, "TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork", "TCP:TARGET"];
        // It forks a process for each pair.
        relays.push(RelayBench {
            most_pairs: 1,
            ..RelayBench::of("socat", &command)
        });
    }
    if let Some(compiler) = installed("Go", "go", "version", &mut versions) {
        let program = work.join("relay").display().to_string();
        if built(
            "Go",
            Command::new(compiler).args(["build", "-o", &program, &source("relay.go")]),
        ) {
            relays.push(RelayBench::of("Go", &[&program, "PORT", "TARGET"]));
        }
    }
    (relays, versions.concat())
}

/// The path of a program. Its version joins the others; a line tells if it is missing.
fn installed(name: &str, file: &str, flag: &str, versions: &mut Vec<String>) -> Option<String> {
    // Debian has daemons where only root's PATH leads.
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let path = folders
        .split(':')
        .map(|folder| Path::new(folder).join(file))
        .find(|path| path.is_file());
    let Some(path) = path.map(|path| path.display().to_string()) else {
        println!("NOT MEASURED {name}: it is not installed here");
        return None;
    };
    let output = output(&path, flag);
    let is_version = |word: &&str| word.contains('.') && word.ends_with(|c: char| c.is_alphanumeric());
    let starts_with_digit = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let version = output
        .split_whitespace()
        .filter(is_version)
        .map(|word| word.trim_start_matches(|c: char| !c.is_ascii_digit()))
        .find(|word| starts_with_digit(word));
    versions.push(format!(" {name} {}.", version.unwrap_or("of an unknown version")));
    Some(path)
}

fn output(program: &str, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    output.map_or_else(
        |_| String::new(),
        |output| {
            [output.stdout, output.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .concat()
        },
    )
}

fn haproxy(more: &str) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn {MOST_PAIRS}\n\
         defaults\n  mode tcp\n{more}  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n\
         frontend relay\n  bind 127.0.0.1:PORT\n  default_backend target\n\
         backend target\n  server one TARGET\n"
    )
}

/// The line that loads nginx's stream module: empty if it is built in, nothing without one.
fn stream_module(nginx: &str) -> Option<String> {
    let settings = output(nginx, "-V");
    let setting = |name: &str| {
        let found = settings.split_whitespace().find_map(|word| word.strip_prefix(name));
        found.map(str::to_owned)
    };
    match setting("--with-stream")?.as_str() {
        "" => Some(String::new()),
        _ => {
            let file = PathBuf::from(setting("--modules-path=")?).join("ngx_stream_module.so");
            file.exists().then(|| format!("load_module {};\n", file.display()))
        }
    }
}

fn nginx(prefix: &str, module: &str) -> String {
    format!(
        "{module}daemon off;\nmaster_process off;\npid {prefix}/nginx.pid;\nerror_log stderr crit;\n\
         events {{ worker_connections {}; }}\n\
         stream {{\n  server {{\n    listen 127.0.0.1:PORT backlog={MOST_PAIRS};\n    proxy_pass TARGET;\n    \
         proxy_timeout 1h;\n  }}\n}}\n",
        2 * MOST_PAIRS + 8
    )
}

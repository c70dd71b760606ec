//! The servers, each a process on a processor of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

/// A server that can be started.
pub(crate) struct ServerBench {
    pub(crate) name: &'static str,
    command: Vec<String>,
    /// Says nothing before a handshake.
    pub(crate) tls: bool,
}

impl ServerBench {
    /// resound's engines, as they were built with `cargo build --release`, and the peers in this
    /// program.
    pub(crate) fn all() -> Vec<Self> {
        let peer = |name| Self::of(name, [&Self::ours(), "peer", name, "PORT"].map(Into::into).into());
        vec![
            Self::resound("resound uring", "uring", &[]),
            Self::resound("resound portable", "portable", &[]),
            peer("epoll"),
            peer("tokio"),
            peer("monoio"),
        ]
    }

    /// resound's echo server on one worker.
    pub(crate) fn resound(name: &'static str, engine: &str, more: &[&str]) -> Self {
        let program = program();
        let fixed = [
            &program,
            "server",
            "127.0.0.1",
            "PORT",
            "--mode",
            "echo",
            "--quiet",
            "--workers",
            "1",
            "--engine",
            engine,
        ];
        Self::of(
            name,
            fixed.into_iter().chain(more.iter().copied()).map(Into::into).collect(),
        )
    }

    pub(crate) fn of(name: &'static str, command: Vec<String>) -> Self {
        Self {
            name,
            command,
            tls: false,
        }
    }

    /// This program, in which some of the peers are.
    pub(crate) fn ours() -> String {
        std::env::current_exe()
            .expect("this program's path")
            .display()
            .to_string()
    }

    /// Starts it on processor 0; we go on on processor 1, where there is one.
    pub(crate) fn start(&self) -> RunningServer {
        let free = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let words: Vec<String> = self
            .command
            .iter()
            .map(|word| word.replace("PORT", &free.port().to_string()))
            .collect();
        on_processor(0);
        let start = Instant::now();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut running = RunningServer {
            child,
            address: free,
            took: Duration::ZERO,
        };
        // The first answer is the end of the start; with TLS, the first connection.
        while !(if self.tls {
            TcpStream::connect(free).is_ok()
        } else {
            echoes(free)
        }) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{} does not answer",
                self.name
            );
        }
        running.took = start.elapsed();
        on_processor(1);
        running
    }
}

/// resound, as it was built with `cargo build --release`.
pub(crate) fn program() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("resound's folder");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let program = target.join("release/resound");
    assert!(program.exists(), "build resound first: cargo build --release");
    program.display().to_string()
}

fn echoes(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let mut byte = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok()
}

fn on_processor(number: usize) {
    let mut set = CpuSet::new();
    set.set(number);
    // With a single processor everybody shares it.
    let _ = sched_setaffinity(None, &set);
}

/// A server that runs; killed when dropped.
pub(crate) struct RunningServer {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start to the first answer.
    pub(crate) took: Duration,
}

impl RunningServer {
    /// Resident memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS")
    }

    /// Resident memory that is no file's: what the program has allocated, in bytes.
    pub(crate) fn allocated(&self) -> u64 {
        self.status("RssAnon")
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    }

    /// Processor time so far, of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()))
            .into_iter()
            .flatten()
            .flatten();
        let nanoseconds = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    );
}

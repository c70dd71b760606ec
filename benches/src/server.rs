//! The servers, each a process on a processor of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::options::option;

/// A server that can be started.
pub(crate) struct ServerBench {
    pub(crate) name: &'static str,
    command: Vec<String>,
    /// A file that is written before the start, and its text.
    pub(crate) config: Option<(PathBuf, String)>,
    /// Does the server at this address answer by now?
    pub(crate) ready: fn(SocketAddr) -> bool,
}

impl ServerBench {
    /// resound's engines, as they were built with `cargo build --release`, and the peers in this
    /// program.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::resound("resound uring", "uring", &[]),
            Self::resound("resound portable", "portable", &[]),
            Self::peer("epoll"),
            Self::peer("tokio"),
            Self::peer("monoio"),
        ]
    }

    /// One of the echo servers in this program.
    pub(crate) fn peer(name: &'static str) -> Self {
        Self::of(name, [&Self::ours(), "peer", name, "PORT"].map(Into::into).into())
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
            config: None,
            ready: echoes,
        }
    }

    /// This program, in which some of the peers are.
    pub(crate) fn ours() -> String {
        std::env::current_exe()
            .expect("this program's path")
            .display()
            .to_string()
    }

    /// Starts it on processor 0; this program goes on on processor 1, where there is one.
    pub(crate) fn start(&self) -> RunningServer {
        self.launch(0, None, self.ready)
    }

    /// Starts it on a processor. In its command and its file PORT stands for the port it is to
    /// listen on, and TARGET for the address it is to relay to.
    pub(crate) fn launch(
        &self,
        processor: usize,
        target: Option<SocketAddr>,
        ready: fn(SocketAddr) -> bool,
    ) -> RunningServer {
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let target = target.map_or_else(String::new, |target| target.to_string());
        let fill = |text: &str| {
            text.replace("PORT", &address.port().to_string())
                .replace("TARGET", &target)
        };
        if let Some((path, text)) = &self.config {
            fs::write(path, fill(text)).expect("the server's file");
        }
        let words: Vec<String> = self.command.iter().map(|word| fill(word)).collect();
        on_processor(processor);
        let start = Instant::now();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut running = RunningServer {
            child,
            address,
            took: Duration::ZERO,
        };
        // The first answer is the end of the start; with TLS, the first connection.
        while !ready(address) {
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

/// resound, as it was built with `cargo build --release`, or the program of `--binary`.
pub(crate) fn program() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("resound's folder");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let program = option("binary").unwrap_or_else(|| target.join("release/resound"));
    assert!(
        program.exists(),
        "{}: build resound first: cargo build --release",
        program.display()
    );
    program.display().to_string()
}

/// The path of a peer's source.
pub(crate) fn source(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name)
        .display()
        .to_string()
}

/// Runs a compiler.
pub(crate) fn built(name: &str, command: &mut Command) -> bool {
    let done = command.status().is_ok_and(|status| status.success());
    if !done {
        println!("NOT MEASURED {name}: it cannot be built here");
    }
    done
}

/// A folder for what a run builds and configures; the page removes it at its end.
pub(crate) fn work_folder() -> PathBuf {
    let work = std::env::temp_dir().join(format!("resound-bench-{}", std::process::id()));
    fs::create_dir_all(&work).expect("a folder");
    work
}

pub(crate) fn connects(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

pub(crate) fn echoes(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let mut byte = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok()
}

pub(crate) fn on_processor(number: usize) {
    let mut set = CpuSet::new();
    set.set(number);
    // A machine with one processor runs everything on it.
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
    /// Resident memory, in bytes. It is counted page by page: VmRSS may be off by 64 pages.
    pub(crate) fn memory(&self) -> u64 {
        self.bytes("smaps_rollup", "Rss:")
    }

    /// Resident memory that is no file's: what the program has allocated, in bytes.
    pub(crate) fn allocated(&self) -> u64 {
        self.bytes("status", "RssAnon")
    }

    fn bytes(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    }

    /// Processor time so far, of all its threads and of the processes it has forked.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(nanoseconds(&self.child.id().to_string()))
    }
}

/// Processor time of a process and of its living children.
fn nanoseconds(process: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let of_task = |task: fs::DirEntry| {
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let own = read("schedstat")
            .split_whitespace()
            .next()
            .and_then(|time| time.parse().ok())
            .unwrap_or(0);
        own + read("children").split_whitespace().map(nanoseconds).sum::<u64>()
    };
    tasks.map(of_task).sum()
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

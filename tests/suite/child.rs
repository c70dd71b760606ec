//! The program as a child process, and the lines of its stdout.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use wait_timeout::ChildExt;

use crate::harness::PATIENCE;

/// The program as a child process; killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) stdout: Lines,
}

impl Program {
    pub(crate) fn command(args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resound"));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        Self::of(command.spawn().expect("the program starts"))
    }

    /// A child whose stdout nothing reads yet.
    pub(crate) fn of(mut child: Child) -> Self {
        let stdout = Lines::of(child.stdout.take().expect("stdout is piped"));
        Self { child, stdout }
    }

    /// Starts `resound server 127.0.0.1 0` with more arguments, and waits until it serves.
    pub(crate) fn server(args: &[&str]) -> (Self, SocketAddr) {
        let mut server = Self::spawn(Self::command(&[&["server", "127.0.0.1", "0"], args].concat()));
        let line = server.stdout.next();
        let address = line.strip_prefix("TCP Server started on ").expect(&line).parse().expect(&line);
        (server, address)
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signal");
    }

    /// Waits for the end: exit code and stderr.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let stderr = self.child.stderr.take().map(read_all);
        let status = wait(&mut self.child);
        let stderr = stderr.map(|reader| reader.join().expect("stderr")).unwrap_or_default();
        (status.code(), stderr)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a child, but not forever.
pub(crate) fn wait(child: &mut Child) -> std::process::ExitStatus {
    // Held, or the wait would close it, and the program would see the end of its input.
    let stdin = child.stdin.take();
    let status = child.wait_timeout(PATIENCE).expect("wait").expect("the program has not ended");
    child.stdin = stdin;
    status
}

fn read_all(mut from: ChildStderr) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = from.read_to_string(&mut text);
        text
    })
}

/// Runs the program to its end, with something on stdin: exit code, stdout, stderr.
pub(crate) fn run(args: &[&str], stdin: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    let mut child = Program::command(args).stdin(Stdio::piped()).spawn().expect("the program starts");
    let mut to = child.stdin.take().expect("stdin is piped");
    let stdin = stdin.to_vec();
    // The program may end without having read it all.
    let feeder = std::thread::spawn(move || drop(to.write_all(&stdin)));
    let mut from = child.stdout.take().expect("stdout is piped");
    let stdout = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    });
    let stderr = read_all(child.stderr.take().expect("stderr is piped"));
    let status = wait(&mut child);
    feeder.join().expect("stdin");
    (status.code(), stdout.join().expect("stdout"), stderr.join().expect("stderr"))
}

/// Lines of a child's stdout, as they come.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(stdout: impl Read + Send + 'static) -> Self {
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    pub(crate) fn next(&mut self) -> String {
        self.0.recv_timeout(PATIENCE).expect("a line on stdout")
    }

    /// The next line, unless the stream ends instead.
    #[cfg(unix)]
    pub(crate) fn next_if_any(&mut self) -> Option<String> {
        match self.0.recv_timeout(PATIENCE) {
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("neither a line on stdout nor its end"),
            line => line.ok(),
        }
    }

    /// Reads until a line that begins so.
    pub(crate) fn until(&mut self, start: &str) -> String {
        loop {
            let line = self.next();
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// All lines up to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.0.iter().collect()
    }
}

//! SIGUSR2: another process takes the sockets over, and nothing is lost.

mod admin;
mod long;
mod signals;
mod starts;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

use resound::Engine;
use rustix::process::{Pid, Signal, kill_process};

use crate::child::{Lines, Program};
use crate::harness::{Peer, eventually, on_each_engine_once};
#[cfg(target_os = "linux")]
use crate::not_tested::not_tested;

on_each_engine_once!(two_upgrades_lose_no_connection);

/// A program and those that have replaced it. All of them end with the test, whose end of their
/// stdin they watch.
struct Generations {
    program: Program,
    stderr: Lines,
    /// The process that accepts.
    pid: u32,
    _stdin: ChildStdin,
}

impl Generations {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped());
        let mut program = Program::spawn(command);
        let (stderr, stdin) = (program.child.stderr.take().unwrap(), program.child.stdin.take().unwrap());
        Self { pid: program.child.id(), stderr: Lines::of(stderr), _stdin: stdin, program }
    }

    /// A server on a free port.
    fn server(path: &Path, flags: &[&str]) -> (Self, SocketAddr) {
        let mut command = Command::new(path);
        command.args(["server", "127.0.0.1", "0", "--while-stdin"]).args(flags);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut this = Self::start(command);
        let address = this.address("TCP Server started on ");
        (this, address)
    }

    fn address(&mut self, start: &str) -> SocketAddr {
        let line = self.program.stdout.until(start);
        line[start.len()..].split(',').next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid.try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Lets another process take over. Returns the one before.
    fn upgrade(&mut self) -> u32 {
        self.signal(Signal::USR2);
        let line = self.program.stdout.until("Upgraded: process ");
        let pid = line.split(' ').nth(2).unwrap().parse().unwrap();
        std::mem::replace(&mut self.pid, pid)
    }

    /// Ends the process that accepts, and returns what all of them have printed since.
    fn end(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        self.program.stdout.rest()
    }
}

/// Connects, asks and leaves, one client after the other, until it is stopped.
struct Clients {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Clients {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let mut served = 0;
            while !stopped.load(SeqCst) {
                Peer::connect(address).ask("one of many");
                served += 1;
            }
            served
        };
        Self { stop, thread: std::thread::spawn(run) }
    }

    /// How many were served. One that was not has panicked.
    fn end(self) -> u64 {
        self.stop.store(true, SeqCst);
        self.thread.join().expect("a client was refused, reset or not answered")
    }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_resound"))
}

fn name(engine: Engine) -> &'static str {
    match engine {
        Engine::Uring => "uring",
        Engine::Portable => "portable",
        _ => "threads",
    }
}

fn descriptors(pid: u32) -> Option<usize> {
    std::fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count)
}

/// Whether this process has ended, and was reaped.
fn is_gone(pid: u32) -> bool {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

fn two_upgrades_lose_no_connection(engine: Engine) {
    let (mut server, address) = Generations::server(program(), &["--engine", name(engine)]);
    let first = server.pid;
    let mut of_first = Peer::connect(address);
    of_first.ask("held by the first");
    let clients = Clients::start(address);
    assert_eq!(server.upgrade(), first);
    let (second, open) = (server.pid, descriptors(server.pid));
    let mut of_second = Peer::connect(address);
    of_second.ask("held by the second");
    assert_eq!(server.upgrade(), second);
    assert!(clients.end() > 0);
    of_first.ask("still there");
    of_second.ask("still there");
    // The second ends with its connection, and the first, whose child it is, reaps it.
    drop(of_second);
    eventually("the second process is gone", || is_gone(second));
    of_first.ask("still there");
    // Clients that were just served may still count in either number.
    if let Some(open) = open {
        eventually("no descriptor has leaked", || descriptors(server.pid).is_some_and(|now| now <= open));
    }
    drop(of_first);
    let mut lines = server.end();
    lines.retain(|line| line.starts_with("Server stopped: "));
    assert_eq!(lines.len(), 3, "{lines:?}");
}

/// Also flags that a reload cannot change.
#[test]
fn the_new_process_reads_the_configuration_anew() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("resound.toml");
    std::fs::write(&file, "[server]\nhost = '127.0.0.1'\nport = 0\n").unwrap();
    let mut command = Program::command(&["server", "--while-stdin", "--config", file.to_str().unwrap()]);
    command.env("RESOUND_SERVER_ALLOW", "127.0.0.1");
    let mut server = Generations::start(command);
    let address = server.address("TCP Server started on ");
    let mut of_first = Peer::connect(address);
    of_first.ask("a message");
    // The variable has the last word, in the new process too.
    let changed = "[server]\nhost = '127.0.0.1'\nport = 0\nmode = 'echo'\nallow = ['192.0.2.1']\n";
    std::fs::write(&file, changed).unwrap();
    server.signal(Signal::HUP);
    let line = server.program.stdout.until("Configuration reloaded from ");
    assert!(line.ends_with("; mode as before, until a restart"), "{line}");
    server.upgrade();
    let mut of_second = Peer::connect(address);
    of_second.send("a message\n");
    of_second.expect("a message\n");
    of_first.ask("still there");
    drop((of_first, of_second));
    server.end();
}

#[test]
fn an_upgraded_relay_loses_no_connection() {
    let (_target, address) = Program::server(&["-q"]);
    for engine in ["portable", "auto"] {
        let mut command = Command::new(program());
        command.args(["relay", "0", &address.to_string(), "--while-stdin", "--engine", engine]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut relay = Generations::start(command);
        let listens = relay.address("TCP Relay started on ");
        let mut held = Peer::connect(listens);
        held.ask("held");
        let clients = Clients::start(listens);
        relay.upgrade();
        relay.upgrade();
        assert!(clients.end() > 0);
        held.ask("still there");
        drop(held);
        relay.end();
    }
}

/// A path to the program that can be led elsewhere.
fn linked(folder: &Path) -> PathBuf {
    let link = folder.join("resound");
    symlink(program(), &link).unwrap();
    link
}

/// Lets the path lead to a script instead.
fn replace(link: &Path, script: &str) {
    std::fs::remove_file(link).unwrap();
    std::fs::write(link, script).unwrap();
    std::fs::set_permissions(link, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Asks for an upgrade, which fails for this reason.
fn fails(server: &mut Generations, address: SocketAddr, why: &[&str]) {
    server.signal(Signal::USR2);
    let line = server.stderr.next();
    assert!(line.starts_with("resound: warning: no upgrade: ") && why.iter().all(|why| line.contains(why)), "{line}");
    assert!(line.ends_with("; this process goes on as before"), "{line}");
    Peer::connect(address).ask("a new one");
}

#[test]
fn a_broken_new_program_changes_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let link = linked(folder.path());
    let (mut server, address) = Generations::server(&link, &["--upgrade-start-timeout", "300ms"]);
    let mut held = Peer::connect(address);
    std::fs::remove_file(&link).unwrap();
    fails(&mut server, address, &["cannot be started", "No such file"]);
    std::fs::write(&link, "no program").unwrap();
    fails(&mut server, address, &["cannot be started", "Permission denied"]);
    replace(&link, "#!/bin/sh\nexit 3\n");
    fails(&mut server, address, &["has ended before it could serve: exit status: 3"]);
    replace(&link, "#!/bin/sh\nkill -9 $$\n");
    fails(&mut server, address, &["has ended before it could serve: signal: 9"]);
    replace(&link, "#!/bin/sh\nexec sleep 1000\n");
    fails(&mut server, address, &["was not ready after 300ms (--upgrade-start-timeout)"]);
    held.ask("still there");
    std::fs::remove_file(&link).unwrap();
    symlink(program(), &link).unwrap();
    server.upgrade();
    held.ask("still there");
    Peer::connect(address).ask("a new one");
    drop(held);
    server.end();
}

#[test]
fn a_new_program_that_goes_at_its_turn_changes_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let link = linked(folder.path());
    let (mut server, address) = Generations::server(&link, &[]);
    let mut held = Peer::connect(address);
    held.ask("before");
    replace(
        &link,
        "#!/bin/bash\nset -- $_RESOUND_UPGRADE\nread -r list <&$2\necho ready >&$2\nread -r turn <&$2\nexit 4\n",
    );
    fails(&mut server, address, &["has ended before it could serve: exit status: 4"]);
    held.ask("still there");
    drop(held);
    server.end();
}

#[test]
fn a_new_program_with_a_wrong_flag_says_why() {
    let folder = tempfile::TempDir::new().unwrap();
    let link = linked(folder.path());
    let (mut server, address) = Generations::server(&link, &[]);
    replace(&link, &format!("#!/bin/sh\nexec '{}' \"$@\" --mode nonsense\n", program().display()));
    server.signal(Signal::USR2);
    server.stderr.until("error: invalid value 'nonsense'");
    server.stderr.until("resound: warning: no upgrade: ");
    Peer::connect(address).ask("hello");
    server.end();
}

#[test]
fn a_second_signal_is_refused_and_a_wish_to_end_is_heard() {
    let folder = tempfile::TempDir::new().unwrap();
    let link = linked(folder.path());
    let (mut server, address) = Generations::server(&link, &[]);
    let mut held = Peer::connect(address);
    held.ask("hello");
    replace(&link, "#!/bin/sh\nexec sleep 1000\n");
    server.signal(Signal::USR2);
    let line = server.program.stdout.until("Upgrading: process ");
    let hanging = line.split(' ').nth(2).unwrap().parse().unwrap();
    server.signal(Signal::USR2);
    let line = server.stderr.next();
    let want = format!("an upgrade to process {hanging} is under way: another SIGUSR2 changes nothing");
    assert_eq!(line, format!("resound: warning: {want}"));
    server.signal(Signal::TERM);
    server.program.stdout.until("Shutting down: 1 open connection");
    assert_eq!(held.rest(), b"");
    assert!(is_gone(hanging), "the process that was to replace it is left behind");
    drop(held);
    server.program.stdout.until("Server stopped: ");
}

#[test]
fn what_a_failed_start_has_started_holds_no_listener() {
    let folder = tempfile::TempDir::new().unwrap();
    let (link, started) = (linked(folder.path()), folder.path().join("started"));
    let (mut server, address) = Generations::server(&link, &["--upgrade-start-timeout", "3s"]);
    let file = started.display();
    replace(&link, &format!("#!/bin/sh\nsleep 1000 &\necho $! > '{file}.new'\nmv '{file}.new' '{file}'\nwait\n"));
    server.signal(Signal::USR2);
    server.stderr.until("resound: warning: no upgrade: ");
    let sleeping = std::fs::read_to_string(&started).expect("the script has begun").trim().parse().unwrap();
    // It is no child of this process, so it may not be reaped yet.
    eventually("the script's own process has ended", || descriptors(sleeping).is_none_or(|open| open == 0));
    server.end();
    let refused = std::net::TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_process_that_was_replaced_says_so_and_ends_at_the_timeout() {
    let (mut server, address) = Generations::server(program(), &["--upgrade-timeout", "1s", "--drain-timeout", "1h"]);
    let first = Pid::from_raw(server.pid.try_into().unwrap()).unwrap();
    let mut held = Peer::connect(address);
    held.ask("hello");
    server.upgrade();
    kill_process(first, Signal::USR2).unwrap();
    let line = server.stderr.next();
    assert!(
        line.ends_with(&format!("process {} has replaced this one: send SIGUSR2 to that process", server.pid)),
        "{line}"
    );
    server.program.stdout.until("Shutting down: 1 open connection");
    assert_eq!(held.rest(), b"");
    Peer::connect(address).ask("a new one");
    drop(held);
    server.end();
}

#[test]
fn the_path_of_a_unix_socket_outlives_the_process_that_made_it() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let mut command = Command::new(program());
    command.arg("server").arg(format!("unix:{}", path.display())).arg("--while-stdin");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Generations::start(command);
    server.program.stdout.until("Waiting for client connections...");
    let ask = || {
        let mut peer = UnixStream::connect(&path).unwrap();
        peer.write_all(b"x\n").unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "Server received: x\n");
    };
    ask();
    for _ in 0..2 {
        let old = server.upgrade();
        // The test reaps the first, and the first is the parent of the second.
        eventually("the old process has ended", || match old == server.program.child.id() {
            true => server.program.child.try_wait().unwrap().is_some(),
            false => is_gone(old),
        });
        ask();
    }
    server.end();
    assert!(!path.exists(), "the last process has left its file behind");
}

/// The socket is that of the process before, too.
#[test]
fn a_fault_that_closes_listeners_lets_no_process_take_over() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("resound.toml");
    let config = "[server]\nhost = '127.0.0.1'\nport = 0\n";
    std::fs::write(&file, config).unwrap();
    let command = Program::command(&["server", "--while-stdin", "--config", file.to_str().unwrap()]);
    let mut server = Generations::start(command);
    let address = server.address("TCP Server started on ");
    for fault in ["refuse", "never-accept"] {
        std::fs::write(&file, format!("{config}fault = '{fault}'\n")).unwrap();
        server.signal(Signal::USR2);
        let why = "resound: no upgrade to this process: the faults 'refuse' and 'never-accept' close sockets";
        let line = server.stderr.next();
        assert!(line.starts_with(why), "{line}");
        let line = server.stderr.until("resound: warning: no upgrade: ");
        assert!(line.ends_with("; this process goes on as before"), "{line}");
        Peer::connect(address).ask("still served");
    }
    server.end();
    let (mut server, _) = Generations::server(program(), &["--fault", "refuse"]);
    server.signal(Signal::USR2);
    server.stderr.until("resound: warning: no upgrade: the faults 'refuse' and 'never-accept'");
    server.end();
}

#[test]
fn the_file_of_an_address_that_is_dropped_is_removed() {
    let folder = tempfile::TempDir::new().unwrap();
    let (file, path) = (folder.path().join("resound.toml"), folder.path().join("socket"));
    let config = "[server]\nhost = '127.0.0.1'\nport = 0\n";
    std::fs::write(&file, format!("{config}listen = ['unix:{}']\n", path.display())).unwrap();
    let command = Program::command(&["server", "--while-stdin", "--config", file.to_str().unwrap()]);
    let mut server = Generations::start(command);
    let address = server.address("TCP Server started on ");
    eventually("the file is there", || path.exists());
    std::fs::write(&file, config).unwrap();
    server.upgrade();
    Peer::connect(address).ask("still served");
    eventually("the file has gone", || !path.exists());
    server.end();
}

#[test]
fn the_control_api_moves_with_the_server() {
    let (mut server, _) = Generations::server(program(), &["--control", "0"]);
    let line = server.program.stdout.until("Control on http://");
    let control: SocketAddr = line["Control on http://".len()..].parse().unwrap();
    server.upgrade();
    let mut client = TcpStream::connect(control).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    server.end();
}

#[test]
fn a_record_is_not_begun_anew() {
    let folder = tempfile::TempDir::new().unwrap();
    let record = folder.path().join("record");
    let (mut server, address) = Generations::server(program(), &["--record", record.to_str().unwrap()]);
    server.signal(Signal::USR2);
    let line = server.stderr.next();
    assert!(line.contains("no upgrade: the file of --record would begin anew"), "{line}");
    Peer::connect(address).ask("hello");
    server.end();
}

/// A namespace has a process 1 of its own, as a container has.
#[cfg(target_os = "linux")]
#[test]
fn process_1_of_a_container_says_that_it_cannot() {
    let namespace = ["--user", "--map-root-user", "--pid", "--fork"];
    if !Command::new("unshare").args(namespace).arg("true").status().is_ok_and(|status| status.success()) {
        return not_tested("process 1 of a container", "unshare --user --pid is not allowed");
    }
    let mut command = Command::new("unshare");
    command
        .args(namespace)
        .arg(program())
        .args(["server", "127.0.0.1", "0", "--while-stdin"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut server = Generations::start(command);
    let address = server.address("TCP Server started on ");
    let children = format!("/proc/{0}/task/{0}/children", server.pid);
    server.pid = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    server.signal(Signal::USR2);
    // A user with little memory to lock gets another engine, and a warning of it before.
    server.stderr.until("resound: warning: no upgrade: this is process 1 of its container");
    Peer::connect(address).ask("hello");
    server.end();
}

#[test]
fn a_process_that_is_not_replaced_by_its_parent_refuses() {
    for (value, want) in
        [("1 3", "is to replace process 1, which has not started it"), ("x", "not by a program like this")]
    {
        let mut command = Program::command(&["server", "127.0.0.1", "0"]);
        command.env("_RESOUND_UPGRADE", value);
        let (code, stderr) = Program::spawn(command).end();
        assert!(code == Some(2) && stderr.contains(want), "{stderr}");
    }
}

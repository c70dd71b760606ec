//! systemd: sockets that it passes on, and what it is told. Most tests set its variables
//! themselves; `systemd-socket-activate` is its own test of a program.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use resound::Engine;
use rustix::process::{Pid, Signal, kill_process};

use crate::child::{Program, run};
use crate::harness::{PATIENCE, Peer, on_each_engine_once};
use crate::not_tested::not_tested;

on_each_engine_once!(a_passed_socket_is_served);

/// The program with these sockets as its descriptors 3 and 4, as systemd starts it. Its stderr is
/// silent if there are two.
fn activated(sockets: Vec<OwnedFd>, names: &str, args: &str) -> Command {
    activated_at(Path::new(env!("CARGO_BIN_EXE_resound")), sockets, names, args)
}

fn activated_at(program: &Path, sockets: Vec<OwnedFd>, names: &str, args: &str) -> Command {
    let (count, mut sockets) = (sockets.len(), sockets.into_iter());
    let mut command = Command::new("sh");
    let mut script = "exec 3<&0 </dev/null".to_string();
    command.stdin(sockets.next().map_or(Stdio::null(), Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(second) = sockets.next() {
        script += " 4<&2 2>/dev/null";
        command.stderr(second);
    }
    let variables = format!("LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES='{names}'");
    command.args(["-c", &format!("{script}; {variables} exec '{}' {args}", program.display())]);
    command
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn a_passed_socket_is_served(engine: Engine) {
    let engine = format!("{engine:?}").to_lowercase();
    let (socket, address) = listener();
    // Connected before there is a server, as the client is that starts a unit.
    let mut early = Peer::connect(address);
    early.send("early\n");
    let args = format!("server systemd --engine {engine}");
    let mut server = Program::spawn(activated(vec![socket.into()], "web", &args));
    assert_eq!(server.stdout.next(), format!("TCP Server started on {address}"));
    early.expect("Server received: early\n");
    let mut peer = Peer::connect(address);
    peer.ask("hello");
    server.signal(Signal::TERM);
    assert_eq!((peer.rest(), early.rest()), (vec![], vec![]));
    drop((peer, early));
    assert_eq!(server.end(), (Some(0), String::new()));
}

#[test]
fn sockets_are_told_apart_by_their_names() {
    let (first, second) = (listener(), listener());
    let (target, to) = Program::server(&["-q"]);
    let args = format!("relay --map systemd:api={to} --map systemd:web={to}");
    let sockets = vec![first.0.into(), second.0.into()];
    let mut relay = Program::spawn(activated(sockets, "web:api", &args));
    let lines = [relay.stdout.next(), relay.stdout.next()];
    let started = |address| format!("TCP Relay started on {address}, to {to}");
    assert_eq!(lines, [started(second.1), started(first.1)]);
    Peer::connect(first.1).ask("hello");
    Peer::connect(second.1).ask("hello");
    drop(target);
}

#[test]
fn tls_and_a_proxy_header_come_over_a_passed_socket() {
    let (socket, address) = listener();
    let args = "server --listen systemd:web --tls --proxy-protocol require";
    let mut server = Program::spawn(activated(vec![socket.into()], "web", args));
    server.stdout.until("Waiting for client connections...");
    let port = address.port().to_string();
    let flags = ["client", "127.0.0.1", &port, "--tls", "--insecure", "--send-proxy", "v2,src=192.0.2.7:54321"];
    let (code, stdout, stderr) = run(&flags, b"hello\n");
    assert_eq!((code, String::from_utf8(stdout).unwrap().as_str()), (Some(0), "Server received: hello\n"), "{stderr}");
    server.stdout.until("New connection from ('192.0.2.7', 54321)");
}

#[test]
fn a_socket_that_cannot_be_served_is_an_error_that_says_why() {
    let fails = |command: Command, want: &[&str]| {
        let (code, stderr) = Program::spawn(command).end();
        assert!(code == Some(2) && want.iter().all(|want| stderr.contains(want)), "{stderr}");
    };
    let passed = |socket: OwnedFd, args: &str| activated(vec![socket], "web", args);
    fails(Program::command(&["server", "systemd"]), &["LISTEN_FDS is not set", "systemd-socket-activate -l 8888"]);
    let mut other = Program::command(&["server", "systemd"]);
    other.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    fails(other, &["the sockets of systemd are for process 1", "`exec`"]);
    let no_such_name = passed(listener().0.into(), "server systemd:api");
    fails(no_such_name, &["no socket named 'api'", "but web"]);
    let twice = passed(listener().0.into(), "server systemd --listen systemd:web");
    fails(twice, &["(web) is already used by another address"]);
    let named = ["the socket 'web' of systemd cannot be served", "Accept=no"];
    for (socket, what) in [
        (std::fs::File::open("/dev/null").unwrap().into(), "is not a socket"),
        (std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(), "is not a stream socket"),
        (UnixStream::pair().unwrap().0.into(), "is a socket that does not listen"),
    ] {
        fails(passed(socket, "server systemd"), &[&named[..], &[what]].concat());
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("resound-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let socket = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
        fails(passed(socket.into(), "server systemd"), &[&named[..], &["of a unix path"]].concat());
    }
}

#[test]
fn a_passed_socket_that_is_not_asked_for_is_warned_of() {
    let (socket, _) = listener();
    let mut server = Program::spawn(activated(vec![socket.into()], "web", "server 127.0.0.1 0"));
    server.stdout.until("Waiting for client connections...");
    server.signal(Signal::TERM);
    let (code, stderr) = server.end();
    assert!(code == Some(0) && stderr.contains("sockets that nothing here listens on: web"), "{stderr}");
}

#[test]
fn systemds_own_tool_starts_the_server_at_the_first_connection() {
    let tool = "systemd-socket-activate";
    if Command::new(tool).arg("--version").output().is_err() {
        return not_tested("socket activation by systemd's own tool", "systemd-socket-activate is not installed");
    }
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let mut command = Command::new(tool);
    command.arg("-l").arg(&path).args([
        "--fdname=web",
        env!("CARGO_BIN_EXE_resound"),
        "server",
        "--listen",
        "systemd:web",
    ]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Program::spawn(command);
    let mut peer = None;
    crate::harness::eventually("the tool listens", || {
        peer = UnixStream::connect(&path).ok();
        peer.is_some()
    });
    let mut peer = peer.unwrap();
    peer.write_all(b"hello\n").unwrap();
    let mut answer = [0; 23];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"Server received: hello\n");
    drop(peer);
    server.signal(Signal::TERM);
    server.stdout.until("Server stopped: ");
    assert!(path.exists(), "the file of the socket is systemd's");
}

/// What systemd is told, as it would read it.
struct NotifiedManager(UnixDatagram);

impl NotifiedManager {
    fn at(path: &Path) -> Self {
        Self::of(UnixDatagram::bind(path).unwrap())
    }

    fn of(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next message that is not of the watchdog, as lines.
    fn next(&self) -> Vec<String> {
        std::iter::repeat_with(|| self.message()).find(|lines| lines[0] != "WATCHDOG=1").unwrap()
    }

    fn message(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let n = self.0.recv(&mut bytes).expect("a message to systemd");
        std::str::from_utf8(&bytes[..n]).unwrap().lines().map(String::from).collect()
    }
}

#[test]
fn systemd_is_told_of_the_start_a_reload_an_upgrade_and_the_end() {
    let folder = tempfile::TempDir::new().unwrap();
    let [path, faults, config, log] =
        ["notify", "faults.toml", "resound.toml", "log"].map(|name| folder.path().join(name));
    let manager = NotifiedManager::at(&path);
    std::fs::write(&faults, "").unwrap();
    std::fs::write(&config, "[server]\n").unwrap();
    let (faults, config) = (["--faults", faults.to_str().unwrap()], ["--config", config.to_str().unwrap()]);
    let to_file = ["--log-file", log.to_str().unwrap()];
    for flags in [&faults[..], &config, &to_file, &[]] {
        let mut command = Program::command(&["server", "127.0.0.1", "0", "--while-stdin"]);
        command.args(flags).env("NOTIFY_SOCKET", &path).stdin(Stdio::piped());
        let mut server = Program::spawn(command);
        let address: SocketAddr = server.stdout.until("TCP Server")["TCP Server started on ".len()..].parse().unwrap();
        let serving = format!("STATUS=Serving on {address}");
        assert_eq!(manager.next(), ["READY=1", &serving]);
        Peer::connect(address).ask("hello");
        // Without files to read, too: the service manager waits for the end of a reload.
        server.signal(Signal::HUP);
        let reloading = manager.next();
        let time = reloading[1].strip_prefix("MONOTONIC_USEC=").and_then(|time| time.parse::<u64>().ok());
        assert!(reloading[0] == "RELOADING=1" && time > Some(0), "{reloading:?}");
        assert_eq!(manager.next(), ["READY=1", &serving]);
        server.signal(Signal::USR2);
        let main = manager.next();
        let pid = main[0].strip_prefix("MAINPID=").expect("the main process").parse().unwrap();
        // From the new process.
        assert_eq!(manager.next(), ["READY=1", &serving]);
        Peer::connect(address).ask("hello");
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        assert_eq!(manager.next(), ["STOPPING=1", "STATUS=Shutting down: 0 open connections"]);
        server.stdout.rest();
        assert_eq!(server.end().0, Some(0));
    }
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = |start| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((lines("Upgraded: "), lines("Received "), lines("Server stopped: ")), (1, 2, 2), "of both: {text}");
}

#[test]
fn the_watchdog_hears_of_workers_that_turn() {
    let name = format!("resound-test-{}", std::process::id());
    let abstracted = UnixAddress::from_abstract_name(&name).unwrap();
    let manager = NotifiedManager::of(UnixDatagram::bind_addr(&abstracted).unwrap());
    for engine in ["auto", "portable", "threads"] {
        let mut command = Program::command(&["server", "127.0.0.1", "0", "--engine", engine]);
        command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "20000");
        let mut server = Program::spawn(command);
        server.stdout.until("Waiting for client connections...");
        for _ in 0..3 {
            let message = std::iter::repeat_with(|| manager.message()).find(|lines| lines[0] == "WATCHDOG=1").unwrap();
            assert!(message[1].ends_with(" (0 open connections)"), "{message:?}");
        }
        server.signal(Signal::TERM);
        server.end();
        // Another server's watchdog.
        manager.0.set_nonblocking(true).unwrap();
        while manager.0.recv(&mut [0]).is_ok() {}
        manager.0.set_nonblocking(false).unwrap();
        let mut command = Program::command(&["server", "127.0.0.1", "0", "--engine", engine]);
        command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
        let mut server = Program::spawn(command);
        server.stdout.until("Waiting for client connections...");
        server.signal(Signal::TERM);
        server.end();
        assert_eq!((manager.message()[0].as_str(), manager.message()[0].as_str()), ("READY=1", "STOPPING=1"));
    }
}

#[test]
fn a_service_manager_that_is_gone_does_not_stop_the_server() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = Program::command(&["server", "127.0.0.1", "0"]);
    command.env("NOTIFY_SOCKET", folder.path().join("nothing"));
    let mut server = Program::spawn(command);
    let address = server.stdout.until("TCP Server")["TCP Server started on ".len()..].parse().unwrap();
    Peer::connect(address).ask("hello");
    server.signal(Signal::TERM);
    let (code, stderr) = server.end();
    assert!(code == Some(0) && stderr.matches("systemd cannot be told").count() == 1, "{stderr}");
}

/// What a program that the server starts gets from systemd: a way to report, and no sockets.
#[test]
fn the_variables_of_passed_sockets_are_not_passed_on() {
    let folder = tempfile::TempDir::new().unwrap();
    let (link, environment) = (folder.path().join("resound"), folder.path().join("environment"));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_resound"), &link).unwrap();
    let mut command = activated_at(&link, vec![listener().0.into()], "web", "server systemd");
    command.env("WATCHDOG_USEC", "3600000000");
    let mut server = Program::spawn(command);
    server.stdout.until("Waiting for client connections...");
    std::fs::remove_file(&link).unwrap();
    let script = format!("#!/bin/sh\nenv > '{}'\n", environment.display());
    std::fs::write(&link, script).unwrap();
    std::fs::set_permissions(&link, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    server.signal(Signal::USR2);
    crate::harness::eventually("it has started", || {
        std::fs::read_to_string(&environment).is_ok_and(|environment| environment.contains("WATCHDOG_USEC=3600000000"))
    });
    let environment = std::fs::read_to_string(&environment).unwrap();
    assert!(!environment.contains("LISTEN_"), "{environment}");
}

//! Proxies as they come, and servers that are not ours. `cargo test --release --test suite --
//! --ignored verdict`.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::clean::rounds;
use super::found::{Foreign, FoundAll};
use crate::child::Program;
use crate::not_tested::not_tested;
use crate::program::relay::relay;

/// Is it installed? If not, that is reported.
fn has(tool: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().expect("sh");
    if !found.status.success() {
        not_tested(
            "the verdict on a path with a proxy or server of another maker",
            &format!("{tool} is not installed"),
        );
    }
    found.status.success()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn tested(port: u16, flags: &str) -> FoundAll {
    let port = port.to_string();
    // It waits until something listens there.
    let mut args = vec!["test", "127.0.0.1", &port, "--json", "--wait", "--timeout", "120s"];
    args.extend(flags.split_whitespace());
    FoundAll::of(&args).unwrap()
}

fn assert_found(what: &str, found: &FoundAll, wanted: &[&str]) {
    let wrong = found.differences(wanted, false);
    assert!(wrong.is_empty(), "{what}: {}\n{}", wrong.join("; "), found.stdout);
}

/// HAProxy in `mode tcp` in front of the target.
fn haproxy(folder: &Path, target: SocketAddr, timeouts: &str, of_server: &str) -> (Foreign, u16) {
    let sections = |port| format!("listen path\n bind 127.0.0.1:{port}\n server far {target} {of_server}\n");
    haproxy_of(folder, timeouts, sections)
}

/// HAProxy with these sections, of the port that it listens on.
fn haproxy_of(folder: &Path, timeouts: &str, sections: impl FnOnce(u16) -> String) -> (Foreign, u16) {
    let port = free_port();
    let config = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client {timeouts}\n timeout server {timeouts}\n{}",
        sections(port)
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let proxy = Foreign::start(Command::new("haproxy").arg("-db").arg("-f").arg(file));
    (proxy, port)
}

/// nginx's stream module in front of the target.
fn nginx(folder: &Path, target: SocketAddr, more: &str) -> (Foreign, u16) {
    let port = free_port();
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let module = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let folder_name = folder.display();
    let config = format!(
        "{module}daemon off;\nworker_processes 1;\npid {folder_name}/pid;\nerror_log {folder_name}/log;\n\
         events {{ worker_connections 1024; }}\n\
         stream {{ server {{ listen 127.0.0.1:{port}; {more} proxy_pass {target}; }} }}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let proxy = Foreign::start(Command::new("nginx").arg("-c").arg(file));
    (proxy, port)
}

/// socat, which ends the other direction so many seconds after a FIN.
fn socat(target: SocketAddr, seconds: &str) -> (Foreign, u16) {
    let port = free_port();
    let listen = format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=128");
    let proxy = Foreign::start(Command::new("socat").args(["-t", seconds, &listen, &format!("TCP:{target}")]));
    (proxy, port)
}

/// A Python program that listens on the first of its arguments.
fn python(script: &str, more: &[&str]) -> (Foreign, u16) {
    let port = free_port();
    let program = Foreign::start(Command::new("python3").args(["-c", script, &port.to_string()]).args(more));
    (program, port)
}

/// A relay, whose `end_of(a, b)` says what it does when `a` has sent its last byte.
const RELAY: &str = r"
import socket, sys, threading
server = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=128)
def shut(end, how):
    try: end.shutdown(how)
    except OSError: pass
def copy(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
    except OSError: pass
    end_of(a, b)
def serve(near):
    far = socket.create_connection(('127.0.0.1', int(sys.argv[2])))
    for end in (near, far): end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    way = threading.Thread(target=copy, args=(far, near)); way.start(); copy(near, far); way.join()
    near.close(); far.close()
while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
";

/// docker-proxy until 2016: the first FIN closes both connections.
const CLOSES_BOTH: &str = r"
def end_of(a, b): shut(a, socket.SHUT_RDWR); shut(b, socket.SHUT_RDWR)";

/// Each FIN is passed on, as `io.Copy` and `CloseWrite` of Go do.
const PASSES_ON: &str = r"
def end_of(a, b): shut(b, socket.SHUT_WR)";

/// True of each proxy: another address, and another connection.
const PROXIED: [&str; 2] = ["warn address out", "warn split-tcp"];

/// A RST that becomes a FIN, or overtakes bytes, is true of a proxy where it is found.
const RESETS: [&str; 2] = ["may warn reset-in in", "may warn reset-out out"];

fn of_proxy<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&PROXIED[..], &RESETS[..], more].concat()
}

#[test]
#[ignore = "needs haproxy; docs/testing.md"]
fn haproxy_keeps_half_closes_and_forgets_by_its_timeouts() {
    if !has("haproxy") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (_server, target) = Program::server(&["-q"]);
    let (_proxy, port) = haproxy(folder.path(), target, "60s", "");
    assert_found("HAProxy", &tested(port, ""), &of_proxy(&[]));
    let (_proxy, port) = haproxy(folder.path(), target, "2s", "");
    let found = tested(port, "--idle 5s");
    let idle = found.each.iter().flat_map(|(_, found)| found).any(|found| found.contains(" idle"));
    assert!(idle, "{}", found.stdout);
    for at_once in [2, 5, 12] {
        let (_proxy, port) = haproxy(folder.path(), target, "60s", &format!("maxconn {at_once}"));
        let found = tested(port, "");
        assert_found("HAProxy's maxconn", &found, &of_proxy(&["warn churn"]));
        assert!(found.stdout.contains(&format!("only {at_once} connections are answered at once")), "{}", found.stdout);
    }
}

#[test]
#[ignore = "needs haproxy; docs/testing.md"]
fn haproxy_names_the_client_in_a_proxy_header() {
    if !has("haproxy") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (_server, target) = Program::server(&["-q", "--proxy-protocol", "require"]);
    let (_proxy, port) = haproxy(folder.path(), target, "60s", "send-proxy-v2");
    let wanted: Vec<_> = of_proxy(&[]).into_iter().filter(|wanted| !wanted.contains("address")).collect();
    assert_found("HAProxy with send-proxy-v2", &tested(port, ""), &wanted);
}

#[test]
#[ignore = "needs haproxy; docs/testing.md"]
fn haproxy_resets_behind_this_ends_fin_without_a_linger_time() {
    if !has("haproxy") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (_server, target) = Program::server(&["-q"]);
    // The backend keeps its linger time.
    let sections = |port| {
        format!(
            "frontend path\n option nolinger\n bind 127.0.0.1:{port}\n default_backend far\n\
             backend far\n server far {target}\n"
        )
    };
    let (_proxy, port) = haproxy_of(folder.path(), "60s", sections);
    let found = tested(port, "");
    assert_found("HAProxy's nolinger", &found, &of_proxy(&["fail close-tail in"]));
    assert!(found.stdout.contains("after this end's FIN, the far end's FIN arrived as a RST"), "{}", found.stdout);
}

#[test]
#[ignore = "needs haproxy; docs/testing.md"]
fn a_proxy_header_that_no_server_expects_is_named() {
    if !has("haproxy") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (_server, target) = Program::server(&["-q"]);
    for version in ["send-proxy", "send-proxy-v2"] {
        let (_proxy, port) = haproxy(folder.path(), target, "60s", version);
        assert_found(version, &tested(port, "--skip messages"), &["fail integrity out"]);
    }
}

#[test]
#[ignore = "needs nginx; docs/testing.md"]
fn nginx_closes_both_directions_unless_it_is_told_otherwise() {
    if !has("nginx") {
        return;
    }
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let (_server, target) = Program::server(&["-q"]);
    let (_proxy, port) = nginx(folders[0].path(), target, "proxy_half_close on;");
    assert_found("nginx with proxy_half_close", &tested(port, ""), &of_proxy(&[]));
    let (_proxy, port) = nginx(folders[1].path(), target, "");
    let closes = of_proxy(&["fail half-close-in in", "fail half-close-out out"]);
    assert_found("nginx", &tested(port, ""), &closes);
}

#[test]
#[ignore = "needs socat; docs/testing.md"]
fn socat_waits_half_a_second_and_delays_small_writes() {
    if !has("socat") {
        return;
    }
    let (_server, target) = Program::server(&["-q"]);
    let (_proxy, port) = socat(target, "0.5");
    assert_found("socat", &tested(port, ""), &of_proxy(&["warn nagle both"]));
}

/// Proxies that keep half-closes, again and again: their warnings are true, and nothing fails.
#[test]
#[ignore = "takes long, and needs haproxy, nginx and socat; docs/testing.md"]
fn proxies_raise_no_alarm() {
    if !["haproxy", "nginx", "socat"].map(has).iter().all(|has| *has) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (_server, target) = Program::server(&["-q"]);
    let (_haproxy, haproxy) = haproxy(folder.path(), target, "60s", "");
    let (_nginx, nginx) = nginx(folder.path(), target, "proxy_half_close on;");
    // A busy machine can take longer than the half second that it waits by itself.
    let (_socat, socat) = socat(target, "60");
    let to = target.to_string();
    let (_relay, relay) = relay(&to, &["-q"]);
    let mut unclear = Vec::new();
    let runs = 4 * rounds();
    for _ in 0..runs {
        let proxies = [("HAProxy", haproxy), ("nginx", nginx), ("socat", socat), ("relay", relay.port())];
        for (name, port) in proxies {
            let delays: &[&str] = if name == "socat" { &["warn nagle both"] } else { &[] };
            let found = tested(port, "");
            assert_found(name, &found, &of_proxy(delays));
            let is_unclear = |found: &String| found.starts_with("unknown ") || found.starts_with("flaky ");
            let each = found.each.into_iter().flat_map(|(_, found)| found);
            unclear.extend(each.filter(is_unclear).map(|found| format!("{name}: {found}")));
        }
    }
    eprintln!("{} runs: {} unclear", 4 * runs, unclear.len());
    assert!(unclear.len() <= (4 * runs).div_ceil(100), "{unclear:?}");
}

#[test]
#[ignore = "needs python3; docs/testing.md"]
fn a_proxy_that_closes_both_directions_is_told_from_one_that_does_not() {
    if !has("python3") {
        return;
    }
    let (_server, target) = Program::server(&["-q"]);
    let target = target.port().to_string();
    let (_proxy, port) = python(&[CLOSES_BOTH, RELAY].concat(), &[&target]);
    let closes = of_proxy(&["fail half-close-in in", "fail half-close-out out"]);
    assert_found("a proxy like docker's", &tested(port, ""), &closes);
    let (_proxy, port) = python(&[PASSES_ON, RELAY].concat(), &[&target]);
    assert_found("a relay like io.Copy", &tested(port, ""), &of_proxy(&[]));
}

/// A test against a server with one end of ours: nothing untrue, and in time.
fn one_ended(what: &str, port: u16, wanted: &[&str]) {
    let found = tested(port, "--skip messages");
    assert_found(what, &found, wanted);
    // A busy machine takes longer than the 3 s of an idle one.
    assert!(found.took < Duration::from_secs(12), "{what}: {:?}", found.took);
}

#[test]
#[ignore = "needs ncat, socat and python3; docs/testing.md"]
fn servers_of_other_makers_are_judged_from_one_end() {
    if has("ncat") {
        let port = free_port();
        let words = ["-l", "-k", "127.0.0.1", &port.to_string(), "-e", "/bin/cat"];
        let _server = Foreign::start(Command::new("ncat").args(words));
        // It ends its command at the FIN, and loses the answer.
        one_ended("ncat", port, &["may warn half-close-out out"]);
    }
    if has("socat") {
        for to in ["EXEC:cat", "PIPE"] {
            let port = free_port();
            let listen = format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=128");
            let _server = Foreign::start(Command::new("socat").args([&listen, to]));
            one_ended(to, port, &[]);
        }
    }
    if has("python3") {
        const ECHO: &str = r"
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536): self.request.sendall(data)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True; daemon_threads = True; request_queue_size = 128
Server(('127.0.0.1', int(sys.argv[1])), Echo).serve_forever()
";
        const SSH: &str = r"
import socket, sys
server = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=128)
held = []
while True:
    near = server.accept()[0]; near.sendall(b'SSH-2.0-OpenSSH_9.6\r\n'); held = held[-200:] + [near]
";
        const HTTP: &str = r"
import http.server, sys
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
";
        for (what, script) in [("socketserver", ECHO), ("a server that speaks first", SSH), ("HTTP", HTTP)] {
            let (_server, port) = python(script, &[]);
            one_ended(what, port, &[]);
        }
    }
}

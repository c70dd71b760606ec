//! How the client gets its connection, or reports why it cannot; and what is generated from its
//! flags.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use crate::child::{Program, run, wait};
use crate::harness::{Peer, longer};

/// A port of 127.0.0.1 on which no process listens. It is held, so that none begins to.
pub(crate) fn closed_port() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn a_server_that_comes_late_is_waited_for() {
    for patience in [&["--wait", "--verbose"][..], &["--retry", "50", "--verbose"]] {
        // Of another test's child, which has all that is open here until it is the program, a
        // listener would get a second life: each has its own port.
        let (_held, address) = closed_port();
        let mut child = Program::command(&[&["client", &address.to_string()], patience].concat())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // The first refusal has happened when this line comes.
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
        assert!(line.contains("refused"), "{line}");
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(1).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut server = Peer(server.into());
        server.send("there at last");
        drop(server);
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        // Its stdin has not ended, so the transfer is given up when the server has closed.
        assert_eq!((wait(&mut child).code(), stdout.as_str()), (Some(1), "there at last"));
    }
}

#[test]
fn retries_have_a_time_limit() {
    let (_held, address) = closed_port();
    let (code, _, stderr) = run(&["client", &address.to_string(), "--retry", "2", "-v"], b"");
    assert_eq!(code, Some(1));
    assert_eq!(stderr.matches("; again in ").count(), 2, "{stderr}");
    assert!(stderr.contains("(1 of 2)") && stderr.contains("(2 of 2)"), "{stderr}");
    assert!(stderr.contains("resound: cannot connect to"), "{stderr}");
}

#[test]
fn at_the_time_limit_the_last_attempt_is_reported() {
    let (_held, address) = closed_port();
    let (closed, unknown) = (address.to_string(), "no..such..host:80");
    for command in [&["client"][..], &["client", "--json"], &["test"]] {
        for (target, class, way_out) in
            [(closed.as_str(), "refused", "Nothing listens there"), (unknown, "dns", "spelling")]
        {
            for patience in [&["--wait"][..], &["--retry", "99"]] {
                longer(Duration::from_millis(300), |time| {
                    let limit = format!("{}ms", time.as_millis());
                    let args = [command, &[target, "--timeout", &limit], patience].concat();
                    let (code, stdout, stderr) = run(&args, b"");
                    assert_eq!(code, Some(1), "{args:?}: {stderr}");
                    if stderr.contains(": timeout: ") || stderr.contains("did not answer in time") {
                        return None;
                    }
                    assert!(
                        stderr.contains(&format!("resound: cannot connect to {target}: {class}: ")),
                        "{args:?}: {stderr}"
                    );
                    assert!(stderr.contains(way_out), "{args:?}: {stderr}");
                    assert_eq!(stderr.lines().count(), 2, "a script's log holds nothing of the waiting: {stderr}");
                    let stdout = String::from_utf8(stdout).unwrap();
                    if command.contains(&"--json") {
                        assert!(stdout.lines().last().unwrap().contains(&format!("\"class\":\"{class}\"")), "{stdout}");
                        if patience[0] == "--wait" && class == "refused" {
                            return (stdout.matches("\"event\":\"attempt\"").count() > 1).then_some(());
                        }
                    }
                    Some(())
                });
            }
        }
    }
    // Where nothing is known but that the time was over, that is the result.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    longer(Duration::from_millis(300), |time| {
        let limit = format!("{}ms", time.as_millis());
        let (code, _, stderr) = run(&["client", &silent, "--tls", "--insecure", "--wait", "--timeout", &limit], b"");
        assert_eq!(code, Some(1));
        let is_reported = stderr.contains("resound: timeout: connected, but TLS's handshake was not done in time");
        assert!(is_reported || stderr.contains("cannot connect to"), "{stderr}");
        is_reported.then_some(())
    });
    let (code, _, stderr) = run(&["client", "--listen", "127.0.0.1", "0", "--timeout", "300ms"], b"");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("resound: timeout: no connection on 127.0.0.1:0 after 300ms"), "{stderr}");
}

#[test]
fn a_refusal_of_this_machine_is_not_retried() {
    let (code, _, stderr) = run(&["client", "127.0.0.1:1", "--source-address", "192.0.2.1", "--wait"], b"");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("cannot connect from 192.0.2.1:0: "), "{stderr}");
    assert!(stderr.contains("must be one of this machine's own"), "{stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_source_can_be_chosen() {
    // Linux has all of 127.0.0.0/8.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let free = TcpListener::bind("127.0.0.9:0").unwrap().local_addr().unwrap().port().to_string();
    for _ in 0..2 {
        // The second time the port is in TIME_WAIT.
        let args = ["client", &address.to_string(), "--source-address", "127.0.0.9", "--source-port", &free];
        let mut child = Program::command(&args).spawn().unwrap();
        let (stream, from) = listener.accept().unwrap();
        assert_eq!(from.to_string(), format!("127.0.0.9:{free}"));
        let mut server = Peer(stream);
        assert_eq!(server.rest(), b"");
        drop(server);
        assert_eq!(wait(&mut child).code(), Some(0));
    }
    for (args, what) in [
        (
            &["client", "[::1]:1", "--source-address", "127.0.0.1"][..],
            ": it has no IPv4 address for the IPv4 source address",
        ),
        (
            &["client", "[::1]:1", "-6", "--source-address", "127.0.0.1"],
            ": the source address is not of the wanted family",
        ),
        (&["client", "[::1]:1", "-4"], ": it has no IPv4 address"),
        (&["client", "127.0.0.1:1", "-6"], ": it has no IPv6 address"),
    ] {
        let (code, _, stderr) = run(args, b"");
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(what) && stderr.contains("leave out what asks for it"), "{stderr}");
    }
}

#[cfg(unix)]
#[test]
fn a_unix_socket_can_be_dialled_and_listened_on() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("door");
    let address = format!("unix:{}", path.display());
    let mut child = Program::command(&["client", &address, "--listen", "--recv-only"]).spawn().unwrap();
    let (code, stdout, stderr) = run(&["client", &address, "--wait", "--send-only"], b"through the door");
    assert_eq!((code, stdout.len()), (Some(0), 0), "{stderr}");
    let mut got = String::new();
    child.stdout.take().unwrap().read_to_string(&mut got).unwrap();
    assert_eq!((wait(&mut child).code(), got.as_str()), (Some(0), "through the door"));
    assert!(!path.exists(), "the file is gone with its listener");
}

#[test]
fn a_transfer_that_is_given_up_is_no_success() {
    let mut child = Program::command(&["client", "--listen", "127.0.0.1", "0"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    let address: SocketAddr = line.trim().strip_prefix("resound: listening on ").expect(&line).parse().unwrap();
    // As `resound client < /dev/null` does to receive a file: its FIN comes first. And the file's
    // source is slow.
    let mut receiver = Peer::connect(address);
    receiver.finish();
    let mut source = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut source, b"the first half").unwrap();
    assert_eq!(receiver.rest(), b"the first half");
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    assert!(text.contains("later input was not sent"), "{text}");
    assert_eq!(wait(&mut child).code(), Some(1));
    drop(source);
}

#[test]
fn a_client_can_be_dialled() {
    let mut child = Program::command(&["client", "--listen", "127.0.0.1", "0"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    let address: SocketAddr = line.trim().strip_prefix("resound: listening on ").expect(&line).parse().unwrap();
    let mut dialler = Peer::connect(address);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"welcome").unwrap();
    assert_eq!(dialler.rest(), b"welcome");
    assert!(TcpStream::connect(address).is_err(), "one connection, and no more");
    dialler.send("bye");
    drop(dialler);
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!((wait(&mut child).code(), stdout.as_str()), (Some(0), "bye"));
    // An address that cannot be listened on is reported as the server reports it.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, _, stderr) = run(&["client", "--listen", &taken.local_addr().unwrap().to_string()], b"");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("is already in use"), "{stderr}");
}

/// A client, and the socket that the server has of it.
#[cfg(target_os = "linux")]
fn accepted(flags: &[&str]) -> (std::process::Child, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let child = Program::command(&[&["client", &address], flags].concat()).stdin(Stdio::piped()).spawn().unwrap();
    (child, listener.accept().unwrap().0)
}

#[cfg(target_os = "linux")]
#[test]
fn options_of_the_socket_are_set() {
    // The client's end, as the system sees it: `ss` would show the same.
    for (flags, timer) in [(&["--keepalive", "100s"][..], true), (&[], false)] {
        let (mut child, mut server) = accepted(flags);
        // The options are set once the client sends.
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let end = |address: SocketAddr| format!(":{:04X}", address.port());
        let (local, remote) = (end(server.peer_addr().unwrap()), end(server.local_addr().unwrap()));
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", child.id())).unwrap();
        let is_ours = |line: &&str| {
            let mut ends = line.split_whitespace().skip(1);
            ends.next().is_some_and(|end| end.ends_with(&local))
                && ends.next().is_some_and(|end| end.ends_with(&remote))
        };
        let line = table.lines().find(is_ours).expect("the client's end");
        // Field 5, tr:tm->when, begins with 02 where the keepalive timer runs.
        assert_eq!(line.split_whitespace().nth(5).unwrap().starts_with("02:"), timer, "{line}");
        drop((child.stdin.take(), server));
        assert_eq!(wait(&mut child).code(), Some(0));
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for (args, what) in [
        (&["client", "--wait", "--retry", "3"][..], "cannot be used with"),
        (&["client", "--listen", "--wait"], "cannot be used with"),
        (&["client", "--recv-only", "--send-only"], "cannot be used with"),
        (&["client", "--recv-only", "--crlf"], "cannot be used with"),
        (&["client", "--reconnect", "--json"], "cannot be used with"),
        (&["client", "--reconnect"], "--reconnect is for a conversation at a terminal"),
        (&["client", "127.0.0.1", "8888", "test", "--crlf"], "--crlf has no meaning in a test"),
        #[cfg(unix)]
        (&["client", "unix:/tmp/x", "--source-port", "5"], "a unix socket has no source"),
        (&["client", "--retry", "0"], "0 is not in 1.."),
        (&["client", "--source-port", "0"], "source-port"),
        (&["client", "127.0.0.1", "0"], "port 0 cannot be connected to"),
        (&["client", "--keepalive", "500ms"], "keepalive takes whole seconds"),
        (&["client", "--idle-timeout", "10000000000000000000s"], "100 years are the most"),
        (&["client", "--listen", "--connect-timeout", "1s"], "cannot be used with"),
    ] {
        let (code, stdout, stderr) = run(args, b"");
        assert_eq!((code, stdout.len()), (Some(2), 0), "{args:?}: {stderr}");
        assert!(stderr.contains(what), "{args:?}: {stderr}");
    }
}

#[test]
fn completions_have_commands_and_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, stderr) = run(&["completions", shell], b"");
        let script = String::from_utf8(script).unwrap();
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        for word in ["server", "client", "reconnect", "line-delay"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

#[cfg(unix)]
#[test]
fn bash_completes() {
    let Ok(bash) = std::process::Command::new("bash").arg("--version").output() else { return };
    assert!(bash.status.success());
    let (_, script, _) = run(&["completions", "bash"], b"");
    let complete =
        "\nCOMP_WORDS=(resound client --rec); COMP_CWORD=2\n_resound resound --rec client\necho \"${COMPREPLY[@]}\"\n";
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("script");
    std::fs::write(&path, [&script, complete.as_bytes()].concat()).unwrap();
    let out = std::process::Command::new("bash").arg(&path).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "--reconnect --recv-only\n",
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn every_command_has_its_manual_page() {
    let (code, page, _) = run(&["man"], b"");
    let page = String::from_utf8(page).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(run(&["man", "resound"], b"").1, page.as_bytes());
    assert!(page.contains(".TH resound 1") && page.contains("resound\\-client(1)"), "{page}");
    let (code, page, _) = run(&["man", "client"], b"");
    let page = String::from_utf8(page).unwrap();
    assert_eq!(code, Some(0));
    assert!(page.contains(".TH resound-client 1") && page.contains("\\-\\-line\\-delay"), "{page}");
    let (code, _, stderr) = run(&["man", "unknown"], b"");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("there are: server, client, test"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn all_manual_pages_can_be_written() {
    let folder = tempfile::TempDir::new().unwrap();
    let pages = folder.path().join("man1");
    let (code, _, stderr) = run(&["man", "--output", pages.to_str().unwrap()], b"");
    assert_eq!(code, Some(0), "{stderr}");
    for page in ["resound", "resound-server", "resound-client", "resound-test", "resound-completions", "resound-man"] {
        assert!(std::fs::read_to_string(pages.join(format!("{page}.1"))).unwrap().contains(".TH"), "{page}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_local_address_needs_an_interface_and_the_error_lists_them() {
    let all = resound::system::interface_names();
    for address in ["fe80::1", "fe80::1%no_such_one"] {
        let commands: [&[&str]; 6] = [
            &["server", address, "0"],
            &["client", address, "9"],
            &["client", "--listen", address, "9"],
            &["test", address, "9", "--wait"],
            &["load", address, "9", "--mode", "echo"],
            &["client", "::1", "9", "--source-address", address],
        ];
        for args in commands {
            let (code, stdout, stderr) = run(args, b"");
            assert_eq!((code, stdout.len()), (Some(2), 0), "{args:?}: {stderr}");
            let named = all.iter().filter(|name| stderr.contains(*name)).count();
            assert!(named >= all.len().min(8), "{args:?}: {stderr}");
            let text = if address.contains('%') { "no such interface" } else { "Write it as fe80::1%" };
            assert!(stderr.contains(text), "{args:?}: {stderr}");
        }
    }
    let (code, _, stderr) = run(&["load", "::1", "9", "--mode", "echo", "--source", "fe80::1"], b"");
    assert!(code == Some(2) && stderr.contains("write the target with") && stderr.contains(&all[0]), "{stderr}");
}

#[test]
fn a_client_that_listens_reports_that_no_peer_came() {
    let (code, _, stderr) = run(&["client", "--listen", "127.0.0.1:0", "--timeout", "50ms"], b"hello\n");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("No peer connected") && !stderr.contains("The server"), "{stderr}");
}

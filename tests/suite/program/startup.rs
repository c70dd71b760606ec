//! What stands in the way of a start, and what a server does when descriptors run out (Unix).

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use resound::server::Listener;
use resound::{Address, Error, Family};

use tempfile::TempDir;

use crate::child::{Program, run};
use crate::harness::{PATIENCE, Peer, engines};
use crate::not_tested::not_tested;

fn bind(address: &str) -> Result<Vec<Listener>, Error> {
    Listener::bind(&address.parse::<Address>()?, Family::Any)
}

#[test]
fn a_port_in_use_is_reported_with_a_hint() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let (code, stdout, stderr) = run(&["server", "127.0.0.1", &port], b"");
    assert_eq!((code, stdout.len()), (Some(2), 0));
    assert!(stderr.contains(&format!("127.0.0.1:{port} is already in use")), "{stderr}");
    assert!(stderr.contains("Choose another port"), "{stderr}");
}

#[test]
fn a_port_that_is_released_late_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let (go, gone) = std::sync::mpsc::channel();
    let letting_go = std::thread::spawn(move || {
        gone.recv().unwrap();
        drop(holder);
    });
    // The release and the attempt race; whichever comes first, the attempt succeeds.
    go.send(()).unwrap();
    assert_eq!(bind(&address).unwrap().len(), 1);
    letting_go.join().unwrap();
    drop(folder);
}

#[test]
fn a_privileged_port_is_reported_with_a_hint() {
    let first: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024);
    if first <= 1 {
        return not_tested("a privileged port", "no port is privileged");
    }
    let mut command = Program::command(&["server", "127.0.0.1", "1"]);
    let folder = TempDir::new().unwrap();
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::process::CommandExt;
        // Where the build's folder is private, the program is copied to a public one.
        let copy = folder.path().join("resound");
        // By another process: a child of another test, made while this one writes the copy, would
        // have it open for writing, and a program that is open so is not run.
        let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_resound")).arg(&copy).status().unwrap();
        assert!(copied.success());
        for path in [folder.path(), &copy] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        command = std::process::Command::new(copy);
        command.args(["server", "127.0.0.1", "1"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.uid(65_534).gid(65_534).current_dir("/");
    }
    let (code, stderr) = Program::spawn(command).end();
    assert_eq!(code, Some(2));
    assert!(stderr.contains("no permission to listen on 127.0.0.1:1"), "{stderr}");
    assert!(stderr.contains("Choose a port from 1024 up"), "{stderr}");
}

#[test]
fn an_address_of_another_machine_is_reported_with_a_hint() {
    // No connection comes to a multicast or broadcast address, though systems listen there.
    for host in ["192.0.2.1", "224.0.0.1", "255.255.255.255"] {
        let (code, _, stderr) = run(&["server", host, "0"], b"");
        assert_eq!(code, Some(2));
        assert!(stderr.contains(&format!("{host}:0 is not an address of this machine")), "{stderr}");
        assert!(stderr.contains("0.0.0.0"), "{stderr}");
    }
}

#[test]
fn a_name_with_an_address_of_another_machine_still_serves_on_the_others() {
    let listeners = bind("localhost:0").unwrap();
    let ports: std::collections::HashSet<_> = listeners
        .iter()
        .map(|listener| listener.address().to_string().rsplit(':').next().unwrap().to_string())
        .collect();
    assert_eq!(ports.len(), 1, "one port for all addresses of the name");
}

#[cfg(target_os = "linux")]
#[test]
fn a_congestion_control_is_inherited_or_refused_with_a_hint() {
    let (code, _, stderr) = run(&["server", "127.0.0.1", "0", "--congestion", "no-such-thing"], b"");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("no congestion control 'no-such-thing'") && stderr.contains("tcp_allowed"), "{stderr}");
    // What every Linux has.
    for engine in engines() {
        let (server, address) = Program::server(&["--congestion", "reno", "--engine", engine]);
        let mut peer = Peer::connect(address);
        peer.ask("hello");
        let of_port = format!("sport = :{}", address.port());
        match std::process::Command::new("ss").args(["-tiHn", "state", "established", &of_port]).output() {
            Ok(shown) => {
                let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
                assert!(shown.contains("reno"), "{engine}: {shown}");
            }
            Err(error) => not_tested("congestion control as ss shows it", &error.to_string()),
        }
        drop(server);
    }
}

#[test]
fn only_a_stale_unix_socket_is_replaced() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let address = format!("unix:{}", path.display());

    let live = bind(&address).unwrap();
    assert!(matches!(bind(&address), Err(Error::InUse { .. })));
    drop(live);
    assert!(!path.exists());

    // What a crash leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(bind(&address).unwrap());

    std::fs::write(&path, "precious").unwrap();
    let error = bind(&address).unwrap_err();
    assert!(matches!(error, Error::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_path_is_free_again_right_after_its_server_was_killed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let address = format!("unix:{}", path.display());
    for engine in engines() {
        for _ in 0..5 {
            let mut server = Program::spawn(Program::command(&["server", &address, "--engine", engine]));
            server.stdout.until("Waiting for client connections");
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            // The process is gone. Its listener may not be: a ring that accepts on it is taken down
            // a little later.
            drop(bind(&address).unwrap());
        }
    }
}

#[test]
fn without_descriptors_the_server_waits_and_then_goes_on() {
    for engine in engines() {
        let mut command = std::process::Command::new("sh");
        // The program raises its soft limit, so both are lowered.
        let script = format!(
            "ulimit -n 40 && exec '{}' server 127.0.0.1 0 --max-connections 1000 --engine {engine}",
            env!("CARGO_BIN_EXE_resound")
        );
        command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = Program::spawn(command);
        let line = server.stdout.next();
        let address = line.strip_prefix("TCP Server started on ").expect(&line).parse().unwrap();
        let mut stderr = BufReader::new(server.child.stderr.take().unwrap());
        let mut text = String::new();
        stderr.read_line(&mut text).unwrap();
        let most = text.strip_prefix("resound: at most ").expect(&text);
        let (most, rest) = most.split_once(' ').unwrap();
        let most: usize = most.parse().unwrap();
        assert!(rest.starts_with("connections at once, not 1000"), "{text}");
        // As many as there can be, and more: the cap counts what descriptors allow, so it is
        // reached first; the rest wait.
        let mut peers: Vec<Peer> = (0..most).map(|_| Peer::connect(address)).collect();
        peers.iter_mut().for_each(|peer| peer.ask("first"));
        let mut late: Vec<Peer> = (0..40).map(|_| Peer::connect(address)).collect();
        late[39].send("last\n");
        text.clear();
        stderr.read_line(&mut text).unwrap();
        assert!(text.contains(&format!("a connection waits: {most} are served")), "{text}");
        let mut last = late.pop().unwrap();
        (peers, late) = (Vec::new(), Vec::new());
        last.expect("Server received: last\n");
        drop((peers, late));
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(server.end().0, Some(0));
        text.clear();
        stderr.read_to_string(&mut text).unwrap();
        assert!(text.lines().count() < 10, "one line a second at most: {text}");
    }
}

/// Runs one of the tests below in a process of its own, under a limit of 64 descriptors, for each
/// engine.
fn in_a_small_process(test: &str) {
    for engine in engines() {
        let script = format!(
            "ulimit -n 64 && exec '{}' --exact --ignored {}::{test} --nocapture",
            std::env::current_exe().unwrap().display(),
            module_path!().trim_start_matches("suite::")
        );
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).env("RESOUND_TEST_ENGINE", engine);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{engine}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("1 passed"), "{text}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{engine}");
    }
}

fn engine_of_this_process() -> resound::Engine {
    crate::harness::engine(&std::env::var("RESOUND_TEST_ENGINE").unwrap_or_default())
}

/// All descriptors that there are left.
fn all_descriptors() -> Vec<std::fs::File> {
    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
}

#[test]
fn a_full_descriptor_table_is_survived() {
    in_a_small_process("emfile_in_a_process_of_its_own");
}

#[test]
#[ignore = "run by the test above, under a limit of 64 descriptors"]
fn emfile_in_a_process_of_its_own() {
    use resound::{Reply, Server};
    // In this process the library has no cap of its own, so that accept itself runs into EMFILE.
    let server = Server::new().engine(engine_of_this_process());
    let server = crate::harness::Running::start(server, |_| Reply::default());
    let mut first = server.connect();
    first.ask("first");
    // This process holds both ends; once its table is full, the peer's connection stands in the
    // backlog, and accept fails.
    let mut hoard = all_descriptors();
    hoard.pop();
    let mut late = server.connect();
    late.send("late\n");
    first.ask("the others are served meanwhile");
    assert_eq!(server.handle.totals().opened, 1);
    let freed = std::time::Instant::now();
    drop(hoard);
    late.expect("Server received: late\n");
    assert!(freed.elapsed() < PATIENCE / 2, "accepted again after {:?}", freed.elapsed());
    server.drain();
}

#[test]
fn a_library_without_descriptors_fails_and_does_not_panic() {
    in_a_small_process("a_start_in_a_process_of_its_own");
}

#[test]
#[ignore = "run by the test above, under a limit of 64 descriptors"]
fn a_start_in_a_process_of_its_own() {
    use resound::{Reply, Server};
    let engine = engine_of_this_process();
    let mut failures = 0;
    for free in 0..40 {
        let listener = bind("127.0.0.1:0").unwrap().remove(0);
        let mut hoard = all_descriptors();
        hoard.truncate(hoard.len() - free);
        let server = Server::new().engine(engine).workers(std::num::NonZeroUsize::MIN).listener(listener);
        // What runs beside it drops its handle, and so stops it.
        match server.run(|_| Reply::default(), |handle| async move { drop(handle) }) {
            Ok(_) => break,
            Err(Error::Worker(error) | Error::Uring(error)) => {
                assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
        failures += 1;
    }
    assert!((3..39).contains(&failures), "{failures}");
}

/// Runs `resound` with these arguments, under a limit on open files, hard and soft.
fn under_a_limit(limit: u32, args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    let script = format!("ulimit -n {limit} && exec '{}' \"$@\"", env!("CARGO_BIN_EXE_resound"));
    command.args(["-c", &script, "sh"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The error where there are too few descriptors, before any other output.
fn is_refused(command: &str, code: Option<i32>, stdout: &[u8], stderr: &str) -> bool {
    let is_explained =
        stderr.starts_with(&format!("resound: {command} needs ")) && stderr.contains("raise it (`ulimit -n 1024`)");
    code == Some(2) && stdout.is_empty() && is_explained && stderr.lines().count() == 1
}

#[test]
fn with_few_descriptors_a_server_serves_or_fails_at_the_start() {
    for engine in engines() {
        for workers in [&["--workers", "2"][..], &[]] {
            let mut served = 0;
            for limit in 4..=32 {
                let args = [&["server", "127.0.0.1", "0", "--engine", engine], workers].concat();
                let mut server = Program::spawn(under_a_limit(limit, &args));
                let Some(line) = server.stdout.next_if_any() else {
                    let (code, stderr) = server.end();
                    assert!(is_refused("a server", code, b"", &stderr), "{engine}, {limit}: {code:?} {stderr}");
                    assert_eq!(served, 0, "{engine} serves with less than {limit}");
                    continue;
                };
                let address = line.strip_prefix("TCP Server started on ").expect(&line).parse().unwrap();
                // A connection that finds no room waits.
                let mut peers: Vec<Peer> = (0..4).map(|_| Peer::connect(address)).collect();
                while let Some(mut peer) = peers.pop() {
                    peer.send("hello\n");
                    if peers.is_empty() {
                        peer.expect("Server received: hello\n");
                    }
                }
                server.signal(rustix::process::Signal::TERM);
                let (code, stderr) = server.end();
                assert_eq!(code, Some(0), "{engine}, {limit}: {stderr}");
                assert!(!stderr.contains("no file descriptors left"), "{engine}, {limit}: {stderr}");
                served += 1;
            }
            assert!(served >= 4, "{engine} serves with few descriptors: {served}");
        }
    }
}

#[test]
fn with_few_descriptors_a_client_works_or_fails_before_it_connects() {
    let (_server, address) = Program::server(&["--quiet"]);
    let address = address.to_string();
    let load = ["load", &address, "-c", "1", "-n", "10", "--quiet", "--mode", "reply"];
    let with_engines: Vec<_> =
        engines().into_iter().map(|engine| [&load[..], &["--engine", engine]].concat()).collect();
    let mut commands =
        vec![("a client", vec!["client", &address]), ("a test", vec!["test", &address, "--only", "messages"])];
    commands.extend(with_engines.into_iter().map(|args| ("a generator", args)));
    for (command, args) in commands {
        let mut worked = 0;
        for limit in 4..=24 {
            let output = under_a_limit(limit, &args).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            if output.status.code() == Some(0) {
                worked += 1;
                continue;
            }
            assert!(is_refused(command, output.status.code(), &output.stdout, &stderr), "{args:?}, {limit}: {stderr}");
            assert_eq!(worked, 0, "{args:?} works with less than {limit}");
        }
        assert!(worked >= 8, "{args:?} works with few descriptors: {worked}");
    }
    // The checks of a path run side by side, and refuse to begin where they could not.
    let args = ["test", address.as_str()];
    let output = under_a_limit(100, &args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(is_refused("a test", output.status.code(), &output.stdout, &stderr), "{stderr}");
    let output = under_a_limit(256, &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    // Connections that there is no room for are refused before any is made, and those that there is
    // room for are made.
    let args = ["load", &address, "-c", "60", "-n", "60", "--quiet", "--mode", "reply"];
    let output = under_a_limit(64, &args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let most = stderr.split(" at most").next().and_then(|text| text.rsplit(' ').next()).expect(&stderr);
    assert!(output.status.code() == Some(2) && most.parse::<u32>().unwrap() >= 32, "{stderr}");
    let args = ["load", &address, "-c", most, "-n", "60", "--quiet", "--mode", "reply"];
    let output = under_a_limit(64, &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

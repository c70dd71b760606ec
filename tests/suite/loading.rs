//! `resound load` as a user sees it.

use std::net::TcpListener;

use crate::harness::{PATIENCE, Program, engines, run, wait};

#[test]
fn one_command_shows_the_whole() {
    for engine in engines() {
        let args = ["load", "--loopback", "--engine", engine, "-n", "300", "-c", "3", "--json"];
        let (code, stdout, stderr) = run(&args, b"");
        let stdout = String::from_utf8(stdout).unwrap();
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        assert!(stdout.contains("300"), "{stdout}");
    }
}

#[test]
fn what_the_far_end_does_is_found_out() {
    for (mode, extra) in [("reply", None), ("echo", None), ("discard", None), ("chargen", Some("--shape=stream"))] {
        let (_server, address) = Program::server(&["--mode", mode]);
        let address = address.to_string();
        let amount = if extra.is_some() { ["-d", "50ms"] } else { ["-n", "50"] };
        let args = [&["load", &address, "--json"][..], &amount, &extra.into_iter().collect::<Vec<_>>()].concat();
        let (code, stdout, stderr) = run(&args, b"");
        let stdout = String::from_utf8(stdout).unwrap();
        assert_eq!(code, Some(0), "{mode}: {stdout}{stderr}");
        assert!(stdout.to_lowercase().contains(mode), "{mode}: {stdout}");
    }
}

#[test]
fn an_unknown_far_end_is_said_with_a_way_out() {
    let port = crate::client::foreign(|listener: TcpListener| {
        use std::io::Write;
        let (mut peer, _) = listener.accept().unwrap();
        let _ = peer.write_all(b"220 mail.example ESMTP\r\n");
        let _ = std::io::copy(&mut peer, &mut std::io::sink());
    });
    let (code, _, stderr) = run(&["load", "127.0.0.1", &port], b"");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("220 mail.example ESMTP") && stderr.contains("--mode"), "{stderr}");
}

#[test]
fn nothing_to_connect_to_is_a_network_failure() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    for mode in [&["--mode", "echo"][..], &[]] {
        let (code, _, stderr) = run(&[&["load", "127.0.0.1", &port][..], mode].concat(), b"");
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("refused"), "{stderr}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_prints_the_results_so_far() {
    let (mut server, address) = Program::server(&["--mode", "echo"]);
    let address = address.to_string();
    let mut command = Program::command(&["load", &address, "--mode", "echo", "-d", "1h", "--json"]);
    let load = Program::spawn({
        command.stdin(std::process::Stdio::null());
        command
    });
    // It is at work once the server has told a few messages.
    (0..20).for_each(|_| drop(server.stdout.until("Received ")));
    load.signal(rustix::process::Signal::INT);
    let mut load = load;
    let lines = load.stdout.rest();
    assert_eq!(wait(&mut load.child).code(), Some(130));
    assert!(!lines.is_empty());
    let _ = PATIENCE;
}

#[cfg(target_os = "linux")]
#[test]
fn too_few_descriptors_are_said_before_anything_is_done() {
    let program = env!("CARGO_BIN_EXE_resound");
    let script = format!("ulimit -n 100; exec {program} load 127.0.0.1 1 --mode echo -c 200");
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("ulimit -Hn") && stderr.contains("use 36 at most"), "{stderr}");
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for args in [
        &["--shape", "ramp"][..],
        &["--shape", "ramp", "--steps", "1..5+1", "-d", "1s"],
        &["--shape", "stream", "--rate", "5"],
        &["--each", "3"],
        &["-n", "3", "-c", "5"],
        &["--rate", "5", "--think-time", "1s"],
        &["--every", "1s"],
        &["--loopback", "localhost"],
        &["--size", "9..1"],
    ] {
        let (code, _, stderr) = run(&[&["load"][..], args].concat(), b"");
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.len() > 20, "{stderr}");
    }
}

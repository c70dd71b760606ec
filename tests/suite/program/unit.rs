//! The units in packaging/systemd: systemd's own tools read them, and the program works under their
//! filter of system calls.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::child::Program;
use crate::harness::Peer;
use crate::not_tested::not_tested;

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd").join(name)
}

/// Systemd's tool for units. Version 250 can judge one without a system that runs it.
fn analyze(what: &str, args: &[&str], units: &[&Path]) -> Option<String> {
    let tool = Command::new("systemd-analyze").args(args).args(units).output();
    let Ok(done) = tool else {
        not_tested(what, "systemd-analyze is not installed");
        return None;
    };
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if said.contains("unrecognized option") {
        not_tested(what, "systemd-analyze is too old");
        return None;
    }
    assert!(done.status.success(), "{said}");
    Some(said)
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = tempfile::TempDir::new().unwrap();
    let copies = ["resound.service", "resound.socket"].map(|name| {
        let text = std::fs::read_to_string(unit(name)).unwrap();
        let copy = folder.path().join(name);
        // The program is not installed where the unit has it.
        std::fs::write(&copy, text.replace("/usr/bin/resound", env!("CARGO_BIN_EXE_resound"))).unwrap();
        copy
    });
    let copies = copies.each_ref().map(PathBuf::as_path);
    if let Some(said) = analyze("verification of the units", &["verify", "--man=no"], &copies) {
        assert_eq!(said, "");
    }
}

#[test]
fn systemd_calls_the_service_well_protected() {
    let args = ["security", "--offline=yes", "--threshold=20", "--no-pager"];
    analyze("protection of the service", &args, &[&unit("resound.service")]);
}

#[test]
fn the_program_works_under_the_units_filter_of_system_calls() {
    let filtered = |program: &str| {
        let mut command = Command::new(unit("with-filter"));
        command.arg(unit("resound.service")).arg(program).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let probed = filtered("cat").arg("/proc/self/status").output();
    match probed.as_ref().map(|probed| (probed.status.success(), String::from_utf8_lossy(&probed.stdout))) {
        Ok((true, status)) => assert!(status.contains("Seccomp:\t2\n"), "there is no filter: {status}"),
        _ => return not_tested("the filter of system calls", &format!("{probed:?}")),
    }
    // The warnings without the filter, such as of a system without io_uring.
    let usual = {
        let (mut server, _) = Program::server(&[]);
        server.stdout.until("Waiting for client connections...");
        server.signal(Signal::TERM);
        server.end().1
    };
    let mut command = filtered(env!("CARGO_BIN_EXE_resound"));
    command.args(["server", "127.0.0.1", "0"]);
    let mut server = Program::spawn(command);
    let address = server.stdout.until("TCP Server")["TCP Server started on ".len()..].parse().unwrap();
    Peer::connect(address).ask("hello");
    server.signal(Signal::USR2);
    let line = server.stdout.until("Upgraded: process ");
    let pid: i32 = line.split(' ').nth(2).unwrap().parse().unwrap();
    Peer::connect(address).ask("hello again");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    server.stdout.rest();
    assert_eq!(server.end(), (Some(0), usual.repeat(2)));
}

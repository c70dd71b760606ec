//! [`PathOwner`]: what holds the path of a unix socket on which a server is to listen.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

/// A socket also refuses for the moment between its server's bind and listen, and a process takes a
/// moment to end.
const SETTLE_TIME: Duration = Duration::from_millis(20);

/// How long a process whose end can be seen may take to let go of its sockets.
pub(super) const OWNER_PATIENCE: Duration = Duration::from_secs(1);

/// What holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathOwner {
    /// A socket without a listener, as a crash leaves it behind.
    Nothing,
    /// A socket that answers although its process has ended or is not visible from here. The system
    /// closes a ring's listener a little after the process has ended.
    Ending,
    /// A server, or a file that is no socket.
    Taken,
}

impl PathOwner {
    /// What holds `path`, whose address is `name`.
    pub(super) fn of(path: &Path, name: &SockAddr) -> Self {
        use std::os::unix::fs::FileTypeExt;
        match std::fs::symlink_metadata(path) {
            Ok(file) if file.file_type().is_socket() => {}
            // Its server has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::Ending,
            _ => return Self::Taken,
        }
        match probe(name) {
            ProbeResult::Refused => {
                std::thread::sleep(SETTLE_TIME);
                if probe(name) == ProbeResult::Refused { Self::Nothing } else { Self::Ending }
            }
            // Twice: the process may be about to end.
            ProbeResult::Answered(owner) if is_running(owner) => {
                std::thread::sleep(SETTLE_TIME);
                if is_running(owner) { Self::Taken } else { Self::Ending }
            }
            ProbeResult::Answered(_) => Self::Ending,
            ProbeResult::Failed => Self::Taken,
        }
    }
}

/// Removes the file of a unix socket whose process has ended without doing so. A socket that is
/// listened on stays, and so does a file that is none.
pub fn remove_dead_socket(path: &Path) {
    let Ok(name) = SockAddr::unix(path) else { return };
    let until = Instant::now() + OWNER_PATIENCE;
    loop {
        match PathOwner::of(path, &name) {
            PathOwner::Nothing => return drop(std::fs::remove_file(path)),
            PathOwner::Ending if path.exists() && Instant::now() < until => std::thread::sleep(SETTLE_TIME),
            PathOwner::Ending | PathOwner::Taken => return,
        }
    }
}

/// What became of a connection to a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeResult {
    Refused,
    /// Connected, or waiting in a full queue. The process is the one that listened, where it is
    /// known.
    Answered(Option<i32>),
    Failed,
}

fn probe(name: &SockAddr) -> ProbeResult {
    let Ok(socket) = Socket::new(Domain::UNIX, Type::STREAM, None) else { return ProbeResult::Failed };
    // A full queue must not block: a server listens there.
    let answer = socket.set_nonblocking(true).and_then(|()| socket.connect(name));
    match answer {
        Ok(()) => ProbeResult::Answered(owner(&socket)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => ProbeResult::Refused,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ProbeResult::Answered(None),
        Err(_) => ProbeResult::Failed,
    }
}

/// The process that listened on what this socket is connected to (unix(7), `SO_PEERCRED`).
#[cfg(target_os = "linux")]
fn owner(socket: &Socket) -> Option<i32> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    getsockopt(socket, PeerCredentials).ok().map(|credentials| credentials.pid()).filter(|&process| process > 0)
}

/// Is this process visibly running? One that is exiting is not (proc_pid_stat(5)).
#[cfg(target_os = "linux")]
fn is_running(process: Option<i32>) -> bool {
    /// `PF_EXITING`.
    const EXITING: u32 = 4;
    let Some(process) = process else { return false };
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
        // It has ended, or the system hides processes of other users.
        let process = rustix::process::Pid::from_raw(process);
        return process.is_some_and(|process| {
            !matches!(rustix::process::test_kill_process(process), Err(rustix::io::Errno::SRCH))
        });
    };
    // The name in parentheses may contain any character.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = fields.next().unwrap_or_default();
    let flags: u32 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    !matches!(state, "Z" | "X" | "x") && flags & EXITING == 0
}

/// On other systems no listener outlives its process, so a socket that answers has a running owner.
#[cfg(not(target_os = "linux"))]
fn owner(_socket: &Socket) -> Option<i32> {
    None
}

#[cfg(not(target_os = "linux"))]
fn is_running(_process: Option<i32>) -> bool {
    true
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_runs_until_it_has_ended_reaped_or_not() {
        assert!(is_running(i32::try_from(std::process::id()).ok()));
        assert!(!is_running(None), "an invisible process counts as ending");
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = i32::try_from(child.id()).ok();
        assert!(is_running(process));
        drop(child.stdin.take());
        // A zombie until its parent waits for it.
        let pid = rustix::process::Pid::from_child(&child);
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).unwrap();
        assert!(!is_running(process));
        child.wait().unwrap();
        assert!(!is_running(process));
    }
}

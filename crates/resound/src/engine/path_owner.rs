//! [`PathOwner`]: what stands at a unix socket's path where a server wants to listen.

use std::io;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// A socket also refuses for the moment between its server's bind and listen, and a process takes a moment to end.
const A_MOMENT: Duration = Duration::from_millis(20);

/// What holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathOwner {
    /// A socket that nothing listens on any more: what a crash leaves behind.
    Nothing,
    /// A socket that answers, though the process that listened on it has ended, or cannot be seen from here. The system
    /// lets go of a ring's listener a little after the process that has ended.
    Ending,
    /// A server, or a file that is no socket.
    Somebody,
}

impl PathOwner {
    /// What holds `path`, whose address is `name`.
    pub(super) fn of(path: &Path, name: &SockAddr) -> Self {
        use std::os::unix::fs::FileTypeExt;
        match std::fs::symlink_metadata(path) {
            Ok(file) if file.file_type().is_socket() => {}
            // Its server has just taken it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::Ending,
            _ => return Self::Somebody,
        }
        match knock(name) {
            ProbeResult::Refused => {
                std::thread::sleep(A_MOMENT);
                if knock(name) == ProbeResult::Refused { Self::Nothing } else { Self::Ending }
            }
            // Looked at twice: the process may be about to end, and not have got to it.
            ProbeResult::Answered(owner) if is_running(owner) => {
                std::thread::sleep(A_MOMENT);
                if is_running(owner) { Self::Somebody } else { Self::Ending }
            }
            ProbeResult::Answered(_) => Self::Ending,
            ProbeResult::Failed => Self::Somebody,
        }
    }
}

/// What became of a connection to a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeResult {
    Refused,
    /// It stands, or waits in a queue that is full. The process is the one that listened, as far as it is known.
    Answered(Option<i32>),
    Failed,
}

fn knock(name: &SockAddr) -> ProbeResult {
    let Ok(socket) = Socket::new(Domain::UNIX, Type::STREAM, None) else { return ProbeResult::Failed };
    // A full queue must not hold us up: a server listens there.
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

/// Is this process still running, so far as can be seen? One that is being ended is not (proc_pid_stat(5)).
#[cfg(target_os = "linux")]
fn is_running(process: Option<i32>) -> bool {
    /// `PF_EXITING`.
    const EXITING: u32 = 4;
    let Some(process) = process else { return false };
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
        // It is gone, or what other users run is hidden.
        let process = rustix::process::Pid::from_raw(process);
        return process.is_some_and(|process| {
            !matches!(rustix::process::test_kill_process(process), Err(rustix::io::Errno::SRCH))
        });
    };
    // Its name may hold anything, and stands in parentheses.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = fields.next().unwrap_or_default();
    let flags: u32 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    !matches!(state, "Z" | "X" | "x") && flags & EXITING == 0
}

/// Elsewhere a socket's owner is not asked for, and no listener outlives it: what answers runs.
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
    fn a_process_runs_until_it_has_ended_whether_that_was_noticed_or_not() {
        assert!(is_running(i32::try_from(std::process::id()).ok()));
        assert!(!is_running(None), "where it cannot be seen, it is waited for");
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = i32::try_from(child.id()).ok();
        assert!(is_running(process));
        drop(child.stdin.take());
        // Until it is waited for, an ended process is there still.
        let pid = rustix::process::Pid::from_child(&child);
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).unwrap();
        assert!(!is_running(process));
        child.wait().unwrap();
        assert!(!is_running(process));
    }
}

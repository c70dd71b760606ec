//! The lab's first process. It starts commands, reaps them and ends with its owner; the kernel ends
//! all others of the lab with it, because it is the first of their process namespace.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, set_parent_process_death_signal};
use rustix::thread::{capabilities, configure_capability_in_ambient_set, set_capabilities};

use super::channel::LabChannel;
use super::network::enter;
use super::request::LabRequest;
use crate::{Side, sys};

/// A socket that listens, in the tables of /proc/net.
const LISTENING: &str = "0A";

struct Init<'a> {
    channel: &'a LabChannel,
    networks: &'a [OwnedFd; 2],
    /// The pipe for the exit status of each command.
    running: BTreeMap<i32, OwnedFd>,
    /// The signals that the owner blocks, and its commands too.
    blocked: SigSet,
}

/// Serves the owner until it is gone.
pub(super) fn run(channel: &LabChannel, networks: &[OwnedFd; 2]) -> i32 {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // A handler of the owner's would write to descriptors that are others here, and an owner that
    // ignores SIGCHLD would let the kernel reap commands, and lose their exit codes.
    sys::forget_handlers();
    mount_own();
    let mut init = Init { channel, networks, running: BTreeMap::new(), blocked: SigSet::empty() };
    // Both reasons to end are the same: nothing is left to serve.
    i32::from(init.serve().is_err())
}

/// Mounts of the lab's own: its processes and its names. Where a mount is refused, as in some
/// containers, the outer one stays.
fn mount_own() {
    // Without it, as where a chroot's / is no mount, the outside would see what is mounted here.
    if mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).is_err() {
        return;
    }
    let _ = mount_hosts();
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let _ = mount("proc", "/proc", "proc", flags, None);
}

fn mount_hosts() -> io::Result<()> {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    // A place for a file that is gone after it is bound.
    mount("lab", "/proc", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)?;
    let bound = fs::write("/proc/hosts", own_hosts(&hosts)).and_then(|()| Ok(mount_bind("/proc/hosts", "/etc/hosts")?));
    unmount("/proc", UnmountFlags::DETACH)?;
    bound
}

/// /etc/hosts with the names of the ends.
fn own_hosts(outer: &str) -> String {
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for side in Side::BOTH {
        hosts += &format!("{} {name}\n{} {name}\n", side.ipv4(), side.ipv6(), name = side.name());
    }
    hosts + outer
}

impl Init<'_> {
    fn serve(&mut self) -> io::Result<()> {
        let mut mask = SigSet::empty();
        mask.add(NixSignal::SIGCHLD);
        self.blocked = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags)?;
        loop {
            let channel = self.channel.as_fd();
            let mut ready = [PollFd::new(&channel, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let is_asked = !ready[0].revents().is_empty();
            while signals.read_signal()?.is_some() {}
            self.reap();
            if is_asked {
                let Some((message, descriptors)) = self.channel.receive()? else { return Ok(()) };
                let (number, socket) = match self.answer(&message, descriptors) {
                    Ok(answer) => answer,
                    Err(error) => (-error.raw_os_error().unwrap_or(libc::EIO), None),
                };
                let sockets: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
                self.channel.send(&number.to_ne_bytes(), &sockets)?;
            }
        }
    }

    /// Reaps what has ended, orphans of commands included.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(pipe) = self.running.remove(&pid.as_raw_nonzero().get()) {
                // Nothing may wait for it.
                let _ = fs::File::from(pipe).write_all(&status.as_raw().to_ne_bytes());
            }
        }
    }

    fn answer(&mut self, message: &[u8], descriptors: Vec<OwnedFd>) -> io::Result<(i32, Option<OwnedFd>)> {
        match LabRequest::decode(message).ok_or(io::ErrorKind::InvalidInput)? {
            LabRequest::Start { side, is_apart, words } => Ok((self.start(side, is_apart, &words, descriptors)?, None)),
            LabRequest::Socket { side, domain, kind } => {
                enter(self.network(side))?;
                let (domain, kind) = (AddressFamily::from_raw(domain as u16), SocketType::from_raw(kind as u32));
                Ok((0, Some(socket_with(domain, kind, SocketFlags::CLOEXEC, None)?)))
            }
            LabRequest::Signal { process, signal } => {
                let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
                let pid = Pid::from_raw(process.abs()).ok_or(io::ErrorKind::InvalidInput)?;
                if process < 0 {
                    kill_process_group(pid, signal)?
                } else {
                    kill_process(pid, signal)?
                }
                Ok((0, None))
            }
            LabRequest::IsListening { side } => {
                enter(self.network(side))?;
                Ok((i32::from(is_listening()), None))
            }
        }
    }

    fn network(&self, side: Side) -> &OwnedFd {
        &self.networks[usize::from(side == Side::Far)]
    }

    fn start(&mut self, side: Side, is_apart: bool, words: &[OsString], descriptors: Vec<OwnedFd>) -> io::Result<i32> {
        let streams: [OwnedFd; 4] = descriptors.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        let [stdin, stdout, stderr, pipe] = streams;
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
        let network = self.network(side).try_clone()?;
        let blocked = self.blocked;
        sys::prepare(&mut command, move || {
            // This process blocks SIGCHLD, without which many a command would miss its children.
            blocked.thread_set_mask()?;
            enter(&network)?;
            if is_apart {
                rustix::process::setsid()?;
            }
            keep_capabilities()
        });
        let pid = command.spawn()?.id() as i32;
        self.running.insert(pid, pipe);
        Ok(pid)
    }
}

/// Lets the command keep the rights of this process, which are none outside of the lab: it may
/// capture packets and change its end's network.
fn keep_capabilities() -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted;
    set_capabilities(None, sets)?;
    for capability in sets.permitted.iter() {
        // One that the kernel does not know is none that a command could miss.
        let _ = configure_capability_in_ambient_set(capability, true);
    }
    Ok(())
}

/// Does anything listen in the network namespace of this process, or wait for datagrams?
fn is_listening() -> bool {
    let table = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let has_listener = |name| table(name).lines().any(|line| line.split_whitespace().nth(3) == Some(LISTENING));
    let has_socket = |name| table(name).lines().count() > 1;
    has_listener("tcp") || has_listener("tcp6") || has_socket("udp") || has_socket("udp6")
}

//! [`Successor`]: the process that is to replace this one, as the old process sees it.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::program::StartedProgram;
use super::wire::{self, PassedListeners};

/// A process that has closed its end of the stream takes this time at most to end.
const LAST_STEPS: Duration = Duration::from_secs(2);

/// A process that was started to replace this one. Dropping it kills the process and what that has
/// started, unless it has taken over.
pub(super) struct Successor {
    child: Child,
    path: PathBuf,
    stream: UnixStream,
    /// The line that lists the sockets, until it was sent.
    list: Option<Vec<u8>>,
    /// A line that it has begun to say.
    begun: Vec<u8>,
    /// The unix sockets that it has bound, or was about to.
    binds: Vec<PathBuf>,
    /// A thread has seen the end of the process. It is not reaped yet, so its number is no other's.
    has_ended: Option<oneshot::Receiver<()>>,
    is_released: bool,
    /// Its process group, until the process is waited for.
    group: Option<Pid>,
}

impl Successor {
    /// Starts `program` with these sockets, each under its key, with the file that goes with it.
    pub(super) fn start<'a>(
        program: &StartedProgram,
        sockets: impl Iterator<Item = (&'a str, Vec<BorrowedFd<'a>>, Option<PathBuf>)>,
    ) -> Result<Self> {
        let path = program.path()?.to_path_buf();
        let failed = || format!("{} cannot be started", path.display());
        let (stream, theirs) = BlockingStream::pair().with_context(failed)?;
        stream.set_nonblocking(true).with_context(failed)?;
        let stream = UnixStream::from_std(stream).with_context(failed)?;
        // Copies that stay open in the new process, and are closed here once it has started.
        let inherited = rustix::io::dup(&theirs).with_context(failed)?;
        let mut copies: Vec<OwnedFd> = Vec::new();
        let mut list = Vec::new();
        for (key, sockets, file) in sockets {
            let of_key =
                sockets.into_iter().map(rustix::io::dup).collect::<Result<Vec<_>, _>>().with_context(failed)?;
            let key = key.to_string();
            list.push(PassedListeners { key, descriptors: of_key.iter().map(AsRawFd::as_raw_fd).collect(), file });
            copies.extend(of_key);
        }
        let mut list = serde_json::to_vec(&list).with_context(failed)?;
        list.push(b'\n');
        let mut command = program.command(&path);
        // So that what it starts, such as a script's own children, ends with it if it fails. It
        // joins the group of this process by itself.
        command.process_group(0);
        command.env(wire::VARIABLE, format!("{} {}", std::process::id(), inherited.as_raw_fd()));
        // It is this process that systemd's watchdog watches.
        command.env_remove("WATCHDOG_PID");
        let child = command.spawn().with_context(failed)?;
        let mut successor = Self {
            child,
            path,
            stream,
            list: Some(list),
            begun: Vec::new(),
            binds: Vec::new(),
            has_ended: None,
            is_released: false,
            group: None,
        };
        successor.group = i32::try_from(successor.pid()).ok().and_then(Pid::from_raw);
        successor.has_ended = Some(watch(&successor.child).context("the new process cannot be watched")?);
        Ok(successor)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the new process says this.
    pub(super) async fn expect(&mut self, words: &[u8]) -> Result<()> {
        if let Some(list) = self.list.take()
            && self.stream.write_all(&list).await.is_err()
        {
            return Err(self.failure().await);
        }
        while let Ok(line) = self.line().await {
            let path = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix(wire::BINDS));
            match path.map(serde_json::from_str) {
                Some(Ok(path)) => self.binds.push(path),
                _ if line == words => return Ok(()),
                _ => break,
            }
        }
        Err(self.failure().await)
    }

    /// Reads a line byte by byte: a wait for it may be given up, and what is behind it belongs to
    /// the next.
    async fn line(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            self.begun.push(self.stream.read_u8().await?);
            if self.begun.ends_with(b"\n") || self.begun.len() >= wire::LONGEST {
                return Ok(std::mem::take(&mut self.begun));
            }
        }
    }

    pub(super) async fn say(&mut self, words: &[u8]) -> Result<()> {
        match self.stream.write_all(words).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Why the process does not serve: its own words are on stderr already.
    async fn failure(&mut self) -> anyhow::Error {
        let name = format!("process {} ({})", self.pid(), self.path.display());
        match timeout(LAST_STEPS, self.ended()).await {
            Ok(status) => anyhow!("{name} has ended before it could serve: {status}"),
            Err(_) => anyhow!("{name} does not know how to replace this one"),
        }
    }

    /// Waits until the process has ended, once.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        if let Some(has_ended) = &mut self.has_ended {
            let _ = has_ended.await;
            self.has_ended = None;
            // It is not waited for yet.
            self.kill_group();
            if let Ok(status) = self.child.wait() {
                return status;
            }
        }
        std::future::pending().await
    }

    /// Ends the process, which must not serve, and what it has started.
    pub(super) fn kill(&mut self) {
        self.kill_group();
        // A process that has ended is a failure here, and no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.has_ended = None;
    }

    /// Ends what the process has started: it may hold the listening sockets. Once, and before the
    /// process is waited for: after that another group may have its number.
    fn kill_group(&mut self) {
        if let Some(group) = self.group.take().filter(|_| !self.is_released) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Ends the process, and removes the files that it has left of unix sockets.
    pub(super) async fn give_up(mut self) {
        self.kill();
        let left = std::mem::take(&mut self.binds);
        if !left.is_empty() {
            // It takes some milliseconds to see that nothing listens.
            let remove = move || left.iter().for_each(|path| resound::system::remove_dead_socket(path));
            let _ = tokio::task::spawn_blocking(remove).await;
        }
    }

    /// The process has replaced this one.
    pub(super) async fn release(&mut self) {
        self.is_released = true;
        let _ = self.stream.write_all(wire::REPLACED).await;
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.is_released {
            self.kill();
        }
    }
}

/// Waits for the end of a process on a thread of its own, and leaves it to be reaped.
fn watch(child: &Child) -> std::io::Result<oneshot::Receiver<()>> {
    let (ended, has_ended) = oneshot::channel();
    let process = Pid::from_child(child);
    let wait = move || {
        while let Err(rustix::io::Errno::INTR) =
            waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
        let _ = ended.send(());
    };
    std::thread::Builder::new().name("resound-successor".into()).spawn(wait)?;
    Ok(has_ended)
}

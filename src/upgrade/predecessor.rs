//! [`Predecessor`]: the process that this one is to replace, as the new process sees it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use resound::server::Listener;
use rustix::process::{Pid, getpgid, setpgid};

use super::wire::{self, PassedListeners};

/// A predecessor that says nothing for this long has a defect.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a signal may wait that comes before this process serves.
const GLANCE: Duration = Duration::from_millis(50);

/// The process that has started this one to be replaced by it, and its listeners.
pub(crate) struct Predecessor {
    stream: UnixStream,
    passed: Vec<(PassedListeners, Vec<Listener>)>,
    /// The files of unix sockets, by what was typed, that this process removes once it is the only
    /// one.
    files: Vec<(String, PathBuf)>,
}

impl Predecessor {
    /// The predecessor, if this process was started by one.
    pub(crate) fn take() -> Result<Option<Self>> {
        let value = resound::system::take_variables(&[wire::VARIABLE]).pop().flatten();
        let Some(value) = value else { return Ok(None) };
        let numbers = value.to_str().and_then(|text| text.split_once(' '));
        let parsed = numbers.and_then(|(pid, number)| Some((pid.parse::<u32>().ok()?, number.parse().ok()?)));
        let Some((pid, number)) = parsed else { bail!("{} is set, but not by a program like this", wire::VARIABLE) };
        if std::os::unix::process::parent_id() != pid {
            bail!(
                "this process is to replace process {pid}, which has not started it: what stands between them, such \
                 as a shell script, has to start this program with `exec`"
            );
        }
        join_group_of(pid);
        let lost = "the process that this one is to replace cannot be reached";
        // The descriptor of a socket that does not listen, so it is no listener.
        let stream = UnixStream::from(resound::system::inherited_descriptor(number).context(lost)?);
        stream.set_read_timeout(Some(PATIENCE)).context(lost)?;
        let line = read_line(&stream, || false).context(lost)?;
        let passed: Vec<PassedListeners> = serde_json::from_str(&line).context(lost)?;
        let adopt = |passed: PassedListeners| {
            let listeners =
                passed.descriptors.iter().map(|&number| Listener::inherited(number)).collect::<Result<_, _>>();
            Ok((passed, listeners?))
        };
        let passed = passed.into_iter().map(adopt).collect::<Result<_>>()?;
        Ok(Some(Self { stream, passed, files: Vec::new() }))
    }

    /// The listeners that the predecessor had for what was typed as `key`.
    pub(crate) fn listeners(&mut self, key: &str) -> Result<Option<Vec<Listener>>> {
        let Some(at) = self.passed.iter().position(|(passed, _)| passed.key == key) else { return Ok(None) };
        let (passed, listeners) = self.passed.remove(at);
        self.files.extend(passed.file.map(|path| (passed.key, path)));
        Ok(Some(listeners))
    }

    /// The listener of what ran beside the predecessor's engine.
    pub(crate) fn listener_beside(&mut self, key: &str) -> Result<Option<TcpListener>> {
        let Some(listener) = self.listeners(key)?.into_iter().flatten().next() else { return Ok(None) };
        Ok(Some(listener.as_fd().try_clone_to_owned()?.into()))
    }

    /// Reports that this process is about to bind a unix socket to this path.
    pub(crate) fn will_bind(&mut self, path: &std::path::Path) -> Result<()> {
        // The other process may be in another working directory by now.
        let path = serde_json::to_string(&std::path::absolute(path)?)?;
        let told = self.stream.write_all(format!("{}{path}\n", wire::BINDS).as_bytes());
        told.context("the process that this one is to replace cannot be reached")
    }

    /// Closes what has not been asked for. Returns how it was typed.
    pub(crate) fn close_rest(&mut self) -> Vec<String> {
        let rest: Vec<_> = std::mem::take(&mut self.passed).into_iter().map(|(passed, _)| passed).collect();
        self.files.extend(rest.iter().filter_map(|passed| Some((passed.key.clone(), passed.file.clone()?))));
        rest.into_iter().map(|passed| passed.key).collect()
    }

    /// Reports that this process can serve, and waits until it may. A wish to end it ends the wait:
    /// there is nothing to drain.
    pub(crate) fn wait_for_turn(&mut self, is_to_end: &dyn Fn() -> bool) -> Result<()> {
        let lost = |error| match is_to_end() {
            true => anyhow!("a signal ends this process before its turn"),
            false => anyhow!("the process that this one was to replace goes on instead: {error}"),
        };
        self.stream.write_all(wire::READY).map_err(lost)?;
        self.stream.set_read_timeout(Some(GLANCE)).map_err(lost)?;
        let until = Instant::now() + PATIENCE;
        let waits = || !is_to_end() && Instant::now() < until;
        match read_line(&self.stream, waits).map_err(lost)?.as_bytes() {
            line if [line, b"\n"].concat() == wire::SERVE => Ok(()),
            _ => bail!("the process that this one was to replace goes on instead"),
        }
    }

    /// Reports that this process serves, and waits until it is the only one that does. Returns the
    /// files that go with unix sockets, by what was typed.
    pub(crate) async fn replace(self) -> Vec<(String, PathBuf)> {
        let Self { mut stream, files, .. } = self;
        let mut end = [0; 64];
        // A predecessor that has ended meanwhile is replaced as well.
        let _ = stream.write_all(wire::SERVING);
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = tokio::net::UnixStream::from_std(stream)
        {
            let _ = tokio::time::timeout(PATIENCE, async {
                while stream.readable().await.is_ok() {
                    match stream.try_read(&mut end) {
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        _ => return,
                    }
                }
            })
            .await;
        }
        files
    }
}

/// Joins the process group of the process with this number: a terminal's signals reach all of it.
fn join_group_of(pid: u32) {
    let parent = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(group) = parent.and_then(|parent| getpgid(Some(parent)).ok()) {
        // In a group of its own it serves all the same.
        let _ = setpgid(None, Some(group));
    }
}

/// Reads a line byte by byte: the bytes after it belong to a later reader. After each timeout of
/// the stream `waits` says whether to wait once more.
fn read_line(mut stream: &UnixStream, waits: impl Fn() -> bool) -> std::io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < wire::LONGEST {
        match stream.read_exact(&mut byte) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && waits() => continue,
            read => read?,
        }
        match byte {
            [b'\n'] => return String::from_utf8(line).map_err(std::io::Error::other),
            [byte] => line.push(byte),
        }
    }
    Err(std::io::ErrorKind::InvalidData.into())
}

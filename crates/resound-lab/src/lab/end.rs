//! One end of a lab: commands and sockets there.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::net::{AddressFamily, SocketType, bind, connect, listen, sockopt};
use rustix::pipe::{PipeFlags, pipe_with};

use super::channel::LabChannel;
use super::request::{LabRequest, is_word};
use crate::Side;

/// Connections that wait to be accepted at most.
const BACKLOG: i32 = 128;

/// Asks the lab's first process.
#[derive(Clone, Debug)]
pub(super) struct Requests(pub(super) Arc<Mutex<LabChannel>>);

impl Requests {
    fn ask(&self, request: &LabRequest, descriptors: &[BorrowedFd<'_>]) -> io::Result<(i32, Option<OwnedFd>)> {
        let channel = self.0.lock();
        channel.send(&request.encode(), descriptors)?;
        let (answer, mut sockets) = channel.receive()?.ok_or_else(ended)?;
        let number = answer.try_into().map(i32::from_ne_bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        if number < 0 { Err(io::Error::from_raw_os_error(-number)) } else { Ok((number, sockets.pop())) }
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the lab has ended: its first process was killed")
}

/// One end of a lab: a network of its own, whose only way out is the router.
#[derive(Clone, Debug)]
pub struct LabEnd {
    pub(super) side: Side,
    pub(super) requests: Requests,
}

/// The standard streams of a command in a lab.
#[derive(Debug)]
pub struct LabStreams {
    /// What it reads.
    pub stdin: OwnedFd,
    /// Where its output goes.
    pub stdout: OwnedFd,
    /// Where its messages go.
    pub stderr: OwnedFd,
}

impl LabStreams {
    /// Those of this process.
    pub fn inherit() -> io::Result<Self> {
        Ok(Self {
            stdin: io::stdin().as_fd().try_clone_to_owned()?,
            stdout: io::stdout().as_fd().try_clone_to_owned()?,
            stderr: io::stderr().as_fd().try_clone_to_owned()?,
        })
    }

    /// No input, and all output to this process's stderr.
    pub fn to_stderr() -> io::Result<Self> {
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Self { stdin: File::open("/dev/null")?.into(), stdout: stderr.try_clone()?, stderr })
    }
}

impl LabEnd {
    /// Which end it is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Starts a command, found by `PATH`, in this end. With `is_apart` it has a session of its own:
    /// a terminal's Ctrl+C does not reach it.
    pub fn start<S: AsRef<OsStr>>(&self, words: &[S], streams: LabStreams, is_apart: bool) -> io::Result<LabProcess> {
        let words: Vec<_> = words.iter().map(|word| word.as_ref().to_os_string()).collect();
        if words.is_empty() || !words.iter().all(|word| is_word(word)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a command has words, and no NUL in them"));
        }
        let (status, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
        let LabStreams { stdin, stdout, stderr } = &streams;
        let request = LabRequest::Start { side: self.side, is_apart, words };
        let (number, _) =
            self.requests.ask(&request, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd(), pipe.as_fd()])?;
        Ok(LabProcess { number, status: status.into(), requests: self.requests.clone() })
    }

    /// Runs a command in this end, without input, and collects what it prints.
    ///
    /// ```no_run
    /// # let lab = resound_lab::Lab::builder().start()?;
    /// let output = lab.near_end().output(&["ping", "-c", "1", "far"])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn output<S: AsRef<OsStr>>(&self, words: &[S]) -> io::Result<Output> {
        let (out, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let streams = LabStreams { stdin: File::open("/dev/null")?.into(), stdout, stderr };
        let process = self.start(words, streams, true)?;
        let read = |from: OwnedFd| {
            let mut bytes = Vec::new();
            File::from(from).read_to_end(&mut bytes).map(|_| bytes)
        };
        let messages = std::thread::spawn(move || read(err));
        let stdout = read(out)?;
        let stderr = messages.join().map_err(|_| io::Error::other("a thread has failed"))??;
        Ok(Output { status: process.wait()?, stdout, stderr })
    }

    fn socket(&self, address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
        let domain = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let (domain, kind) = (i32::from(domain.as_raw()), kind.as_raw() as i32);
        let (_, socket) = self.requests.ask(&LabRequest::Socket { side: self.side, domain, kind }, &[])?;
        socket.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Listens on a port of this end's IPv4 address; the system chooses one for port 0.
    pub fn listen(&self, port: u16) -> io::Result<TcpListener> {
        let address = SocketAddr::new(IpAddr::V4(self.side.ipv4()), port);
        let socket = self.socket(address, SocketType::STREAM)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        listen(&socket, BACKLOG)?;
        Ok(socket.into())
    }

    /// Connects from this end.
    pub fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.socket(to, SocketType::STREAM)?;
        connect(&socket, &to)?;
        Ok(socket.into())
    }

    /// A socket for datagrams on a port of this end's IPv4 address.
    pub fn datagrams(&self, port: u16) -> io::Result<UdpSocket> {
        let address = SocketAddr::new(IpAddr::V4(self.side.ipv4()), port);
        let socket = self.socket(address, SocketType::DGRAM)?;
        bind(&socket, &address)?;
        Ok(socket.into())
    }

    /// Does anything listen here, or wait for datagrams?
    pub fn is_listening(&self) -> io::Result<bool> {
        Ok(self.requests.ask(&LabRequest::IsListening { side: self.side }, &[])?.0 == 1)
    }
}

/// A command that runs in a lab. It ends with the lab at the latest.
#[derive(Debug)]
pub struct LabProcess {
    number: i32,
    status: File,
    requests: Requests,
}

impl LabProcess {
    /// Sends a signal to the process.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.requests.ask(&LabRequest::Signal { process: self.number, signal }, &[]).map(drop)
    }

    /// Sends a signal to its process group, if it was started apart.
    pub fn signal_group(&self, signal: i32) -> io::Result<()> {
        self.requests.ask(&LabRequest::Signal { process: -self.number, signal }, &[]).map(drop)
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        let mut status = [0; 4];
        // The pipe is empty where the first process was killed, and its commands with it.
        self.status.read_exact(&mut status).map_err(|_| ended())?;
        Ok(ExitStatus::from_raw(i32::from_ne_bytes(status)))
    }
}

impl AsFd for LabProcess {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.status.as_fd()
    }
}

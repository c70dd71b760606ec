//! Starts and ends a lab.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, WaitOptions, getegid, geteuid, waitpid};

use super::channel::LabChannel;
use super::end::{LabEnd, Requests};
use super::isolate::{self, LinkPlan, report};
use super::lab_report::LabReport;
use super::router::{Router, RouterPort, since_epoch};
use crate::error::{LabError, LabStep};
use crate::settings::LabSettings;
use crate::sys::{self, FrameQueue, PacketRing};
use crate::{Capture, LabPath, Side};

/// The largest packet that segmentation offload leaves whole, in bytes. With its headers it fits
/// the least place of a ring: a ring of many places takes more bursts than one of large places.
const LARGEST: u32 = 7_900;

/// Of the file of packets, in bytes.
const FILE_BUFFER: usize = 1 << 20;

/// A lab that runs. It ends, with all that runs in it, when it is dropped, and when this process
/// ends in whatever way.
#[derive(Debug)]
pub struct Lab {
    ends: [LabEnd; 2],
    router: Option<JoinHandle<Result<LabReport, LabError>>>,
    /// The owner's end of the channel to the first process.
    channel: OwnedFd,
    stop: OwnedFd,
    init: Pid,
}

/// What the router's thread gives when the lab has started.
struct Started {
    channel: LabChannel,
    init: Pid,
}

/// Starts a lab.
pub(crate) fn start(settings: LabSettings) -> Result<Lab, LabError> {
    let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from)?;
    let stopped = stop.try_clone()?;
    let (started, starts) = mpsc::channel();
    // This thread is the parent of the lab's first process, which the kernel ends with it.
    let router = std::thread::Builder::new().name("lab router".into()).spawn(move || {
        let (router, lab) = match begin(settings, stopped) {
            Ok(begun) => begun,
            Err(error) => {
                let _ = started.send(Err(error));
                return Err(LabError::Ended);
            }
        };
        let _ = started.send(Ok(lab));
        router.run()
    })?;
    let Started { channel, init } = starts.recv().map_err(|_| LabError::Ended)??;
    let owned = channel.as_fd().try_clone_to_owned()?;
    let requests = Requests(Arc::new(parking_lot::Mutex::new(channel)));
    let ends = Side::BOTH.map(|side| LabEnd { side, requests: requests.clone() });
    Ok(Lab { ends, router: Some(router), channel: owned, stop, init })
}

/// Starts the lab's first process, and opens the router's side of the links.
fn begin(settings: LabSettings, stop: OwnedFd) -> Result<(Router, Started), LabError> {
    let (channel, theirs) = LabChannel::pair()?;
    let mtu = u32::from(settings.mtu);
    let plan = LinkPlan { mtu, largest: LARGEST.max(mtu) };
    let child = sys::fork(|| isolate::run(theirs, plan))
        .map_err(|reason| LabError::Refused { step: LabStep::Process, reason })?;
    let sockets = receive_start(&channel, child);
    if sockets.is_err() {
        // The child waits for nothing more.
        let _ = shutdown(&channel, Shutdown::Both);
    }
    await_end(child);
    let LabSockets { links, sockets, init } = sockets?;
    let opened = open_ports(links, sockets, sys::frame_size(plan.largest as usize))
        .map_err(|reason| LabError::Refused { step: LabStep::PacketSockets, reason });
    let begun = Instant::now();
    let opened = opened.and_then(|ports| {
        // A lab that is refused leaves an earlier file as it is.
        let capture = settings.capture.map(|path| {
            let file = File::create(&path).map(|file| BufWriter::with_capacity(FILE_BUFFER, file));
            match file.and_then(|writer| Capture::new(writer, since_epoch(begun))) {
                Ok(capture) => Ok((capture, path)),
                Err(reason) => Err(LabError::Capture { path, reason }),
            }
        });
        Ok((ports, capture.transpose()?))
    });
    match opened {
        Ok(([near, far], capture)) => {
            let path = LabPath::new(&settings.defects, settings.seed);
            Ok((Router { near, far, path, capture, stop, begun }, Started { channel, init }))
        }
        Err(error) => {
            drop(channel);
            await_end(init);
            Err(error)
        }
    }
}

/// What the first child has made.
struct LabSockets {
    /// Of each socket.
    links: [u32; 4],
    /// Two that receive, in the ends, and two that send, beside the router.
    sockets: Vec<OwnedFd>,
    init: Pid,
}

/// Waits for what the first child makes.
fn receive_start(channel: &LabChannel, child: Pid) -> Result<LabSockets, LabError> {
    let (mut links, mut sockets) = ([0; 4], Vec::new());
    while let Some((message, descriptors)) = channel.receive()? {
        let Some((&kind, rest)) = message.split_first() else { break };
        let number = |at: usize| rest.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
        match kind {
            report::UNMAPPED => {
                let answer = match map_user(child) {
                    Ok(()) => vec![0],
                    Err(error) => error.raw_os_error().unwrap_or(libc::EPERM).to_ne_bytes().into(),
                };
                channel.send(&answer, &[])?;
            }
            report::SOCKETS => {
                links = [0, 4, 8, 12].map(|at| number(at).unwrap_or_default() as u32);
                sockets = descriptors;
            }
            report::STARTED => {
                let Some(init) = number(0).and_then(Pid::from_raw) else { break };
                return Ok(LabSockets { links, sockets, init });
            }
            report::FAILED => {
                let step = rest.first().and_then(|step| LabStep::ALL.get(usize::from(*step))).copied();
                let reason = io::Error::from_raw_os_error(number(1).unwrap_or(libc::EIO));
                return Err(LabError::Refused { step: step.unwrap_or(LabStep::Process), reason });
            }
            _ => break,
        }
    }
    Err(LabError::Ended)
}

/// Gives the user namespace of a child its users: for root all that this process has, for another
/// user that one. Each keeps its number, so that a command sees the owner that it has outside.
fn map_user(child: Pid) -> io::Result<()> {
    let of = |file: &str| format!("/proc/{}/{file}", child.as_raw_nonzero());
    let all = |file: &str| {
        let outer = fs::read_to_string(format!("/proc/self/{file}"))?;
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let (inside, _, count) = (words.next()?, words.next()?, words.next()?);
            Some(format!("{inside} {inside} {count}\n"))
        };
        fs::write(of(file), outer.lines().filter_map(line).collect::<String>())
    };
    if geteuid().is_root() && all("uid_map").is_ok() {
        return all("gid_map");
    }
    let (user, group) = (geteuid(), getegid());
    // Else a process could leave a group that keeps files from it.
    fs::write(of("setgroups"), "deny")?;
    fs::write(of("uid_map"), format!("{user} {user} 1"))?;
    fs::write(of("gid_map"), format!("{group} {group} 1"))
}

fn open_ports(links: [u32; 4], sockets: Vec<OwnedFd>, frame: usize) -> io::Result<[RouterPort; 2]> {
    let [from_near, from_far, to_near, to_far] = sockets.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
    let port = |side: Side, from, from_link, to, to_link| {
        let ring = PacketRing::open(from, from_link, frame)?;
        Ok::<_, io::Error>(RouterPort { ring, queue: FrameQueue::open(to, to_link, side.link_address())? })
    };
    let near = port(Side::Near, from_near, links[0], to_near, links[2])?;
    Ok([near, port(Side::Far, from_far, links[1], to_far, links[3])?])
}

/// Waits for the end of a child.
fn await_end(child: Pid) {
    // A program may have set its children to be reaped without it.
    let _ = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
}

impl Lab {
    /// The near end: 10.77.0.1 and fd77::1.
    pub fn near_end(&self) -> &LabEnd {
        &self.ends[0]
    }

    /// The far end: 10.77.0.2 and fd77::2.
    pub fn far_end(&self) -> &LabEnd {
        &self.ends[1]
    }

    /// Ends the lab and all that runs in it.
    pub fn finish(mut self) -> Result<LabReport, LabError> {
        self.end().unwrap_or(Err(LabError::Ended))
    }

    fn end(&mut self) -> Option<Result<LabReport, LabError>> {
        let router = self.router.take()?;
        // The first process ends, and the kernel ends all others before it is gone.
        let _ = shutdown(&self.channel, Shutdown::Both);
        await_end(self.init);
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        Some(router.join().unwrap_or_else(|_| Err(io::Error::other("the router has panicked").into())))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
    }
}

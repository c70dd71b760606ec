//! Dialling: each thread has a plan, and one connection at a time.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use socket2::{SockRef, Socket};

use super::blocking::TICK;
use super::control::{STACK, Signals, spawn};
use super::conversation::{context, converse};
use crate::engine::dial_driver::{Connecting, DialDriver, TRY_AGAIN, begin, no_answer};
use crate::engine::dial_plan::{DialRequest, NextDial};
use crate::engine::shared::{RunGuard, Shared};
use crate::engine::socket::connect_result;
use crate::metrics::Writers;

/// Starts the threads.
pub(super) fn start(shared: &Arc<Shared>, signals: &Arc<Signals>, running: &Arc<RunGuard>) -> io::Result<()> {
    (0..shared.counters.len()).try_for_each(|index| {
        let (shared, signals, running) = (Arc::clone(shared), Arc::clone(signals), Arc::clone(running));
        spawn("resound-dial", Some(STACK), move || {
            let _running = running;
            work(index, &shared, &signals);
        })
    })
}

fn work(index: usize, shared: &Arc<Shared>, signals: &Signals) {
    shared.turn_off_timer_slack();
    let Some(mut driver) = DialDriver::new(shared, index) else { return };
    let mut context = context(shared.recorder(index, Writers::One));
    while !signals.drain.begun() {
        let now = Instant::now();
        let request = match driver.next(now) {
            NextDial::Dial(request) => request,
            NextDial::At(at) => {
                thread::sleep(at.saturating_duration_since(now).min(TICK));
                continue;
            }
            // This thread has no connection whose end it could wait for.
            NextDial::Wait => {
                thread::sleep(TICK);
                continue;
            }
            NextDial::Done => return,
        };
        let since = Instant::now();
        let made = driver.socket(&request).and_then(|(socket, target)| {
            connect(&socket, &target, since, &request, signals)?;
            Ok(socket)
        });
        match made {
            Ok(socket) => {
                if let Some(conn) = driver.answered(&request, since, &SockRef::from(&socket)) {
                    let permit = shared.room.take_on(index);
                    converse(&socket, conn, &permit, &mut context, shared, signals);
                    drop(permit);
                }
                drop(socket);
                driver.connection_ended();
            }
            // The drain has cancelled it, so the plan receives no failure.
            Err(_) if signals.drain.begun() => {}
            Err(error) => driver.failed(&request, &error),
        }
    }
}

fn connect(
    socket: &Socket,
    target: &socket2::SockAddr,
    since: Instant,
    request: &DialRequest,
    signals: &Signals,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    loop {
        match begin(socket, target)? {
            Connecting::Connected => break,
            Connecting::Again if signals.drain.begun() => return Err(no_answer()),
            Connecting::Again => {
                let left = request.timeout.checked_sub(since.elapsed()).ok_or_else(no_answer)?;
                thread::sleep(TRY_AGAIN.min(left));
            }
            Connecting::Decides => {
                decided(socket, since, request, signals)?;
                break;
            }
        }
    }
    connect_result(&SockRef::from(socket))?;
    socket.set_nonblocking(false)
}

/// Waits until a pending connect has succeeded or failed.
fn decided(socket: &Socket, since: Instant, request: &DialRequest, signals: &Signals) -> io::Result<()> {
    loop {
        // An end of the time is noticed after a look at the socket, as on the other engines.
        let left = request.timeout.checked_sub(since.elapsed());
        let patience = left.unwrap_or_default();
        #[cfg(unix)]
        {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let time = Timespec::try_from(patience.min(TICK)).ok();
            // An interruption counts as a timeout: the loop checks again.
            if poll(&mut [PollFd::new(socket, PollFlags::OUT)], time.as_ref()).unwrap_or(0) > 0 {
                return Ok(());
            }
        }
        #[cfg(not(unix))]
        {
            // Windows before its version 2004 polls in vain for a connect that fails. A connected
            // socket has the name of its peer.
            if socket.peer_addr().is_ok() || socket.take_error()?.map_or(Ok(false), Err)? {
                return Ok(());
            }
            thread::sleep(TRY_AGAIN.min(patience));
        }
        // After the check: a connection that is established is served even if a drain has begun.
        if left.is_none() || signals.drain.begun() {
            return Err(no_answer());
        }
    }
}

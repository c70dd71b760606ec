//! Dialling: each thread has a plan and one connection at a time.

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
    shared.sharpen();
    let Some(mut caller) = DialDriver::new(shared, index) else { return };
    let mut context = context(shared.recorder(index, Writers::One));
    while !signals.drain.begun() {
        let now = Instant::now();
        let call = match caller.next(now) {
            NextDial::Dial(call) => call,
            NextDial::At(at) => {
                thread::sleep(at.saturating_duration_since(now).min(TICK));
                continue;
            }
            // There is no connection whose end could be waited for.
            NextDial::Wait => {
                thread::sleep(TICK);
                continue;
            }
            NextDial::Done => return,
        };
        let since = Instant::now();
        let made = caller.socket(&call).and_then(|(socket, target)| {
            connect(&socket, &target, since, &call, signals)?;
            Ok(socket)
        });
        match made {
            Ok(socket) => {
                if let Some(conn) = caller.answered(&call, since, &SockRef::from(&socket)) {
                    let place = shared.room.take_on(index);
                    converse(&socket, conn, &mut context, shared, signals);
                    drop(place);
                }
                drop(socket);
                caller.has_room();
            }
            // A call that a drain has given up is nobody's failure.
            Err(_) if signals.drain.begun() => {}
            Err(error) => caller.failed(&call, &error),
        }
    }
}

fn connect(
    socket: &Socket,
    target: &socket2::SockAddr,
    since: Instant,
    call: &DialRequest,
    signals: &Signals,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    loop {
        let left = call.timeout.checked_sub(since.elapsed()).ok_or_else(no_answer)?;
        match begin(socket, target)? {
            Connecting::Connected => break,
            Connecting::Again if signals.drain.begun() => return Err(no_answer()),
            Connecting::Again => thread::sleep(TRY_AGAIN.min(left)),
            Connecting::Decides => {
                decided(socket, since, call, signals)?;
                break;
            }
        }
    }
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    socket.set_nonblocking(false)
}

/// Waits until a connection that is being made has been, or has failed.
fn decided(socket: &Socket, since: Instant, call: &DialRequest, signals: &Signals) -> io::Result<()> {
    loop {
        let left = call.timeout.checked_sub(since.elapsed()).ok_or_else(no_answer)?;
        if signals.drain.begun() {
            return Err(no_answer());
        }
        #[cfg(unix)]
        {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let time = Timespec::try_from(left.min(TICK)).ok();
            // An interruption is as good as a timeout: it is looked at again.
            if poll(&mut [PollFd::new(socket, PollFlags::OUT)], time.as_ref()).unwrap_or(0) > 0 {
                return Ok(());
            }
        }
        #[cfg(not(unix))]
        {
            // There is no wait for one socket here: the name of the peer is known once it has answered.
            if socket.peer_addr().is_ok() || socket.take_error()?.map_or(Ok(false), Err)? {
                return Ok(());
            }
            thread::sleep(TRY_AGAIN.min(left));
        }
    }
}

//! The calls of one worker: a task that asks the plan, and one for each connection that is being made.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use socket2::{SockAddr, Socket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::context::PortableWorker;
use super::task;
use super::watched::WatchedSocket;
use crate::engine::dial_driver::{Connecting, DialDriver, TRY_AGAIN, begin, no_answer};
use crate::engine::dial_plan::{DialRequest, NextDial};

/// Calls that are made before the sockets get their turn.
const AT_ONCE: usize = 64;

/// Dials whom the plan names, until it is done or `draining` is set.
pub(super) async fn run(caller: DialDriver, worker: Rc<PortableWorker>, mut draining: watch::Receiver<bool>) {
    let caller = Rc::new(RefCell::new(caller));
    let mut calls = JoinSet::new();
    let dials = async {
        loop {
            let mut made = 0;
            let at = loop {
                let next = caller.borrow_mut().next(Instant::now());
                match next {
                    NextDial::Dial(call) => {
                        // Here, so that a shortage is known before the next one is made.
                        let made = caller.borrow().socket(&call);
                        match made {
                            Ok(made) => {
                                drop(calls.spawn_local(dial(call, made, Rc::clone(&caller), Rc::clone(&worker))));
                            }
                            Err(error) => caller.borrow_mut().failed(&call, &error),
                        }
                    }
                    NextDial::At(at) => break Some(at),
                    NextDial::Done if calls.is_empty() => return,
                    NextDial::Wait | NextDial::Done => break None,
                }
                made += 1;
                if made % AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            };
            let at = async {
                match at {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = at => {}
                () = worker.permit_freed.notified() => caller.borrow_mut().has_room(),
                Some(_) = calls.join_next(), if !calls.is_empty() => {}
            }
        }
    };
    tokio::select! {
        _ = draining.wait_for(|&draining| draining) => {}
        () = dials => {}
    }
    // What is being made is given up, and the plan hears no more of it.
    calls.shutdown().await;
}

async fn dial(
    call: DialRequest,
    made: (Socket, SockAddr),
    caller: Rc<RefCell<DialDriver>>,
    worker: Rc<PortableWorker>,
) {
    let since = Instant::now();
    let (socket, target) = made;
    let made = timeout(call.timeout, connect(&call, socket, &target)).await.unwrap_or_else(|_| Err(no_answer()));
    let mut caller = caller.borrow_mut();
    match made {
        Ok(stream) => {
            if let Some(conn) = caller.answered(&call, since, &stream.socket()) {
                task::begin(stream, conn, worker.permit(), &worker);
            }
        }
        Err(error) => caller.failed(&call, &error),
    }
}

async fn connect(call: &DialRequest, socket: Socket, target: &SockAddr) -> io::Result<WatchedSocket> {
    socket.set_nonblocking(true)?;
    loop {
        match begin(&socket, target)? {
            Connecting::Connected => return WatchedSocket::new(socket, &call.target),
            Connecting::Again => sleep(TRY_AGAIN).await,
            Connecting::Decides => break,
        }
    }
    let stream = WatchedSocket::new(socket, &call.target)?;
    stream.decided().await?;
    match stream.take_error() {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

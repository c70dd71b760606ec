//! The dials of one worker: a task that asks the plan, and one for each connect.

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

/// Dials that start before the sockets get their turn.
const AT_ONCE: usize = 64;

/// Dials as the plan says, until it is done or `draining` is set.
pub(super) async fn run(driver: DialDriver, worker: Rc<PortableWorker>, mut draining: watch::Receiver<bool>) {
    let driver = Rc::new(RefCell::new(driver));
    let mut connects = JoinSet::new();
    let dials = async {
        loop {
            let mut made = 0;
            let at = loop {
                let next = driver.borrow_mut().next(Instant::now());
                match next {
                    NextDial::Dial(request) => {
                        // Here, so that a shortage is known before the next dial.
                        let made = driver.borrow().socket(&request);
                        match made {
                            Ok(made) => {
                                drop(connects.spawn_local(dial(request, made, Rc::clone(&driver), Rc::clone(&worker))));
                            }
                            Err(error) => {
                                driver.borrow_mut().failed(&request, &error);
                                worker.wake_partners();
                            }
                        }
                    }
                    NextDial::At(at) => break Some(at),
                    NextDial::Done if connects.is_empty() => return,
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
                () = worker.dial_asked.notified() => {}
                () = worker.permit_freed.notified() => driver.borrow_mut().connection_ended(),
                Some(_) = connects.join_next(), if !connects.is_empty() => {}
            }
        }
    };
    tokio::select! {
        _ = draining.wait_for(|&draining| draining) => {}
        () = dials => {}
    }
    // Connects in flight are cancelled. The plan receives no result of them.
    connects.shutdown().await;
}

async fn dial(
    request: DialRequest,
    made: (Socket, SockAddr),
    driver: Rc<RefCell<DialDriver>>,
    worker: Rc<PortableWorker>,
) {
    let since = Instant::now();
    let (socket, target) = made;
    let made = timeout(request.timeout, connect(&request, socket, &target)).await.unwrap_or_else(|_| Err(no_answer()));
    let mut driver = driver.borrow_mut();
    match made {
        Ok(stream) => {
            if let Some(conn) = driver.answered(&request, since, &stream.socket()) {
                task::begin(stream, conn, worker.permit(), &worker);
            }
        }
        Err(error) => driver.failed(&request, &error),
    }
    worker.wake_partners();
}

async fn connect(request: &DialRequest, socket: Socket, target: &SockAddr) -> io::Result<WatchedSocket> {
    socket.set_nonblocking(true)?;
    loop {
        match begin(&socket, target)? {
            Connecting::Connected => return WatchedSocket::new(socket, &request.target),
            Connecting::Again => sleep(TRY_AGAIN).await,
            Connecting::Decides => break,
        }
    }
    let stream = WatchedSocket::new(socket, &request.target)?;
    stream.decided().await?;
    match stream.take_error() {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

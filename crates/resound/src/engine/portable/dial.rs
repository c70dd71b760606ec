//! The dials of one worker: a task that asks the plan, and one for each connect.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use socket2::Socket;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use super::context::PortableWorker;
use super::task;
use super::task_set::TaskSet;
use super::watched::{SocketWatcher, WatchedSocket};
use crate::engine::dial_driver::{Connecting, DialDriver, TRY_AGAIN, address, begin, no_answer};
use crate::engine::dial_plan::{DialRequest, NextDial};
use crate::engine::socket::connect_result;

/// Dials that start before the sockets get their turn, and the connects under way.
const AT_ONCE: usize = 64;

/// Dials as the plan says, until it is done or `draining` is set.
pub(super) async fn run(driver: DialDriver, worker: Rc<PortableWorker>, mut draining: watch::Receiver<bool>) {
    let driver = Rc::new(RefCell::new(driver));
    let connects = TaskSet::default();
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
                            Ok((socket, _)) => {
                                connects.spawn(|_| dial(request, socket, Rc::clone(&driver), Rc::clone(&worker)));
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
                    tokio::select! {
                        biased;
                        () = connects.run() => {}
                        () = tokio::task::yield_now() => {}
                    }
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
                () = worker.ended_for_dials.notified() => driver.borrow_mut().connection_ended(),
                () = connects.run() => {}
                () = connects.ended.notified() => {}
            }
        }
    };
    tokio::select! {
        _ = draining.wait_for(|&draining| draining) => {}
        () = dials => {}
    }
    // Connects in flight are cancelled. The plan receives no result of them.
    drop(connects);
}

/// Connects, and starts the task of the connection. All connects of a burst are under way at once,
/// so each holds little: an `async fn` would hold its arguments twice.
fn dial(
    request: DialRequest,
    socket: Socket,
    driver: Rc<RefCell<DialDriver>>,
    worker: Rc<PortableWorker>,
) -> impl Future<Output = ()> {
    let since = Instant::now();
    async move {
        let made = timeout(request.timeout, connect(&request, socket, &worker.watcher)).await;
        let mut driver = driver.borrow_mut();
        match made.unwrap_or_else(|_| Err(no_answer())) {
            Ok(stream) => {
                if let Some(conn) = driver.answered(&request, since, &stream.socket()) {
                    task::begin(stream, conn, worker.permit(), &worker);
                }
            }
            Err(error) => driver.failed(&request, &error),
        }
        drop(driver);
        worker.wake_partners();
    }
}

async fn connect(request: &DialRequest, socket: Socket, watcher: &Rc<SocketWatcher>) -> io::Result<WatchedSocket> {
    socket.set_nonblocking(true)?;
    loop {
        match begin(&socket, &address(&request.target)?)? {
            Connecting::Connected => return WatchedSocket::new(socket, &request.target, watcher),
            // Few connects wait like this, so the others are smaller.
            Connecting::Again => Box::pin(sleep(TRY_AGAIN)).await,
            Connecting::Decides => break,
        }
    }
    let stream = WatchedSocket::new(socket, &request.target, watcher)?;
    stream.decided().await?;
    connect_result(&stream.socket()).map(|()| stream)
}

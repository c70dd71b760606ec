//! Connections that are made instead of accepted: `cargo run --example dialer`.
//!
//! The program serves on a free port, dials it a hundred times, ten connections at once, and asks
//! one question on each.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant};

use resound::client::{DialPlan, DialRequest, DialTiming, NextDial};
use resound::{CloseReason, ConnInfo, Cx, Dialer, Endpoint, Framing, Reply, Server, Service};

/// At most this many connections are open at once.
const AT_ONCE: usize = 10;

/// The plan of the one worker: what is still to be dialled, and how many connections are open. A
/// plan and its services live on one thread, so they can share a number without a lock.
struct QuestionPlan {
    waiting: VecDeque<DialRequest>,
    open: Rc<Cell<usize>>,
}

impl DialPlan for QuestionPlan {
    fn next(&mut self, _now: Instant) -> NextDial {
        if self.open.get() == AT_ONCE {
            return NextDial::Wait; // asked again once a connection has closed
        }
        let Some(call) = self.waiting.pop_front() else { return NextDial::Done };
        self.open.set(self.open.get() + 1);
        NextDial::Dial(call)
    }

    fn answered(&mut self, call: &DialRequest, took: DialTiming, _conn: &ConnInfo) -> Box<dyn Service> {
        if call.number == 0 {
            println!("the first connection took {:?}", took.connect);
        }
        Box::new(Question { number: call.number, open: Rc::clone(&self.open) })
    }

    fn failed(&mut self, call: &DialRequest, error: &io::Error, _now: Instant) {
        eprintln!("{}: {error}", call.target);
        self.open.set(self.open.get() - 1);
    }
}

/// One connection: a question, and its answer.
struct Question {
    number: u64,
    open: Rc<Cell<usize>>,
}

impl Service for Question {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.send(format!("question {}\n", self.number).as_bytes());
    }

    fn data(&mut self, answer: &[u8], cx: &mut Cx<'_>) {
        assert_eq!(answer, format!("Server received: question {}\n", self.number).as_bytes());
        cx.close();
    }

    fn closed(&mut self, _why: &CloseReason) {
        self.open.set(self.open.get() - 1);
    }
}

fn main() -> Result<(), resound::Error> {
    let server = Server::new().listen("127.0.0.1:0")?.serve(|_conn| Reply::default())?;
    let target: Endpoint = server.addresses()[0].clone();
    let dialer = Dialer::new().workers(NonZeroUsize::MIN).start(move |_worker| {
        let call =
            |number| DialRequest { number, target: target.clone(), source: None, timeout: Duration::from_secs(5) };
        QuestionPlan { waiting: (0..100).map(call).collect(), open: Rc::default() }
    })?;
    let totals = dialer.wait();
    let orderly = totals.closed(CloseReason::ServiceClosed);
    println!("connections: {}, answered and closed: {orderly}", totals.opened);
    Ok(())
}

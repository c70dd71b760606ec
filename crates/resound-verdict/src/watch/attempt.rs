//! Connections of a watch: what happens on their sockets, as events.

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use resound::Stream;
use resound::client::FailureClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::counts::ConnectOutcome;
use super::heartbeat;
use crate::place::{PathEnd, Special};
use crate::report::FarKind;
use crate::symptom::{NoHello, Symptom};

/// A longer answer is no answer to a heartbeat.
const LONGEST: usize = 4096;
/// The steps of a wait.
const STEP: Duration = Duration::from_millis(50);

/// What happened on a held connection.
#[derive(Debug)]
pub(super) enum SlotEvent {
    /// There is a connection.
    Connected,
    /// There is none.
    Failed(Symptom),
    /// An answer, without its newline.
    Answer(Vec<u8>),
    /// The connection has ended: by a FIN, or by an error.
    Ended(Option<Symptom>),
}

/// An event of the connection that a slot had at that time.
#[derive(Debug)]
pub(super) struct TimedEvent {
    pub(super) slot: usize,
    /// The number of the connection within its slot.
    pub(super) connection: u64,
    pub(super) at: Instant,
    pub(super) event: SlotEvent,
}

/// Where the events of one held connection go.
pub(super) struct EventSink {
    pub(super) slot: usize,
    pub(super) connection: u64,
    pub(super) events: mpsc::Sender<TimedEvent>,
}

impl EventSink {
    async fn tell(&self, event: SlotEvent) {
        let (slot, connection, at) = (self.slot, self.connection, Instant::now());
        // Without a receiver the watch has ended.
        let _ = self.events.send(TimedEvent { slot, connection, at, event }).await;
    }
}

/// Makes a connection, writes lines, and tells what arrives, until the connection ends.
pub(super) async fn hold(end: PathEnd, mut lines: mpsc::Receiver<Vec<u8>>, sink: EventSink) {
    let stream = match end.reach(Special::default()).await {
        Ok(reached) => reached.stream,
        Err(symptom) => return sink.tell(SlotEvent::Failed(symptom)).await,
    };
    sink.tell(SlotEvent::Connected).await;
    // A RST that a write has met is no error of the read after it any more: that meets the end.
    let met_reset = AtomicBool::new(false);
    let mut writer = &stream;
    let write = async {
        while let Some(line) = lines.recv().await {
            let sent = async {
                writer.write_all(&line).await?;
                writer.flush().await
            };
            if let Err(error) = sent.await {
                met_reset.store(error.kind() == ErrorKind::ConnectionReset, Ordering::Relaxed);
                break;
            }
        }
        // The reader learns how the connection ended, after the answers that came before.
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = read(&stream, &sink) => ended.or_else(|| {
            met_reset.load(Ordering::Relaxed).then_some(Symptom::Reset { sent: 0, received: 0 })
        }),
        () = write => return,
    };
    sink.tell(SlotEvent::Ended(ended)).await;
}

/// Tells each line that arrives, until the end of the stream.
async fn read(mut stream: &Stream, sink: &EventSink) -> Option<Symptom> {
    let (mut piece, mut line) = ([0; LONGEST], Vec::new());
    loop {
        let count = match stream.read(&mut piece).await {
            Ok(0) => return None,
            Ok(count) => count,
            Err(error) => return Some(Symptom::of(&error, 0, 0)),
        };
        for part in piece[..count].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            let is_whole = line.last() == Some(&b'\n');
            if is_whole || line.len() > LONGEST {
                line.truncate(line.len() - usize::from(is_whole));
                sink.tell(SlotEvent::Answer(std::mem::take(&mut line))).await;
            }
        }
    }
}

/// Makes a connection of the row of new ones, gets one answer on it, and closes it.
pub(super) async fn probe_new_connection(
    end: PathEnd,
    far: FarKind,
    patience: Duration,
) -> (ConnectOutcome, Option<String>) {
    let stream = match end.reach(Special::default()).await {
        Ok(reached) => reached.stream,
        Err(symptom) => return (outcome(&symptom), Some(symptom.to_string())),
    };
    with_patience(patience, first_answer(&stream, far)).await.unwrap_or((ConnectOutcome::TimedOut, None))
}

/// Runs `work` for at most `patience`, in steps, so that a stall of this machine uses up one step
/// only.
async fn with_patience<T>(patience: Duration, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), patience);
    while !left.is_zero() {
        let step = left.min(STEP);
        if let Ok(done) = timeout(step, &mut work).await {
            return Some(done);
        }
        left -= step;
    }
    None
}

async fn first_answer(mut stream: &Stream, far: FarKind) -> (ConnectOutcome, Option<String>) {
    let failed = |error: std::io::Error| {
        let symptom = Symptom::of(&error, 0, 0);
        (outcome(&symptom), Some(symptom.to_string()))
    };
    let sent = async {
        stream.write_all(&heartbeat::line(0)).await?;
        stream.flush().await
    };
    if let Err(error) = sent.await {
        return failed(error);
    }
    let (mut piece, mut answer) = ([0; 256], Vec::new());
    loop {
        match stream.read(&mut piece).await {
            Ok(0) => return (ConnectOutcome::Closed, None),
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) => return failed(error),
        }
        let line = answer.iter().position(|byte| *byte == b'\n').map(|end| &answer[..end]);
        match line.map(|line| heartbeat::number(line, far)) {
            Some(Some(0)) => return (ConnectOutcome::Served, None),
            Some(_) => return (ConnectOutcome::Failed, Some("a new connection got a wrong answer".into())),
            None if answer.len() > LONGEST => {
                return (ConnectOutcome::Failed, Some("a new connection got a wrong answer".into()));
            }
            None => {}
        }
    }
}

/// What a symptom counts as.
pub(super) fn outcome(symptom: &Symptom) -> ConnectOutcome {
    match symptom {
        Symptom::Local(_) => ConnectOutcome::OwnFailure,
        Symptom::Reset { .. } => ConnectOutcome::Reset,
        Symptom::Closed { .. } => ConnectOutcome::Closed,
        Symptom::Stalled { .. } => ConnectOutcome::TimedOut,
        Symptom::HelloLost(seen) | Symptom::NoHello(seen) => match seen {
            NoHello::ResetAtOnce | NoHello::Reset => ConnectOutcome::Reset,
            NoHello::ClosedAtOnce | NoHello::Closed => ConnectOutcome::Closed,
            NoHello::Silent => ConnectOutcome::TimedOut,
        },
        Symptom::NoConnection { class, .. } => match class {
            FailureClass::Refused => ConnectOutcome::Refused,
            FailureClass::Reset => ConnectOutcome::Reset,
            FailureClass::Eof => ConnectOutcome::Closed,
            FailureClass::Timeout => ConnectOutcome::TimedOut,
            _ => ConnectOutcome::Failed,
        },
        _ => ConnectOutcome::Failed,
    }
}

//! [`FarSession`]: a connection that the far end plays, asked about on other connections; and the
//! lines of the protocol.

use std::time::{Duration, Instant};

use resound::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::place::{PathEnd, Special};
use crate::report::PathDirection;
use crate::symptom::{NoHello, Symptom};
use resound_probe::{ProbeAnswer, ProbeRequest, SessionLog};

/// The most bytes of one line of the far end.
pub(crate) const LONGEST_LINE: usize = 64 * 1024;
/// The longest time of a line, as a multiple of the patience.
pub(crate) const LINE_PATIENCE: u32 = 6;
/// How a server answers a line that is longer than its own limit, and so is no request to it.
pub(crate) const TOO_LONG: &[u8] = b"Error: line longer than ";

/// A session by its name: what became of it is asked for on other connections.
#[derive(Clone)]
pub(crate) struct FarSession {
    pub(crate) end: PathEnd,
    pub(crate) name: String,
}

impl FarSession {
    pub(crate) async fn asked(&self) -> Result<SessionLog, Symptom> {
        question(&self.end, &ProbeRequest::ask(&self.name)).await
    }

    /// Ends its hold.
    pub(crate) async fn go(&self) -> Result<SessionLog, Symptom> {
        question(&self.end, &ProbeRequest::go(&self.name)).await
    }

    /// Asks until `is_enough`, or until nothing has come there for `limit`.
    pub(crate) async fn asked_within(
        &self,
        limit: Duration,
        is_enough: impl Fn(&SessionLog) -> bool,
    ) -> Result<SessionLog, Symptom> {
        let (mut received, mut since) = (0, Instant::now());
        let mut pause = Duration::from_millis(2);
        loop {
            let log = self.asked().await?;
            if log.received > received {
                (received, since) = (log.received, Instant::now());
            }
            if is_enough(&log) || since.elapsed() > limit {
                return Ok(log);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}

/// One question on a connection of its own. It is asked again where another backend answers.
pub(crate) async fn question(end: &PathEnd, request: &ProbeRequest) -> Result<SessionLog, Symptom> {
    let _permit = end.permits.question().await?;
    let (mut last, start) = (Symptom::Forgotten, Instant::now());
    for tried in 0..8 {
        // One that stays silent has taken the patience already.
        if tried > 1 && start.elapsed() > end.patience {
            break;
        }
        let mut record = end.ledger.of_run().begins();
        let asked = async { ask(end, &end.reach(Special::default()).await?.stream, request, &mut Vec::new()).await };
        let line = match asked.await {
            Ok(line) => line,
            Err(symptom) => {
                record.broken(&symptom);
                last = match symptom {
                    // It is not the connection in question that has ended early.
                    Symptom::Closed { received, .. } => Symptom::AnswerCut { received },
                    other => other,
                };
                continue;
            }
        };
        let answer = ProbeAnswer::parse(&line);
        if let Some(ProbeAnswer::Session(log)) = &answer {
            end.ledger.of_run().moved(None);
            end.greeted.add_asked(&log.instance);
        }
        match answer {
            Some(ProbeAnswer::Session(log)) if log.known => return Ok(*log),
            Some(ProbeAnswer::Session(_)) => last = Symptom::Forgotten,
            Some(ProbeAnswer::Error(why)) => return Err(Symptom::NotPlayed(why)),
            _ => {
                last = garbled(&line);
                record.broken(&last);
            }
        }
    }
    Err(last)
}

/// What a line means that is no answer to a request. Where the far end replies to it as to a
/// message, the request has not arrived as it was sent.
pub(crate) fn garbled(line: &[u8]) -> Symptom {
    if let Some(direction) = changed_at_its_end(line) {
        return Symptom::Garbled(direction);
    }
    let is_asked_wrongly = matches!(ProbeAnswer::parse(line), Some(ProbeAnswer::Garbled));
    match is_asked_wrongly || line.starts_with(resound::Reply::PREFIX.as_bytes()) {
        true => Symptom::Garbled(PathDirection::Out),
        false => Symptom::Garbled(PathDirection::In),
    }
}

/// The directions in which a path has changed line endings, if the line is known without its CR.
pub(crate) fn changed_at_its_end(line: &[u8]) -> Option<PathDirection> {
    let plain = [line.strip_suffix(b"\r\n")?, b"\n"].concat();
    match ProbeAnswer::parse(&plain)? {
        // The request has not arrived as it was sent either.
        ProbeAnswer::Garbled => Some(PathDirection::Both),
        _ => Some(PathDirection::In),
    }
}

/// Sends the request and reads the line that answers it.
pub(crate) async fn ask(
    end: &PathEnd,
    stream: &Stream,
    request: &ProbeRequest,
    rest: &mut Vec<u8>,
) -> Result<Vec<u8>, Symptom> {
    let mut writer = stream;
    let sent = async {
        writer.write_all(request.line().as_bytes()).await?;
        writer.flush().await
    };
    sent.await.map_err(|error| match Symptom::of(&error, 0, 0) {
        Symptom::Reset { .. } => Symptom::NoHello(NoHello::Reset),
        other => other,
    })?;
    let line = read_line(end, stream, rest).await;
    line.map_err(|broken| match broken {
        // An end in the middle of the line is one of a transfer.
        BrokenLine::Io(error) if !rest.is_empty() => Symptom::of(&error, 0, rest.len() as u64),
        BrokenLine::Closed if !rest.is_empty() => Symptom::Closed { sent: 0, received: rest.len() as u64 },
        BrokenLine::Silent if !rest.is_empty() => {
            Symptom::Stalled { sent: 0, acknowledged: None, received: rest.len() as u64, wanted: 0 }
        }
        BrokenLine::Io(error) => match Symptom::of(&error, 0, 0) {
            Symptom::Reset { .. } => Symptom::NoHello(NoHello::Reset),
            Symptom::Closed { .. } => Symptom::NoHello(NoHello::Closed),
            Symptom::Stalled { .. } => Symptom::NoHello(NoHello::Silent),
            other => other,
        },
        BrokenLine::Closed => Symptom::NoHello(NoHello::Closed),
        BrokenLine::Silent => Symptom::NoHello(NoHello::Silent),
        BrokenLine::TooLong => Symptom::NotPlayed("its line is too long".into()),
    })
}

/// Why there is no line.
pub(crate) enum BrokenLine {
    Io(std::io::Error),
    Closed,
    Silent,
    TooLong,
}

/// Reads a line with its newline; what came after it is left in `rest`.
pub(crate) async fn read_line(end: &PathEnd, stream: &Stream, rest: &mut Vec<u8>) -> Result<Vec<u8>, BrokenLine> {
    let mut reader = stream;
    let mut chunk = [0; 4096];
    let start = Instant::now();
    loop {
        if let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            let behind = rest.split_off(at + 1);
            return Ok(std::mem::replace(rest, behind));
        }
        if rest.len() > LONGEST_LINE {
            return Err(BrokenLine::TooLong);
        }
        match timeout(end.patience, reader.read(&mut chunk)).await {
            Ok(Ok(0)) => return Err(BrokenLine::Closed),
            Ok(Ok(n)) => rest.extend_from_slice(&chunk[..n]),
            Ok(Err(error)) => return Err(BrokenLine::Io(error)),
            Err(_) => return Err(BrokenLine::Silent),
        }
        if start.elapsed() > LINE_PATIENCE * end.patience {
            return Err(BrokenLine::Silent);
        }
    }
}

//! One connection that is idle for a while, and how it dies of that.

use std::fmt;
use std::time::{Duration, Instant};

use super::greet::elapsed;
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::PathDirection;
use crate::symptom::Symptom;
use crate::tries::{TryOutcome, is_far_made, play};
use resound_probe::{SessionLog, Step};

/// Bytes of each message: one segment.
pub(crate) const MESSAGE: u64 = 64;

/// How an idle connection died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdleDeath {
    /// A FIN came while it was idle, after this time.
    Fin(Duration),
    /// A RST came while it was idle, after this time.
    Reset(Duration),
    /// A RST, or a FIN, answered the next bytes.
    OnData,
    /// What was sent next never arrived, and nothing told the sender.
    Silent(PathDirection),
}

impl IdleDeath {
    /// When it died, if that was seen.
    pub(crate) fn at(self) -> Option<Duration> {
        match self {
            Self::Fin(after) | Self::Reset(after) => Some(after),
            Self::OnData | Self::Silent(_) => None,
        }
    }
}

impl fmt::Display for IdleDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fin(after) => write!(f, "a FIN ended it after {}", elapsed(*after)),
            Self::Reset(after) => write!(f, "a RST ended it after {}", elapsed(*after)),
            Self::OnData => f.write_str("the next bytes were answered with a RST"),
            Self::Silent(PathDirection::In) => {
                f.write_str("what the far end sent next never arrived, and nothing told this end")
            }
            Self::Silent(_) => f.write_str("what was sent next never arrived, and nothing told the sender"),
        }
    }
}

/// What one connection did while it was idle. A broken wait says nothing of the others.
pub(crate) type IdleTry = TryOutcome<Option<IdleDeath>>;

/// Which end speaks first after the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstWord {
    Client,
    Server,
}

/// Which end has half-closed the connection before the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HalfClosed {
    Here,
    There,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Waits while nothing should come.
async fn stay_idle(probe: &mut ProbeConnection, wait: Duration) -> Result<Option<IdleDeath>, Symptom> {
    let start = Instant::now();
    match probe.read_within(1, wait).await {
        Ok(None) => Ok(None),
        Ok(Some(0)) | Err(Symptom::Closed { .. }) => Ok(Some(IdleDeath::Fin(start.elapsed()))),
        Ok(Some(_)) => Err(Symptom::NotPlayed("it spoke while it was to be silent".into())),
        Err(Symptom::Reset { .. }) => Ok(Some(IdleDeath::Reset(start.elapsed()))),
        // Its probes stayed unanswered.
        Err(Symptom::Stalled { .. }) => Ok(Some(IdleDeath::Silent(PathDirection::Out))),
        Err(other) => Err(other),
    }
}

/// The death that a symptom of the exchange after the wait means.
async fn died(probe: &ProbeConnection, symptom: Symptom, arrives: u64) -> Result<Option<IdleDeath>, Symptom> {
    match symptom {
        Symptom::Reset { .. } | Symptom::Closed { .. } => confirmed(probe, IdleDeath::OnData).await,
        Symptom::Stalled { .. } => {
            // A new connection, that works.
            let far = not_far_made(probe.asked().await?)?;
            let direction = if far.received >= arrives { PathDirection::In } else { PathDirection::Out };
            Ok(Some(IdleDeath::Silent(direction)))
        }
        other => Err(other),
    }
}

/// Confirms that the far end did not end the connection itself. An answer to this query also shows
/// that the path works.
async fn confirmed(probe: &ProbeConnection, death: IdleDeath) -> Result<Option<IdleDeath>, Symptom> {
    not_far_made(probe.asked().await?)?;
    Ok(Some(death))
}

fn not_far_made(far: SessionLog) -> Result<SessionLog, Symptom> {
    match far.closed.as_deref().filter(|closed| is_far_made(closed)) {
        Some(closed) => Err(Symptom::NotPlayed(format!("it ended the connection by itself: {closed}"))),
        None => Ok(far),
    }
}

/// An open connection, on which one end speaks after the wait.
pub(crate) async fn try_idle(end: &PathEnd, wait: Duration, first: FirstWord, keepalive: Option<Duration>) -> IdleTry {
    let (read, send) = (Step::Read(MESSAGE), Step::Send(MESSAGE));
    let client = [read, send, read, send];
    let server = [read, send, Step::Wait(millis(wait)), send, read, send];
    let steps: &[Step] = if first == FirstWord::Client { &client } else { &server };
    play(end, Special::default(), steps, async |probe| {
        if let Some(every) = keepalive {
            probe.stream.set_keepalive(every).map_err(|error| Symptom::Local(error.to_string()))?;
        }
        probe.send(MESSAGE).await?;
        probe.receive(MESSAGE).await?;
        match first {
            FirstWord::Client => client_speaks(probe, wait).await,
            FirstWord::Server => server_speaks(end, probe, wait).await,
        }
    })
    .await
}

async fn client_speaks(probe: &mut ProbeConnection, wait: Duration) -> Result<Option<IdleDeath>, Symptom> {
    if let Some(death) = stay_idle(probe, wait).await? {
        return confirmed(probe, death).await;
    }
    let exchanged = async {
        probe.send(MESSAGE).await?;
        probe.receive(2 * MESSAGE).await
    };
    match exchanged.await {
        Ok(()) => Ok(None),
        Err(symptom) => died(probe, symptom, 2 * MESSAGE).await,
    }
}

async fn server_speaks(
    end: &PathEnd,
    probe: &mut ProbeConnection,
    wait: Duration,
) -> Result<Option<IdleDeath>, Symptom> {
    if let Some(death) = hears(end, probe, wait, 2 * MESSAGE).await? {
        return confirmed(probe, death).await;
    }
    probe.check()?;
    let exchanged = async {
        probe.send(MESSAGE).await?;
        probe.receive(3 * MESSAGE).await
    };
    match exchanged.await {
        Ok(()) => Ok(None),
        Err(symptom) => died(probe, symptom, 2 * MESSAGE).await,
    }
}

/// Waits for what the far end sends after the wait, until `total` bytes have come.
async fn hears(
    end: &PathEnd,
    probe: &mut ProbeConnection,
    wait: Duration,
    total: u64,
) -> Result<Option<IdleDeath>, Symptom> {
    let start = Instant::now();
    while probe.received() < total {
        let limit = (wait + end.patience).saturating_sub(start.elapsed());
        let was_idle = start.elapsed() < wait;
        match probe.read_within(total - probe.received(), limit).await {
            Ok(Some(0)) | Err(Symptom::Closed { .. } | Symptom::Reset { .. }) if start.elapsed() >= wait => {
                return Ok(Some(IdleDeath::OnData));
            }
            Ok(Some(0)) | Err(Symptom::Closed { .. }) if was_idle => return Ok(Some(IdleDeath::Fin(start.elapsed()))),
            Err(Symptom::Reset { .. }) => return Ok(Some(IdleDeath::Reset(start.elapsed()))),
            Ok(Some(_)) => {}
            Ok(None) | Err(Symptom::Stalled { .. }) => {
                // It may be late, and not lost.
                let far = not_far_made(probe.asked().await?)?;
                if far.sent < total && far.closed.is_none() {
                    return Err(Symptom::NotPlayed("it did not speak in time".into()));
                }
                return Ok(Some(IdleDeath::Silent(PathDirection::In)));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(None)
}

/// A half-closed connection: after the wait, the end whose direction is open sends. Without a FIN
/// it is the control.
pub(crate) async fn try_half_closed(end: &PathEnd, wait: Duration, by: HalfClosed, has_fin: bool) -> IdleTry {
    let (read, send, pause) = (Step::Read(MESSAGE), Step::Send(MESSAGE), Step::Wait(millis(wait)));
    let steps: &[Step] = match (by, has_fin) {
        (HalfClosed::Here, true) => &[read, send, Step::Eof, pause, send],
        (HalfClosed::Here, false) => &[read, send, pause, send, read],
        (HalfClosed::There, true) => &[read, send, Step::Finish, read],
        (HalfClosed::There, false) => &[read, send, read],
    };
    play(end, Special::default(), steps, async |probe| {
        probe.send(MESSAGE).await?;
        probe.receive(MESSAGE).await?;
        match by {
            HalfClosed::Here => {
                if has_fin {
                    probe.finish().await?;
                }
                match hears(end, probe, wait, 2 * MESSAGE).await? {
                    Some(death) => confirmed(probe, death).await,
                    None => probe.check().map(|()| None),
                }
            }
            HalfClosed::There => speaks_on(end, probe, wait, has_fin).await,
        }
    })
    .await
}

/// The far end has sent its FIN: only it can say whether this end's bytes arrive.
async fn speaks_on(
    end: &PathEnd,
    probe: &mut ProbeConnection,
    wait: Duration,
    has_fin: bool,
) -> Result<Option<IdleDeath>, Symptom> {
    if has_fin && probe.read_within(1, end.patience).await? != Some(0) {
        return Err(Symptom::Own("the far end's FIN never arrived".into()));
    }
    let start = Instant::now();
    while start.elapsed() < wait {
        tokio::time::sleep(Duration::from_millis(20).min(wait.saturating_sub(start.elapsed()))).await;
        // After a FIN nothing can be read; a RST leaves its error.
        if probe.stream.take_error().is_some() {
            return confirmed(probe, IdleDeath::Reset(start.elapsed())).await;
        }
    }
    let sent = probe.send(MESSAGE).await;
    let far = probe.asked_until(|far| far.received >= 2 * MESSAGE || far.closed.is_some()).await?;
    let far = not_far_made(far)?;
    let is_reset = sent.is_err() || far.closed.is_some() || probe.stream.take_error().is_some();
    match far.received >= 2 * MESSAGE {
        true => Ok(None),
        false if is_reset => Ok(Some(IdleDeath::OnData)),
        false => Ok(Some(IdleDeath::Silent(PathDirection::Out))),
    }
}

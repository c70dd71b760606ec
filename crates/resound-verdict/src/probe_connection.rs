//! [`ProbeConnection`]: a connection whose far end cooperates.

use std::time::{Duration, Instant};

use resound::Stream;
use resound::client::TcpInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use crate::far_session::{BrokenLine, FarSession, TOO_LONG, ask, garbled, read_line};
use crate::ledger::LedgerRecord;
use crate::place::{PathEnd, Reached, Special};
use crate::report::PathDirection;
use crate::symptom::Symptom;
use resound_probe::{CREDIT, FarHello, Pattern, PatternCheck, ProbeAnswer, ProbeRequest, SessionLog, Step};

/// How often a connection is looked at while it may stand still.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked at for what is about to happen.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// `tcpi_state` of a connection that neither end has ended.
const ESTABLISHED: u8 = 1;
/// Bytes of one write.
const WRITE: u64 = 64 * 1024;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// With a FIN.
    Fin,
    /// With a RST.
    Reset,
    /// It did not end in time.
    Open,
}

/// A connection whose far end plays the steps that it was asked for.
pub(crate) struct ProbeConnection {
    pub(crate) stream: Stream,
    pub(crate) hello: FarHello,
    pub(crate) connected_in: Duration,
    /// Between the request and the hello.
    pub(crate) answered_in: Duration,
    /// Bytes of the lines of each end so far: the request, and the hello with those of
    /// [`Step::Tell`].
    pub(crate) lines: (u64, u64),
    /// The name by which the far end knows the connection.
    pub(crate) session: String,
    end: PathEnd,
    up: Pattern,
    /// Bytes of the pattern that were handed to the system.
    pub(crate) sent: u64,
    down: PatternCheck,
    /// What came after a line: another one, or bytes of the pattern.
    rest: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
    /// It counts as open for the others.
    _record: Option<LedgerRecord>,
}

impl ProbeConnection {
    /// Connects and asks the far end to cooperate.
    pub(crate) async fn begin(end: &PathEnd, special: Special, steps: &[Step]) -> Result<Self, Symptom> {
        let permit = end.permits.session().await;
        let mut record = end.ledger.begins();
        match Self::begin_with(permit, end, special, steps).await {
            Ok(probe) => Ok(Self { _record: Some(record), ..probe }),
            Err(symptom) => {
                record.failed(&symptom);
                Err(symptom)
            }
        }
    }

    /// The same with a permit that the caller has, who notes the connection in the ledger too.
    pub(crate) async fn begin_with(
        permit: Option<OwnedSemaphorePermit>,
        end: &PathEnd,
        special: Special,
        steps: &[Step],
    ) -> Result<Self, Symptom> {
        let Reached { stream, connected_in } = end.reach(special).await?;
        let session = format!("{:016x}", fastrand::u64(..));
        let request = ProbeRequest { brief: special.brief, ..ProbeRequest::play(&session, end.seed, steps) };
        let start = Instant::now();
        let mut rest = Vec::new();
        let line = ask(end, &stream, &request, &mut rest).await?;
        let answered_in = start.elapsed();
        let hello = match ProbeAnswer::parse(&line) {
            Some(ProbeAnswer::Hello(hello)) => *hello,
            Some(ProbeAnswer::Error(why)) => return Err(Symptom::NotPlayed(why)),
            None if line.starts_with(TOO_LONG) => {
                return Err(Symptom::NotPlayed("it takes no line so long (--max-line)".into()));
            }
            _ => return Err(garbled(&line)),
        };
        Ok(Self {
            stream,
            hello,
            connected_in,
            answered_in,
            lines: (request.line().len() as u64, line.len() as u64),
            session,
            end: end.clone(),
            up: Pattern::up(end.seed),
            sent: 0,
            down: PatternCheck::new(Pattern::down(end.seed)),
            rest,
            _permit: permit,
            _record: None,
        })
    }

    /// Bytes of the pattern that were received.
    pub(crate) fn received(&self) -> u64 {
        self.down.count()
    }

    pub(crate) fn tcp(&self) -> Option<TcpInfo> {
        self.stream.tcp_info()
    }

    fn stalled(&self, wanted: u64) -> Symptom {
        let acknowledged = self.tcp().map(|tcp| tcp.acknowledged);
        Symptom::Stalled { sent: self.sent, acknowledged, received: self.received(), wanted }
    }

    /// The wrong byte among those received so far.
    pub(crate) fn check(&self) -> Result<(), Symptom> {
        self.down.wrong().map_or(Ok(()), |wrong| Err(Symptom::Wrong(PathDirection::In, wrong)))
    }

    /// Sends `bytes` bytes of the pattern, and does not read meanwhile.
    pub(crate) async fn send(&mut self, bytes: u64) -> Result<(), Symptom> {
        let end = self.sent + bytes;
        // Of a record of TLS nothing arrives until it is whole: on a slow path it has to be small.
        let most = (bytes / 32).clamp(512, WRITE);
        while self.sent < end {
            let piece = (end - self.sent).min(most);
            let chunk = self.up.bytes(self.sent, usize::try_from(piece).unwrap_or(0));
            match timeout(self.end.patience, (&self.stream).write(&chunk)).await {
                Ok(Ok(n)) => self.sent += n as u64,
                Ok(Err(error)) => return Err(Symptom::of(&error, self.sent, self.received())),
                Err(_) => return Err(self.stalled(0)),
            }
        }
        self.flush().await
    }

    /// What TLS keeps goes to the system, for as long as the peer's system acknowledges bytes.
    async fn flush(&self) -> Result<(), Symptom> {
        let acknowledged = || self.stream.tcp_info().map_or(0, |tcp| tcp.acknowledged);
        let mut moved = acknowledged();
        loop {
            match timeout(self.end.patience, (&self.stream).flush()).await {
                Ok(flushed) => return flushed.map_err(|error| Symptom::of(&error, self.sent, self.received())),
                Err(_) if acknowledged() > moved => moved = acknowledged(),
                Err(_) => return Err(self.stalled(0)),
            }
        }
    }

    /// Hands up to `most` bytes to the system, as many as it takes within `limit`.
    pub(crate) async fn send_some(&mut self, most: u64, limit: Duration) -> Result<u64, Symptom> {
        let chunk = self.up.bytes(self.sent, usize::try_from(most.min(WRITE)).unwrap_or(0));
        match timeout(limit, (&self.stream).write(&chunk)).await {
            Ok(Ok(n)) => {
                self.sent += n as u64;
                Ok(n as u64)
            }
            Ok(Err(error)) => Err(Symptom::of(&error, self.sent, self.received())),
            Err(_) => Ok(0),
        }
    }

    /// Receives until `total` bytes have arrived.
    pub(crate) async fn receive(&mut self, total: u64) -> Result<(), Symptom> {
        while self.received() < total {
            if self.read(total, total - self.received()).await? == 0 {
                return Err(Symptom::Closed { sent: self.sent, received: self.received() });
            }
        }
        self.check()
    }

    /// The same, and says of each read when it came, counted from `start`, and what had come by
    /// then.
    pub(crate) async fn receive_each(&mut self, total: u64, start: Instant) -> Result<Vec<(f64, u64)>, Symptom> {
        let mut reads = Vec::new();
        while self.received() < total {
            if self.read(total, total - self.received()).await? == 0 {
                return Err(Symptom::Closed { sent: self.sent, received: self.received() });
            }
            reads.push((start.elapsed().as_secs_f64() * 1000.0, self.received()));
        }
        self.check().map(|()| reads)
    }

    /// Sends `send` bytes, then receives until `total` have come. Fails once nothing leaves,
    /// arrives or is acknowledged for `limit`, or earlier if `is_dead`. Both apply only until an
    /// answer, or more than the byte that asks for it, is delivered; then the patience applies.
    pub(crate) async fn exchange_while_moving(
        &mut self,
        send: u64,
        total: u64,
        limit: Duration,
        is_dead: impl Fn(&TcpInfo) -> bool,
    ) -> Result<(), Symptom> {
        let acknowledged = || self.stream.tcp_info().map_or(0, |tcp| tcp.acknowledged);
        let begun = (self.received(), acknowledged() + 1);
        let (mut moved, mut since) = ((0, 0, 0), Instant::now());
        let end = self.sent + send;
        while self.sent < end || self.received() < total {
            if self.sent < end {
                let piece = usize::try_from((end - self.sent).min(WRITE)).unwrap_or(0);
                let chunk = self.up.bytes(self.sent, piece);
                match timeout(LOOK, (&self.stream).write(&chunk)).await {
                    Ok(Ok(n)) => self.sent += n as u64,
                    Ok(Err(error)) => return Err(Symptom::of(&error, self.sent, self.received())),
                    Err(_) => {}
                }
            } else {
                // TLS keeps what the socket had no room for, and reading does not send it.
                if let Ok(Err(error)) = timeout(LOOK, (&self.stream).flush()).await {
                    return Err(Symptom::of(&error, self.sent, self.received()));
                }
                match timeout(LOOK, self.read(total, total - self.received())).await {
                    Ok(Ok(0)) => return Err(Symptom::Closed { sent: self.sent, received: self.received() }),
                    Ok(read) => drop(read?),
                    Err(_) => {}
                }
            }
            let tcp = self.tcp();
            let now = (self.sent, self.received(), tcp.as_ref().map_or(0, |tcp| tcp.acknowledged));
            if now != moved {
                (moved, since) = (now, Instant::now());
            }
            let delivers = now.1 > begun.0 || now.2 > begun.1;
            let limit = if delivers { self.end.patience } else { limit };
            if since.elapsed() > limit || (!delivers && tcp.is_some_and(|tcp| is_dead(&tcp))) {
                return Err(self.stalled(total));
            }
        }
        self.check()
    }

    /// Sends and receives the given numbers of bytes; returns how long that took.
    pub(crate) async fn round_trip(&mut self, ask: u64, answer: u64) -> Result<Duration, Symptom> {
        let start = Instant::now();
        self.send(ask).await?;
        self.receive(self.received() + answer).await?;
        Ok(start.elapsed())
    }

    /// Bytes of the pattern that came after a line, at most `most`.
    fn take_rest(&mut self, most: u64) -> usize {
        let n = self.rest.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        self.down.received(&self.rest[..n]);
        self.rest.drain(..n);
        n
    }

    /// One read of at most `most` bytes of the pattern, of which `wanted` are to come in all.
    pub(crate) async fn read(&mut self, wanted: u64, most: u64) -> Result<usize, Symptom> {
        loop {
            let came = self.came();
            if let Some(n) = self.read_within(most, self.end.patience).await? {
                return Ok(n);
            }
            if self.came() == came && !self.still_arrives().await {
                return Err(self.stalled(wanted));
            }
        }
    }

    /// Bytes that have come for this end's system: of a TLS record that is not whole yet nothing
    /// can be read.
    fn came(&self) -> u64 {
        self.tcp().map_or(0, |tcp| tcp.bytes_received)
    }

    /// Whether the far end still receives what this end has sent. A slow path after a fast one
    /// takes all at once, and nothing moves here until it is through.
    async fn still_arrives(&self) -> bool {
        if self.sent == 0 {
            return false;
        }
        let Ok(Ok(log)) = timeout(self.end.patience, self.asked()).await else { return false };
        let quiet = log.last_at_ms.map_or(f64::INFINITY, |last| log.now_ms - last);
        quiet < self.end.patience.as_secs_f64() * 1000.0 / 2.0
    }

    /// One read of at most `most` bytes. `None` where nothing comes within `limit`.
    pub(crate) async fn read_within(&mut self, most: u64, limit: Duration) -> Result<Option<usize>, Symptom> {
        let n = self.take_rest(most);
        if n > 0 {
            return Ok(Some(n));
        }
        if self.received() > self.sent.saturating_add(2 * CREDIT) {
            return Err(Symptom::NotPlayed("it sends more than it may".into()));
        }
        let mut chunk = vec![0; usize::try_from(most).unwrap_or(usize::MAX).min(64 * 1024)];
        match timeout(limit, (&self.stream).read(&mut chunk)).await {
            Ok(Ok(n)) => {
                self.down.received(&chunk[..n]);
                Ok(Some(n))
            }
            Ok(Err(error)) => Err(Symptom::of(&error, self.sent, self.received())),
            Err(_) => Ok(None),
        }
    }

    /// Sends and receives the given numbers of bytes at the same time.
    pub(crate) async fn exchange(&mut self, send: u64, receive: u64) -> Result<(), Symptom> {
        let total = self.received() + receive;
        self.take_rest(receive);
        let (begin, end) = (self.sent, self.sent + send);
        let (stream, patience, up) = (&self.stream, self.end.patience, self.up);
        let (mut sent, down) = (begin, &mut self.down);
        let mut chunk = vec![0; 64 * 1024];
        let mut out: Vec<u8> = Vec::new();
        let result = loop {
            if sent == end && down.count() >= total {
                break Ok(());
            }
            if out.is_empty() && sent < end {
                out = up.bytes(sent, usize::try_from((end - sent).min(WRITE)).unwrap_or(0));
            }
            let room = usize::try_from(total.saturating_sub(down.count())).unwrap_or(usize::MAX).min(chunk.len());
            // Nothing moved at all: the stream has ended.
            let moved = async {
                let (mut writer, mut reader) = (stream, stream);
                tokio::select! {
                    written = writer.write(&out), if sent < end => written.map(|n| (n, 0)),
                    read = reader.read(&mut chunk[..room]), if room > 0 => read.map(|n| (0, n)),
                }
            };
            match timeout(patience, moved).await {
                Ok(Ok((0, 0))) => break Err(Symptom::Closed { sent, received: down.count() }),
                Ok(Ok((written, read))) => {
                    out.drain(..written);
                    sent += written as u64;
                    down.received(&chunk[..read]);
                }
                Ok(Err(error)) => break Err(Symptom::of(&error, sent, down.count())),
                Err(_) => {
                    let acknowledged = stream.tcp_info().map(|tcp| tcp.acknowledged);
                    break Err(Symptom::Stalled { sent, acknowledged, received: down.count(), wanted: total });
                }
            }
        };
        self.sent = sent;
        result?;
        self.flush().await?;
        self.check()
    }

    /// Sends a FIN.
    pub(crate) async fn finish(&mut self) -> Result<(), Symptom> {
        let sent = timeout(self.end.patience, (&self.stream).shutdown()).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Symptom::of(&error, self.sent, self.received())),
            Err(_) => Err(self.stalled(0)),
        }
    }

    /// Reads to the end of the stream, or for as long as something comes within the patience.
    pub(crate) async fn end(&mut self) -> StreamEnd {
        self.end_within(self.end.patience).await
    }

    /// The same, with a limit on the time in which nothing comes.
    pub(crate) async fn end_within(&mut self, limit: Duration) -> StreamEnd {
        loop {
            match timeout(limit, self.read(0, u64::MAX)).await {
                // With TLS, a FIN may come without a close_notify.
                Ok(Ok(0) | Err(Symptom::Closed { .. })) => return StreamEnd::Fin,
                Ok(Ok(_)) => {}
                Ok(Err(Symptom::Reset { .. })) => return StreamEnd::Reset,
                Ok(Err(_)) | Err(_) => return StreamEnd::Open,
            }
        }
    }

    /// Waits for the end of the connection to arrive at this end's system, for at most `limit`, and
    /// reads nothing.
    pub(crate) async fn end_arrives(&self, limit: Duration) {
        let start = Instant::now();
        while start.elapsed() < limit && self.tcp().is_none_or(|tcp| tcp.state == ESTABLISHED) {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Reads the line of a [`Step::Tell`]; the pattern goes on after it.
    pub(crate) async fn told(&mut self) -> Result<SessionLog, Symptom> {
        let mut rest = std::mem::take(&mut self.rest);
        let line = loop {
            let came = self.came();
            match read_line(&self.end, &self.stream, &mut rest).await {
                Err(BrokenLine::Silent) if self.came() != came || self.still_arrives().await => {}
                other => break other,
            }
        };
        let line = line.map_err(|broken| match broken {
            BrokenLine::Io(error) => Symptom::of(&error, self.sent, self.received()),
            BrokenLine::Closed => Symptom::Closed { sent: self.sent, received: self.received() },
            BrokenLine::Silent => self.stalled(0),
            BrokenLine::TooLong => Symptom::NotPlayed("its line is too long".into()),
        })?;
        self.rest = rest;
        self.lines.1 += line.len() as u64;
        match ProbeAnswer::parse(&line) {
            Some(ProbeAnswer::Session(log)) => Ok(*log),
            Some(ProbeAnswer::Garbled) => Err(Symptom::Garbled(PathDirection::Out)),
            _ => Err(Symptom::Garbled(PathDirection::In)),
        }
    }

    /// By which the far end is asked about this connection, also when it is gone.
    pub(crate) fn far(&self) -> FarSession {
        FarSession { end: self.end.clone(), name: self.session.clone() }
    }

    /// Resets the connection.
    pub(crate) fn abort(self) {
        self.stream.reset();
    }

    /// Waits until the peer's system has acknowledged all that was sent.
    pub(crate) async fn delivered(&self) -> Result<(), Symptom> {
        let (mut left, mut since) = (u64::MAX, Instant::now());
        loop {
            let now_left = self.stream.report().unacknowledged.unwrap_or(0);
            if now_left < left {
                (left, since) = (now_left, Instant::now());
            }
            if left == 0 {
                return Ok(());
            }
            if since.elapsed() > self.end.patience {
                return Err(self.stalled(0));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks on another connection what became of this one.
    pub(crate) async fn asked(&self) -> Result<SessionLog, Symptom> {
        self.far().asked().await
    }

    /// Asks until `is_enough`, or for as long as the patience.
    pub(crate) async fn asked_until(&self, is_enough: impl Fn(&SessionLog) -> bool) -> Result<SessionLog, Symptom> {
        self.far().asked_within(self.end.patience, is_enough).await
    }

    /// Ends the far end's hold, on another connection.
    pub(crate) async fn go(&self) -> Result<SessionLog, Symptom> {
        self.far().go().await
    }
}

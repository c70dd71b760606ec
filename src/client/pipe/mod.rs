//! The pipe: without a terminal, bytes pass unchanged in both directions. The end of stdin
//! half-closes, and the reply is read to its end.

mod input;
mod journal;
mod output;

use std::cell::{Cell, OnceCell};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use resound::Stream;
use resound::client::FailureClass;
use resound_console::escape;
use resound_console::json::JsonObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use self::input::Stdin;
use self::journal::PipeOutcome;
use self::output::{Stdout, TerminalGuard};
use super::connect::{self, ConnectEvent};
use super::crlf::Crlf;
use super::failure::ClientFailure;
use super::idleness::Idleness;
use super::limits::{late, until};
use super::mistaken::FirstWords;
use super::plan::{ClientPlan, PipeOptions};
use crate::signals::termination;
use crate::stdio::say;
use crate::{exit, units};

/// One read from the server: large, so that passing it to another thread costs little.
const CHUNK: usize = 256 * 1024;
/// After the server has sent its FIN, a stdin that is silent for this long counts as one that only
/// stays open. A shorter time would cut off a program that still writes on a busy machine.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// The interval between checks for acknowledgements.
const LOOK: Duration = Duration::from_millis(5);
/// The time for the server to acknowledge what it was sent after its own FIN.
const DELIVERY: Duration = Duration::from_secs(5);
/// With `--send-only`, the time for the server to close once it has everything. Closing earlier
/// would turn its answer into a reset.
const LINGER: Duration = Duration::from_secs(1);
/// The same while it goes on sending.
const LONGEST_LINGER: Duration = Duration::from_secs(10);
/// Once the reader of stdout has left and the connection is made, failures count for this time: the
/// server may still refuse the connection.
const LAST_FAILURE: Duration = Duration::from_millis(100);
/// After the time limit or a signal, the time for stdout to take the rest.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why sending ended before the end of stdin.
enum SendError {
    /// The server takes no more. Its answer may still be there to read.
    Failed(io::Error),
    /// Stdin cannot be read. Everything before is sent.
    Unreadable(io::Error),
}

pub(super) async fn run(plan: &ClientPlan, options: &PipeOptions) -> Result<ExitCode> {
    let Stdout { chunks, free_chunks, mut ended, mut left } = output::stdout();
    let pipe = Pipe::new(plan, options, chunks);
    let mut cut = std::pin::pin!(cut(termination(), pipe.start, plan.timeout));
    let mut talk = std::pin::pin!(pipe.talk(free_chunks));
    let mut last_failures = std::pin::pin!(pipe.last_failures());
    let (mut is_cut, mut reader_has_left) = (false, false);
    let mut result = loop {
        tokio::select! {
            talked = &mut talk => break talked.map(|()| ExitCode::SUCCESS),
            cut = &mut cut => {
                is_cut = true;
                if cut.is_err() && pipe.stream.get().is_none() && !plan.connect.listen {
                    // Connecting has the same deadline, and returns the better error.
                    break timeout(LAST_WORDS, talk).await.map_or(cut, |talked| talked.map(|()| ExitCode::SUCCESS));
                }
                break cut.map_err(|error| if pipe.stream.get().is_some() { error } else { plan.unconnected() });
            }
            // A reader of stdout that leaves, as in `client | head -1`, has seen enough, unless
            // something fails.
            written = &mut ended, if !reader_has_left => match written.unwrap_or(Ok(())) {
                Ok(()) => reader_has_left = true,
                Err(error) => break Err(unwritable(error)),
            },
            Ok(()) = &mut left, if !reader_has_left && !options.send_only => reader_has_left = true,
            () = &mut last_failures, if reader_has_left => break Ok(ExitCode::SUCCESS),
        }
    };
    // Write everything received, as far as the time allows.
    let flush = async {
        pipe.write_last_events(&result).await;
        if ended.is_terminated() { Ok(()) } else { (&mut ended).await.unwrap_or(Ok(())) }
    };
    let time_is_over = async {
        let cut = if is_cut { None } else { Some(cut.await) };
        sleep(LAST_WORDS).await;
        cut
    };
    let flushed = tokio::select! {
        written = flush => Some(written.map_err(unwritable).map(|()| ExitCode::SUCCESS)),
        cut = time_is_over => cut,
    };
    if let (Ok(_), Some(Err(error)), false) = (&result, flushed, is_cut) {
        result = Err(error);
    }
    if plan.verbose {
        let (sent, received) = (units::bytes(pipe.sent.get()), units::bytes(pipe.received.get()));
        say(&format!("sent {sent}, received {received} in {}", units::elapsed(pipe.start.elapsed())));
    }
    result
}

fn unwritable(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("cannot write to stdout")
}

/// Waits for a signal or the time limit.
async fn cut(signal: impl Future<Output = ()>, start: Instant, limit: Option<Duration>) -> Result<ExitCode> {
    tokio::select! {
        () = signal => Ok(ExitCode::from(exit::SIGNAL)),
        () = until(limit.map(|limit| start + limit)) => Err(late(limit.unwrap_or_default())),
    }
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// One connection between stdin, stdout and a server.
struct Pipe<'a> {
    plan: &'a ClientPlan,
    options: &'a PipeOptions,
    start: Instant,
    stream: OnceCell<Stream>,
    sent: Cell<u64>,
    received: Cell<u64>,
    last_sent: Cell<Option<Instant>>,
    /// The time when bytes last moved, in either direction.
    moved: Cell<Instant>,
    connected: Notify,
    /// Does sending wait for stdin, with nothing unsent?
    waits_for_stdin: Cell<bool>,
    stdout: mpsc::Sender<Vec<u8>>,
}

impl<'a> Pipe<'a> {
    fn new(plan: &'a ClientPlan, options: &'a PipeOptions, stdout: mpsc::Sender<Vec<u8>>) -> Self {
        let start = Instant::now();
        Self {
            plan,
            options,
            start,
            stream: OnceCell::new(),
            sent: Cell::new(0),
            received: Cell::new(0),
            last_sent: Cell::new(None),
            moved: Cell::new(start),
            connected: Notify::new(),
            waits_for_stdin: Cell::new(true),
            stdout,
        }
    }

    /// Writes an event, with `--json`.
    async fn record(&self, event: impl FnOnce() -> JsonObject) {
        if self.options.json {
            // Without a reader of stdout its thread reports that.
            let _ = self.stdout.send(event().line()).await;
        }
    }

    /// Waits for failures that may still come after the reader of stdout has left.
    async fn last_failures(&self) {
        self.plan.connect.enough.notify_one();
        if self.stream.get().is_none() {
            self.connected.notified().await;
        }
        sleep(LAST_FAILURE).await;
    }

    /// Connects, and copies both directions to their end.
    async fn talk(&self, free_chunks: mpsc::Receiver<Vec<u8>>) -> Result<()> {
        let connecting =
            self.plan.connect.connect(self.plan.connect.patience, async |news: ConnectEvent<'_>| match news {
                ConnectEvent::Failed(error) => {
                    for attempt in &error.attempts {
                        self.record(|| journal::attempt(attempt)).await;
                    }
                }
                notice => self.plan.report(notice).await,
            });
        let connected = connecting.await?;
        if self.plan.verbose {
            say(&connect::described(&connected, self.plan.connect.listen, self.start.into_std()));
        }
        self.record(|| journal::connected(&connected, self.start.elapsed())).await;
        let stream = self.stream.get_or_init(|| connected);
        self.connected.notify_one();
        if self.both_ways(stream, free_chunks).await? { delivered(stream).await } else { Ok(()) }
    }

    /// Writes the last events, and ends stdout.
    async fn write_last_events(&self, result: &Result<ExitCode>) {
        let outcome = PipeOutcome::of(result);
        if self.stream.get().is_some() {
            self.record(|| outcome.closed()).await;
        }
        let tcp = self.stream.get().and_then(Stream::tcp_info);
        let (sent, received) = (self.sent.get(), self.received.get());
        self.record(|| outcome.end(sent, received, self.start.elapsed(), tcp)).await;
        let _ = self.stdout.send(output::END).await;
    }

    /// Runs both directions to their end. True if bytes were sent after the server's FIN: no answer
    /// can confirm those.
    async fn both_ways(&self, stream: &Stream, free_chunks: mpsc::Receiver<Vec<u8>>) -> Result<bool> {
        let stdin = Stdin::default();
        let (send, receive) = (self.send(stream, &stdin), self.receive(stream, free_chunks));
        tokio::pin!(send, receive);
        let mut sending = None;
        let (mut quit_at, mut sent_at) = (None, None);
        let mut last_look = None;
        let mut sent_before_fin = None;
        let mut idleness = Idleness::new(self.plan.idle_timeout);
        let ended: Result<()> = loop {
            tokio::select! {
                received = &mut receive, if sent_before_fin.is_none() => {
                    received?;
                    if self.options.recv_only {
                        break Ok(());
                    }
                    // The server may have closed one half only, so the rest of stdin is still sent.
                    // But an open stdin is no reason to stay: most servers have closed both.
                    let sent = self.sent.get();
                    sent_before_fin = Some(sent);
                    last_look = Some((Instant::now() + LAST_LOOK, sent));
                }
                sent = &mut send, if sending.is_none() => {
                    let pause = self.options.quit_after.or(self.options.send_only.then_some(LINGER));
                    quit_at = pause.map(|pause| Instant::now() + pause);
                    sent_at = Some(Instant::now());
                    sending = Some(sent);
                }
                () = until(last_look.map(|(at, _)| at)) => {
                    let sent = self.sent.get();
                    let is_silent = self.waits_for_stdin.get() && stdin.is_silent();
                    if is_silent && last_look.is_some_and(|(_, before)| before == sent) {
                        let silence = LAST_LOOK.as_micros();
                        self.record(|| JsonObject::event("given_up").with("stdin_silent_us", silence)).await;
                        break Err(given_up());
                    }
                    last_look = Some((Instant::now() + LAST_LOOK, sent));
                }
                () = until(quit_at) => {
                    if let Some(error) = stream.take_error() {
                        break Err(self.failed(error, " before its answer was complete"));
                    }
                    // Closing now could destroy bytes that the server has not taken.
                    let is_sent = matches!(sending, Some(Ok(())));
                    match self.waits_for_silence(sent_at.filter(|_| is_sent)) {
                        Ok(None) if is_delivered(stream) => break Ok(()),
                        Ok(None) if self.options.quit_after.is_some() => {
                            let what = "the server has not acknowledged everything in time";
                            break Err(ClientFailure::new(FailureClass::Timeout, what).into());
                        }
                        Ok(silence) => quit_at = silence.or(Some(Instant::now() + LINGER)),
                        Err(error) => break Err(error),
                    }
                }
                () = idleness.due() => idleness.check(self.moved.get(), stream)?,
                () = self.plan.connect.look_due() => self.plan.connect.look(stream),
            }
            if sent_before_fin.is_some() && sending.is_some() {
                break Ok(());
            }
        };
        let closed_first = sent_before_fin.is_some();
        match sending {
            // After sending has returned the reset, receiving returns only an end.
            Some(Err(SendError::Failed(error))) if closed_first && error.kind() != io::ErrorKind::ConnectionReset => {
                let what = "the server closed the connection before everything was sent";
                return Err(ClientFailure::new(FailureClass::Eof, what).into());
            }
            Some(Err(SendError::Failed(error))) => return Err(self.failed(error, " before everything was sent")),
            Some(Err(SendError::Unreadable(error))) => {
                return Err(anyhow::Error::new(error).context("cannot read stdin"));
            }
            Some(Ok(())) | None => ended?,
        }
        Ok(sent_before_fin.is_some_and(|before| self.sent.get() > before))
    }

    fn failed(&self, error: io::Error, what: &str) -> anyhow::Error {
        let of = if self.received.get() > 0 { ClientFailure::of_late } else { ClientFailure::of };
        of(error, what)
    }

    /// With `--send-only`, when to look again while the server sends: a close then destroys what it
    /// has not read (RFC 2525, 2.17).
    fn waits_for_silence(&self, sent_at: Option<Instant>) -> Result<Option<Instant>> {
        let silence = self.moved.get() + LINGER;
        let Some(sent_at) = sent_at.filter(|_| self.options.quit_after.is_none() && silence > Instant::now()) else {
            return Ok(None);
        };
        if sent_at.elapsed() > LONGEST_LINGER {
            let what = "the server went on sending, so what it had not read may be lost";
            return Err(ClientFailure::new(FailureClass::Timeout, what).into());
        }
        Ok(Some(silence))
    }

    /// Sends all of stdin, and the FIN after it unless --no-half-close is set.
    async fn send(&self, mut to_server: &Stream, stdin: &Stdin) -> Result<(), SendError> {
        if self.options.recv_only {
            return std::future::pending().await;
        }
        let mut chunks = stdin.read();
        let mut crlf = self.plan.crlf.then(Crlf::default);
        let mut between_lines = false;
        while let Some(chunk) = chunks.recv().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    let _ = to_server.shutdown().await;
                    return Err(SendError::Unreadable(error));
                }
            };
            self.waits_for_stdin.set(false);
            let chunk = match &mut crlf {
                Some(crlf) => crlf.convert(&chunk),
                None => chunk,
            };
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let mut end = rest.len();
                if let Some(delay) = self.options.line_delay {
                    end = memchr::memchr(b'\n', rest).map_or(end, |newline| newline + 1);
                    if between_lines {
                        sleep(delay).await;
                    }
                    between_lines = rest[..end].ends_with(b"\n");
                }
                let (piece, later) = rest.split_at(end);
                let mut unsent = piece;
                while !unsent.is_empty() {
                    let n = to_server.write(unsent).await?;
                    unsent = &unsent[n..];
                    self.sent.set(self.sent.get() + n as u64);
                    self.moved.set(Instant::now());
                }
                // TLS buffers what the system did not take.
                to_server.flush().await?;
                self.last_sent.set(Some(Instant::now()));
                self.record(|| journal::sent(piece)).await;
                rest = later;
            }
            self.waits_for_stdin.set(true);
        }
        if !self.options.no_half_close {
            to_server.shutdown().await?;
            self.record(|| JsonObject::event("eof").with("side", "local")).await;
        }
        Ok(())
    }

    /// Receives up to the server's FIN.
    async fn receive(&self, mut from_server: &Stream, mut free_chunks: mpsc::Receiver<Vec<u8>>) -> Result<()> {
        let mut guard = TerminalGuard::of_stdout();
        // In events: the start of an incomplete character.
        let mut begun = Vec::new();
        let mut first_words = FirstWords::of(from_server);
        loop {
            let mut chunk = free_chunks.try_recv().unwrap_or_default();
            chunk.reserve(CHUNK);
            let read = from_server.read_buf(&mut chunk).await;
            let n = read.map_err(|error| first_words.failure(error, " before its answer was complete"))?;
            first_words.push(&chunk);
            self.moved.set(Instant::now());
            self.received.set(self.received.get() + n as u64);
            if self.options.json {
                let mut bytes = [std::mem::take(&mut begun), chunk].concat();
                if n > 0 {
                    begun = bytes.split_off(bytes.len() - escape::unfinished(&bytes));
                }
                if !bytes.is_empty() {
                    let since_sent = self.last_sent.get().map(|sent| sent.elapsed());
                    self.record(|| journal::received(&bytes, since_sent)).await;
                }
                if n == 0 {
                    self.record(|| JsonObject::event("eof").with("side", "remote")).await;
                }
            } else if !self.options.send_only {
                let out = if n == 0 { guard.rest() } else { guard.admit(chunk) };
                if !out.is_empty() {
                    let _ = self.stdout.send(out).await;
                }
            }
            if n == 0 {
                return first_words.tls_failure().map_or(Ok(()), Err);
            }
        }
    }
}

/// The error of a pipe whose server closed while stdin was silent but open.
fn given_up() -> anyhow::Error {
    let silent = units::elapsed(LAST_LOOK);
    let what = format!(
        "the server closed the connection, and stdin had not ended after {silent} without input: \
         later input was not sent"
    );
    let advice = "If there is nothing to send, end stdin (< /dev/null) or use --recv-only.";
    ClientFailure::advised(FailureClass::Eof, what, advice).into()
}

/// Has the server's system acknowledged everything? True if this system cannot tell.
pub(super) fn is_delivered(stream: &Stream) -> bool {
    stream.tcp_info().is_none_or(|info| info.unacknowledged == 0 && info.unsent == 0)
}

/// Waits until the server's system has acknowledged everything.
async fn delivered(stream: &Stream) -> Result<()> {
    let wait = async {
        loop {
            if let Some(error) = stream.take_error() {
                let what = format!("the server closed the connection before everything was sent ({error})");
                return Err(ClientFailure::new(FailureClass::Eof, what).into());
            }
            if is_delivered(stream) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    };
    timeout(DELIVERY, wait).await.unwrap_or_else(|_| {
        let what = "the server did not acknowledge what it was sent after its FIN";
        Err(ClientFailure::new(FailureClass::Timeout, what).into())
    })
}

//! No terminal: bytes go as they are, both ways. The end of stdin half-closes, and the reply is read to its end.

mod input;
mod journal;
mod output;

use std::cell::Cell;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use resound::{FailureClass, Stream, TcpInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub(super) use self::input::Crlf;
use self::journal::{Journal, Outcome, Side};
use self::output::{Guard, Stdout};
use super::{Failure, Plan, connect, say, until, within};
use crate::units;

/// One read from the server: large enough for handing it to another thread to cost little.
const CHUNK: usize = 256 * 1024;
/// When the server has sent its FIN, what stdin still has to say must show within this time.
const LAST_LOOK: Duration = Duration::from_millis(50);
/// How long we wait for the server to acknowledge what it was sent after its own FIN.
const DELIVERY: Duration = Duration::from_secs(5);
/// With `--send-only`, how long the server may take to close. Closing before it would turn its answer into a reset.
const LINGER: Duration = Duration::from_secs(1);

/// What a pipe may be told.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) no_half_close: bool,
    pub(crate) send_only: bool,
    pub(crate) recv_only: bool,
    pub(crate) quit_after: Option<Duration>,
    pub(crate) line_delay: Option<Duration>,
    pub(crate) json: bool,
}

/// What went over the connection.
#[derive(Default)]
pub(super) struct Tally {
    connected: Cell<bool>,
    sent: Cell<u64>,
    received: Cell<u64>,
    tcp: Cell<Option<TcpInfo>>,
}

impl Tally {
    /// In words.
    pub(super) fn text(&self) -> String {
        format!("sent {}, received {}", units::bytes(self.sent.get()), units::bytes(self.received.get()))
    }
}

/// How sending ended.
enum Sent {
    /// All of stdin has left, and the FIN behind it, unless it was not wanted.
    All,
    /// The server takes no more. What it has answered may still be there to read.
    Failed(io::Error),
    /// Stdin cannot be read. What came before has left.
    Unreadable(io::Error),
}

pub(super) async fn run(plan: &Plan, options: &Options) -> Result<ExitCode> {
    let start = std::time::Instant::now();
    let journal = options.json.then(|| Journal::new(start));
    let tally = Tally::default();
    let Stdout { chunks: stdout, empties, ended: mut stdout_ended } = output::stdout();
    let talk = async {
        let stream = plan.connect.connect(|notice| plan.notice(&notice)).await?;
        if plan.verbose {
            say(&connect::described(&stream, plan.connect.listen, start));
        }
        tally.connected.set(true);
        if let Some(journal) = &journal {
            let _ = stdout.send(journal.connected(&stream)).await;
        }
        let pipe = Pipe { plan, options, journal: journal.as_ref(), tally: &tally, stdout: &stdout };
        pipe.talk(stream, empties).await
    };
    let talked = tokio::select! {
        talked = within(plan.timeout, talk) => talked,
        // Nobody reads stdout any more, as in `client | head -1`: whoever it was has seen enough.
        ended = &mut stdout_ended => ended.unwrap_or(Ok(())).context("cannot write to stdout").map(|()| ExitCode::SUCCESS),
    };
    if let Some(journal) = &journal {
        for attempt in talked.as_ref().err().map_or(&[][..], connect::attempts) {
            let _ = stdout.send(journal.attempt(attempt)).await;
        }
        let outcome = outcome(&talked);
        if tally.connected.get() {
            let _ = stdout.send(journal.closed(outcome.class)).await;
        }
        let _ = stdout.send(journal.end(outcome, &tally)).await;
    }
    drop(stdout);
    if plan.verbose {
        say(&format!("{} in {}", tally.text(), units::elapsed(start.elapsed())));
    }
    match talked {
        // All that was received is to be written before we leave. What failed to arrive in time must not make us wait longer.
        Ok(code) => {
            if !stdout_ended.is_terminated() {
                stdout_ended.await.unwrap_or(Ok(())).context("cannot write to stdout")?;
            }
            Ok(code)
        }
        Err(error) => {
            let _ = timeout(LAST_LOOK, stdout_ended).await;
            Err(error)
        }
    }
}

fn outcome(talked: &Result<ExitCode>) -> Outcome {
    match talked {
        Ok(_) => Outcome { exit: 0, class: None, message: None },
        Err(error) => {
            let (exit, class, _) = crate::explain(error);
            Outcome { exit, class, message: Some(format!("{error:#}")) }
        }
    }
}

/// One connection between stdin, stdout and a server.
struct Pipe<'a> {
    plan: &'a Plan,
    options: &'a Options,
    journal: Option<&'a Journal>,
    tally: &'a Tally,
    stdout: &'a mpsc::Sender<Vec<u8>>,
}

/// What the two directions tell each other and the watch over both.
struct Progress {
    /// Does sending wait for stdin, with all that came from there on its way?
    waits_for_stdin: Cell<bool>,
    last_sent: Cell<Option<Instant>>,
    last_activity: Cell<Instant>,
}

impl Pipe<'_> {
    async fn talk(&self, stream: Stream, empties: mpsc::Receiver<Vec<u8>>) -> Result<ExitCode> {
        let (mut from_server, mut to_server) = tokio::io::split(stream);
        let progress = Progress {
            waits_for_stdin: Cell::new(true),
            last_sent: Cell::new(None),
            last_activity: Cell::new(Instant::now()),
        };
        let (ended, late) = self.both_ways(&mut from_server, &mut to_server, empties, &progress).await;
        let stream = from_server.unsplit(to_server);
        let ended = match ended {
            Ok(()) if late => delivered(&stream).await,
            ended => ended,
        };
        self.tally.tcp.set(stream.tcp_info());
        ended.map(|()| ExitCode::SUCCESS)
    }

    /// Runs both directions to their end. Also says whether something was sent after the server's FIN: nothing that comes back says then
    /// that it arrived.
    async fn both_ways(
        &self,
        from_server: &mut ReadHalf<Stream>,
        to_server: &mut WriteHalf<Stream>,
        empties: mpsc::Receiver<Vec<u8>>,
        progress: &Progress,
    ) -> (Result<()>, bool) {
        let (send, receive) = (self.send(to_server, progress), self.receive(from_server, empties, progress));
        tokio::pin!(send, receive);
        let mut sending = None;
        let mut quit_at = None;
        let mut last_look = None;
        let mut sent_before_fin = None;
        let idle_timeout = self.plan.idle_timeout;
        let mut idle_at = idle_timeout.map(|limit| Instant::now() + limit);
        let ended = loop {
            tokio::select! {
                received = &mut receive, if sent_before_fin.is_none() => match received {
                    Err(error) => break Err(error),
                    // The server may have closed its half only, so what stdin has at hand is sent still. But stdin being open is no
                    // reason to stay: most servers have closed both.
                    Ok(()) => {
                        sent_before_fin = Some(self.tally.sent.get());
                        last_look = Some((Instant::now() + LAST_LOOK, self.tally.sent.get()));
                        if sending.is_some() {
                            break Ok(());
                        }
                    }
                },
                sent = &mut send, if sending.is_none() => {
                    let quit_after = self.options.quit_after.or(self.options.send_only.then_some(LINGER));
                    quit_at = quit_after.map(|pause| Instant::now() + pause);
                    sending = Some(sent);
                    if sent_before_fin.is_some() {
                        break Ok(());
                    }
                }
                () = until(last_look.map(|(at, _)| at)) => {
                    let sent = self.tally.sent.get();
                    if progress.waits_for_stdin.get() && last_look.is_some_and(|(_, before)| before == sent) {
                        break Ok(());
                    }
                    last_look = Some((Instant::now() + LAST_LOOK, sent));
                }
                () = until(quit_at) => break Ok(()),
                () = until(idle_at) => {
                    idle_at = idle_timeout.map(|limit| progress.last_activity.get() + limit);
                    if idle_at.is_some_and(|at| at <= Instant::now()) {
                        break Err(super::idle(idle_timeout.unwrap_or_default()));
                    }
                }
            }
        };
        let closed_first = sent_before_fin.is_some();
        let ended = ended.and_then(|()| match sending {
            Some(Sent::Failed(_)) if closed_first => {
                Err(Failure::new(FailureClass::Eof, "the server closed the connection before everything was sent")
                    .into())
            }
            Some(Sent::Failed(error)) => Err(Failure::of(error, " before everything was sent")),
            Some(Sent::Unreadable(error)) => Err(anyhow::Error::new(error).context("cannot read stdin")),
            Some(Sent::All) | None => Ok(()),
        });
        (ended, sent_before_fin.is_some_and(|before| self.tally.sent.get() > before))
    }

    async fn send(&self, to_server: &mut WriteHalf<Stream>, progress: &Progress) -> Sent {
        if self.options.recv_only {
            return std::future::pending().await;
        }
        let mut stdin = input::stdin();
        let mut crlf = self.plan.crlf.then(Crlf::default);
        let mut between_lines = false;
        while let Some(chunk) = stdin.recv().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    let _ = to_server.shutdown().await;
                    return Sent::Unreadable(error);
                }
            };
            progress.waits_for_stdin.set(false);
            let chunk = match &mut crlf {
                Some(crlf) => crlf.convert(&chunk),
                None => chunk,
            };
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let mut end = rest.len();
                if let Some(delay) = self.options.line_delay {
                    end = rest.iter().position(|&byte| byte == b'\n').map_or(end, |newline| newline + 1);
                    if between_lines {
                        sleep(delay).await;
                    }
                    between_lines = rest[..end].ends_with(b"\n");
                }
                let (piece, later) = rest.split_at(end);
                if let Err(error) = to_server.write_all(piece).await {
                    return Sent::Failed(error);
                }
                self.tally.sent.set(self.tally.sent.get() + piece.len() as u64);
                progress.last_sent.set(Some(Instant::now()));
                progress.last_activity.set(Instant::now());
                if let Some(journal) = self.journal {
                    let _ = self.stdout.send(journal.sent(piece)).await;
                }
                rest = later;
            }
            progress.waits_for_stdin.set(true);
        }
        if !self.options.no_half_close {
            if let Err(error) = to_server.shutdown().await {
                return Sent::Failed(error);
            }
            if let Some(journal) = self.journal {
                let _ = self.stdout.send(journal.eof(Side::Local)).await;
            }
        }
        Sent::All
    }

    /// Receives up to the server's FIN.
    async fn receive(
        &self,
        from_server: &mut ReadHalf<Stream>,
        mut empties: mpsc::Receiver<Vec<u8>>,
        progress: &Progress,
    ) -> Result<()> {
        let mut guard = Guard::of_stdout();
        loop {
            let mut chunk = empties.try_recv().unwrap_or_default();
            chunk.reserve(CHUNK);
            let read = from_server.read_buf(&mut chunk).await;
            let n = read.map_err(|error| Failure::of(error, " before its answer was complete"))?;
            progress.last_activity.set(Instant::now());
            self.tally.received.set(self.tally.received.get() + n as u64);
            let out = match self.journal {
                Some(journal) if n == 0 => journal.eof(Side::Remote),
                Some(journal) => journal.received(&chunk, progress.last_sent.get().map(|sent| sent.elapsed())),
                None if self.options.send_only => Vec::new(),
                None if n == 0 => guard.rest(),
                None => guard.admit(chunk),
            };
            if !out.is_empty() && self.stdout.send(out).await.is_err() {
                return std::future::pending().await; // nobody reads stdout any more; its thread says why
            }
            if n == 0 {
                return Ok(());
            }
        }
    }
}

/// Waits until the server's system has acknowledged everything. Where ours does not say, there is nothing to wait for.
async fn delivered(stream: &Stream) -> Result<()> {
    let limit = Instant::now() + DELIVERY;
    loop {
        if let Some(error) = stream.take_error() {
            let what = format!("the server closed the connection before everything was sent ({error})");
            return Err(Failure::new(FailureClass::Eof, what).into());
        }
        match stream.tcp_info() {
            Some(info) if info.unacknowledged > 0 || info.unsent > 0 => {}
            _ => return Ok(()),
        }
        if Instant::now() > limit {
            let what = "the server did not acknowledge what it was sent after its FIN";
            return Err(Failure::new(FailureClass::Timeout, what).into());
        }
        sleep_until(Instant::now() + Duration::from_millis(2)).await;
    }
}

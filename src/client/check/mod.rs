//! The messages of `resound test`, with every reply checked.

mod answer;
mod habit;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use resound::Stream;
use resound::client::FailureClass;
use resound_console::escape;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use self::answer::{AnswerProgress, Check, checks};
use self::habit::{READS, habit};
use super::failure::ClientFailure;
use super::limits::late;
use super::mistaken::FirstWords;
use super::plan::{ClientPlan, Expect};
use crate::colour::Colour;
use crate::units;

/// The time of one check, beside its round trips.
const PATIENCE: Duration = Duration::from_secs(5);
/// The round trips of one check: with losses, its long line takes many.
const ROUND_TRIPS: u32 = 30;
/// The most time of one check.
const MOST_PATIENCE: Duration = Duration::from_secs(60);
/// After this pause a wrong answer counts as whole: more of it explains more.
const SETTLES: Duration = Duration::from_millis(300);
/// The same if only the newline is missing, or the answer shows no known habit.
const LONGER: Duration = Duration::from_secs(1);
/// The time for a silent server to answer after our half-close.
const AFTER_HALF_CLOSE: Duration = Duration::from_secs(2);
/// Bytes of each side that a mismatch shows.
const SHOWN: usize = 60;
/// Bytes of a wrong answer that are read beyond the length of the right one.
const MOST: usize = 1024;

/// What became of the messages.
pub(super) enum MessagesEnd {
    /// The server is none that answers messages, and why.
    NotSent(String),
    Judged {
        ok: usize,
        tries: usize,
        /// One sentence for the reader.
        summary: String,
        /// What was expected and received, and the server's habit, one thing a line.
        evidence: Vec<String>,
        /// The network failure, if that ended the messages.
        failure: Option<ClientFailure>,
        /// The server answers reads.
        has_warned: bool,
    },
}

/// Why a check has failed.
enum CheckFailure {
    /// A wrong answer, explained.
    Wrong(String),
    Failed(ClientFailure),
    /// The run cannot go on.
    Fatal(anyhow::Error),
}

impl CheckFailure {
    fn of(error: anyhow::Error) -> Self {
        match error.downcast::<ClientFailure>() {
            // The two ends do not agree on TLS: nothing else can be tested.
            Ok(failure) if failure.class == FailureClass::Tls => Self::Fatal(failure.into()),
            Ok(failure) => Self::Failed(failure),
            Err(error) => Self::Fatal(error),
        }
    }

    /// Why a server is taken for one that answers no messages, if it is.
    fn shows_another_service(&self, check: &Check, received: &[u8]) -> Option<String> {
        match self {
            // A late answer was received elsewhere.
            Self::Wrong(_) if received.is_empty() || may_answer_messages(check, received) => None,
            Self::Wrong(_) => Some(format!("the server answers something else: {}", message(received))),
            Self::Failed(failure) if received.is_empty() => Some(match failure.class {
                FailureClass::Timeout => "the first message got no answer".into(),
                FailureClass::Reset => "the server reset the connection after the first message".into(),
                _ => "the server closed the connection after the first message".into(),
            }),
            Self::Failed(_) | Self::Fatal(_) => None,
        }
    }
}

/// Whether a wrong answer is one to the message: a server of messages with a habit of its own.
fn may_answer_messages(check: &Check, received: &[u8]) -> bool {
    let capital = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_uppercase();
    let (sent, came) = (capital(escape::without_ending(&check.sent)), capital(received));
    let is_reply = !check.prefix.is_empty() && received.starts_with(check.prefix.as_bytes());
    !received.starts_with(b"HTTP/") && (is_reply || came.contains(&sent) || habit(check, received).is_some())
}

/// Sends the messages and checks the answers. Without `expect`, a server that does not answer the
/// first message as a server of messages does is left alone: `first_word` is how long it may take
/// to speak first. Errors: the server wants TLS, or the time of the whole run is over.
pub(super) async fn run(
    plan: &ClientPlan,
    stream: Stream,
    expect: Option<Expect>,
    first_word: Duration,
    start: Instant,
    mut out: &mut (dyn Write + Send),
) -> Result<MessagesEnd> {
    let mut wire = CheckedConnection::new(stream);
    // Each check ends within the limit, so that its row and the summary appear.
    wire.limit = plan.timeout.and_then(|limit| Some((limit, start.checked_add(limit)?)));
    let colour = Colour::of(&io::stdout());
    writeln!(out, "Testing {}", plan.connect.address)?;
    if expect.is_none()
        && let Some(why) = wire.speaks_first(first_word).await
    {
        return Ok(MessagesEnd::NotSent(why));
    }
    let checks = checks(expect.unwrap_or(Expect::Reply));
    let count = checks.len();
    let mut warned = 0;
    for (passed, check) in checks.iter().enumerate() {
        let start = Instant::now();
        let mut received = Vec::new();
        let ended = timeout(wire.patience(wire.time), wire.exchange(check, &mut received)).await;
        let is_answer = matches!(ended, Ok(Ok(())));
        // For an answer: the time to its last byte.
        let took = wire.answered_at.filter(|_| is_answer).unwrap_or_else(Instant::now) - start;
        let (is_right, result) = match check.progress(&received) {
            AnswerProgress::Complete if is_answer => (true, colour.good("pass")),
            AnswerProgress::Reads if is_answer => {
                warned += 1;
                (true, colour.strong("warn"))
            }
            _ => (false, colour.bad("FAIL")),
        };
        let failed = if is_right { None } else { Some(wire.failed(check, passed, &received, ended.ok()).await) };
        if let Some(why) = failed
            .as_ref()
            .filter(|_| expect.is_none() && passed == 0)
            .and_then(|failed| failed.shows_another_service(check, &received))
        {
            return Ok(MessagesEnd::NotSent(why));
        }
        if passed == 0 {
            writeln!(out)?;
            row(&mut out, ["check", "sent", "received", "time", "result"])?;
        }
        let [sent, came] = [&check.sent, &received].map(|bytes| units::bytes(bytes.len() as u64));
        row(&mut out, [check.name, &sent, &came, &units::elapsed(took), &result])?;
        if plan.verbose {
            writeln!(out, "  sent      {}\n  received  {}", message(&check.sent), message(&received))?;
        }
        out.flush()?;
        let Some(failed) = failed else { continue };
        for untried in &checks[passed + 1..] {
            row(&mut out, [untried.name, "-", "-", "-", "not run"])?;
        }
        writeln!(out, "\n{passed} of {count} checks passed; '{}' failed", check.name)?;
        if warned > 0 {
            writeln!(out, "{READS}")?;
        }
        return judged(out, failed, check, passed, count);
    }
    match warned {
        0 => writeln!(out, "\n{count} of {count} checks passed")?,
        _ => writeln!(out, "\n{count} of {count} checks passed, {warned} of them with a warning\n{READS}")?,
    }
    let has_warned = warned > 0;
    let (summary, evidence) = match has_warned {
        true => ("the server answers reads, and not lines".into(), lines(READS)),
        false => ("each answer is right".into(), Vec::new()),
    };
    Ok(MessagesEnd::Judged { ok: count, tries: count, summary, evidence, failure: None, has_warned })
}

/// What a failed check means for the whole.
fn judged(
    out: &mut (dyn Write + Send),
    failed: CheckFailure,
    check: &Check,
    ok: usize,
    tries: usize,
) -> Result<MessagesEnd> {
    let (summary, evidence, failure) = match failed {
        CheckFailure::Wrong(text) => {
            out.write_all(text.as_bytes())?;
            (format!("the answer to '{}' is wrong", check.name), lines(&text), None)
        }
        CheckFailure::Failed(failure) => (failure.to_string(), vec![failure.advice().into()], Some(failure)),
        CheckFailure::Fatal(error) => return Err(error),
    };
    Ok(MessagesEnd::Judged { ok, tries, summary, evidence, failure, has_warned: false })
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().into()).collect()
}

/// Writes a row of the table: the check, sent, received, the time, the result.
fn row(out: &mut dyn Write, [name, sent, received, time, result]: [&str; 5]) -> io::Result<()> {
    writeln!(out, "{name:<12} {sent:>12} {received:>14} {time:>10}  {result}")
}

/// The connection under test.
struct CheckedConnection {
    from_server: ReadHalf<Stream>,
    to_server: WriteHalf<Stream>,
    /// Detects a server with TLS.
    first_words: FirstWords,
    /// The time when the last byte of the answer, or its end, arrived.
    answered_at: Option<Instant>,
    /// The limit on the whole run, and its end.
    limit: Option<(Duration, Instant)>,
    round_trip: Duration,
    /// The time of one check.
    time: Duration,
}

impl CheckedConnection {
    fn new(stream: Stream) -> Self {
        let first_words = FirstWords::of(&stream);
        let round_trip = stream.tcp_info().map(|tcp| tcp.rtt).unwrap_or_default();
        let time = (PATIENCE + ROUND_TRIPS * round_trip).min(MOST_PATIENCE);
        let (from_server, to_server) = tokio::io::split(stream);
        Self { from_server, to_server, first_words, answered_at: None, limit: None, round_trip, time }
    }

    /// Sends and receives at the same time: an answer may fill the path before the question is
    /// sent.
    async fn exchange(&mut self, check: &Check, received: &mut Vec<u8>) -> io::Result<()> {
        let Self { from_server, to_server, first_words, answered_at, round_trip, .. } = self;
        *answered_at = None;
        let send = async {
            to_server.write_all(&check.sent).await?;
            to_server.flush().await?;
            if check.last { to_server.shutdown().await } else { Ok(()) }
        };
        let receive = async {
            loop {
                let Some(pause) = pause(check, received, first_words.may_be_tls()) else { return Ok(()) };
                // A lost segment comes again within a few round trips.
                let pause = pause + 4 * *round_trip;
                let before = received.len();
                let read = async { (&mut *from_server).take(most(check, before)).read_buf(received).await };
                match timeout(pause, read).await {
                    Ok(read) => read?,
                    // Without an answer the time of the whole exchange decides.
                    Err(_) if pause < PATIENCE => return Ok(()),
                    Err(_) => continue,
                };
                *answered_at = Some(Instant::now());
                first_words.push(&received[before..]);
                if received.len() == before {
                    return Ok(());
                }
            }
        };
        tokio::try_join!(send, receive).map(drop)
    }

    /// Whether the server speaks, or ends the connection, before anything was sent.
    async fn speaks_first(&mut self, patience: Duration) -> Option<String> {
        let mut words = [0; SHOWN];
        match timeout(self.patience(patience), self.from_server.read(&mut words)).await {
            Err(_) => None,
            Ok(Ok(n)) if n > 0 => Some("the server speaks first, so nothing is sent to it".into()),
            Ok(_) => Some("the connection ended before anything was sent".into()),
        }
    }

    /// Explains a failed check: the answer is wrong, or missing. `ended` is `None` after a timeout.
    async fn failed(
        &mut self,
        check: &Check,
        passed: usize,
        received: &[u8],
        ended: Option<io::Result<()>>,
    ) -> CheckFailure {
        if let Some(explained) = self.first_words.tls_failure() {
            return CheckFailure::Fatal(explained);
        }
        let is_beginning = check.progress(received) != AnswerProgress::Differs;
        let is_stripped = matches!(ended, Some(Ok(()))) && check.lacks_newline(received);
        // Wrong bytes explain more than the end of the wait.
        if !is_beginning || is_stripped {
            return CheckFailure::Wrong(explained_mismatch(check, received));
        }
        let what = format!(" in check '{}', {} of {} bytes in", check.name, received.len(), check.expected.len());
        let (class, what) = match ended {
            None if self.patience(PATIENCE).is_zero() => {
                let (limit, _) = self.limit.unwrap_or((PATIENCE, Instant::now()));
                return CheckFailure::Fatal(late(limit));
            }
            None if check.last && received.len() == check.expected.len() => {
                let what = "the server answered everything but did not end the connection after our FIN";
                return CheckFailure::Failed(ClientFailure::new(FailureClass::Timeout, what));
            }
            None => {
                if passed == 0
                    && received.is_empty()
                    && let Some(late) = self.answer_after_half_close().await
                {
                    return CheckFailure::Wrong(explained_late_answer(check, &late));
                }
                (FailureClass::Timeout, format!("no complete answer{what}"))
            }
            Some(Ok(())) => (FailureClass::Eof, format!("the server closed the connection{what}")),
            Some(Err(error)) if received.is_empty() && FailureClass::of(&error) == Some(FailureClass::Reset) => {
                (FailureClass::Reset, format!("the server reset the connection{what}"))
            }
            Some(Err(error)) => return CheckFailure::of(ClientFailure::of(error, &what)),
        };
        // If the earlier checks passed and this one got nothing, the server has a habit.
        let advice = match (class, check.name) {
            (FailureClass::Timeout, _) if passed == 0 && received.is_empty() => {
                Some("The server accepted the connection and answered nothing: it may not answer lines, or be stuck.")
            }
            _ if !received.is_empty() => None,
            (FailureClass::Timeout, "empty line") => {
                Some("The server answers other lines, and an empty one with nothing. Many leave such lines out.")
            }
            (FailureClass::Eof | FailureClass::Reset, _) if passed == 1 => Some(
                "The server answers one message, and closes the connection: read the next in a loop, \
             until the client closes.",
            ),
            (FailureClass::Eof | FailureClass::Reset, "empty line") => {
                Some("The server takes an empty line for the client's end: only a read of no bytes at all is that.")
            }
            _ => None,
        };
        CheckFailure::Failed(ClientFailure { advice, ..ClientFailure::new(class, what) })
    }

    /// This time, or the rest of the limit on the whole run.
    fn patience(&self, most: Duration) -> Duration {
        self.limit.map_or(most, |(_, until)| until.saturating_duration_since(Instant::now()).min(most))
    }

    /// The answer of a server that was silent until our half-close.
    async fn answer_after_half_close(&mut self) -> Option<Vec<u8>> {
        let (mut late, patience) = (Vec::new(), self.patience(AFTER_HALF_CLOSE));
        let end = async {
            self.to_server.shutdown().await?;
            (&mut self.from_server).take(MOST as u64).read_to_end(&mut late).await
        };
        // Errors do not matter: bytes that arrived count.
        let _ = timeout(patience, end).await;
        if late.is_empty() { None } else { Some(late) }
    }
}

/// The wait for more of an answer; `None` if it is complete.
fn pause(check: &Check, received: &[u8], may_be_tls: bool) -> Option<Duration> {
    match check.progress(received) {
        AnswerProgress::Complete if !check.last => None,
        _ if most(check, received.len()) == 0 => None,
        AnswerProgress::Differs if may_be_tls => Some(PATIENCE),
        AnswerProgress::Differs if habit(check, received).is_none() => Some(LONGER),
        // After answers to reads there may be one to the newline alone.
        AnswerProgress::Differs | AnswerProgress::Reads => Some(SETTLES),
        AnswerProgress::More if check.lacks_newline(received) => Some(LONGER),
        AnswerProgress::More | AnswerProgress::Complete => Some(PATIENCE),
    }
}

/// Bytes of an answer still to read. A server that answers reads may answer each byte.
fn most(check: &Check, received: usize) -> u64 {
    (check.expected.len() * 20 + MOST).saturating_sub(received) as u64
}

/// A message for `--verbose`.
fn message(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "nothing".into(),
        n if n <= SHOWN => escape::text(bytes),
        n => format!("{}... ({})", escape::text(&bytes[..SHOWN]), units::bytes(n as u64)),
    }
}

fn explained_mismatch(check: &Check, received: &[u8]) -> String {
    let at = check.expected.iter().zip(received).take_while(|(a, b)| a == b).count();
    // Starts a little before the difference.
    let from = at.saturating_sub(SHOWN / 3);
    let part = |bytes: &[u8]| {
        let (from, to) = (from.min(bytes.len()), bytes.len().min(from + SHOWN));
        let cut = |is_cut| if is_cut { "..." } else { "" };
        format!("{}{}{}", cut(from > 0), escape::text(&bytes[from..to]), cut(to < bytes.len()))
    };
    let mut text = format!(
        "{}: the answer differs from byte {at} on\n  expected  {}\n  received  {}\n",
        FailureClass::Mismatch,
        part(&check.expected),
        part(received)
    );
    match habit(check, received) {
        Some(explanation) => text += &format!("{explanation}\n"),
        None if check.name == "burst" => {
            text += "Single lines came back right: the server may take what one read returns for one message.\n";
        }
        None => {}
    }
    text
}

fn explained_late_answer(check: &Check, received: &[u8]) -> String {
    format!(
        "{}: no answer came before we had half-closed\n  expected  {}\n  received  {}\n\
         The server answers only once its client has closed its half: it reads to the end, \
         where it should read to the newline.\n",
        FailureClass::Mismatch,
        message(&check.expected),
        message(received)
    )
}

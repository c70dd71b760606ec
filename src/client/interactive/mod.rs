//! The conversation at a terminal: type a line, see the answer. What the server sends appears above
//! the line being typed.

mod area;
mod command;
mod completion;
mod line;
mod saved_terminal;
mod signals;
mod terminal;
mod view;
mod wire;
mod writer;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use resound::Stream;
use resound::client::FailureClass;
use tokio::time::Instant;

pub(crate) use self::saved_terminal::SavedTerminal;
pub(crate) use self::signals::TerminalSignals;

use self::command::{COMMANDS, ChatCommand};
use self::line::Input;
use self::terminal::Terminal;
use self::view::TextView;
use self::wire::{ChatConnection, TrafficCount, WireEvent};
use super::connect::{Backoff, ConnectEvent, RetryPolicy};
use super::crlf::Crlf;
use super::failure::ClientFailure;
use super::idleness::Idleness;
use super::limits::{late, until, within};
use super::mistaken::FirstWords;
use super::pipe::is_delivered;
use super::plan::ClientPlan;
use super::tls;
use crate::colour::Colour;
use crate::signals::termination;
use crate::stdio::StdStream;
use crate::{exit, units};

/// The view shows a line without an end after this time: it may be a prompt.
const UNENDED: Duration = Duration::from_millis(100);
/// Bytes that may wait for a server that does not read.
const OUTBOX: usize = 1024 * 1024;
/// Time that leaving waits for unsent bytes.
const LAST_SENDING: Duration = Duration::from_secs(1);
/// A server that sends nothing for this long has answered.
const SILENCE: Duration = Duration::from_millis(500);
/// Input that left earlier than this has been read, also by a slow server.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How often leaving looks whether all has arrived.
const LOOK: Duration = Duration::from_millis(10);
/// A connection that lasted this long resets the pauses between attempts.
const WORTHWHILE: Duration = Duration::from_secs(5);

pub(super) async fn run(plan: &ClientPlan, reconnect: bool) -> Result<ExitCode> {
    let start = std::time::Instant::now();
    let deadline = plan.timeout.and_then(|limit| start.checked_add(limit)).map(Instant::from_std);
    let mut signal = std::pin::pin!(termination());
    let stream = tokio::select! {
        stream = within(plan.timeout, plan.connect(start)) => stream?,
        () = &mut signal => return Ok(ExitCode::from(exit::SIGNAL)),
    };
    let mut out = StdStream::Stdout;
    let colour = Colour::of(&io::stdout());
    writeln!(out, "{}", greeting(plan, &stream))?;
    writeln!(out, "Type messages to send to server (type 'quit' to exit):")?;
    let view = TextView::new(plan.verbose, colour);
    let backoff = Backoff::of(RetryPolicy::Wait);
    let mut talk = Conversation { plan, reconnect, terminal: Terminal::open()?, view, colour, backoff };
    plan.connect.hold_explanations();
    let end = talk.hold(stream, deadline, signal).await;
    talk.terminal.post(plan.connect.explanations());
    talk.terminal.close("Disconnected from server\n");
    end
}

fn greeting(plan: &ClientPlan, stream: &Stream) -> String {
    match plan.connect.listen {
        true => format!("Connection from {}", stream.peer()),
        false => format!("Connected to server at {}", plan.connect.address),
    }
}

const CLOSED: &str = "The server closed the connection";

/// How a connection, or the whole conversation, ends.
enum ConversationEnd {
    /// The user leaves.
    Quit,
    /// The user leaves with a reset.
    Reset,
    /// The user asks for a new connection.
    Reconnect,
    /// The connection is lost: with an error, or closed by the server.
    Lost(Option<anyhow::Error>),
    /// The time of the whole run is over.
    Late,
    /// A signal ends the program.
    Signal,
}

struct Conversation<'a> {
    plan: &'a ClientPlan,
    reconnect: bool,
    terminal: Terminal,
    view: TextView,
    colour: Colour,
    /// Pauses between connections lost in a row.
    backoff: Backoff,
}

impl Conversation<'_> {
    /// Runs the conversation over as many connections as it takes.
    async fn hold(
        &mut self,
        stream: Stream,
        deadline: Option<Instant>,
        mut signal: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<ExitCode> {
        let mut wire = ChatConnection::new(stream);
        // On a connection that the user has replaced.
        let mut has_lost = false;
        loop {
            let end = tokio::select! {
                end = self.talk(&mut wire) => end,
                () = until(deadline) => ConversationEnd::Late,
                () = &mut signal => ConversationEnd::Signal,
            };
            let mut may_be_lost = false;
            if matches!(end, ConversationEnd::Quit | ConversationEnd::Reconnect) {
                // What the user sent before leaving should still arrive.
                may_be_lost = self.flush_outbox(&mut wire).await;
            }
            let rest = self.plan.connect.explanations() + &self.view.rest();
            self.terminal.post(rest);
            let is_incomplete = wire.has_unsent() || may_be_lost;
            has_lost |= is_incomplete && matches!(end, ConversationEnd::Reconnect);
            if is_incomplete {
                self.aside(&match wire.unsent() {
                    0 => "Not everything may have arrived: the server has not taken all of it".into(),
                    unsent => format!("Not everything was sent: {} and more may be missing", units::bytes(unsent)),
                });
            }
            let mut pause = Duration::ZERO;
            match end {
                ConversationEnd::Quit if is_incomplete || has_lost => {
                    let what = "the server did not take all input before the conversation ended";
                    return Err(ClientFailure::new(FailureClass::Timeout, what).into());
                }
                ConversationEnd::Quit => return Ok(ExitCode::SUCCESS),
                ConversationEnd::Late => return Err(late(self.plan.timeout.unwrap_or_default())),
                ConversationEnd::Signal => return Ok(ExitCode::from(exit::SIGNAL)),
                ConversationEnd::Reset => {
                    wire.reset();
                    return Ok(ExitCode::SUCCESS);
                }
                ConversationEnd::Lost(Some(error)) if !self.reconnect => return Err(error),
                ConversationEnd::Lost(None) if !self.reconnect => {
                    if !wire.half_closed {
                        self.aside(CLOSED);
                    }
                    if wire.has_unsent() {
                        let what = "the server closed the connection before everything was sent";
                        return Err(ClientFailure::new(FailureClass::Eof, what).into());
                    }
                    return Ok(ExitCode::SUCCESS);
                }
                ConversationEnd::Lost(error) => {
                    let why = error.map_or_else(|| CLOSED.into(), |error| error.to_string());
                    self.aside(&format!("{why}; connecting again"));
                    if wire.since.elapsed() > WORTHWHILE {
                        self.backoff = Backoff::of(RetryPolicy::Wait);
                    }
                    pause = self.backoff.next();
                }
                ConversationEnd::Reconnect => {}
            }
            drop(wire);
            let stream = tokio::select! {
                stream = self.connect_again(pause) => stream?,
                () = until(deadline) => return Err(late(self.plan.timeout.unwrap_or_default())),
                () = &mut signal => return Ok(ExitCode::from(exit::SIGNAL)),
            };
            let Some(stream) = stream else { return Ok(ExitCode::SUCCESS) };
            self.terminal.post(self.plan.connect.explanations());
            self.aside(&greeting(self.plan, &stream));
            self.view.reset_offsets();
            wire = ChatConnection::new(stream);
        }
    }

    /// Sends what the outbox holds, and shows what arrives meanwhile, until the server has closed
    /// too or was silent for a moment. Returns whether input may be lost: a connection that ends
    /// while the server sends is reset, and what the server has not read goes (RFC 2525, 2.17).
    async fn flush_outbox(&mut self, wire: &mut ChatConnection) -> bool {
        let is_settled = |wire: &ChatConnection| !wire.has_unsent() && is_delivered(&wire.stream);
        let was_settled = is_settled(wire);
        if was_settled && wire.moved().elapsed() >= LAST_SENDING {
            return false;
        }
        if !wire.half_closed {
            wire.half_close();
        }
        let (until, mut received) = (Instant::now() + LAST_SENDING, None);
        loop {
            if Instant::now() >= until {
                let may_be_read = |at: Instant| at.elapsed() >= SILENCE || !wire.has_sent_within(READ_WITHIN);
                return received.is_some_and(|at| !is_settled(wire) || !may_be_read(at));
            }
            let text = match tokio::time::timeout(LOOK, wire.next()).await {
                Ok(Ok(WireEvent::Received { bytes, after })) => {
                    received = Some(Instant::now());
                    self.view.received(&bytes, after)
                }
                Ok(Ok(WireEvent::Sending(bytes))) => self.view.sent(&bytes),
                Ok(Ok(WireEvent::Closed)) => return false,
                // The server may end as it likes after this end's FIN, if it had acknowledged
                // everything before.
                Ok(Err(_)) => return !was_settled,
                Ok(Ok(_)) | Err(_) => String::new(),
            };
            self.terminal.post(self.plan.connect.explanations() + &text);
        }
    }

    /// A new connection; `None` if the user leaves.
    async fn connect_again(&mut self, pause: Duration) -> Result<Option<Stream>> {
        let (terminal, colour) = (&mut self.terminal, self.colour);
        let (notices, mut noticed) = tokio::sync::mpsc::channel(1);
        let connecting = async {
            tokio::time::sleep(pause).await;
            let report = async |news: ConnectEvent<'_>| {
                if let ConnectEvent::Notice(notice) = news {
                    let _ = notices.send(notice).await;
                }
            };
            self.plan.connect.connect(RetryPolicy::Wait, report).await
        };
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                stream = &mut connecting => return stream.map(Some),
                Some(notice) = noticed.recv() => terminal.post(aside(colour, &notice)),
                input = terminal.input() => match input {
                    Input::Leave | Input::End => return Ok(None),
                    Input::Line(line) if is_quit(&line) => return Ok(None),
                    Input::Line(_) | Input::NoText(_) => {
                        terminal.read_line();
                        terminal.post(aside(colour, "Not connected yet, so nothing was sent (quit leaves)"));
                    }
                }
            }
        }
    }

    /// Runs the conversation over one connection until either ends.
    async fn talk(&mut self, wire: &mut ChatConnection) -> ConversationEnd {
        let mut crlf = self.plan.crlf.then(Crlf::default);
        let mut show_at = None;
        let mut idleness = Idleness::new(self.plan.idle_timeout);
        let mut first_words = FirstWords::of(&wire.stream);
        loop {
            let room = self.terminal.writer.room();
            // A slow terminal delays the server, never the keys.
            let next = async {
                room.await;
                wire.next().await
            };
            let text = tokio::select! {
                happened = next => match happened {
                    Ok(WireEvent::Received { bytes, after }) => {
                        first_words.push(&bytes);
                        let text = self.view.received(&bytes, after);
                        show_at = self.view.is_waiting().then(|| Instant::now() + UNENDED);
                        text
                    }
                    Ok(WireEvent::Sending(bytes)) => self.view.sent(&bytes),
                    Ok(WireEvent::Closed) => return ConversationEnd::Lost(first_words.tls_failure()),
                    Ok(WireEvent::HalfClosed) => String::new(),
                    Ok(WireEvent::FileSent { path, bytes, took }) => {
                        let (bytes, took) = (units::bytes(bytes), units::elapsed(took));
                        aside(self.colour, &format!("Sent {}: {bytes} in {took}", path.display()))
                    }
                    Ok(WireEvent::FileFailed { path, error }) => {
                        aside(self.colour, &format!("{} cannot be read on: {error}", path.display()))
                    }
                    Err(error) => {
                        return ConversationEnd::Lost(Some(first_words.failure(error, "")));
                    }
                },
                input = self.terminal.input() => match input {
                    Input::Leave => return ConversationEnd::Quit,
                    Input::End if wire.half_closed => return ConversationEnd::Quit,
                    Input::End => {
                        self.terminal.read_line();
                        self.half_close(wire)
                    }
                    Input::NoText(_) => {
                        self.terminal.read_line();
                        aside(self.colour, "Not sent: that was no UTF-8 (/raw sends any bytes)")
                    }
                    Input::Line(line) => match self.typed(wire, &mut crlf, &line) {
                        ControlFlow::Continue(text) => text,
                        ControlFlow::Break(end) => return end,
                    },
                },
                () = until(show_at) => {
                    show_at = None;
                    self.view.overdue()
                }
                () = idleness.due() => match idleness.check(wire.moved().into(), &wire.stream) {
                    Ok(()) => String::new(),
                    Err(error) => return ConversationEnd::Lost(Some(error)),
                },
                () = self.plan.connect.look_due() => {
                    self.plan.connect.look(&wire.stream);
                    String::new()
                }
            };
            self.terminal.post(self.plan.connect.explanations() + &text);
        }
    }

    /// Sends or executes a typed line. Returns what to show, or how the line ends the connection.
    fn typed(
        &mut self,
        wire: &mut ChatConnection,
        crlf: &mut Option<Crlf>,
        line: &str,
    ) -> ControlFlow<ConversationEnd, String> {
        let command = command::read(line);
        if !matches!(command, Ok(ChatCommand::Quit | ChatCommand::Reset)) {
            self.terminal.read_line();
        }
        ControlFlow::Continue(match command {
            Err(why) => aside(self.colour, &why),
            Ok(ChatCommand::Message(line)) => {
                let hint = command::hint(&line);
                // A paste may end with its own newline.
                let line = if line.ends_with('\n') { line } else { line + "\n" };
                let bytes = match crlf {
                    Some(crlf) => crlf.convert(line.as_bytes()),
                    None => line.into(),
                };
                let refused = self.send(wire, bytes);
                match hint.filter(|_| refused.is_empty()) {
                    Some(hint) => aside(self.colour, hint),
                    None => refused,
                }
            }
            Ok(ChatCommand::Quit) => return ControlFlow::Break(ConversationEnd::Quit),
            Ok(ChatCommand::Reset) => return ControlFlow::Break(ConversationEnd::Reset),
            Ok(ChatCommand::Reconnect) => return ControlFlow::Break(ConversationEnd::Reconnect),
            Ok(ChatCommand::Help) => help(),
            Ok(ChatCommand::Close) => self.half_close(wire),
            Ok(ChatCommand::Raw(bytes)) => self.send(wire, bytes),
            Ok(ChatCommand::Send(path)) => match open(&path) {
                _ if wire.half_closed => self.half_closed_note(),
                Ok(file) => {
                    wire.send_file(file, path);
                    String::new()
                }
                Err(error) => {
                    let cause = resound::system::plain(&error);
                    aside(self.colour, &format!("{} cannot be sent: {cause}", path.display()))
                }
            },
            Ok(ChatCommand::Hex(wanted)) => {
                let rest = self.view.rest();
                self.view.hex = wanted.unwrap_or(!self.view.hex);
                let said = if self.view.hex { "Hexadecimal from here on" } else { "Text from here on" };
                rest + &aside(self.colour, said)
            }
            Ok(ChatCommand::Stats) => stats(wire),
            Ok(ChatCommand::Tls) => match wire.stream.tls() {
                Some(secure) => tls::described(secure),
                None => aside(self.colour, "This connection is not encrypted (--tls speaks TLS)"),
            },
        })
    }

    fn send(&mut self, wire: &mut ChatConnection, bytes: Vec<u8>) -> String {
        if wire.half_closed {
            return self.half_closed_note();
        }
        if wire.waiting() > OUTBOX {
            return aside(self.colour, "Not sent: the server has not read what was sent before");
        }
        wire.send(bytes);
        String::new()
    }

    fn half_close(&mut self, wire: &mut ChatConnection) -> String {
        if wire.half_closed {
            return self.half_closed_note();
        }
        wire.half_close();
        aside(self.colour, "Nothing more will be sent; waiting for the rest (Ctrl+D again leaves)")
    }

    fn half_closed_note(&self) -> String {
        aside(self.colour, "Not sent: this side of the connection is closed (/reconnect makes a new one)")
    }

    fn aside(&mut self, text: &str) {
        self.terminal.post(aside(self.colour, text));
    }
}

/// A line from the program itself.
fn aside(colour: Colour, text: &str) -> String {
    colour.aside(text) + "\n"
}

/// Opens a regular file: one that blocks or never ends would block the conversation.
fn open(path: &std::path::Path) -> io::Result<std::fs::File> {
    if std::fs::metadata(path)?.is_file() {
        std::fs::File::open(path)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

fn help() -> String {
    let mut text = String::from("What you type is sent line by line; what starts with a slash is a command:\n");
    // Writing to a string cannot fail.
    for (name, argument, what) in COMMANDS {
        let _ = writeln!(text, "  {:<16} {what}", format!("/{name} {argument}").trim_end());
    }
    let _ = writeln!(text, "  {:<16} send a line that starts with a slash", "//...");
    text += "Up and Down go through what was typed before, and Ctrl+R searches it; a line\n\
             that starts with a space is not remembered. Several lines that are pasted are\n\
             one message. Ctrl+C clears the line.\n";
    text
}

fn stats(wire: &ChatConnection) -> String {
    let stream = &wire.stream;
    let mut text = format!(
        "Connected to {} from {} for {}\n",
        stream.peer(),
        stream.local(),
        units::elapsed(wire.since.elapsed())
    );
    // Writing to a string cannot fail.
    let mut row = |name: &str, what: String| {
        let _ = writeln!(text, "  {name:<12} {what}");
    };
    let carried = |traffic: &TrafficCount, noun| {
        format!("{} in {}", units::bytes(traffic.bytes), units::counted(traffic.messages, noun))
    };
    row("sent", carried(&wire.sent, "message"));
    row("received", carried(&wire.received, "line"));
    if let Some(info) = stream.tcp_info() {
        row("round trip", format!("{}, +/- {}", units::elapsed(info.rtt), units::elapsed(info.rtt_variation)));
        row("retransmits", units::counted(info.retransmits.into(), "segment"));
        let mss = units::bytes(info.send_mss.into());
        row("window", format!("{} of {mss}", units::counted(info.congestion_window.into(), "segment")));
    }
    text
}

fn is_quit(line: &str) -> bool {
    matches!(command::read(line), Ok(ChatCommand::Quit))
}

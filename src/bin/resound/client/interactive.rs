//! At a terminal: type a line, see the answer. What the server sends appears while you type.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use resound::{Address, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Failure, halves};
use crate::escape;

/// After a line was sent, its answer may take this long before the prompt comes back without it.
const ANSWER: Duration = Duration::from_millis(300);
/// A line that the server has not ended is shown after this long: it may be a prompt of its own.
const UNENDED: Duration = Duration::from_millis(100);
/// An endless line is shown in pieces of this size.
const PIECE: usize = 4096;

pub(super) async fn run(stream: Stream, address: &Address) -> Result<ExitCode> {
    let (mut from_server, mut to_server) = halves(stream);
    let mut typed = typed_lines();
    let mut screen = Screen { prompt: false };
    let mut unended: Vec<u8> = Vec::new();
    let mut prompt_at = Some(Instant::now());
    let mut show_at = None;
    let mut stdin_open = true;
    let mut out = io::stdout();
    writeln!(out, "Connected to server at {address}")?;
    writeln!(out, "Type messages to send to server (type 'quit' to exit):")?;
    let end = loop {
        let mut chunk = Vec::with_capacity(16 * 1024);
        tokio::select! {
            biased;
            read = from_server.read_buf(&mut chunk) => match read {
                Ok(0) => {
                    screen.clear_prompt()?;
                    if stdin_open {
                        writeln!(out, "The server closed the connection")?;
                    }
                    break Ok(());
                }
                Err(error) => break Err(Failure::of(error, "")),
                Ok(_) => {
                    unended.extend_from_slice(&chunk);
                    let whole = unended.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
                    for line in unended[..whole].split_inclusive(|&byte| byte == b'\n') {
                        screen.show(line)?;
                    }
                    unended.drain(..whole);
                    while unended.len() > PIECE {
                        let piece: Vec<u8> = unended.drain(..PIECE).collect();
                        screen.show(&piece)?;
                    }
                    show_at = (!unended.is_empty()).then(|| Instant::now() + UNENDED);
                    if unended.is_empty() && stdin_open {
                        prompt_at = Some(Instant::now());
                    }
                }
            },
            () = until(show_at) => {
                screen.show(&unended)?;
                unended.clear();
                show_at = None;
                prompt_at = stdin_open.then(Instant::now);
            }
            () = until(prompt_at) => {
                screen.prompt()?;
                prompt_at = None;
            }
            line = typed.recv(), if stdin_open => {
                // Whatever was typed moved the cursor to a new line.
                screen.prompt = false;
                match line {
                    Some(line) if escape::without_ending(&line) == b"quit" => break Ok(()),
                    Some(line) => {
                        if let Err(error) = to_server.write_all(&line).await {
                            break Err(Failure::of(error, "while sending"));
                        }
                        prompt_at = Some(Instant::now() + ANSWER);
                    }
                    None => {
                        // Ctrl+D: nothing more to say, but the rest is still read.
                        writeln!(out)?;
                        stdin_open = false;
                        prompt_at = None;
                        if let Err(error) = to_server.shutdown().await {
                            break Err(Failure::of(error, "while sending"));
                        }
                    }
                }
            }
        }
    };
    if !unended.is_empty() {
        screen.show(&unended)?;
    }
    screen.clear_prompt()?;
    forget_what_was_typed();
    writeln!(out, "Disconnected from server")?;
    end.map(|()| ExitCode::SUCCESS)
}

/// A line that was not finished when the server left was not meant for the shell.
fn forget_what_was_typed() {
    #[cfg(unix)]
    let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Is the prompt standing at the cursor?
struct Screen {
    prompt: bool,
}

impl Screen {
    fn prompt(&mut self) -> io::Result<()> {
        if !self.prompt {
            self.prompt = true;
            write!(io::stdout(), "> ")?;
        }
        io::stdout().flush()
    }

    fn show(&mut self, line: &[u8]) -> io::Result<()> {
        self.clear_prompt()?;
        writeln!(io::stdout(), "Server: {}", escape::text(escape::without_ending(line)))?;
        Ok(())
    }

    fn clear_prompt(&mut self) -> io::Result<()> {
        if self.prompt {
            self.prompt = false;
            // Back to the margin, and clear the prompt with what is being typed behind it.
            write!(io::stdout(), "\r\x1b[K")?;
        }
        io::stdout().flush()
    }
}

/// Lines from the terminal, read on a thread of their own, which the end of the process ends.
fn typed_lines() -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel(16);
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match stdin.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    // Without a newline it was ended with Ctrl+D, which is the end of input too.
                    let last = !line.ends_with(b"\n");
                    if send.blocking_send(line).is_err() || last {
                        return;
                    }
                }
            }
        }
    });
    receive
}

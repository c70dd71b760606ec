//! No terminal: bytes go as they are, both ways. The end of stdin half-closes, and the reply is read to its end.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use resound::{FailureClass, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{Failure, halves};

/// One read or write.
const CHUNK: usize = 64 * 1024;
/// Chunks between a thread and the connection: enough to overlap, bounded.
const CHUNKS: usize = 4;

/// What went over the connection.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// When the server has closed first, what stdin still had to say must show within this time.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// How sending ended.
enum Sent {
    /// All of stdin has left, and the FIN behind it.
    All,
    /// The server takes no more. What it has answered may still be there to read.
    Failed(io::Error),
    /// Stdin cannot be read. What came before has left.
    Unreadable(io::Error),
}

pub(super) async fn run(stream: Stream) -> Result<Carried> {
    let (mut from_server, mut to_server) = halves(stream);
    let mut stdin = stdin();
    let (stdout, mut stdout_ended) = stdout();
    let (sent_bytes, received_bytes) = (Cell::new(0), Cell::new(0));
    // Does sending wait for stdin, with all that came from there on its way?
    let waits_for_stdin = Cell::new(true);

    let send = async {
        while let Some(chunk) = stdin.recv().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    let _ = to_server.shutdown().await;
                    return Sent::Unreadable(error);
                }
            };
            waits_for_stdin.set(false);
            if let Err(error) = to_server.write_all(&chunk).await {
                return Sent::Failed(error);
            }
            waits_for_stdin.set(true);
            sent_bytes.set(sent_bytes.get() + chunk.len() as u64);
        }
        match to_server.shutdown().await {
            Ok(()) => Sent::All,
            Err(error) => Sent::Failed(error),
        }
    };
    let receive = async {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let n = from_server
                .read_buf(&mut chunk)
                .await
                .map_err(|error| Failure::of(error, "before its answer was complete"))?;
            if n == 0 {
                return Ok::<_, anyhow::Error>(());
            }
            received_bytes.set(received_bytes.get() + n as u64);
            if stdout.send(chunk).await.is_err() {
                std::future::pending::<()>().await; // nobody reads stdout any more; its thread says why
            }
        }
    };

    let mut outcome = None;
    let received = {
        tokio::pin!(send, receive);
        // The server's end is the end, whether or not stdin is at its own.
        loop {
            tokio::select! {
                sent = &mut send, if outcome.is_none() => outcome = Some(sent),
                received = &mut receive => break received,
                // Nobody reads stdout any more, as in `client | head -1`.
                ended = &mut stdout_ended => {
                    ended.unwrap_or(Ok(())).context("cannot write to stdout")?;
                    return Ok(Carried { sent: sent_bytes.get(), received: received_bytes.get() });
                }
            }
        }
    };
    drop(stdout);
    stdout_ended.await.unwrap_or(Ok(())).context("cannot write to stdout")?;
    received?;
    let unsent = match outcome {
        Some(Sent::All) => false,
        Some(Sent::Failed(error)) => return Err(Failure::of(error, "before everything was sent")),
        Some(Sent::Unreadable(error)) => return Err(anyhow::Error::new(error).context("cannot read stdin")),
        // Not at the end of stdin. Has it more to say, or is it only open?
        None if waits_for_stdin.get() => {
            matches!(tokio::time::timeout(LAST_LOOK, stdin.recv()).await, Ok(Some(_)))
        }
        None => true,
    };
    if unsent {
        let what = "the server closed the connection before everything was sent";
        return Err(Failure::new(FailureClass::Eof, what).into());
    }
    Ok(Carried { sent: sent_bytes.get(), received: received_bytes.get() })
}

/// Reads stdin on a thread of its own, which the end of the process ends: a read that blocks must not keep us.
fn stdin() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (send, receive) = mpsc::channel(CHUNKS);
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        loop {
            let chunk = match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => Ok(buffer[..n].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = chunk.is_err();
            if send.blocking_send(chunk).is_err() || failed {
                return;
            }
        }
    });
    receive
}

/// Writes stdout on a thread of its own, so that a slow reader there does not keep us from sending. A reader that has left is no
/// error: it has seen enough.
fn stdout() -> (mpsc::Sender<Vec<u8>>, tokio::sync::oneshot::Receiver<io::Result<()>>) {
    let (send, mut receive) = mpsc::channel::<Vec<u8>>(CHUNKS);
    let (end, ended) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let mut stdout = io::stdout().lock();
        let mut write = || -> io::Result<()> {
            while let Some(chunk) = receive.blocking_recv() {
                stdout.write_all(&chunk)?;
                stdout.flush()?;
            }
            Ok(())
        };
        let result = match write() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        };
        let _ = end.send(result);
    });
    (send, ended)
}

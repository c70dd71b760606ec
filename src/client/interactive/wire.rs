//! [`ChatConnection`]: the connection of a conversation. An outbox holds unsent bytes, so that a
//! server that does not read cannot block receiving.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use resound::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One read, from the connection or a file.
const CHUNK: usize = 64 * 1024;

/// The traffic in one direction: bytes, messages (lines, if received), and the time of the last.
#[derive(Default)]
pub(super) struct TrafficCount {
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) last: Option<Instant>,
}

/// A connection and its outbox.
pub(super) struct ChatConnection {
    pub(super) stream: Stream,
    outbox: VecDeque<WirePiece>,
    buffer: Vec<u8>,
    /// This side is half-closed, or a FIN is in the outbox.
    pub(super) half_closed: bool,
    /// The server's FIN has arrived. The outbox is sent all the same: the server may have closed
    /// one half only.
    ended: bool,
    pub(super) since: Instant,
    pub(super) sent: TrafficCount,
    pub(super) received: TrafficCount,
}

/// An event on the connection.
pub(super) enum WireEvent {
    /// Received bytes, and the time since the last send.
    Received {
        bytes: Vec<u8>,
        after: Option<Duration>,
    },
    /// The connection starts to send these bytes.
    Sending(Vec<u8>),
    /// The server's FIN has arrived, and the outbox is empty.
    Closed,
    /// The system has taken all of a file for sending.
    FileSent {
        path: PathBuf,
        bytes: u64,
        took: Duration,
    },
    /// Reading a file failed; the part before has been sent.
    FileFailed {
        path: PathBuf,
        error: io::Error,
    },
    HalfClosed,
}

enum WirePiece {
    Bytes { bytes: Vec<u8>, sent: usize, announced: bool },
    File { file: File, path: PathBuf, sent: u64, start: Instant },
    Fin,
}

impl ChatConnection {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            outbox: VecDeque::new(),
            buffer: vec![0; CHUNK],
            half_closed: false,
            ended: false,
            since: Instant::now(),
            sent: TrafficCount::default(),
            received: TrafficCount::default(),
        }
    }

    /// Unsent bytes that wait in memory.
    pub(super) fn waiting(&self) -> usize {
        let waiting = |piece: &WirePiece| match piece {
            WirePiece::Bytes { bytes, sent, .. } => bytes.len() - sent,
            WirePiece::File { .. } | WirePiece::Fin => 0,
        };
        self.outbox.iter().map(waiting).sum()
    }

    /// Unsent bytes, with those of files that have not been read.
    pub(super) fn unsent(&self) -> u64 {
        let unread = |piece: &WirePiece| match piece {
            WirePiece::File { file, sent, .. } => file.metadata().map_or(0, |file| file.len().saturating_sub(*sent)),
            _ => 0,
        };
        self.waiting() as u64 + self.outbox.iter().map(unread).sum::<u64>()
    }

    /// Is input left in the outbox?
    pub(super) fn has_unsent(&self) -> bool {
        self.outbox.iter().any(|piece| !matches!(piece, WirePiece::Fin))
    }

    /// Appends bytes to the outbox.
    pub(super) fn send(&mut self, bytes: Vec<u8>) {
        self.sent.messages += memchr::memchr_iter(b'\n', &bytes).count().max(1) as u64;
        self.sent.last = Some(Instant::now());
        self.outbox.push_back(WirePiece::Bytes { bytes, sent: 0, announced: false });
    }

    /// Appends a file to the outbox.
    pub(super) fn send_file(&mut self, file: File, path: PathBuf) {
        self.sent.messages += 1;
        self.outbox.push_back(WirePiece::File { file, path, sent: 0, start: Instant::now() });
    }

    /// Appends a FIN to the outbox.
    pub(super) fn half_close(&mut self) {
        self.half_closed = true;
        self.outbox.push_back(WirePiece::Fin);
    }

    pub(super) fn reset(self) {
        self.stream.reset();
    }

    /// When anything last moved.
    pub(super) fn moved(&self) -> Instant {
        self.received.last.max(self.sent.last).unwrap_or(self.since)
    }

    pub(super) fn has_sent_within(&self, time: Duration) -> bool {
        self.has_unsent() || self.sent.last.is_some_and(|at| at.elapsed() < time)
    }

    /// Sends what waits, and waits for the next thing that happens. May be given up at any time.
    pub(super) async fn next(&mut self) -> io::Result<WireEvent> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<WireEvent>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        if !self.ended
            && let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer)
        {
            read?;
            let bytes = buffer.filled().to_vec();
            if bytes.is_empty() {
                self.ended = true;
                return self.poll_next(cx);
            }
            self.received.bytes += bytes.len() as u64;
            self.received.messages += memchr::memchr_iter(b'\n', &bytes).count() as u64;
            self.received.last = Some(Instant::now());
            let after = self.sent.last.map(|sent| sent.elapsed());
            return Poll::Ready(Ok(WireEvent::Received { bytes, after }));
        }
        loop {
            let stream = Pin::new(&mut self.stream);
            match self.outbox.front_mut() {
                None if self.ended => return Poll::Ready(Ok(WireEvent::Closed)),
                None => return Poll::Pending,
                Some(WirePiece::Bytes { bytes, announced, .. }) if !*announced => {
                    *announced = true;
                    return Poll::Ready(Ok(WireEvent::Sending(bytes.clone())));
                }
                Some(WirePiece::Fin) => {
                    ready!(stream.poll_shutdown(cx))?;
                    self.outbox.pop_front();
                    return Poll::Ready(Ok(WireEvent::HalfClosed));
                }
                Some(WirePiece::Bytes { bytes, sent, .. }) if *sent < bytes.len() => {
                    let n = ready!(stream.poll_write(cx, &bytes[*sent..]))?;
                    *sent += n;
                    self.sent.bytes += n as u64;
                    self.sent.last = Some(Instant::now());
                }
                Some(WirePiece::Bytes { .. }) => {
                    ready!(stream.poll_flush(cx))?;
                    self.outbox.pop_front();
                }
                Some(WirePiece::File { file, path, sent, start }) => {
                    let mut bytes = vec![0; CHUNK];
                    match file.read(&mut bytes) {
                        Ok(0) => {
                            let (path, took) = (std::mem::take(path), start.elapsed());
                            let event = WireEvent::FileSent { path, bytes: *sent, took };
                            self.outbox.pop_front();
                            return Poll::Ready(Ok(event));
                        }
                        Ok(n) => {
                            *sent += n as u64;
                            bytes.truncate(n);
                            self.outbox.push_front(WirePiece::Bytes { bytes, sent: 0, announced: false });
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => {
                            let event = WireEvent::FileFailed { path: std::mem::take(path), error };
                            self.outbox.pop_front();
                            return Poll::Ready(Ok(event));
                        }
                    }
                }
            }
        }
    }
}

//! [`EchoConnection`]: a connection to a server that sends back what it gets.

use std::time::{Duration, Instant};

use resound::Stream;
use resound::client::FailureClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::place::{PathEnd, Special};
use crate::report::FarKind;
use crate::symptom::Symptom;

/// Bytes of a line with its newline. Servers that read lines have limits that are far larger.
pub(super) const LINE: u64 = 64;
/// Bytes of one write.
const WRITE: u64 = 16 * 1024;

/// How bytes are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct EchoPace {
    /// The most bytes that are on their way.
    pub(super) window: u64,
    /// Bytes of one write.
    pub(super) write: u64,
    /// What is on its way is written as a whole, and then read.
    pub(super) is_in_turn: bool,
    /// At first, nothing is read for this long.
    pub(super) reads_after: Duration,
}

impl EchoPace {
    /// All at once.
    pub(super) const FREE: Self =
        Self { window: u64::MAX, write: WRITE, is_in_turn: false, reads_after: Duration::ZERO };

    /// No more than this on its way.
    pub(super) fn window(bytes: u64) -> Self {
        Self { window: bytes, ..Self::FREE }
    }
}

/// A connection to an echo, or to a server that puts a word before each line.
pub(super) struct EchoConnection {
    stream: Stream,
    prefix: &'static [u8],
    /// How much of a prefix has come, where it has begun.
    prefix_read: usize,
    seed: u64,
    patience: Duration,
    /// Bytes that were handed to the system.
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// A line of printable characters that says which one it is: a server may read lines, and text
/// only.
fn line(seed: u64, index: u64) -> String {
    let mixed = seed.wrapping_add(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{index:015x} {mixed:016x} {:015x} {:014x}\n", mixed >> 4 ^ index, mixed >> 8)
}

/// The bytes from `offset` on of a stream of lines.
fn lines(seed: u64, offset: u64, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 2 * LINE as usize);
    let mut index = offset / LINE;
    let skipped = (offset % LINE) as usize;
    while out.len() < length + skipped {
        out.extend_from_slice(line(seed, index).as_bytes());
        index += 1;
    }
    out.drain(..skipped);
    out.truncate(length);
    out
}

impl EchoConnection {
    pub(super) async fn begin(end: &PathEnd, kind: FarKind, special: Special) -> Result<Self, Symptom> {
        let stream = end.reach(special).await?.stream;
        let prefix = if kind == FarKind::Reply { resound::Reply::PREFIX.as_bytes() } else { &[] };
        let (seed, patience) = (end.seed, end.patience);
        Ok(Self { stream, prefix, prefix_read: 0, seed, patience, sent: 0, received: 0 })
    }

    pub(super) fn tcp(&self) -> Option<resound::client::TcpInfo> {
        self.stream.tcp_info()
    }

    /// Sends `count` lines, and reads all that they bring back. Both go on by themselves.
    pub(super) async fn exchange(&mut self, count: u64, pace: EchoPace) -> Result<(), Symptom> {
        let end = self.sent + count * LINE;
        let begin = Instant::now();
        // With `is_in_turn`: all of this turn is written, and not all of it is back.
        let mut is_reading = false;
        let (mut out, mut chunk): (Vec<u8>, _) = (Vec::new(), vec![0; 64 * 1024]);
        while self.sent < end || self.received < end {
            let on_its_way = self.sent.saturating_sub(self.received);
            is_reading &= on_its_way > 0;
            let has_room = self.sent < end && on_its_way < pace.window && !is_reading;
            is_reading |= !has_room && pace.is_in_turn;
            let takes_turn = !has_room || !pace.is_in_turn;
            if has_room && out.is_empty() {
                let bytes = (end - self.sent).min(pace.write).min(pace.window);
                out = lines(self.seed, self.sent, bytes as usize);
            }
            let pause = pace.reads_after.saturating_sub(begin.elapsed());
            let room = (end - self.received).min(chunk.len() as u64) as usize;
            let may_read = room > 0 && takes_turn && pause.is_zero();
            let moved = {
                let (mut writer, mut reader) = (&self.stream, &self.stream);
                let moved = async {
                    tokio::select! {
                        written = writer.write(&out), if has_room => written.map(Moved::Out),
                        read = reader.read(&mut chunk[..room]), if may_read => read.map(Moved::In),
                        () = sleep(pause), if !pause.is_zero() => Ok(Moved::Nothing),
                    }
                };
                timeout(self.patience + pause, moved).await
            };
            match moved {
                Ok(Ok(Moved::Out(n))) => {
                    out.drain(..n);
                    self.sent += n as u64;
                    if out.is_empty() {
                        self.flush().await?;
                    }
                }
                Ok(Ok(Moved::In(0))) => return Err(Symptom::Closed { sent: self.sent, received: self.received }),
                Ok(Ok(Moved::In(n))) => self.take(&chunk[..n])?,
                Ok(Ok(Moved::Nothing)) => {}
                Ok(Err(error)) => return Err(Symptom::of(&error, self.sent, self.received)),
                Err(_) => return Err(self.stalled(end)),
            }
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), Symptom> {
        match timeout(self.patience, (&self.stream).flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Symptom::of(&error, self.sent, self.received)),
            Err(_) => Err(self.stalled(0)),
        }
    }

    fn stalled(&self, wanted: u64) -> Symptom {
        let acknowledged = self.tcp().map(|tcp| tcp.acknowledged);
        Symptom::Stalled { sent: self.sent, acknowledged, received: self.received, wanted }
    }

    /// Compares what has come back. Where a server puts its prefix depends on what it takes for a
    /// message: no line holds the prefix's first letter, so it is left out wherever it stands.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Symptom> {
        let mut came = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if self.prefix.get(self.prefix_read) == Some(&byte) {
                self.prefix_read = (self.prefix_read + 1) % self.prefix.len();
            } else if self.prefix_read == 0 {
                came.push(byte);
            } else {
                return Err(changed(self.received + came.len() as u64));
            }
        }
        let belong = lines(self.seed, self.received, came.len());
        if let Some(at) = came.iter().zip(&belong).position(|(came, belongs)| came != belongs) {
            return Err(changed(self.received + at as u64));
        }
        self.received += came.len() as u64;
        Ok(())
    }

    /// Sends `count` lines and then a FIN, and only then reads what they bring back, and the other
    /// end's FIN: the answers alone would come without this end's FIN as well.
    pub(super) async fn finish_behind(&mut self, count: u64) -> Result<(), Symptom> {
        let bytes = lines(self.seed, self.sent, (count * LINE) as usize);
        let mut writer = &self.stream;
        let sent = async {
            writer.write_all(&bytes).await?;
            writer.shutdown().await
        };
        match timeout(self.patience, sent).await {
            Ok(Ok(())) => self.sent += bytes.len() as u64,
            Ok(Err(error)) => return Err(Symptom::of(&error, self.sent, self.received)),
            Err(_) => return Err(self.stalled(0)),
        }
        self.exchange(0, EchoPace::FREE).await?;
        let mut reader = &self.stream;
        match timeout(self.patience, reader.read(&mut [0])).await {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(_)) => Err(changed(self.received)),
            Ok(Err(error)) if FailureClass::of(&error) == Some(FailureClass::Eof) => Ok(()),
            Ok(Err(error)) => Err(Symptom::of(&error, self.sent, self.received)),
            Err(_) => Err(self.stalled(0)),
        }
    }
}

fn changed(at: u64) -> Symptom {
    Symptom::Own(format!("byte {at} came back changed"))
}

/// What one step of an exchange has done.
enum Moved {
    Out(usize),
    In(usize),
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_lines_is_the_same_from_any_offset() {
        let whole = lines(7, 0, 1000);
        assert_eq!(whole.iter().filter(|&&byte| byte == b'\n').count() as u64, 1000 / LINE);
        assert!(!whole.contains(&resound::Reply::PREFIX.as_bytes()[0]), "a prefix could not be told from a line");
        for offset in [0, 1, 63, 64, 65, 200, 999] {
            assert_eq!(lines(7, offset as u64, 1000 - offset), whole[offset..], "{offset}");
        }
        assert_eq!(line(u64::MAX, 12345).len() as u64, LINE);
    }
}

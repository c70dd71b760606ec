//! [`PathEnd`]: one address under test, and how to connect to it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use resound::client::{Attempt, DialError};
use resound::tls::{TlsClient, TlsFailure};
use resound::{Address, DialOptions, Endpoint, Stream, dial};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::greeted::Greeted;
use crate::ledger::ConnectionLedger;
use crate::machine::MachineWatch;
use crate::pace::ConnectPace;
use crate::permits::ConnectionPermits;
use crate::symptom::{NoHello, Symptom};

/// Bytes to send before anything else, such as a PROXY header: of the local and the remote address.
pub type FirstBytes = Arc<dyn Fn(&Endpoint, &Endpoint) -> io::Result<Vec<u8>> + Send + Sync>;

/// The largest segment that Linux lets a socket ask for (`MAX_TCP_WINDOW`): less than loopback has.
const LARGEST_SEGMENT: u16 = 32_767;

/// One address under test: cheap to clone.
#[derive(Clone)]
pub(crate) struct PathEnd {
    pub(crate) address: Address,
    pub(crate) dial: DialOptions,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) first_bytes: Option<FirstBytes>,
    /// A connection without progress for this long counts as dead.
    pub(crate) patience: Duration,
    /// Decides what is sent, and the names of sessions.
    pub(crate) seed: u64,
    pub(crate) machine: MachineWatch,
    /// How soon a connection may follow another one.
    pub(crate) pace: ConnectPace,
    /// How many may be open at once.
    pub(crate) permits: ConnectionPermits,
    /// The servers that have greeted so far.
    pub(crate) greeted: Greeted,
    /// What became of the connections so far.
    pub(crate) ledger: ConnectionLedger,
}

/// How one connection differs from the others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Special {
    /// No segment is longer, in either direction.
    pub(crate) max_segment: Option<u16>,
    /// The receive buffer, in bytes.
    pub(crate) receive_buffer: Option<u32>,
    /// The far end's hello fits into the smallest packets.
    pub(crate) brief: bool,
    /// The traffic class, of which the upper six bits are the DSCP.
    pub(crate) traffic_class: Option<u8>,
}

/// A connection, before anything is said on it.
pub(crate) struct Reached {
    pub(crate) stream: Stream,
    /// Between connect's SYN and its SYN-ACK.
    pub(crate) connected_in: Duration,
}

impl PathEnd {
    /// Connects, sends the first bytes, and completes TLS's handshake.
    pub(crate) async fn reach(&self, special: Special) -> Result<Reached, Symptom> {
        let (stream, connected_in) = self.connect(special).await?;
        Ok(Reached { stream: self.secure(stream).await?, connected_in })
    }

    /// Connects, when it is its turn, and sends the first bytes. Returns how long connecting took.
    pub(crate) async fn connect(&self, special: Special) -> Result<(Stream, Duration), Symptom> {
        let dial_with = DialOptions {
            max_segment: special.max_segment.or(self.dial.max_segment),
            receive_buffer: special.receive_buffer.or(self.dial.receive_buffer),
            traffic_class: special.traffic_class.or(self.dial.traffic_class),
            ..self.dial
        };
        self.pace.turn().await;
        self.machine.look();
        let start = Instant::now();
        let stream = dial(&self.address, dial_with).await.map_err(|error| no_connection(&error, start.elapsed()))?;
        let connected_in = start.elapsed();
        if let Some(first_bytes) = &self.first_bytes {
            let header =
                first_bytes(&stream.local(), &stream.peer()).map_err(|error| Symptom::Local(error.to_string()))?;
            (&stream).write_all(&header).await.map_err(|error| Symptom::of(&error, 0, 0))?;
        }
        Ok((stream, connected_in))
    }

    /// Completes TLS's handshake, where there is to be one.
    pub(crate) async fn secure(&self, stream: Stream) -> Result<Stream, Symptom> {
        let Some(tls) = &self.tls else { return Ok(stream) };
        match timeout(self.patience, stream.secure(tls)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(match Symptom::of(&error, 0, 0) {
                Symptom::Reset { .. } => Symptom::HelloLost(NoHello::Reset),
                Symptom::Closed { .. } => Symptom::HelloLost(NoHello::Closed),
                _ => Symptom::NoTls(in_words(&error)),
            }),
            Err(_) => Err(Symptom::HelloLost(NoHello::Silent)),
        }
    }

    /// The same address with another client's TLS, if there is one.
    pub(crate) fn with_tls(&self, tls: Option<&TlsClient>) -> Self {
        Self { tls: tls.or(self.tls.as_ref()).cloned(), ..self.clone() }
    }

    /// The same address with no segment longer than this.
    pub(crate) fn with_segments_of(&self, max_segment: Option<u16>) -> Self {
        let max_segment = max_segment.map(|size| size.min(LARGEST_SEGMENT));
        Self { dial: DialOptions { max_segment, ..self.dial }, ..self.clone() }
    }
}

/// A failed handshake, without the names of a library's types.
fn in_words(error: &io::Error) -> String {
    TlsFailure::of_io(error).map_or_else(|| error.to_string(), |failure| failure.to_string())
}

fn no_connection(error: &DialError, after: Duration) -> Symptom {
    let text = error.to_string();
    // No free port, or an address that this machine does not have.
    let is_own = |attempt: &Attempt| attempt.error.kind() == io::ErrorKind::AddrNotAvailable;
    match error.class {
        Some(_) if !error.attempts.is_empty() && error.attempts.iter().all(is_own) => Symptom::Local(text),
        Some(class) => Symptom::NoConnection { class, after, text },
        None => Symptom::Local(text),
    }
}

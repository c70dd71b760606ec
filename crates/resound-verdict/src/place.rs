//! [`PathEnd`]: one address under test, and how to come to it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use resound::client::{DialError, FailureClass};
use resound::tls::TlsClient;
use resound::{Address, Dial, Endpoint, Stream, dial};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::greeted::Greeted;
use crate::ledger::ConnectionLedger;
use crate::symptom::Symptom;

/// Bytes to send before anything else, such as a PROXY header: of the local and the remote address.
pub type Preface = Arc<dyn Fn(&Endpoint, &Endpoint) -> io::Result<Vec<u8>> + Send + Sync>;

/// The far end says nothing in TLS's handshake.
pub(crate) const TLS_SILENCE: &str = "no answer to the ClientHello";

/// One address under test: cheap to clone.
#[derive(Clone)]
pub(crate) struct PathEnd {
    pub(crate) address: Address,
    pub(crate) dial: Dial,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) preface: Option<Preface>,
    /// Nothing moves for so long: then nothing will.
    pub(crate) patience: Duration,
    /// Decides what is sent, and the names of sessions.
    pub(crate) seed: u64,
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
}

/// A connection, before anything is said on it.
pub(crate) struct Reached {
    pub(crate) stream: Stream,
    /// Between connect's SYN and its SYN-ACK.
    pub(crate) connected_in: Duration,
    /// Between the ClientHello and the end of the handshake.
    pub(crate) secured_in: Option<Duration>,
}

impl PathEnd {
    /// Connects, sends the preface, and completes TLS's handshake.
    pub(crate) async fn reach(&self, special: Special) -> Result<Reached, Symptom> {
        let dial_with = Dial {
            max_segment: special.max_segment.or(self.dial.max_segment),
            receive_buffer: special.receive_buffer.or(self.dial.receive_buffer),
            ..self.dial
        };
        let start = Instant::now();
        let stream = dial(&self.address, dial_with).await.map_err(|error| no_connection(&error, start.elapsed()))?;
        let connected_in = start.elapsed();
        if let Some(preface) = &self.preface {
            let header = preface(&stream.local(), &stream.peer()).map_err(|error| Symptom::Local(error.to_string()))?;
            (&stream).write_all(&header).await.map_err(|error| Symptom::of(&error, 0, 0))?;
        }
        let Some(tls) = &self.tls else { return Ok(Reached { stream, connected_in, secured_in: None }) };
        let start = Instant::now();
        match timeout(self.patience, stream.secure(tls)).await {
            Ok(Ok(stream)) => Ok(Reached { stream, connected_in, secured_in: Some(start.elapsed()) }),
            Ok(Err(error)) => Err(Symptom::NoTls(error.to_string())),
            Err(_) => Err(Symptom::NoTls(TLS_SILENCE.into())),
        }
    }

    /// The same address with no segment longer than this.
    pub(crate) fn with_segments_of(&self, max_segment: Option<u16>) -> Self {
        Self { dial: Dial { max_segment, ..self.dial }, ..self.clone() }
    }
}

fn no_connection(error: &DialError, after: Duration) -> Symptom {
    let text = error.to_string();
    match error.class {
        Some(class) => Symptom::NoConnection { class, after, text },
        None => Symptom::Local(text),
    }
}

/// Whether a failed connection means that nothing answers there at all.
pub(crate) fn is_silence(class: FailureClass) -> bool {
    matches!(class, FailureClass::Timeout | FailureClass::Unreachable)
}

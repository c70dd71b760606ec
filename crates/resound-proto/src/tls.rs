//! TLS without I/O: received records are opened where they lie, and what the service sends becomes
//! records in the same buffer.
//!
//! An idle connection owns no buffer. Handshake, keys and records are rustls's (its unbuffered
//! interface), which leaves to its caller: incomplete records, the bytes to send, and the two ends
//! of the stream.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{CommonState, HandshakeKind};

use crate::detect::{DETECTION_BYTES, DetectedProtocol, detect_protocol};
use crate::error::TlsFailure;
use crate::exporter::ExporterLog;
use crate::names::{group, suite};
use crate::service::TlsInfo;
use crate::session::{AskedName, ClientSession, HandshakePermit, ReadCertificate, ServerSession};

/// The header of a record: type, version, and the length of what follows (RFC 8446, 5.1).
const HEADER: usize = 5;
/// The most plaintext in a record, and the most that a record adds to it (TLS 1.2 with AES-GCM:
/// header, nonce and tag).
const RECORD: usize = 16 * 1024;
const OVERHEAD: usize = 32;
/// The largest handshake message that rustls takes is 64 KiB; nothing that waits to be complete is
/// larger, with its headers.
const INCOMPLETE: usize = 128 * 1024;

/// One end's TLS.
pub(super) struct TlsLayer {
    session: Session,
    read_certificate: ReadCertificate,
    /// The beginning of a record, or of a handshake message.
    incomplete: Vec<u8>,
    /// What TLS itself sends. It leaves before what the service sends.
    flight: Vec<u8>,
    /// Of a server until the handshake is over.
    handshake: Option<Box<TlsHandshake>>,
    /// Until the handshake is over.
    exporter: Option<Arc<ExporterLog>>,
    /// The peer's first bytes are TLS's.
    begun: bool,
    /// No more records are sent or received after a failure.
    failed: bool,
    /// The peer's close_notify has come.
    pub(super) peer_closed: bool,
    /// Our close_notify has been sealed.
    closed: bool,
}

enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What a server needs only until its service is open.
struct TlsHandshake {
    /// The name that the client asks for.
    name: Arc<AskedName>,
    hint: &'static [u8],
    permit: PermitState,
}

/// A server's place among its handshakes: it joins the queue at the client's first byte.
enum PermitState {
    Unasked(Box<dyn FnOnce() -> Box<dyn HandshakePermit>>),
    Joined(Box<dyn HandshakePermit>),
    /// Only while it is asked for.
    Joining,
}

impl TlsLayer {
    /// The server's end.
    pub(super) fn server(server: ServerSession) -> Result<Self, TlsFailure> {
        let mut config = server.config;
        let exporter = ExporterLog::before(&config.key_log, config.crypto_provider());
        Arc::make_mut(&mut config).key_log = Arc::<ExporterLog>::clone(&exporter);
        let session = UnbufferedServerConnection::new(config).map_err(|error| TlsFailure::of(&error))?;
        let handshake =
            TlsHandshake { name: server.name, hint: server.hint, permit: PermitState::Unasked(server.join) };
        Ok(Self::of(Session::Server(session), Some(Box::new(handshake)), exporter, server.read_certificate))
    }

    /// The client's end.
    pub(super) fn client(client: ClientSession) -> Result<Self, TlsFailure> {
        let mut config = client.config;
        let exporter = ExporterLog::before(&config.key_log, config.crypto_provider());
        Arc::make_mut(&mut config).key_log = Arc::<ExporterLog>::clone(&exporter);
        let session = UnbufferedClientConnection::new(config, client.name);
        let session = Session::Client(session.map_err(|error| TlsFailure::of(&error))?);
        Ok(Self::of(session, None, exporter, client.read_certificate))
    }

    fn of(
        session: Session,
        handshake: Option<Box<TlsHandshake>>,
        exporter: Arc<ExporterLog>,
        read_certificate: ReadCertificate,
    ) -> Self {
        Self {
            session,
            read_certificate,
            incomplete: Vec::new(),
            flight: Vec::new(),
            handshake,
            exporter: Some(exporter),
            begun: false,
            failed: false,
            peer_closed: false,
            closed: false,
        }
    }

    /// The first flight, which is the client's.
    pub(super) fn start(&mut self) -> Result<(), TlsFailure> {
        match self.session {
            Session::Client(_) => self.process(&mut [], &mut |_| {}).map(drop),
            Session::Server(_) => Ok(()),
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// Whether this handshake may go on. If not, too many others are under way, and the error is
    /// the time to the next question. A connection takes a place at its first byte, so that silent
    /// ones take none.
    pub(super) fn may_proceed(&mut self, has_input: bool) -> Result<(), Duration> {
        let Some(handshake) = &mut self.handshake else { return Ok(()) };
        if let PermitState::Unasked(_) = handshake.permit {
            if !has_input {
                return Ok(());
            }
            if let PermitState::Unasked(join) = std::mem::replace(&mut handshake.permit, PermitState::Joining) {
                handshake.permit = PermitState::Joined(join());
            }
        }
        match &mut handshake.permit {
            PermitState::Joined(permit) => permit.is_granted(),
            PermitState::Unasked(_) | PermitState::Joining => Ok(()),
        }
    }

    /// Keeps input for later. The engine reads no more meanwhile.
    pub(super) fn buffer(&mut self, wire: &[u8]) {
        self.incomplete.extend_from_slice(wire);
    }

    /// Whether the beginning of a record, or of a handshake message, waits for the rest.
    pub(super) fn has_part(&self) -> bool {
        !self.incomplete.is_empty()
    }

    /// Receives records, and passes what they contain to `plain`, a record at a time.
    pub(super) fn receive(&mut self, wire: &mut [u8], plain: &mut dyn FnMut(&[u8])) -> Result<(), TlsFailure> {
        if !self.begun && matches!(self.session, Session::Server(_)) {
            let head = self.incomplete.iter().chain(wire.iter()).take(DETECTION_BYTES).copied();
            match detect_protocol(&head.collect::<Vec<_>>()) {
                None => {
                    self.buffer(wire);
                    return Ok(());
                }
                Some(DetectedProtocol::Tls) => self.begun = true,
                Some(_) => return Err(self.reject_plain_text()),
            }
        }
        let mut rest = wire;
        loop {
            if self.incomplete.is_empty() {
                let used = self.process(rest, plain)?;
                if !self.peer_closed {
                    self.incomplete.extend_from_slice(&rest[used..]);
                }
                return Ok(());
            }
            // Only what completes the record is copied; the records after it are opened where they
            // lie.
            let (head, tail) = rest.split_at_mut(missing(&self.incomplete).min(rest.len()));
            let mut whole = std::mem::take(&mut self.incomplete);
            whole.extend_from_slice(head);
            let used = self.process(&mut whole, plain)?;
            if self.peer_closed {
                return Ok(());
            }
            if whole.len() - used > INCOMPLETE {
                return Err(TlsFailure::Misbehaved);
            }
            if used < whole.len() {
                whole.drain(..used);
                self.incomplete = whole;
            }
            if tail.is_empty() {
                return Ok(());
            }
            rest = tail;
        }
    }

    /// The peer has sent its FIN before its bytes could be detected as TLS or not: it gets the hint
    /// in plain text. `None` where they could, or where no bytes came.
    pub(super) fn left_undecided(&mut self) -> Option<TlsFailure> {
        let is_undecided = !self.begun && !self.incomplete.is_empty() && matches!(self.session, Session::Server(_));
        is_undecided.then(|| self.reject_plain_text())
    }

    fn reject_plain_text(&mut self) -> TlsFailure {
        self.begun = true;
        self.incomplete.clear();
        if let Some(handshake) = &self.handshake {
            self.flight.extend_from_slice(handshake.hint);
        }
        TlsFailure::NotTls
    }

    /// Replaces the plain text in `out[from..]` by what TLS itself sends, the records that hold the
    /// plain text, and with `finish`, once, a close_notify.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>, from: usize, finish: bool) -> Result<(), TlsFailure> {
        let ends = finish && !self.closed;
        self.closed |= ends;
        let flight = std::mem::take(&mut self.flight);
        if self.failed {
            out.truncate(from);
        }
        if self.failed || (!ends && out.len() == from) {
            out.extend_from_slice(&flight);
            return Ok(());
        }
        // rustls remembers its place in its input, so it receives the same input again.
        let input = &mut self.incomplete[..];
        let sealed = match &mut self.session {
            Session::Client(session) => seal(session.process_tls_records(input), out, from, &flight, ends),
            Session::Server(session) => seal(session.process_tls_records(input), out, from, &flight, ends),
        };
        self.failed = sealed.is_err();
        sealed
    }

    /// What the handshake has negotiated. What only the handshake needed is dropped.
    pub(super) fn established(&mut self) -> TlsInfo {
        let asked = self.handshake.take().and_then(|handshake| handshake.name.asked().map(Into::into));
        let exporter = self.exporter.take().and_then(|exporter| exporter.value());
        agreed(self.state(), asked, exporter, self.read_certificate)
    }

    fn state(&self) -> &CommonState {
        match &self.session {
            Session::Client(session) => session,
            Session::Server(session) => session,
        }
    }

    /// Takes whole records from the head of `wire`, and returns their length. The rest must stand
    /// at the head of the next call's.
    fn process(&mut self, wire: &mut [u8], plain: &mut dyn FnMut(&[u8])) -> Result<usize, TlsFailure> {
        let mut used = 0;
        loop {
            let (discard, next) = self.step(&mut wire[used..], plain);
            used += discard;
            match next {
                Ok(TlsStep::Again) => {}
                Ok(TlsStep::PeerClosed) => self.peer_closed = true,
                Ok(TlsStep::Wait) => return Ok(used),
                Err(failure) => {
                    self.failed = true;
                    // What rustls wants to send, an alert at its end, is still fetched; no more
                    // input is processed.
                    while self.state().wants_write() {
                        used += self.step(&mut wire[used..], plain).0;
                    }
                    return Err(failure);
                }
            }
        }
    }

    fn step(&mut self, wire: &mut [u8], plain: &mut dyn FnMut(&[u8])) -> (usize, Result<TlsStep, TlsFailure>) {
        match &mut self.session {
            Session::Client(session) => step(session.process_tls_records(wire), &mut self.flight, plain),
            Session::Server(session) => step(session.process_tls_records(wire), &mut self.flight, plain),
        }
    }
}

/// What a complete handshake has negotiated; `asked` is the name that a client asked for, and
/// `exporter` the session's channel binding.
pub fn agreed(
    state: &CommonState,
    asked: Option<Box<str>>,
    exporter: Option<[u8; 32]>,
    read_certificate: ReadCertificate,
) -> TlsInfo {
    TlsInfo {
        version: match state.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher_suite: state.negotiated_cipher_suite().map_or("unknown", |known| suite(known.suite())),
        group: state.negotiated_key_exchange_group().map(|known| group(known.name())),
        alpn: state.alpn_protocol().map(Into::into),
        server_name: asked,
        resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        peer: state.peer_certificates().and_then(|chain| read_certificate(chain.first()?)),
        exporter,
    }
}

/// What to do after one step through the records.
enum TlsStep {
    Again,
    /// The peer's close_notify has come.
    PeerClosed,
    /// No whole record is left.
    Wait,
}

/// Does what rustls wants next. Also returns how much of its input is used up.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    flight: &mut Vec<u8>,
    plain: &mut dyn FnMut(&[u8]),
) -> (usize, Result<TlsStep, TlsFailure>) {
    let UnbufferedStatus { mut discard, state } = status;
    let next = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain(record.payload);
                }
                Some(Err(error)) => break Err(TlsFailure::of(&error)),
                None => break Ok(TlsStep::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let before = flight.len();
            loop {
                match data.encode(&mut flight[before..]) {
                    Ok(n) => {
                        flight.truncate(before + n);
                        break Ok(TlsStep::Again);
                    }
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        flight.resize(before + required_size, 0);
                    }
                    Err(EncodeError::AlreadyEncoded) => break Ok(TlsStep::Again),
                }
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(TlsStep::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(TlsStep::PeerClosed),
        // rustls waits for the peer, or for us. Early data never comes: the settings allow none.
        Ok(_) => Ok(TlsStep::Wait),
        Err(error) => Err(TlsFailure::of(&error)),
    };
    (discard, next)
}

/// Replaces the plain text in `out[from..]` by `flight`, the records that hold the plain text, and
/// a close_notify if this `ends`.
fn seal<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Vec<u8>,
    from: usize,
    flight: &[u8],
    ends: bool,
) -> Result<(), TlsFailure> {
    let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
        // Without keys there is nothing to send; and if there were, it must not leave in plain
        // text.
        let lost = out.len() > from;
        out.truncate(from);
        out.extend_from_slice(flight);
        return if lost { Err(TlsFailure::Failed) } else { Ok(()) };
    };
    let (clear, first) = (out.len(), from + flight.len());
    if clear > from {
        let mut room = clear - from + ((clear - from) / RECORD + 1) * OVERHEAD;
        let sealed = loop {
            // The records are written after the plain text, and then take its place: no other
            // memory is needed.
            out.resize(clear + room, 0);
            let (plain, records) = out.split_at_mut(clear);
            match traffic.encrypt(&plain[from..], records) {
                Ok(n) => break n,
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => room = required_size,
                Err(EncryptError::EncryptExhausted) => {
                    out.truncate(from);
                    out.extend_from_slice(flight);
                    return Err(TlsFailure::Failed);
                }
            }
        };
        if out.len() < first + sealed {
            out.resize(first + sealed, 0);
        }
        out.copy_within(clear..clear + sealed, first);
        out.truncate(first + sealed);
        out[from..first].copy_from_slice(flight);
    } else {
        out.extend_from_slice(flight);
    }
    if ends {
        let (sealed, mut room) = (out.len(), 2 * OVERHEAD);
        loop {
            out.resize(sealed + room, 0);
            match traffic.queue_close_notify(&mut out[sealed..]) {
                Ok(n) => {
                    out.truncate(sealed + n);
                    break;
                }
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => room = required_size,
                Err(EncryptError::EncryptExhausted) => {
                    out.truncate(sealed);
                    break;
                }
            }
        }
    }
    Ok(())
}

/// How many bytes the record at the head still needs. Where that record is complete, the handshake
/// message in it is not, and all further bytes are needed.
fn missing(incomplete: &[u8]) -> usize {
    match incomplete {
        [_, _, _, high, low, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            match length.saturating_sub(rest.len()) {
                0 => usize::MAX,
                n => n,
            }
        }
        short => HEADER - short.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_record_knows_how_much_it_needs() {
        let cases: [(&[u8], usize); 6] = [
            (&[], 5),
            (&[23, 3], 3),
            (&[23, 3, 3, 1, 2], 258),
            (&[23, 3, 3, 0, 3, 9], 2),
            (&[22, 3, 3, 0, 1, 9], usize::MAX),
            (&[22, 3, 3, 0, 1, 9, 22], usize::MAX),
        ];
        for (bytes, want) in cases {
            assert_eq!(missing(bytes), want, "{bytes:?}");
        }
    }
}

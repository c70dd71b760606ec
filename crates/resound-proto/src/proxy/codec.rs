//! Reading a header, at once or as its bytes come, and writing one.

use super::{EncodeError, Header, LONGEST_V2, Parsed, Version, v1, v2};
use crate::error::ProxyError;

impl Header {
    /// The bytes to send before everything else.
    ///
    /// Version 1 says of everything but TCP over IP that it is `UNKNOWN`, as the specification has it.
    ///
    /// # Errors
    /// What the version has no place for.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        match self.version {
            Version::V1 => v1::encode(self),
            Version::V2 => v2::encode(self),
        }
    }
}

/// Reads the header that `bytes` begin with. The answer is the same however often it was asked with fewer of them.
///
/// # Errors
/// Where no further bytes could make it a header.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    for (beginning, version) in [(v1::PREFIX, v1::parse as fn(&[u8]) -> _), (v2::SIGNATURE, v2::parse)] {
        if bytes.starts_with(beginning) {
            return version(bytes);
        }
        if beginning.starts_with(bytes) {
            return Ok(Parsed::More);
        }
    }
    Err(ProxyError::Absent)
}

/// Reads a header whose bytes come in parts. It keeps [`LONGEST_V2`] bytes at most.
#[derive(Debug, Default)]
pub struct Parser {
    seen: Vec<u8>,
}

impl Parser {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `bytes` are next. Says, once the header is complete, what it is and how many of these bytes were its own.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
        let before = self.seen.len();
        // So many bytes decide it, whatever they are.
        let room = LONGEST_V2 - before.min(LONGEST_V2);
        self.seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(match parse(&self.seen)? {
            Parsed::More => None,
            Parsed::Done { header, length } => Some((header, length - before)),
        })
    }

    /// What it has kept.
    #[must_use]
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }
}

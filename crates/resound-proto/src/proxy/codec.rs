//! Reading a header, at once or as its bytes come, and writing one.

use super::{EncodeError, Header, LONGEST_V2, Parsed, Version, v1, v2};
use crate::error::ProxyError;

impl Header {
    /// The bytes to send before everything else.
    ///
    /// In version 1 everything but TCP over IP is `UNKNOWN`, as the specification demands.
    ///
    /// # Errors
    /// If the version has no place for a part of the contents.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        match self.version {
            Version::V1 => v1::encode(self),
            Version::V2 => v2::encode(self),
        }
    }
}

/// Parses the header at the head of `bytes`. The result does not depend on earlier calls with fewer
/// of them.
///
/// # Errors
/// If no further bytes could make it a header.
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
    /// A parser without any bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`. Returns the header, once it is complete, and how many of these bytes belong to
    /// it.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
        let before = self.seen.len();
        // So many bytes are enough for a decision.
        let room = LONGEST_V2 - before.min(LONGEST_V2);
        self.seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(match parse(&self.seen)? {
            Parsed::More => None,
            Parsed::Done { header, length } => Some((header, length - before)),
        })
    }

    /// The bytes so far.
    #[must_use]
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }
}

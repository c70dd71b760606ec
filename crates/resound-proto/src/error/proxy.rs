//! [`ProxyError`]: what is wrong with a PROXY header.

/// Why bytes are not a valid PROXY header, as HAProxy's `proxy-protocol.txt` defines it. A message
/// completes the sentence "wrong PROXY header: …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The bytes begin as neither version does.
    #[error("the bytes do not begin as one")]
    Absent,
    /// Version 1: no CRLF within 107 bytes, the longest that a line can be.
    #[error("its line is longer than 107 bytes")]
    LineTooLong,
    /// Version 1: the line ends with a bare newline.
    #[error("its line does not end with CR LF")]
    LineEnding,
    /// Version 1: not one of `TCP4`, `TCP6` and `UNKNOWN`.
    #[error("its family is none of TCP4, TCP6 and UNKNOWN")]
    Protocol,
    /// Version 1: not two addresses and two ports, with one space before each.
    #[error("it does not have two addresses and two ports, each after one space")]
    Fields,
    /// Version 1: an address that is not of the family.
    #[error("one of its addresses is not of its family")]
    Address,
    /// Version 1: a port that is not a number from 0 to 65535 without leading zeros.
    #[error("one of its ports is not a number from 0 to 65535")]
    Port,
    /// A version after the binary signature that is not 2.
    #[error("its version is {0}, not 2")]
    Version(u8),
    /// Version 2: neither LOCAL (0) nor PROXY (1).
    #[error("its command is {0}, neither LOCAL nor PROXY")]
    Command(u8),
    /// Version 2: a family and transport that the specification does not assign.
    #[error("its family and transport are 0x{0:02x}, which is not assigned")]
    Family(u8),
    /// Version 2: longer than this end accepts.
    #[error("it is {0} bytes long, more than the 4096 that are accepted")]
    TooLong(u16),
    /// Version 2: too short for the addresses of its family.
    #[error("it is too short for its addresses")]
    TooShort,
    /// Version 2: a TLV, or one within it, that does not end where it should.
    #[error("a value in it (TLV 0x{0:02x}) does not end where it should")]
    Tlv(u8),
    /// Version 2: the checksum (CRC32C) is not that of the header.
    #[error("its checksum is wrong")]
    Checksum,
    /// Version 2: a unique id of more than 128 bytes.
    #[error("its unique id is longer than 128 bytes")]
    UniqueId,
}

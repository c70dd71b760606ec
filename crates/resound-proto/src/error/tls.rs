//! [`TlsFailure`]: what went wrong in TLS.

/// What went wrong in a TLS handshake, or in the records after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The peer does not use TLS.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// Both ends have no protocol version, cipher suite, key exchange group or signature algorithm
    /// in common.
    #[error("no TLS version or algorithm in common with the peer")]
    NothingInCommon,
    /// Both ends have no application protocol (ALPN, RFC 7301) in common.
    #[error("no application protocol (ALPN) in common with the peer")]
    NoProtocol,
    /// The peer has sent no certificate, and one is required.
    #[error("the peer has shown no certificate")]
    NoCertificate,
    /// No authority that this end trusts has signed the peer's certificate.
    #[error("no trusted authority has signed the peer's certificate")]
    UnknownIssuer,
    /// The server's certificate is for other names.
    #[error("the peer's certificate is for another name")]
    WrongName,
    /// The peer's certificate is no longer valid.
    #[error("the peer's certificate has expired")]
    Expired,
    /// The peer's certificate is not valid yet.
    #[error("the peer's certificate is not valid yet")]
    NotYetValid,
    /// The peer's certificate is not the one that is pinned.
    #[error("the peer's certificate is not the pinned one")]
    NotPinned,
    /// The peer's certificate has another flaw.
    #[error("the peer's certificate is not acceptable: {0}")]
    BadCertificate(CertificateFlaw),
    /// The peer refused, with this alert (RFC 8446, 6).
    #[error("the peer refused: alert {} ({})", .0, alert_name(*.0))]
    Refused(u8),
    /// A record was changed on its way, or encrypted with other keys.
    #[error("a TLS record was changed on its way")]
    Damaged,
    /// The peer broke the protocol.
    #[error("the peer broke the TLS protocol")]
    Misbehaved,
    /// Something failed at this end.
    #[error("TLS failed at this end")]
    Failed,
}

/// What is wrong with a certificate whose issuer may well be trusted, and whose name may be the
/// right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFlaw {
    /// It is the certificate of an authority (CA:TRUE), not of a server or a client.
    #[error("it is a certificate authority's own (CA:TRUE)")]
    Authority,
    /// It is for another purpose (its extended key usage, RFC 5280, 4.2.1.12).
    #[error("it is for another purpose (extended key usage)")]
    Purpose,
    /// A signature in its chain is not its issuer's.
    #[error("a signature in its chain is wrong")]
    Signature,
    /// Its key or a signature in its chain is of a kind that is not supported here.
    #[error("its key or a signature in its chain is of a kind that is not supported")]
    Algorithm,
    /// It is of version 1, which has no place for names.
    #[error("it is of X.509 version 1")]
    OldVersion,
    /// It has a critical extension that is not known here.
    #[error("it has a critical extension that is not known here")]
    Extension,
    /// Its issuer was not allowed to sign it: a limit on names or on the length of chains, or it is
    /// not an authority.
    #[error("its issuer may not sign such a certificate")]
    Issuer,
    /// Its chain is too long, or has too many branches.
    #[error("its chain is too long")]
    Chain,
    /// It was revoked, or its status is not known.
    #[error("it was revoked, or its status is not known")]
    Revoked,
    /// It is not encoded as a certificate is.
    #[error("it is malformed")]
    Encoding,
    /// Something else.
    #[error("TLS cannot use it")]
    Other,
}

impl CertificateFlaw {
    /// The flaw that rustls reports.
    #[must_use]
    pub fn of(error: &rustls::CertificateError) -> Self {
        use rustls::CertificateError as C;
        #[allow(deprecated)]
        match error {
            C::BadEncoding => Self::Encoding,
            C::UnhandledCriticalExtension => Self::Extension,
            C::Revoked
            | C::UnknownRevocationStatus
            | C::ExpiredRevocationList
            | C::ExpiredRevocationListContext { .. }
            | C::InvalidOcspResponse => Self::Revoked,
            C::BadSignature => Self::Signature,
            C::UnsupportedSignatureAlgorithm
            | C::UnsupportedSignatureAlgorithmContext { .. }
            | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::Algorithm,
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::Purpose,
            C::Other(other) => other.0.downcast_ref().map_or(Self::Other, Self::of_webpki),
            _ => Self::Other,
        }
    }

    fn of_webpki(error: &webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CaUsedAsEndEntity => Self::Authority,
            E::EmptyEkuExtension => Self::Purpose,
            E::UnsupportedCertVersion => Self::OldVersion,
            E::UnsupportedCriticalExtension => Self::Extension,
            E::EndEntityUsedAsCa | E::NameConstraintViolation | E::PathLenConstraintViolated => Self::Issuer,
            E::MaximumPathDepthExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumSignatureChecksExceeded
            | E::MaximumNameConstraintComparisonsExceeded => Self::Chain,
            E::CertDistrusted => Self::Revoked,
            E::SignatureAlgorithmMismatch => Self::Signature,
            E::ExtensionValueInvalid
            | E::InvalidSerialNumber
            | E::InvalidNetworkMaskConstraint
            | E::MalformedDnsIdentifier
            | E::MalformedExtensions
            | E::MalformedNameConstraint => Self::Encoding,
            _ => Self::Other,
        }
    }
}

impl TlsFailure {
    /// The failure behind an error of rustls.
    #[must_use]
    pub fn of(error: &rustls::Error) -> Self {
        use rustls::CertificateError as C;
        use rustls::Error as E;
        use rustls::{HandshakeType, InvalidMessage, PeerMisbehaved};
        match error {
            E::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
                Self::NotTls
            }
            // This end's own first message, sent back by an echo server.
            E::InappropriateHandshakeMessage { got_type: HandshakeType::ClientHello, .. } => Self::NotTls,
            E::PeerIncompatible(_) => Self::NothingInCommon,
            E::NoApplicationProtocol => Self::NoProtocol,
            E::NoCertificatesPresented => Self::NoCertificate,
            E::InvalidCertificate(error) => match error {
                C::UnknownIssuer => Self::UnknownIssuer,
                C::NotValidForName | C::NotValidForNameContext { .. } => Self::WrongName,
                C::Expired | C::ExpiredContext { .. } => Self::Expired,
                C::NotValidYet | C::NotValidYetContext { .. } => Self::NotYetValid,
                C::ApplicationVerificationFailure => Self::NotPinned,
                error => Self::BadCertificate(CertificateFlaw::of(error)),
            },
            E::AlertReceived(alert) => Self::Refused(u8::from(*alert)),
            E::DecryptError | E::PeerMisbehaved(PeerMisbehaved::TooMuchEarlyDataReceived) => Self::Damaged,
            E::InvalidMessage(_)
            | E::PeerMisbehaved(_)
            | E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::PeerSentOversizedRecord
            | E::UnsupportedNameType => Self::Misbehaved,
            _ => Self::Failed,
        }
    }

    /// The failure behind an error of a TLS stream; `None` where TLS is not the cause.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(Self::of)
    }
}

/// An alert's name in IANA's registry ("TLS Alerts").
fn alert_name(number: u8) -> &'static str {
    match number {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed_RESERVED",
        22 => "record_overflow",
        30 => "decompression_failure_RESERVED",
        40 => "handshake_failure",
        41 => "no_certificate_RESERVED",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction_RESERVED",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation_RESERVED",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable_RESERVED",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value_RESERVED",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        117 => "general_error",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => "unassigned",
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, OtherError};

    use super::*;

    #[test]
    fn alerts_have_their_numbers_and_ianas_names() {
        for (alert, want) in [
            (0, "alert 0 (close_notify)"),
            (48, "alert 48 (unknown_ca)"),
            (100, "alert 100 (no_renegotiation_RESERVED)"),
            (121, "alert 121 (ech_required)"),
            (199, "alert 199 (unassigned)"),
        ] {
            let failure = TlsFailure::of(&rustls::Error::AlertReceived(AlertDescription::from(alert)));
            assert_eq!(failure.to_string(), format!("the peer refused: {want}"));
        }
        // The table has each alert that rustls knows.
        for alert in 0..=u8::MAX {
            let is_known = AlertDescription::from(alert).as_str().is_some();
            assert!(!is_known || alert_name(alert) != "unassigned", "{alert}");
        }
    }

    #[test]
    fn certificate_flaws_are_described_in_words() {
        for (error, want) in [
            (webpki::Error::CaUsedAsEndEntity, CertificateFlaw::Authority),
            (webpki::Error::UnsupportedCertVersion, CertificateFlaw::OldVersion),
            (webpki::Error::NameConstraintViolation, CertificateFlaw::Issuer),
            (webpki::Error::MaximumPathDepthExceeded, CertificateFlaw::Chain),
            (webpki::Error::MalformedExtensions, CertificateFlaw::Encoding),
            (webpki::Error::InvalidCrlNumber, CertificateFlaw::Other),
        ] {
            let other = CertificateError::Other(OtherError(std::sync::Arc::new(error)));
            let failure = TlsFailure::of(&rustls::Error::InvalidCertificate(other));
            assert_eq!(failure, TlsFailure::BadCertificate(want));
            assert!(!failure.to_string().contains("Error"), "{failure}");
        }
    }
}

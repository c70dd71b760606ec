//! IANA's names of what TLS negotiates (the registries "TLS Cipher Suites" and "TLS Supported
//! Groups"). rustls has names of its own for some.

use rustls::{CipherSuite, NamedGroup};

/// The name of a cipher suite, such as `TLS_AES_128_GCM_SHA256`.
pub fn suite(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS13_AES_128_CCM_SHA256 => "TLS_AES_128_CCM_SHA256",
        CipherSuite::TLS13_AES_128_CCM_8_SHA256 => "TLS_AES_128_CCM_8_SHA256",
        // rustls uses IANA's names for the older versions.
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// The name of a key exchange group, such as `x25519` or `X25519MLKEM768`.
pub fn group(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "x25519",
        NamedGroup::X448 => "x448",
        NamedGroup::FFDHE2048 => "ffdhe2048",
        NamedGroup::FFDHE3072 => "ffdhe3072",
        NamedGroup::FFDHE4096 => "ffdhe4096",
        NamedGroup::FFDHE6144 => "ffdhe6144",
        NamedGroup::FFDHE8192 => "ffdhe8192",
        NamedGroup::secp256r1MLKEM768 => "SecP256r1MLKEM768",
        other => other.as_str().unwrap_or("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_and_group_has_ianas_name() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let suites: Vec<_> = provider.cipher_suites.iter().map(|known| suite(known.suite())).collect();
        let want = [
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ];
        assert_eq!(suites, want);
        let groups: Vec<_> = provider.kx_groups.iter().map(|known| group(known.name())).collect();
        assert_eq!(groups, ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"]);
    }
}

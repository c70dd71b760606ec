//! The kind of a private key that cannot be used, in words.

use super::x509::{context, identifier, only, sequence};
use der::asn1::AnyRef;
use rustls::pki_types::PrivateKeyDer;

/// Algorithms, and curves of elliptic-curve keys.
const NAMES: [(&str, &str); 21] = [
    ("1.2.840.10040.4.1", "a DSA key"),
    ("1.3.101.110", "an X25519 key, which cannot sign"),
    ("1.3.101.111", "an X448 key, which cannot sign"),
    ("1.3.101.112", "an Ed25519 key"),
    ("1.3.101.113", "an Ed448 key"),
    ("1.2.840.113549.1.1.10", "an RSA-PSS key"),
    ("1.2.840.113549.1.3.1", "a Diffie-Hellman key, which cannot sign"),
    ("2.16.840.1.101.3.4.3.17", "an ML-DSA-44 key"),
    ("2.16.840.1.101.3.4.3.18", "an ML-DSA-65 key"),
    ("2.16.840.1.101.3.4.3.19", "an ML-DSA-87 key"),
    ("1.2.840.10045.3.1.1", "an ECDSA key with the curve secp192r1"),
    ("1.2.840.10045.3.1.7", "an ECDSA key with the curve P-256"),
    ("1.3.132.0.10", "an ECDSA key with the curve secp256k1"),
    ("1.3.132.0.33", "an ECDSA key with the curve secp224r1"),
    ("1.3.132.0.34", "an ECDSA key with the curve P-384"),
    ("1.3.132.0.35", "an ECDSA key with the curve P-521"),
    ("1.3.36.3.3.2.8.1.1.7", "an ECDSA key with the curve brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "an ECDSA key with the curve brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "an ECDSA key with the curve brainpoolP512r1"),
    ("1.2.156.10197.1.301", "an SM2 key"),
    ("1.2.643.7.1.1.1.1", "a GOST key"),
];
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";

/// The kind of the key, such as `a DSA key`; `None` for a malformed one.
pub(super) fn kind(key: &PrivateKeyDer<'_>) -> Option<String> {
    match key {
        PrivateKeyDer::Pkcs8(der) => {
            // RFC 5958, 2: version, algorithm with its parameters, key.
            let [_version, algorithm, inner, ..] = sequence(only(der.secret_pkcs8_der())?)?[..] else { return None };
            let algorithm = sequence(algorithm)?;
            match identifier(*algorithm.first()?)?.as_str() {
                RSA => rsa(inner.value()),
                EC => Some(curve(algorithm.get(1).copied())),
                other => Some(named(other)),
            }
        }
        PrivateKeyDer::Pkcs1(der) => rsa(der.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(der) => {
            // RFC 5915, 3: version, key, and perhaps the parameters, tagged.
            let parts = sequence(only(der.secret_sec1_der())?)?;
            let parameters = parts.get(2).filter(|parameters| context(**parameters) == Some(0));
            parts.get(1).map(|_key| curve(parameters.and_then(|parameters| only(parameters.value()))))
        }
        _ => None,
    }
}

/// RFC 8017, A.1.2: version, modulus.
fn rsa(der: &[u8]) -> Option<String> {
    let [_version, modulus, ..] = sequence(only(der)?)?[..] else { return None };
    let bytes: Vec<u8> = modulus.value().iter().copied().skip_while(|&b| b == 0).collect();
    let bits = bytes.len() * 8 - bytes.first().map_or(0, |first| first.leading_zeros() as usize);
    Some(format!("an RSA key of {bits} bits"))
}

fn curve(parameters: Option<AnyRef<'_>>) -> String {
    match parameters.map(identifier) {
        Some(Some(curve)) => named(&curve),
        Some(None) => "an ECDSA key whose curve is described, not named".into(),
        None => "an ECDSA key that does not name its curve".into(),
    }
}

fn named(oid: &str) -> String {
    let known = NAMES.iter().find(|(number, _)| *number == oid);
    known.map_or_else(|| format!("a key of another kind (object identifier {oid})"), |(_, name)| (*name).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A DER element, of up to 64 KiB.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = match content.len() {
            short @ ..128 => vec![short as u8],
            middle @ ..256 => vec![0x81, middle as u8],
            long => [&[0x82][..], &u16::try_from(long).unwrap().to_be_bytes()].concat(),
        };
        [&[tag], &length[..], &content].concat()
    }

    fn oid(text: &str) -> Vec<u8> {
        let arcs: Vec<u64> = text.split('.').map(|arc| arc.parse().unwrap()).collect();
        let first = 40 * arcs[0] + arcs[1];
        let bytes = std::iter::once(first).chain(arcs[2..].iter().copied()).flat_map(|arc| {
            let digits = (arc.checked_ilog2().unwrap_or(0) / 7 + 1) as usize;
            (0..digits).rev().map(move |at| (arc >> (7 * at) & 127) as u8 | if at > 0 { 128 } else { 0 })
        });
        der(6, &[&bytes.collect::<Vec<_>>()])
    }

    fn pkcs8(algorithm: &str, parameters: &[u8], key: &[u8]) -> PrivateKeyDer<'static> {
        let algorithm = der(0x30, &[&oid(algorithm), parameters]);
        PrivateKeyDer::Pkcs8(der(0x30, &[&[2, 1, 0], &algorithm, &der(4, &[key])]).into())
    }

    #[test]
    fn keys_that_cannot_be_used_have_the_names_of_their_kinds() {
        let rsa = |bits: usize| der(0x30, &[&[2, 1, 0], &der(2, &[&[0], &vec![0xff; bits / 8]]), &[2, 1, 3]]);
        let sec1 = |curve: &[u8]| {
            PrivateKeyDer::Sec1(der(0x30, &[&[2, 1, 1], &der(4, &[&[7; 32]]), &der(0xa0, &[curve])]).into())
        };
        let described = der(0x30, &[&[2, 1, 1]]);
        let cases = [
            (pkcs8("1.2.840.10040.4.1", &described, &[2, 1, 9]), "a DSA key"),
            (pkcs8("1.3.101.113", &[], &[4, 1, 9]), "an Ed448 key"),
            (pkcs8("1.3.101.110", &[], &[4, 1, 9]), "an X25519 key, which cannot sign"),
            (pkcs8("1.2.840.113549.1.1.10", &[], &rsa(2048)), "an RSA-PSS key"),
            (pkcs8(RSA, &[5, 0], &rsa(1024)), "an RSA key of 1024 bits"),
            (PrivateKeyDer::Pkcs1(rsa(16384).into()), "an RSA key of 16384 bits"),
            (pkcs8(EC, &oid("1.3.132.0.10"), &[0]), "an ECDSA key with the curve secp256k1"),
            (pkcs8(EC, &described, &[0]), "an ECDSA key whose curve is described, not named"),
            (sec1(&oid("1.3.132.0.10")), "an ECDSA key with the curve secp256k1"),
            (sec1(&oid("1.3.36.3.3.2.8.1.1.7")), "an ECDSA key with the curve brainpoolP256r1"),
            (pkcs8("1.2.3.4", &[], &[0]), "a key of another kind (object identifier 1.2.3.4)"),
        ];
        for (key, want) in cases {
            assert_eq!(kind(&key).as_deref(), Some(want));
            let whole = key.secret_der();
            // A missing or changed byte never causes a panic.
            for n in 0..whole.len() {
                let _ = kind(&PrivateKeyDer::Pkcs8(whole[..n].to_vec().into()));
                let mut changed = whole.to_vec();
                changed[n] ^= 0x80;
                let _ = kind(&PrivateKeyDer::Pkcs1(changed.clone().into()));
                let _ = kind(&PrivateKeyDer::Sec1(changed.into()));
            }
        }
        assert_eq!(kind(&PrivateKeyDer::Pkcs8(vec![1, 2, 3].into())), None);
    }
}

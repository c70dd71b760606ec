//! What kind of key a private key is, for who cannot use it.

use rustls::pki_types::PrivateKeyDer;
use x509_parser::asn1_rs::{Any, Integer, OctetString, Oid, Sequence};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AlgorithmIdentifier;

/// Keys that are used here, in words.
pub(super) const USED: &str = "RSA of 2048 to 8192 bits, ECDSA with P-256, P-384 or P-521, and Ed25519";

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

/// Says what it is, such as `a DSA key`; `None` where it is encoded as no private key is.
pub(super) fn kind(key: &PrivateKeyDer<'_>) -> Option<String> {
    match key {
        PrivateKeyDer::Pkcs8(der) => {
            // RFC 5958, 2: version, algorithm, key.
            let (rest, _) = Integer::from_der(content(der.secret_pkcs8_der())?).ok()?;
            let (rest, algorithm) = AlgorithmIdentifier::from_der(rest).ok()?;
            let (_, inner) = OctetString::from_der(rest).ok()?;
            match algorithm.algorithm.to_id_string().as_str() {
                RSA => rsa(inner.as_ref()),
                EC => Some(curve(algorithm.parameters)),
                other => Some(named(other)),
            }
        }
        PrivateKeyDer::Pkcs1(der) => rsa(der.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(der) => {
            // RFC 5915, 3: version, key, and perhaps the parameters, tagged.
            let (rest, _) = Integer::from_der(content(der.secret_sec1_der())?).ok()?;
            let (rest, _) = OctetString::from_der(rest).ok()?;
            let tagged = Any::from_der(rest).ok().map(|(_, tagged)| tagged);
            Some(curve(tagged.and_then(|tagged| Some(Any::from_der(tagged.data).ok()?.1))))
        }
        _ => None,
    }
}

fn content(der: &[u8]) -> Option<&[u8]> {
    match Sequence::from_der(der).ok()?.1.content {
        std::borrow::Cow::Borrowed(content) => Some(content),
        std::borrow::Cow::Owned(_) => None,
    }
}

/// RFC 8017, A.1.2: version, modulus.
fn rsa(der: &[u8]) -> Option<String> {
    let (rest, _) = Integer::from_der(content(der)?).ok()?;
    let (_, modulus) = Any::from_der(rest).ok()?;
    let bytes: Vec<u8> = modulus.data.iter().copied().skip_while(|&b| b == 0).collect();
    let bits = bytes.len() * 8 - bytes.first().map_or(0, |first| first.leading_zeros() as usize);
    Some(format!("an RSA key of {bits} bits"))
}

fn curve(parameters: Option<Any<'_>>) -> String {
    match parameters.map(|parameters| Oid::try_from(parameters)) {
        Some(Ok(curve)) => named(&curve.to_id_string()),
        // `openssl ec -param_enc named_curve` would write its name.
        Some(Err(_)) => "an ECDSA key whose curve is described, not named".into(),
        None => "an ECDSA key that does not name its curve".into(),
    }
}

fn named(oid: &str) -> String {
    let known = NAMES.iter().find(|(number, _)| *number == oid);
    known.map_or_else(|| format!("a key of another kind (object identifier {oid})"), |(_, name)| (*name).to_string())
}

//! The kind of a private key that cannot be used, in words.

use rustls::pki_types::PrivateKeyDer;
use yasna::{ASN1Result, BERReaderSeq, Tag, parse_ber};

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
            let (algorithm, parameters, inner) = sequence(der.secret_pkcs8_der(), pkcs8)?;
            match algorithm.as_str() {
                RSA => rsa(&inner),
                EC => Some(curve(parameters.as_deref())),
                other => Some(named(other)),
            }
        }
        PrivateKeyDer::Pkcs1(der) => rsa(der.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(der) => Some(curve(sequence(der.secret_sec1_der(), sec1)?.as_deref())),
        _ => None,
    }
}

/// What `read` reads at the beginning of a sequence.
fn sequence<T>(der: &[u8], read: impl Fn(&mut BERReaderSeq<'_, '_>) -> ASN1Result<T>) -> Option<T> {
    let beginning = |parts: &mut BERReaderSeq<'_, '_>| {
        let read = read(parts)?;
        while parts.read_optional(|one| one.read_der())?.is_some() {}
        Ok(read)
    };
    parse_ber(der, |reader| reader.read_sequence(beginning)).ok()
}

/// RFC 5958, 2: version, algorithm with its parameters, key.
fn pkcs8(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<(String, Option<Vec<u8>>, Vec<u8>)> {
    let _version = parts.next().read_der()?;
    let (algorithm, parameters) = parts.next().read_sequence(|algorithm| {
        Ok((algorithm.next().read_oid()?.to_string(), algorithm.read_optional(|one| one.read_der())?))
    })?;
    Ok((algorithm, parameters, parts.next().read_bytes()?))
}

/// RFC 5915, 3: version, key, and perhaps the parameters, tagged.
fn sec1(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Option<Vec<u8>>> {
    let (_version, _key) = (parts.next().read_der()?, parts.next().read_bytes()?);
    parts.read_optional(|parameters| parameters.read_tagged(Tag::context(0), |one| one.read_der()))
}

/// RFC 8017, A.1.2: version, modulus.
fn rsa(der: &[u8]) -> Option<String> {
    let modulus = sequence(der, |parts| {
        let _version = parts.next().read_der()?;
        parts.next().read_tagged_der()
    })?;
    let bytes: Vec<u8> = modulus.value().iter().copied().skip_while(|&b| b == 0).collect();
    let bits = bytes.len() * 8 - bytes.first().map_or(0, |first| first.leading_zeros() as usize);
    Some(format!("an RSA key of {bits} bits"))
}

fn curve(parameters: Option<&[u8]>) -> String {
    match parameters.map(|parameters| parse_ber(parameters, |one| one.read_oid())) {
        Some(Ok(curve)) => named(&curve.to_string()),
        Some(Err(_)) => "an ECDSA key whose curve is described, not named".into(),
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
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], &content].concat()
    }

    fn oid(text: &str) -> Vec<u8> {
        yasna::construct_der(|writer| writer.write_oid(&text.parse().unwrap()))
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

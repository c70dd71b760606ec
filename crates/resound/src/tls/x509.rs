//! [`X509`]: the fields of a certificate (RFC 5280, 4.1) that this library reads. rustls verifies
//! certificates, and does not show their fields. Like OpenSSL, this reader accepts BER, which a
//! verifier may reject.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use yasna::models::{GeneralizedTime, TaggedDerValue, UTCTime};
use yasna::tags::{TAG_BMPSTRING, TAG_GENERALIZEDTIME, TAG_UNIVERSALSTRING, TAG_UTCTIME};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, BERReaderSeq, Tag, TagClass, parse_ber};

/// Tags of strings that hold ASCII, Latin-1 or UTF-8: UTF8String, NumericString, PrintableString,
/// TeletexString, VideotexString, IA5String, VisibleString, GeneralString.
const STRINGS: [u64; 8] = [12, 18, 19, 20, 21, 22, 26, 27];

/// Attributes of names, and how people write them (RFC 4514, 3, and OpenSSL).
const ATTRIBUTES: [(&str, &str); 18] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.42", "GN"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// Extensions (RFC 5280, 4.2.1.6, 4.2.1.9, 4.2.1.12).
const SUBJECT_ALTERNATIVE_NAME: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";

/// Purposes of keys (RFC 5280, 4.2.1.12).
pub(super) const ANY_PURPOSE: &str = "2.5.29.37.0";
pub(super) const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
pub(super) const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";

/// The fields of a certificate.
#[derive(Debug, PartialEq)]
pub(super) struct X509 {
    pub(super) issuer: String,
    pub(super) subject: String,
    /// Issuer and subject are the same, byte by byte.
    pub(super) is_self_issued: bool,
    /// Moments before 1970 are that of 1970.
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// The DNS names and IP addresses of subjectAltName.
    pub(super) names: Vec<String>,
    /// basicConstraints has CA:TRUE.
    pub(super) is_authority: bool,
    /// The object identifiers of extKeyUsage; `None` without that extension.
    pub(super) purposes: Option<Vec<String>>,
}

impl X509 {
    /// Reads a certificate; `None` if the bytes are not one.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let certificate = |parts: &mut BERReaderSeq<'_, '_>| {
            let fields = parts.next().read_sequence(Self::fields)?;
            // The algorithm of the signature, and the signature.
            parts.next().read_der()?;
            parts.next().read_bitvec_bytes()?;
            Ok(fields)
        };
        parse_ber(der, |reader| reader.read_sequence(certificate)).ok()
    }

    /// `TBSCertificate`.
    fn fields(fields: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Self> {
        let _version = fields.read_optional(|field| field.read_tagged(Tag::context(0), |one| one.read_der()))?;
        let [_serial, _algorithm, issuer] =
            [fields.next().read_der()?, fields.next().read_der()?, fields.next().read_der()?];
        let validity = |times: &mut BERReaderSeq<'_, '_>| Ok((moment(times.next())?, moment(times.next())?));
        let (not_before, not_after) = fields.next().read_sequence(validity)?;
        let [subject, _key] = [fields.next().read_der()?, fields.next().read_der()?];
        // issuerUniqueID and subjectUniqueID.
        for id in [1, 2] {
            fields
                .read_optional(|field| field.read_tagged_implicit(Tag::context(id), |one| one.read_bitvec_bytes()))?;
        }
        let extensions = |field: BERReader<'_, '_>| {
            field.read_tagged(Tag::context(3), |list| list.collect_sequence_of(|one| one.read_sequence(extension)))
        };
        let extensions = fields.read_optional(extensions)?.unwrap_or_default();
        let values =
            |id: &'static str| extensions.iter().filter(move |(of, _)| of == id).map(|(_, value)| value.as_slice());
        let mut purposes = values(EXTENDED_KEY_USAGE).map(identifiers).collect::<ASN1Result<Vec<_>>>()?;
        // A second one is forbidden (RFC 5280, 4.2), and could hide the first.
        let (purposes, None) = (purposes.pop(), purposes.pop()) else {
            return Err(ASN1Error::new(ASN1ErrorKind::Invalid));
        };
        Ok(Self {
            is_self_issued: issuer == subject,
            issuer: name(&issuer),
            subject: name(&subject),
            not_before,
            not_after,
            names: values(SUBJECT_ALTERNATIVE_NAME).flat_map(alternative_names).collect(),
            is_authority: values(BASIC_CONSTRAINTS).any(is_authority),
            purposes,
        })
    }
}

/// The object identifier and the value of an extension.
fn extension(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<(String, Vec<u8>)> {
    let id = parts.next().read_oid()?.to_string();
    let _is_critical = parts.read_optional(|one| one.read_bool())?;
    Ok((id, parts.next().read_bytes()?))
}

/// `Time` (4.1.2.5): with its seconds, and in UTC.
fn moment(time: BERReader<'_, '_>) -> ASN1Result<SystemTime> {
    let value = time.read_tagged_der()?;
    let time = match (value.tag(), value.value()) {
        (TAG_UTCTIME, text @ [.., b'Z']) if text.len() == 13 => UTCTime::parse(text).map(|time| *time.datetime()),
        (TAG_GENERALIZEDTIME, text @ [.., b'Z']) if text.len() == 15 => {
            GeneralizedTime::parse(text).map(|time| *time.datetime())
        }
        _ => None,
    };
    let since_1970 = time.ok_or(ASN1Error::new(ASN1ErrorKind::Invalid))?.unix_timestamp();
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(since_1970.try_into().unwrap_or(0)))
}

/// `Name` (4.1.2.4) as a line: `C=US, O=Example\, Inc., CN=example.org`.
fn name(der: &[u8]) -> String {
    let attribute = |parts: &mut BERReaderSeq<'_, '_>| {
        let id = parts.next().read_oid()?.to_string();
        let known = ATTRIBUTES.iter().find(|(known, _)| *known == id).map(|(_, short)| *short);
        Ok(format!("{}={}", known.unwrap_or(&id), text(&parts.next().read_tagged_der()?)))
    };
    let several = |set: BERReader<'_, '_>| Ok(set.collect_set_of(|one| one.read_sequence(attribute))?.join(" + "));
    match parse_ber(der, |reader| reader.collect_sequence_of(several)) {
        Ok(parts) => parts.join(", "),
        Err(_) => "(a name that cannot be read)".into(),
    }
}

/// A value, with a backslash before what would end it (RFC 4514, 2.4): no value looks like several.
fn escaped(value: &str) -> String {
    let special = |c: char| ",+=\"\\<>;".contains(c);
    value.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// `DirectoryString` and its like; another value in hexadecimal digits behind `#`.
fn text(value: &TaggedDerValue) -> String {
    let bytes = value.value();
    let text = match value.tag() {
        TAG_BMPSTRING => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        TAG_UNIVERSALSTRING => {
            let units = bytes.chunks_exact(4).map(|unit| u32::from_be_bytes([unit[0], unit[1], unit[2], unit[3]]));
            units.map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        Tag { tag_class: TagClass::Universal, tag_number } if STRINGS.contains(&tag_number) => {
            std::str::from_utf8(bytes)
                .map_or_else(|_| bytes.iter().map(|&byte| char::from(byte)).collect(), String::from)
        }
        _ => return bytes.iter().fold("#".into(), |text, byte| format!("{text}{byte:02X}")),
    };
    escaped(&text)
}

/// The DNS names and IP addresses in `GeneralNames` (4.2.1.6).
fn alternative_names(value: &[u8]) -> Vec<String> {
    let [dns, ip] = [2, 7].map(Tag::context);
    let plain = |name: &TaggedDerValue| match (name.tag(), name.value()) {
        (tag, text) if tag == dns => std::str::from_utf8(text).ok().map(ToString::to_string),
        (tag, &[a, b, c, d]) if tag == ip => Some(Ipv4Addr::new(a, b, c, d).to_string()),
        (tag, bytes) if tag == ip => <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_string()),
        _ => None,
    };
    let names = parse_ber(value, |reader| reader.collect_sequence_of(|one| one.read_tagged_der()));
    names.unwrap_or_default().iter().filter_map(plain).collect()
}

/// `BasicConstraints` with CA:TRUE (4.2.1.9).
fn is_authority(value: &[u8]) -> bool {
    let constraints = |parts: &mut BERReaderSeq<'_, '_>| {
        let is_authority = parts.read_optional(|one| one.read_bool())?;
        let _path_length = parts.read_optional(|one| one.read_der())?;
        Ok(is_authority == Some(true))
    };
    parse_ber(value, |reader| reader.read_sequence(constraints)).unwrap_or(false)
}

/// A sequence of object identifiers.
fn identifiers(value: &[u8]) -> ASN1Result<Vec<String>> {
    parse_ber(value, |reader| reader.collect_sequence_of(|one| Ok(one.read_oid()?.to_string())))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };

    use super::*;

    fn signed(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let names = ["a.example", "192.0.2.7", "2001:db8::7"].map(ToString::to_string);
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_fields_of_a_certificate_are_read() {
        let der = signed(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap()));
            params.distinguished_name.push(DnType::OrganizationName, "Müller + Söhne, CN=a");
            params.distinguished_name.push(DnType::CommonName, DnValue::BmpString("Ω".try_into().unwrap()));
            params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 3, 400_000]), "x");
            params.not_before = rcgen::date_time_ymd(2001, 2, 3);
            params.not_after = rcgen::date_time_ymd(2061, 2, 3);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
        });
        let name = r"C=DE, O=Müller \+ Söhne\, CN\=a, CN=Ω, 1.2.3.400000=x".to_string();
        let read = X509 {
            issuer: name.clone(),
            subject: name,
            is_self_issued: true,
            not_before: SystemTime::UNIX_EPOCH + Duration::from_secs(981_158_400),
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(2_874_614_400),
            names: ["a.example", "192.0.2.7", "2001:db8::7"].map(ToString::to_string).into(),
            is_authority: true,
            purposes: Some([SERVER_AUTH, ANY_PURPOSE].map(ToString::to_string).into()),
        };
        assert_eq!(X509::read(&der).unwrap(), read);
        let plain = X509::read(&signed(|_| ())).unwrap();
        assert_eq!((plain.is_authority, plain.purposes), (false, None));
    }

    #[test]
    fn a_second_list_of_purposes_makes_a_certificate_unreadable() {
        let purposes = |id: u8| {
            let content = [&[0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3][..], &[id]].concat();
            CustomExtension::from_oid_content(&[2, 5, 29, 37], content)
        };
        let with =
            |all: &[u8]| signed(|params| params.custom_extensions = all.iter().map(|&id| purposes(id)).collect());
        assert_eq!(X509::read(&with(&[2])).unwrap().purposes, Some(vec![CLIENT_AUTH.to_string()]));
        assert_eq!(X509::read(&with(&[2, 1])), None);
    }

    #[test]
    fn a_missing_or_changed_byte_never_causes_a_panic() {
        let whole = signed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        for n in 0..whole.len() {
            assert_eq!(X509::read(&whole[..n]), None, "{n} bytes");
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[n] ^= 1 << bit;
                let _ = X509::read(&changed);
            }
        }
    }
}

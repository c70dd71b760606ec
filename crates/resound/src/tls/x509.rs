//! [`X509`]: the fields of a certificate (RFC 5280, 4.1) that this library reads. rustls verifies
//! certificates, and does not show their fields.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use der::asn1::AnyRef;
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use time::{Date, Month};

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

/// Extensions, by the bytes of their identifiers (RFC 5280, 4.2.1.6, 4.2.1.9, 4.2.1.12).
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];

/// Purposes of keys, likewise (RFC 5280, 4.2.1.12).
pub(super) const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 37, 0];
pub(super) const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
pub(super) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

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
    pub(super) purposes: Option<Vec<Vec<u8>>>,
}

impl X509 {
    /// Reads a certificate; `None` if the bytes are not one.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let [fields, _algorithm, _signature] = sequence(only(der)?)?[..] else { return None };
        let mut fields = sequence(fields)?.into_iter().peekable();
        let _version = fields.next_if(|field| context(*field) == Some(0));
        let (_serial, _algorithm, issuer) = (fields.next()?, fields.next()?, fields.next()?);
        let [not_before, not_after] = sequence(fields.next()?)?[..] else { return None };
        let (subject, _key) = (fields.next()?, fields.next()?);
        // Between them may stand identifiers, which are not read.
        let extensions = match fields.find(|field| context(*field) == Some(3)) {
            Some(field) => sequence(only(field.value())?)?.into_iter().map(extension).collect::<Option<Vec<_>>>()?,
            None => Vec::new(),
        };
        let values = |id: &'static [u8]| extensions.iter().filter(move |(of, _)| *of == id).map(|(_, value)| *value);
        let mut purposes = values(EXTENDED_KEY_USAGE).map(identifiers).collect::<Option<Vec<_>>>()?;
        // A second one is forbidden (RFC 5280, 4.2), and could hide the first.
        let (purposes, None) = (purposes.pop(), purposes.pop()) else { return None };
        Some(Self {
            is_self_issued: issuer == subject,
            issuer: name(issuer),
            subject: name(subject),
            not_before: moment(not_before)?,
            not_after: moment(not_after)?,
            names: values(SUBJECT_ALTERNATIVE_NAME)
                .flat_map(|value| alternative_names(value).unwrap_or_default())
                .collect(),
            is_authority: values(BASIC_CONSTRAINTS).any(|value| is_authority(value) == Some(true)),
            purposes,
        })
    }
}

/// The elements that stand one behind the other; `None` if one is malformed.
fn elements(der: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(elements)
}

/// The one element that the bytes are.
pub(super) fn only(der: &[u8]) -> Option<AnyRef<'_>> {
    match elements(der)?[..] {
        [only] => Some(only),
        _ => None,
    }
}

/// The elements of a sequence.
pub(super) fn sequence(element: AnyRef<'_>) -> Option<Vec<AnyRef<'_>>> {
    if element.tag() == Tag::Sequence { elements(element.value()) } else { None }
}

/// The number of a context-specific tag.
pub(super) fn context(element: AnyRef<'_>) -> Option<u32> {
    match element.tag() {
        Tag::ContextSpecific { number: TagNumber(number), .. } => Some(number),
        _ => None,
    }
}

/// The bytes of an object identifier.
fn identifier_bytes(element: AnyRef<'_>) -> Option<&[u8]> {
    Some(element.value()).filter(|_| element.tag() == Tag::ObjectIdentifier)
}

/// An object identifier with its dots (X.690, 8.19), or in hexadecimal digits if it has larger
/// numbers than any in use.
pub(super) fn identifier(element: AnyRef<'_>) -> Option<String> {
    let bytes = identifier_bytes(element).filter(|bytes| !bytes.is_empty())?;
    let (mut text, mut arc) = (String::new(), 0_u64);
    for byte in bytes {
        let Some(larger) = arc.checked_mul(128) else { return Some(hexadecimal(bytes)) };
        arc = larger + u64::from(byte & 127);
        if byte & 128 != 0 {
            continue;
        }
        // The first two arcs are one number.
        text += &match (text.is_empty(), (arc / 40).min(2)) {
            (true, first) => format!("{first}.{}", arc - 40 * first),
            (false, _) => format!(".{arc}"),
        };
        arc = 0;
    }
    bytes.last().is_some_and(|last| last & 128 == 0).then_some(text)
}

/// The object identifier and the value of an extension.
fn extension(extension: AnyRef<'_>) -> Option<(&[u8], &[u8])> {
    match sequence(extension)?[..] {
        [id, value] | [id, _, value] if value.tag() == Tag::OctetString => Some((identifier_bytes(id)?, value.value())),
        _ => None,
    }
}

/// `Time` (4.1.2.5): with its seconds, and in UTC.
fn moment(time: AnyRef<'_>) -> Option<SystemTime> {
    let (digits, b"Z") = time.value().split_at_checked(time.value().len().checked_sub(1)?)? else { return None };
    let (century, digits) = match (time.tag(), digits.len()) {
        (Tag::UtcTime, 12) => (if digits[0] < b'5' { 20 } else { 19 }, digits),
        (Tag::GeneralizedTime, 14) => (number(&digits[..2])?, &digits[2..]),
        _ => return None,
    };
    let parts = digits.chunks_exact(2).map(number).collect::<Option<Vec<_>>>()?;
    let [year, month, day, hour, minute, second] = parts[..] else { return None };
    let year = i32::from(century) * 100 + i32::from(year);
    let day = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let since_1970 = day.with_hms(hour, minute, second).ok()?.assume_utc().unix_timestamp();
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(since_1970.try_into().unwrap_or(0)))
}

/// Two digits.
fn number(digits: &[u8]) -> Option<u8> {
    match *digits {
        [ten @ b'0'..=b'9', one @ b'0'..=b'9'] => Some((ten - b'0') * 10 + (one - b'0')),
        _ => None,
    }
}

/// `Name` (4.1.2.4) as a line: `C=US, O=Example\, Inc., CN=example.org`.
fn name(name: AnyRef<'_>) -> String {
    let attribute = |attribute: AnyRef<'_>| {
        let [id, value] = sequence(attribute)?[..] else { return None };
        let id = identifier(id)?;
        let known = ATTRIBUTES.iter().find(|(known, _)| *known == id).map(|(_, short)| *short);
        Some(format!("{}={}", known.unwrap_or(&id), text(value)))
    };
    let several = |set: AnyRef<'_>| {
        let set = Some(set).filter(|set| set.tag() == Tag::Set)?;
        let attributes = elements(set.value())?.into_iter().map(attribute).collect::<Option<Vec<_>>>()?;
        Some(attributes.join(" + "))
    };
    let parts = sequence(name).and_then(|sets| sets.into_iter().map(several).collect::<Option<Vec<_>>>());
    parts.map_or_else(|| "(a name that cannot be read)".into(), |parts| parts.join(", "))
}

/// A value, with a backslash before what would end it (RFC 4514, 2.4): no value looks like several.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.chars().enumerate() {
        let is_at_edge = at == 0 && matches!(c, ' ' | '#') || at == last && c == ' ';
        if is_at_edge || ",+=\"\\<>;".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// As RFC 4514, 2.4 writes a value that is no string.
fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::from("#");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// `DirectoryString` and its like; another value in hexadecimal digits after `#`.
fn text(value: AnyRef<'_>) -> String {
    let bytes = value.value();
    match value.tag() {
        Tag::BmpString => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            let text: String =
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
            escaped(&text)
        }
        Tag::Utf8String
        | Tag::NumericString
        | Tag::PrintableString
        | Tag::TeletexString
        | Tag::VideotexString
        | Tag::Ia5String
        | Tag::VisibleString
        | Tag::GeneralString => match std::str::from_utf8(bytes) {
            Ok(text) => escaped(text),
            // Latin-1, most often.
            Err(_) => escaped(&bytes.iter().map(|&byte| char::from(byte)).collect::<String>()),
        },
        _ => hexadecimal(bytes),
    }
}

/// The DNS names and IP addresses in `GeneralNames` (4.2.1.6).
fn alternative_names(value: &[u8]) -> Option<Vec<String>> {
    let plain = |name: AnyRef<'_>| match (context(name), name.value()) {
        (Some(2), text) => std::str::from_utf8(text).ok().map(ToString::to_string),
        (Some(7), &[a, b, c, d]) => Some(Ipv4Addr::new(a, b, c, d).to_string()),
        (Some(7), bytes) => <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_string()),
        _ => None,
    };
    Some(sequence(only(value)?)?.into_iter().filter_map(plain).collect())
}

/// `BasicConstraints` with CA:TRUE (4.2.1.9).
fn is_authority(value: &[u8]) -> Option<bool> {
    let constraints = sequence(only(value)?)?;
    Some(constraints.first().is_some_and(|first| first.tag() == Tag::Boolean && first.value() != [0]))
}

/// A sequence of object identifiers.
fn identifiers(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    sequence(only(value)?)?.into_iter().map(|id| identifier_bytes(id).map(<[u8]>::to_vec)).collect()
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
            purposes: Some([SERVER_AUTH, ANY_PURPOSE].map(<[u8]>::to_vec).into()),
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
        assert_eq!(X509::read(&with(&[2])).unwrap().purposes, Some(vec![CLIENT_AUTH.to_vec()]));
        assert_eq!(X509::read(&with(&[2, 1])), None);
    }

    #[test]
    fn a_large_object_identifier_is_no_obstacle() {
        // 2.25 and a number of 128 bits (X.667).
        let id = [&[0x69][..], &[0xff; 18], &[0x7f]].concat();
        let length = u8::try_from(id.len()).unwrap();
        let element = [&[6, length][..], &id].concat();
        assert!(identifier(only(&element).unwrap()).unwrap().starts_with("#69FF"));
        let extension = [&[0x30, length + 5, 6, length][..], &id, &[4, 1, 0]].concat();
        assert_eq!(super::extension(only(&extension).unwrap()), Some((&id[..], &[0][..])));
        assert_eq!(escaped("#a b "), "\\#a b\\ ");
    }

    #[test]
    fn an_element_that_is_too_long_for_its_place_is_malformed() {
        // Lengths that would pass the end of memory, or of the element around them.
        for length in [&[0x88, 255, 255, 255, 255, 255, 255, 255, 0xf0][..], &[0x84, 255, 255, 255, 255], &[0x80], &[9]]
        {
            let inner = [&[0x02][..], length, &[1]].concat();
            let outer = [&[0x30, u8::try_from(inner.len()).unwrap()][..], &inner].concat();
            assert_eq!(only(&outer).and_then(sequence), None, "{length:?}");
        }
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

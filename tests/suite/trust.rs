//! Who is at the two ends of TLS: names, authorities, certificates of both, protocols, sessions.

use std::path::Path;

use resound::{CloseReason, Identity, TlsClient, TlsFailure, TlsSettings, Trust};

use crate::harness::Folder;
use crate::tls::{fail, of_tls12, plain_server, serving, shake};
use crate::tunnel::identity;

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let other = Identity::development(&["other.example".into(), "*.wild.example".into()]).unwrap();
    let tls = serving(&TlsSettings::new(identity().clone()).identity(other.clone()));
    for (name, identity) in [
        ("localhost", identity()),
        ("other.example", &other),
        ("a.wild.example", &other),
        ("nobody.example", identity()),
        ("127.0.0.1", identity()),
    ] {
        let pin = Trust::Pin(identity.fingerprint());
        let (ours, theirs) = shake(&TlsClient::new(name, pin, None, &[]).unwrap(), &tls);
        assert_eq!(ours.peer.as_ref().unwrap().fingerprint, identity.fingerprint().to_string(), "{name}");
        // An address is no name that is asked for (RFC 6066, 3).
        assert_eq!(theirs.server_name.as_deref(), Some(name).filter(|name| *name != "127.0.0.1"));
    }
}

/// The two files of an identity, as a person would have them.
pub(crate) fn write_pem(folder: &Path, name: &str, names: &[&str]) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    // Of its own, or one would be taken for the issuer of another.
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&key).unwrap();
    let path = |kind: &str| folder.join(format!("{name}.{kind}")).to_str().unwrap().to_string();
    std::fs::write(path("pem"), certificate.pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    (path("pem"), path("key"))
}

#[test]
fn both_ends_may_have_to_show_who_they_are() {
    let folder = Folder::new();
    let (pem, key) = write_pem(&folder.0, "client", &["client.example"]);
    let (_, other_key) = write_pem(&folder.0, "other", &["other.example"]);
    let me = Identity::load(Path::new(&pem), Path::new(&key)).unwrap();
    let tls = serving(&TlsSettings::new(identity().clone()).client_ca(Path::new(&pem)).unwrap());
    let pin = || Trust::Pin(identity().fingerprint());
    let with = |identity| TlsClient::new("localhost", pin(), identity, &[]).unwrap();
    let (_, theirs) = shake(&with(Some(&me)), &tls);
    assert_eq!(theirs.peer.as_ref().unwrap().fingerprint, me.fingerprint().to_string());

    let (ours, theirs) = fail(&with(None), &tls);
    assert_eq!(theirs, Some(CloseReason::Tls(TlsFailure::NoCertificate)));
    assert_eq!(ours, Some(CloseReason::Tls(TlsFailure::Refused(116))));
    let (stranger, stranger_key) = write_pem(&folder.0, "stranger", &["stranger.example"]);
    let stranger = Identity::load(Path::new(&stranger), Path::new(&stranger_key)).unwrap();
    let (ours, theirs) = fail(&with(Some(&stranger)), &tls);
    assert_eq!(theirs, Some(CloseReason::Tls(TlsFailure::UnknownIssuer)));
    assert_eq!(ours, Some(CloseReason::Tls(TlsFailure::Refused(48))), "unknown_ca");

    let error = Identity::load(Path::new(&pem), Path::new(&other_key)).unwrap_err().to_string();
    assert!(error.contains("client.pem") && error.contains("belongs to another certificate"), "{error}");
    let error = Identity::load(Path::new(&key), Path::new(&key)).unwrap_err().to_string();
    assert!(error.contains("client.key") && error.contains("no certificate in PEM form"), "{error}");
}

#[test]
fn a_server_that_is_not_trusted_is_left_with_the_reason() {
    let other = Identity::development(&["localhost".into()]).unwrap();
    let folder = Folder::new();
    let (ours, _) = write_pem(&folder.0, "ours", &["right.example"]);
    let cases = [
        (TlsClient::new("localhost", Trust::Pin(other.fingerprint()), None, &[]), TlsFailure::NotPinned),
        (TlsClient::new("localhost", Trust::file(Path::new(&ours)).unwrap(), None, &[]), TlsFailure::UnknownIssuer),
        (TlsClient::new("localhost", Trust::Platform, None, &[]), TlsFailure::UnknownIssuer),
    ];
    for (client, want) in cases {
        let (ours, theirs) = fail(&client.unwrap(), &plain_server());
        assert_eq!(ours, Some(CloseReason::Tls(want)));
        assert!(matches!(theirs, Some(CloseReason::Tls(TlsFailure::Refused(_)))), "{theirs:?}");
    }
    let (pem, key) = write_pem(&folder.0, "named", &["right.example"]);
    let named = Identity::load(Path::new(&pem), Path::new(&key)).unwrap();
    let wrong = TlsClient::new("wrong.example", Trust::file(Path::new(&pem)).unwrap(), None, &[]).unwrap();
    assert_eq!(
        fail(&wrong, &serving(&TlsSettings::new(named.clone()))).0,
        Some(CloseReason::Tls(TlsFailure::WrongName))
    );
    let right = TlsClient::new("right.example", Trust::file(Path::new(&pem)).unwrap(), None, &[]).unwrap();
    shake(&right, &serving(&TlsSettings::new(named)));
    shake(&TlsClient::new("localhost", Trust::Anybody, None, &[]).unwrap(), &plain_server());
}

#[test]
fn protocols_are_agreed_on_or_refused() {
    let tls = serving(&TlsSettings::new(identity().clone()).alpn("line/1").alpn("h2"));
    let offering = |alpn: &[&str]| {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsClient::new("localhost", Trust::Pin(identity().fingerprint()), None, &alpn).unwrap()
    };
    let (ours, theirs) = shake(&offering(&["h2", "line/1"]), &tls);
    assert_eq!((ours.alpn.as_deref(), theirs.alpn.as_deref()), (Some(&b"line/1"[..]), Some(&b"line/1"[..])));
    assert_eq!(shake(&offering(&[]), &tls).0.alpn, None);
    let (ours, theirs) = fail(&offering(&["spdy/1"]), &tls);
    assert_eq!(theirs, Some(CloseReason::Tls(TlsFailure::NoProtocol)));
    assert_eq!(ours, Some(CloseReason::Tls(TlsFailure::Refused(120))));
}

#[test]
fn a_session_is_resumed_until_the_settings_are_replaced() {
    for resuming in [TlsClient::new("localhost", Trust::Pin(identity().fingerprint()), None, &[]).unwrap(), of_tls12()]
    {
        let tls = plain_server();
        assert!(!shake(&resuming, &tls).0.resumed);
        let (ours, theirs) = shake(&resuming, &tls);
        assert!(ours.resumed && theirs.resumed, "{}", ours.version);
        let other = Identity::development(&["localhost".into()]).unwrap();
        tls.replace(&TlsSettings::new(other)).unwrap();
        if ours.version == "TLSv1.3" {
            assert_eq!(fail(&resuming, &tls).0, Some(CloseReason::Tls(TlsFailure::NotPinned)));
        }
    }
}

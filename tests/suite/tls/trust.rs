//! The identities of the two ends of TLS: names, authorities, certificates of both, protocols,
//! sessions.

use std::path::Path;
use std::sync::Arc;

use resound::CloseReason;
use resound::tls::rustls::{self, pki_types::CertificateDer};
use resound::tls::{CertificateFlaw, Identity, TlsClient, TlsFailure, TlsServerSettings, Trust, TrustStore};

use tempfile::TempDir;

use crate::tls::connections::{fail, of_tls12, plain_server, serving, shake};
use crate::tunnel::identity;

#[test]
fn the_requested_name_chooses_the_certificate() {
    let other = Identity::development(&["other.example".into(), "*.wild.example".into()]).unwrap();
    let tls = serving(&TlsServerSettings::new(identity().clone()).identity(other.clone()));
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
fn both_ends_may_need_a_certificate() {
    let folder = TempDir::new().unwrap();
    let (pem, key) = write_pem(folder.path(), "client", &["client.example"]);
    let (_, other_key) = write_pem(folder.path(), "other", &["other.example"]);
    let me = Identity::load(Path::new(&pem), Path::new(&key)).unwrap();
    let tls = serving(&TlsServerSettings::new(identity().clone()).client_ca(Path::new(&pem)).unwrap());
    let pin = || Trust::Pin(identity().fingerprint());
    let with = |identity| TlsClient::new("localhost", pin(), identity, &[]).unwrap();
    let (_, theirs) = shake(&with(Some(&me)), &tls);
    assert_eq!(theirs.peer.as_ref().unwrap().fingerprint, me.fingerprint().to_string());

    let (ours, theirs) = fail(&with(None), &tls);
    assert_eq!(theirs, Some(CloseReason::Tls(TlsFailure::NoCertificate)));
    assert_eq!(ours, Some(CloseReason::Tls(TlsFailure::Refused(116))));
    let (stranger, stranger_key) = write_pem(folder.path(), "stranger", &["stranger.example"]);
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
    let folder = TempDir::new().unwrap();
    let (ours, _) = write_pem(folder.path(), "ours", &["right.example"]);
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
    let (pem, key) = write_pem(folder.path(), "named", &["right.example"]);
    let named = Identity::load(Path::new(&pem), Path::new(&key)).unwrap();
    let wrong = TlsClient::new("wrong.example", Trust::file(Path::new(&pem)).unwrap(), None, &[]).unwrap();
    assert_eq!(
        fail(&wrong, &serving(&TlsServerSettings::new(named.clone()))).0,
        Some(CloseReason::Tls(TlsFailure::WrongName))
    );
    let right = TlsClient::new("right.example", Trust::file(Path::new(&pem)).unwrap(), None, &[]).unwrap();
    shake(&right, &serving(&TlsServerSettings::new(named)));
    shake(&TlsClient::new("localhost", Trust::Unverified, None, &[]).unwrap(), &plain_server());
}

#[test]
fn protocols_are_agreed_on_or_refused() {
    let tls = serving(&TlsServerSettings::new(identity().clone()).alpn("line/1").alpn("h2"));
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
        tls.replace(&TlsServerSettings::new(other)).unwrap();
        if ours.version == "TLSv1.3" {
            assert_eq!(fail(&resuming, &tls).0, Some(CloseReason::Tls(TlsFailure::NotPinned)));
        }
    }
}

/// A certificate and its key, signed by itself or by another.
fn issued(params: rcgen::CertificateParams, by: Option<&rcgen::Issuer<'_, rcgen::KeyPair>>) -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = match by {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Identity::of(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap()).unwrap()
}

fn named(name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::new(vec![name.to_string()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    change(&mut params);
    params
}

/// The file that `--ca` would name.
fn authorities(folder: &TempDir, of: &[&Identity]) -> TrustStore {
    let pem = of.iter().map(|identity| pem("CERTIFICATE", &identity.chain()[0]));
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, pem.collect::<String>()).unwrap();
    TrustStore::file(&file).unwrap()
}

/// RFC 7468, without line breaks within.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = der.chunks(3).flat_map(|three| {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digit = move |at: usize| match at <= three.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * at)) as usize % 64]),
            false => '=',
        };
        (0..4).map(digit)
    });
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", digits.collect::<String>())
}

#[test]
fn a_certificate_that_is_trusted_itself_needs_no_issuer_but_its_name_and_its_dates() {
    use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};
    let folder = TempDir::new().unwrap();
    let ca = |params: &mut rcgen::CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::new(named("authority", ca), rcgen::KeyPair::generate().unwrap());
    let other = issued(named("other.example", ca), None);
    let mut cases = vec![
        // What `openssl req -x509` makes; a leaf of an authority that is not trusted; one that has
        // signed itself.
        (issued(named("right.example", ca), None), Ok(())),
        (issued(named("right.example", |_| ()), Some(&issuer)), Ok(())),
        (issued(named("right.example", ca), Some(&issuer)), Ok(())),
        (issued(named("right.example", |_| ()), None), Ok(())),
        (issued(named("wrong.example", ca), None), Err(TlsFailure::WrongName)),
        (issued(named("wrong.example", |_| ()), Some(&issuer)), Err(TlsFailure::WrongName)),
    ];
    for by in [None, Some(&issuer)] {
        let expired = named("right.example", |params| params.not_after = date_time_ymd(2020, 1, 1));
        let early = named("right.example", |params| params.not_before = date_time_ymd(3000, 1, 1));
        let of_clients =
            named("right.example", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        cases.push((issued(expired, by), Err(TlsFailure::Expired)));
        cases.push((issued(early, by), Err(TlsFailure::NotYetValid)));
        cases.push((issued(of_clients, by), Err(TlsFailure::BadCertificate(CertificateFlaw::Purpose))));
    }
    for (server, want) in &cases {
        let tls = serving(&TlsServerSettings::new(server.clone()));
        let trusting = |of: &[&Identity]| {
            TlsClient::new("right.example", Trust::Roots(authorities(&folder, of)), None, &[]).unwrap()
        };
        let client = trusting(&[&other, server]);
        match want {
            Ok(()) => drop(shake(&client, &tls)),
            Err(failure) => assert_eq!(fail(&client, &tls).0, Some(CloseReason::Tls(*failure))),
        }
        // Trust in one certificate does not extend to another.
        let Some(CloseReason::Tls(failure)) = fail(&trusting(&[&other]), &tls).0 else { panic!("it was trusted") };
        assert!(!failure.to_string().contains("Other"), "{failure}");
        if server.certificate().is_authority && want.is_ok() {
            assert_eq!(failure, TlsFailure::BadCertificate(CertificateFlaw::Authority));
        }
    }
}

#[test]
fn a_client_whose_certificate_is_trusted_itself_is_accepted() {
    use rcgen::{BasicConstraints, IsCa, date_time_ymd};
    let folder = TempDir::new().unwrap();
    let ca = |params: &mut rcgen::CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let expired = named("client", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let cases = [
        (issued(named("client", ca), None), None),
        (issued(expired, None), Some(CloseReason::Tls(TlsFailure::Expired))),
    ];
    for (me, want) in cases {
        authorities(&folder, &[&me]);
        let tls =
            serving(&TlsServerSettings::new(identity().clone()).client_ca(&folder.path().join("ca.pem")).unwrap());
        let pin = Trust::Pin(identity().fingerprint());
        let client = TlsClient::new("localhost", pin, Some(&me), &[]).unwrap();
        match want {
            None => drop(shake(&client, &tls)),
            reason => assert_eq!(fail(&client, &tls).1, reason),
        }
    }
}

/// A server that shows a certificate whose key it does not hold.
#[derive(Debug)]
struct Impostor(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Impostor {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[test]
fn a_peer_that_shows_a_trusted_certificate_must_hold_its_key() {
    let folder = TempDir::new().unwrap();
    let real = issued(named("right.example", |_| ()), None);
    let client = TlsClient::new("right.example", Trust::Roots(authorities(&folder, &[&real])), None, &[]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rcgen::KeyPair::generate().unwrap().serialize_der().try_into().unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let shown = rustls::sign::CertifiedKey::new(real.chain().to_vec(), key);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Impostor(Arc::new(shown.clone()))));
        let mut server = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut own = rustls::ClientConnection::new(Arc::clone(client.config()), client.name().clone()).unwrap();
        let mut wire = Vec::new();
        let failure = loop {
            own.write_tls(&mut wire).unwrap();
            server.read_tls(&mut std::mem::take(&mut wire).as_slice()).unwrap();
            server.process_new_packets().unwrap();
            server.write_tls(&mut wire).unwrap();
            own.read_tls(&mut std::mem::take(&mut wire).as_slice()).unwrap();
            match own.process_new_packets() {
                Ok(_) => assert!(own.is_handshaking(), "it was believed"),
                Err(error) => break TlsFailure::of(&error),
            }
        };
        assert_eq!(failure, TlsFailure::BadCertificate(CertificateFlaw::Signature));
    }
}

/// Accepts all certificates, and supports some signature schemes.
#[derive(Debug)]
struct Signs(Vec<rustls::SignatureScheme>);

impl rustls::client::danger::ServerCertVerifier for Signs {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.clone()
    }
}

#[test]
fn of_two_certificates_for_one_name_the_client_gets_one_that_it_can_check() {
    use rustls::SignatureScheme as S;
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = named("two.example", |_| ()).self_signed(&rsa).unwrap();
    let rsa = Identity::of(vec![certificate.der().clone()], rsa.serialize_der().try_into().unwrap()).unwrap();
    let ecdsa = issued(named("two.example", |_| ()), None);
    let other = issued(named("other.example", |_| ()), None);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (only_rsa, only_ecdsa) = (vec![S::RSA_PSS_SHA256], vec![S::ECDSA_NISTP256_SHA256]);
    let both = vec![S::RSA_PSS_SHA256, S::ECDSA_NISTP256_SHA256];
    for (first, second) in [(&rsa, &ecdsa), (&ecdsa, &rsa)] {
        let settings = TlsServerSettings::new(first.clone()).identity(other.clone()).identity(second.clone());
        let tls = serving(&settings);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            // An address, and a name that none is for, get what the first is for.
            for name in ["two.example", "127.0.0.1", "none.example"] {
                for (schemes, want) in [(&only_rsa, &rsa), (&only_ecdsa, &ecdsa), (&both, first)] {
                    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
                        .with_protocol_versions(&[version])
                        .unwrap()
                        .dangerous()
                        .with_custom_certificate_verifier(Arc::new(Signs(schemes.clone())))
                        .with_no_client_auth();
                    let client = TlsClient::of(Arc::new(config), name.to_string().try_into().unwrap());
                    let peer = shake(&client, &tls).0.peer.clone().unwrap();
                    assert_eq!(peer.fingerprint, want.fingerprint().to_string(), "{name} {schemes:?} {version:?}");
                }
            }
        }
    }
}

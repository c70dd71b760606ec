//! Certificates and keys that cannot be used, or not well: how the program reports them, and the
//! command that mends it.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

use tempfile::TempDir;

use crate::child::{Program, run};
use crate::tls::trust::{pem, write_pem};

/// A certificate that has signed itself, and its key, as files.
fn write(folder: &TempDir, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    change(&mut params);
    let path = |kind: &str| folder.path().join(format!("{name}.{kind}")).to_str().unwrap().to_string();
    fs::write(path("pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(path("key"), key.serialize_pem()).unwrap();
    (path("pem"), path("key"))
}

/// The bytes of a PEM file's first section.
fn der(file: &str) -> Vec<u8> {
    use resound::tls::rustls::pki_types::pem::{SectionKind, from_buf};
    let (_, der): (SectionKind, _) = from_buf(&mut &fs::read(file).unwrap()[..]).unwrap().unwrap();
    der
}

#[test]
fn a_file_of_another_kind_is_reported_with_the_command_that_mends_it() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = write_pem(folder.path(), "one", &["one.example"]);
    let (other, other_key) = write_pem(folder.path(), "two", &["two.example"]);
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name).to_str().unwrap().to_string();
        fs::write(&path, bytes).unwrap();
        path
    };
    // Keys up to the fields that are read: version, algorithm, and something where the key should
    // be.
    let ed448 = [&[0x30, 16, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 4, 4][..], &[4, 2, 1, 2]].concat();
    let dsa = [&[0x30, 19, 2, 1, 0, 0x30, 9, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1, 4, 3][..], &[2, 1, 9]].concat();
    let k1 = [&[0x30, 16, 2, 1, 1, 4, 2, 1, 2, 0xa0, 7, 6, 5][..], &[0x2b, 0x81, 4, 0, 10]].concat();
    let encrypted = [&[0x30, 15, 0x30, 13, 6, 9][..], &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 0x0d, 5, 0]].concat();
    let p12 = [&[0x30, 0x82, 1, 0, 2, 1, 3, 0x30][..], &[0; 252]].concat();
    let traditional = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
        -----END RSA PRIVATE KEY-----\n";
    let parameters = [pem("EC PARAMETERS", &[6, 5, 0x2b, 0x81, 4, 0, 10]), pem("EC PRIVATE KEY", &k1)].concat();
    let whole = fs::read(&cert).unwrap();
    let both = [fs::read(&other).unwrap(), whole.clone()].concat();
    let make = "openssl req -x509 -newkey ec";

    let of_keys = [
        (file("enc.key", pem("ENCRYPTED PRIVATE KEY", &encrypted).as_bytes()), "is encrypted", "openssl pkey -in"),
        (file("trad.key", traditional), "is encrypted", "openssl pkey -in"),
        (file("enc.der", &encrypted), "encrypted private key in DER form", "openssl pkcs8 -inform DER -in"),
        (file("ed448.key", pem("PRIVATE KEY", &ed448).as_bytes()), "holds an Ed448 key", make),
        (file("dsa.key", pem("PRIVATE KEY", &dsa).as_bytes()), "holds a DSA key", make),
        (file("k1.key", parameters.as_bytes()), "with the curve secp256k1", make),
        (file("raw.key", &[0xa5; 32]), "no private key in PEM form, but 32 bytes", make),
        (file("broken.key", pem("PRIVATE KEY", &[1; 9]).as_bytes()), "is malformed", make),
        (file("der.key", &der(&key)), "private key in DER form", "openssl pkey -inform DER -in"),
        (file("empty.key", b" \n"), "it is empty", "Copy it again"),
        (file("public.key", pem("PUBLIC KEY", &[5, 0]).as_bytes()), "but a public key", make),
        (file("ssh.key", pem("OPENSSH PRIVATE KEY", b"x").as_bytes()), "OPENSSH", "ssh-keygen -p -m PEM -f"),
        (cert.clone(), "no private key in PEM form, but a certificate", "--key FILE"),
        (other_key.clone(), "belongs to another certificate", "openssl pkey -pubout -in"),
    ];
    let of_certificates = [
        (key.clone(), "no certificate in PEM form, but a private key", "BEGIN CERTIFICATE"),
        (file("empty.pem", b""), "it is empty", "Copy it again"),
        (file("der.cer", &der(&cert)), "certificate in DER form", "openssl x509 -inform DER -in"),
        (file("it's.p12", &p12), "PKCS #12", "openssl pkcs12 -nodes -in '"),
        (file("request.pem", pem("CERTIFICATE REQUEST", b"x").as_bytes()), "certificate request", "openssl req -x509"),
        (file("cut.pem", &whole[..whole.len() / 2]), "number 1 is damaged or cut off", "Copy it again"),
        (file("bits.pem", &whole.replace_at(40, b"*")), "number 1 is damaged or cut off", "Copy it again"),
        (file("odd.pem", pem("CERTIFICATE", &[1; 9]).as_bytes()), "it is malformed", make),
        (file("order.pem", &both), "in the wrong order: that of the key is number 2 of 2", "cat own.pem"),
        (file("wide.pem", b"\xff\xfe-\0-\0"), "UTF-16", "iconv -f UTF-16"),
        (folder.path().to_str().unwrap().to_string(), "directory", "Check the path"),
        // The error names the key, and not the block before it.
        (file("parameters.pem", parameters.as_bytes()), "but a section 'EC PRIVATE KEY'", "BEGIN CERTIFICATE"),
    ];
    let bad_keys = of_keys.iter().map(|(file, what, how)| (vec!["--cert", &cert, "--key", file], *what, *how));
    let bad_certificates =
        of_certificates.iter().map(|(file, what, how)| (vec!["--cert", file, "--key", &key], *what, *how));
    let swapped = (vec!["--cert", &key, "--key", &cert], "holds the private key, and", "--cert ");
    let bad_authority = (vec!["--cert", &cert, "--key", &key, "--client-ca", &key], "but a private key", "CERTIFICATE");
    for (args, what, how) in bad_keys.chain(bad_certificates).chain([swapped, bad_authority]) {
        let (code, _, stderr) = run(&[&["server", "127.0.0.1", "0", "--tls"], &args[..]].concat(), b"");
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains("resound: cannot use ") && stderr.contains(what), "{args:?}: {stderr}");
        assert!(stderr.lines().nth(1).is_some_and(|advice| advice.contains(how)), "{args:?}: {stderr}");
    }
    // The client has the same files.
    for (file, what, how) in &of_keys[..4] {
        let (code, _, stderr) = run(&["client", "127.0.0.1", "9", "--tls", "--cert", &cert, "--key", file], b"");
        assert!(code == Some(2) && stderr.contains(what) && stderr.contains(how), "{stderr}");
    }
    let (code, _, stderr) = run(&["load", "127.0.0.1", "9", "--tls", "--ca", &of_certificates[2].0], b"");
    assert!(code == Some(2) && stderr.contains("openssl x509 -inform DER"), "{stderr}");
}

trait ReplaceAt {
    fn replace_at(&self, at: usize, bytes: &[u8]) -> Vec<u8>;
}

impl ReplaceAt for Vec<u8> {
    fn replace_at(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut changed = self.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    }
}

fn serving(args: &[&str]) -> (Program, String) {
    let (server, address) = Program::server(&[&["--tls"], args].concat());
    (server, address.port().to_string())
}

#[cfg(unix)]
fn stop(server: Program) -> String {
    server.signal(rustix::process::Signal::TERM);
    let (code, stderr) = server.end();
    assert_eq!(code, Some(0), "{stderr}");
    stderr
}

#[cfg(unix)]
#[test]
fn an_authoritys_own_certificate_is_reported_and_can_be_trusted() {
    let folder = TempDir::new().unwrap();
    let ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (cert, key) = write(&folder, "ca", ca);
    let (server, port) = serving(&["--cert", &cert, "--key", &key]);
    let trusts = ["client", "127.0.0.1", &port, "--tls", "--ca", &cert];
    let (code, stdout, stderr) = run(&trusts, b"a\n");
    assert_eq!((code, &stdout[..]), (Some(0), &b"Server received: a\n"[..]), "{stderr}");
    let (code, _, stderr) = run(&[&trusts[..], &["--server-name", "other.example"]].concat(), b"a\n");
    assert_eq!(code, Some(1));
    let want = "tls: the peer's certificate is for another name \
                (it should be for other.example, and is for localhost, 127.0.0.1)";
    assert!(stderr.contains(want), "{stderr}");
    let (code, _, stderr) = run(&["client", "127.0.0.1", &port, "--tls"], b"a\n");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("it is a certificate authority's own (CA:TRUE)"), "{stderr}");
    assert!(stderr.contains("--ca FILE") && stderr.contains("-addext basicConstraints=critical,CA:FALSE"), "{stderr}");
    let stderr = stop(server);
    assert!(stderr.contains("certificate authority's own (CA:TRUE), which has signed itself"), "{stderr}");
    let mends = format!(
        "openssl req -x509 -key {key} -out server.pem -days 90 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
    );
    assert!(stderr.contains(&mends), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_certificate_that_is_not_valid_now_is_warned_of_at_start_and_when_it_is_read_again() {
    let folder = TempDir::new().unwrap();
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 2);
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(3000, 1, 2);
    let (cert, key) = write(&folder, "server", expired);
    let (mut server, port) = serving(&["--cert", &cert, "--key", &key]);
    let (code, _, stderr) = run(&["client", "127.0.0.1", &port, "--tls", "--ca", &cert], b"a\n");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("tls: the peer's certificate has expired (at 2020-01-02T00:00:00Z)"), "{stderr}");
    write(&folder, "server", early);
    server.signal(rustix::process::Signal::HUP);
    server.stdout.until("TLS certificate (reloaded)");
    let (_, _, stderr) = run(&["client", "127.0.0.1", &port, "--tls", "--ca", &cert], b"a\n");
    assert!(stderr.contains("is not valid yet (not before 3000-01-02T00:00:00Z)"), "{stderr}");
    // A client that shows one is warned too.
    let me = ["client", "127.0.0.1", "9", "--tls", "--cert", &cert, "--key", &key];
    assert!(run(&me, b"").2.contains("is not valid before 3000-01-02T00:00:00Z"));
    let stderr = stop(server);
    let warning = |what: &str| stderr.lines().filter(|line| line.contains("warning") && line.contains(what)).count();
    assert_eq!(warning("server.pem has expired at 2020-01-02T00:00:00Z"), 1, "{stderr}");
    assert_eq!(warning("server.pem is not valid before 3000-01-02T00:00:00Z"), 1, "{stderr}");

    let nameless = |params: &mut CertificateParams| params.subject_alt_names.clear();
    let (cert, key) = write(&folder, "nameless", nameless);
    let (server, port) = serving(&["--cert", &cert, "--key", &key]);
    let (_, _, stderr) = run(&["client", "127.0.0.1", &port, "--tls", "--ca", &cert], b"a\n");
    assert!(stderr.contains("it should be for 127.0.0.1, and has no names: no subjectAltName"), "{stderr}");
    assert!(stderr.contains("No --server-name can match it: pin it (--pin SHA256)"), "{stderr}");
    assert!(stop(server).contains("is for no name (no subjectAltName)"));
}

#[test]
fn tls_parameters_have_ianas_names_in_the_log_and_on_the_console() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = write(&folder, "server", |_| ());
    let args = ["server", "127.0.0.1", "0", "--tls", "--cert", &cert, "--key", &key, "--log-format", "json"];
    let mut server = Program::spawn(Program::command(&args));
    let mut event = |name: &str| loop {
        let event: serde_json::Value = serde_json::from_str(&server.stdout.next()).unwrap();
        if event["event"] == name {
            return event;
        }
    };
    let address = event("started")["address"].as_str().unwrap().to_string();
    let (code, _, stderr) = run(&["client", &address, "--tls", "--ca", &cert, "-v"], b"a\n");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("; TLSv1.3, TLS_AES_256_GCM_SHA384, X25519MLKEM768,"), "{stderr}");
    let tls = &event("opened")["tls"];
    assert_eq!((&tls["cipher_suite"], &tls["group"]), (&"TLS_AES_256_GCM_SHA384".into(), &"X25519MLKEM768".into()));
    assert_eq!(event("closed")["detail"], serde_json::Value::Null);
    run(&["client", &address, "--tls", "--ca", &cert, "--server-name", "other.example"], b"a\n");
    assert_eq!(event("unopened")["detail"], "the peer refused: alert 42 (bad_certificate)");

    let session = resound::tls::TlsClient::new("localhost", resound::tls::Trust::Unverified, None, &[]).unwrap();
    let session =
        resound::tls::rustls::ClientConnection::new(session.config().clone(), session.name().clone()).unwrap();
    let stream = std::net::TcpStream::connect(&address).unwrap();
    let mut tls = resound::tls::rustls::StreamOwned::new(session, stream);
    std::io::Write::write_all(&mut tls, b"cut o").unwrap();
    std::io::Write::flush(&mut tls).unwrap();
    tls.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let closed = event("closed");
    assert_eq!(
        (&closed["reason"], &closed["detail"]),
        (&"truncated".into(), &"the peer ended without TLS's close_notify".into())
    );
}

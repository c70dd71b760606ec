//! TLS as a user of the program sees it.

#[cfg(unix)]
use std::fs;
use std::io::{Read, Write};

use tempfile::TempDir;

use crate::child::{Program, run};
use crate::tls::trust::write_pem;

/// A server with TLS on a free port, and the fingerprint that it prints.
fn server(args: &[&str]) -> (Program, String, String) {
    let (mut server, address) = Program::server(&[&["--tls"], args].concat());
    let line = server.stdout.until("TLS certificate");
    let print = line.split("SHA-256 ").nth(1).expect(&line).to_string();
    (server, address.port().to_string(), print)
}

#[test]
fn a_client_that_trusts_the_server_gets_every_reply() {
    for engine in crate::harness::engines() {
        let (_server, port, print) = server(&["--engine", engine]);
        let pinned = ["client", "127.0.0.1", &port, "--tls", "--pin", &print];
        let (code, stdout, stderr) = run(&pinned, b"a\nb");
        assert_eq!((code, &stdout[..]), (Some(0), &b"Server received: a\nServer received: b"[..]), "{stderr}");
        assert_eq!(stderr, "");
        let (code, _, stderr) = run(&["test", "127.0.0.1", &port, "--tls", "--pin", &print], b"");
        assert_eq!(code, Some(0), "{stderr}");
    }
}

#[test]
fn no_certificate_is_trusted_unasked_and_each_refusal_has_a_hint() {
    let (_server, port, print) = server(&[]);
    let other = print.replace(|c: char| c.is_ascii_digit(), "0");
    let cases: [(&[&str], &str, &str); 2] = [
        (&[], "tls: no trusted authority has signed the peer's certificate", "--ca FILE"),
        (&["--pin", &other], "tls: the peer's certificate is not the pinned one", "compare its fingerprint"),
    ];
    for (args, what, advice) in cases {
        let (code, stdout, stderr) = run(&[&["client", "127.0.0.1", &port, "--tls"], args].concat(), b"secret\n");
        assert_eq!((code, stdout.len()), (Some(1), 0));
        assert!(stderr.contains(what) && stderr.contains(advice), "{stderr}");
    }
    let (code, _, stderr) = run(&["client", "127.0.0.1", &port, "--tls", "--insecure"], b"a\n");
    assert_eq!(code, Some(0));
    assert!(stderr.contains("warning") && stderr.contains("not checked"), "{stderr}");
}

#[test]
fn each_end_reports_why_the_other_refuses_its_certificate() {
    let folder = TempDir::new().unwrap();
    let (pem, key) = write_pem(folder.path(), "server", &["right.example"]);
    let (client_pem, client_key) = write_pem(folder.path(), "client", &["client.example"]);
    let (other_pem, _) = write_pem(folder.path(), "other", &["other.example"]);
    for engine in crate::harness::engines() {
        let (mut server, port, _) =
            server(&["--cert", &pem, "--key", &key, "--client-ca", &client_pem, "--engine", engine]);
        let ask = |args: &[&str]| run(&[&["client", "127.0.0.1", &port, "--tls"], args].concat(), b"a\n");
        for (args, alert) in [
            (&["--server-name", "wrong.example", "--ca", &pem][..], "42 (bad_certificate)"),
            (&["--server-name", "right.example", "--ca", &other_pem], "48 (unknown_ca)"),
            (&["--pin", &"ab".repeat(32)], "49 (access_denied)"),
        ] {
            assert_eq!(ask(args).0, Some(1), "{args:?}");
            let line = server.stdout.until("No connection");
            assert!(line.ends_with(&format!("): the peer refused: alert {alert}")), "{engine}: {line}");
        }
        let trusted = ["--server-name", "right.example", "--ca", &pem];
        let me = ["--cert", &other_pem, "--key", &folder.path().join("other.key").display().to_string()];
        let (code, _, stderr) = ask(&[&trusted[..], &me].concat());
        assert_eq!(code, Some(1));
        assert!(stderr.starts_with("resound: tls: the peer refused: alert 48 (unknown_ca)"), "{stderr}");
        let line = server.stdout.until("No connection");
        assert!(line.ends_with("): no trusted authority has signed the peer's certificate"), "{line}");
        let me = ["--cert", &client_pem, "--key", &client_key];
        assert_eq!(ask(&[&trusted[..], &me].concat()).0, Some(0));
    }
}

#[test]
fn plain_and_tls_ends_detect_each_other() {
    let (mut secure, port, _) = server(&[]);
    let (code, stdout, stderr) = run(&["client", "127.0.0.1", &port], b"a\n");
    assert_eq!(
        (code, &stdout[..]),
        (Some(1), &b"Error: this server speaks TLS (resound client --tls)\n"[..]),
        "{stderr}"
    );
    assert!(stderr.starts_with("resound: tls: the server speaks TLS") && stderr.contains("--tls"), "{stderr}");
    assert!(secure.stdout.until("No connection from").ends_with("the peer does not speak TLS"));
    let (code, stdout, stderr) = run(&["test", "127.0.0.1", &port], b"");
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.starts_with("resound: tls: the server speaks TLS"), "{stderr}");
    assert!(String::from_utf8(stdout).unwrap().contains("accept-truth        3/3  the server expects TLS: --tls\n"));
    let (code, stdout, _) = run(&["client", "127.0.0.1", &port, "--json"], b"a\n");
    let last = String::from_utf8(stdout).unwrap().lines().last().unwrap().to_string();
    assert!(code == Some(1) && last.contains("\"tls\""), "{last}");

    for mode in ["echo", "reply", "discard"] {
        let (_plain, address) = Program::server(&["--mode", mode]);
        let port = address.port().to_string();
        for command in ["client", "test"] {
            let (code, stdout, stderr) =
                run(&[command, "127.0.0.1", &port, "--tls", "--connect-timeout", "1s"], b"a\n");
            assert_eq!((code, stdout.len()), (Some(1), 0), "{mode}: {stderr}");
            assert!(stderr.contains("resound: tls: ") || stderr.contains("is it one that speaks TLS?"), "{stderr}");
        }
    }
    let (mut plain, address) = Program::server(&["--mode", "echo"]);
    assert_eq!(run(&["client", "127.0.0.1", &address.port().to_string(), "--tls"], b"a\n").0, Some(1));
    plain.stdout.until("(that is how TLS begins");
}

#[test]
fn an_alert_on_a_plain_connection_is_understood_and_other_short_answers_are_answers() {
    for (answer, code) in [(&b"\x15\x03\x03\0\x02\x02\x46"[..], 1), (b"\x15\x03\x03\0\x02\x02", 0), (b"Error", 0)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let (got, stdout, stderr) = run(&["client", "127.0.0.1", &port], b"a\n");
        assert_eq!((got, &stdout[..]), (Some(code), answer), "{stderr}");
        server.join().unwrap();
    }
}

#[test]
fn a_client_with_name_authority_and_certificate_is_served() {
    let folder = TempDir::new().unwrap();
    let (server_pem, server_key) = write_pem(folder.path(), "server", &["right.example"]);
    let (client_pem, client_key) = write_pem(folder.path(), "client", &["client.example"]);
    let (mut server, port, _) =
        server(&["--cert", &server_pem, "--key", &server_key, "--client-ca", &client_pem, "--alpn", "line/1"]);
    let base = ["client", "127.0.0.1", &port, "--tls", "--ca", &server_pem];
    let name = ["--server-name", "right.example"];
    let me = ["--cert", &client_pem, "--key", &client_key, "--alpn", "line/1", "-v"];
    let (code, stdout, stderr) = run(&[&base[..], &name, &me].concat(), b"a\n");
    assert_eq!((code, &stdout[..]), (Some(0), &b"Server received: a\n"[..]), "{stderr}");
    assert!(
        stderr.contains("TLSv1.3") && stderr.contains("ALPN line/1") && stderr.contains("for right.example"),
        "{stderr}"
    );
    let opened = server.stdout.until("New connection from");
    assert!(opened.contains("for right.example") && opened.contains("peer CN="), "{opened}");

    let (code, _, stderr) = run(&[&base[..], &me].concat(), b"a\n");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("for another name") && stderr.contains("--server-name"), "{stderr}");
    let (code, _, stderr) = run(&[&base[..], &name, &["--alpn", "line/1"]].concat(), b"a\n");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("certificate_required") && stderr.contains("--cert"), "{stderr}");
    let (code, _, stderr) =
        run(&[&base[..], &name, &["--alpn", "other", "--cert", &client_pem, "--key", &client_key]].concat(), b"a\n");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no_application_protocol"), "{stderr}");
}

#[test]
fn unusable_certificates_are_reported_at_the_start() {
    let folder = TempDir::new().unwrap();
    let (pem, _) = write_pem(folder.path(), "one", &["one.example"]);
    let (_, key) = write_pem(folder.path(), "two", &["two.example"]);
    let nothing = folder.path().join("nothing").to_str().unwrap().to_string();
    let cases: [(&[&str], &str); 5] = [
        (&["--tls", "--cert", &pem, "--key", &key], "belongs to another certificate"),
        (&["--tls", "--cert", &nothing, "--key", &key], "nothing: no such file"),
        (&["--tls", "--cert", &pem], "no private key in PEM form"),
        (&["--tls", "--cert", &pem, "--cert", &pem, "--key", &key], "one --key for each --cert"),
        (&["--cert", &pem, "--key", &key], "--tls"),
    ];
    for (args, want) in cases {
        let (code, _, stderr) = run(&[&["server", "127.0.0.1", "0"], args].concat(), b"");
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.to_lowercase().contains(&want.to_lowercase()), "{args:?}: {stderr}");
    }
}

#[cfg(unix)]
#[test]
fn certificates_are_replaced_while_the_server_runs_and_bad_ones_are_not() {
    let folder = TempDir::new().unwrap();
    let (pem, key) = write_pem(folder.path(), "server", &["a.example"]);
    let (mut server, port, first) = server(&["--cert", &pem, "--key", &key]);
    let trusts = |print: &str| run(&["client", "127.0.0.1", &port, "--tls", "--pin", print], b"a\n").0 == Some(0);
    assert!(trusts(&first));

    // Only the file shows that it has changed.
    write_pem(folder.path(), "server", &["b.example"]);
    let second = server.stdout.until("TLS certificate (reloaded)").split("SHA-256 ").nth(1).unwrap().to_string();
    assert!(second != first && trusts(&second) && !trusts(&first));

    // A certificate and a key that do not match change nothing; once they match again, a signal
    // reloads them.
    let good = fs::read(&key).unwrap();
    fs::write(&key, "nonsense").unwrap();
    server.signal(rustix::process::Signal::HUP);
    assert!(trusts(&second));
    fs::write(&key, good).unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.stdout.until("TLS certificate (reloaded)");
    assert!(trusts(&second));
    server.signal(rustix::process::Signal::INT);
    let (code, stderr) = server.end();
    assert_eq!(code, Some(0), "{stderr}");
}

use super::super::one_connection::tests::{far, near};
use super::*;
use resound::tls::{Identity, TlsClient, TlsServer, TlsServerSettings, Trust};

const NEAR: &str = "10.0.0.1:4000";
const FAR: &str = "10.0.0.2:7";

/// What a session has negotiated: of a real one, since the type is not made elsewhere.
fn session() -> TlsInfo {
    let identity = Identity::development(&["localhost".into()]).unwrap();
    let tls = TlsServer::new(&TlsServerSettings::new(identity)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = resound::Server::new().workers(std::num::NonZeroUsize::MIN).listen("127.0.0.1:0").unwrap();
    let server = server.handshake(move |_| resound::Handshake::new().tls_server(&tls));
    let server = server.serve(|_: &resound::ConnInfo| resound::Echo).unwrap();
    let address: resound::Address = server.addresses()[0].to_string().parse().unwrap();
    let client = TlsClient::new("localhost", Trust::Unverified, None, &[]).unwrap();
    let info = runtime.block_on(async {
        let stream =
            resound::dial(&address, resound::DialOptions::default()).await.unwrap().secure(&client).await.unwrap();
        stream.tls().unwrap().info().clone()
    });
    server.stop();
    info
}

#[test]
fn sessions_are_told_apart() {
    let info = session();
    let value = hex(&info.exporter.expect("TLS 1.3 has one"));
    let far_tls = |exporter: Option<&str>, version: &str| {
        Some(FarTls { version: version.into(), exporter: exporter.map(Into::into), server_name: None })
    };
    let report = |tls: &TlsInfo, far_tls| {
        let (near, far) = (near(NEAR, FAR), FarHello { tls: far_tls, ..far(NEAR, FAR) });
        judged(&[(&near, tls, &far), (&near, tls, &far), (&near, tls, &far)])
    };
    let one = report(&info, far_tls(Some(&value), "TLSv1.3"));
    assert_eq!((one.verdict, one.ok, one.tries), (CheckVerdict::Pass, 3, 3));
    let two = report(&info, far_tls(Some(&value.replace(|c: char| c.is_ascii_digit(), "a")), "TLSv1.3"));
    assert_eq!((two.verdict, two.ok), (CheckVerdict::Warn, 0));
    assert!(two.summary.contains("two TLS sessions"), "{two:?}");
    let none = report(&info, None);
    assert_eq!(none.verdict, CheckVerdict::Warn);
    assert!(none.summary.contains("TLS ends before the far end"), "{none:?}");
    let silent = report(&info, far_tls(None, "TLSv1.3"));
    assert_eq!(silent.verdict, CheckVerdict::Unknown, "{silent:?}");
    let mut old = info;
    (old.version, old.exporter) = ("TLSv1.2", None);
    assert!(report(&old, far_tls(None, "TLSv1.2")).summary.contains("sessions of TLS 1.2 may share"));
    assert_eq!(report(&old, far_tls(None, "TLSv1.3")).verdict, CheckVerdict::Warn, "two versions are two sessions");
}

#[test]
fn a_run_without_tls_skips() {
    let greetings = Greetings::of(Vec::new());
    assert_eq!(tls(&greetings, false).verdict, CheckVerdict::Skip);
    assert_eq!(tls(&greetings, true).verdict, CheckVerdict::Unknown);
}

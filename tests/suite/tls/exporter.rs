//! The channel binding of a session (RFC 9266): at both ends on a virtual clock, and against the
//! exporter of rustls itself on each engine.

use std::sync::{Arc, Mutex, mpsc};

use resound::tls::rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;
use resound::tls::{TlsClient, TlsServer, Trust, rustls};
use resound::{Address, ConnInfo, DialOptions, Echo, Endpoint, Engine, Handshake, dial};

use crate::harness::{PATIENCE, Running, on_each_engine_once, server};
use crate::tls::connections::{of_suites, of_tls12, plain_server, shake};
use crate::tunnel::{client, identity};

on_each_engine_once!(both_ends_of_a_stream_have_the_same_channel_binding);

/// Of one session, at both ends.
fn binding(client: &TlsClient, server: &TlsServer) -> Option<[u8; 32]> {
    let (ours, theirs) = shake(client, server);
    assert_eq!(ours.exporter, theirs.exporter, "{}", ours.cipher_suite);
    ours.exporter
}

#[test]
fn each_session_has_its_own_channel_binding() {
    let resuming = TlsClient::new("localhost", Trust::Pin(identity().fingerprint()), None, &[]).unwrap();
    let server = plain_server();
    let mut seen = Vec::new();
    // A full handshake, those that resume its session, and others.
    for client in [&resuming, &resuming, &resuming, client(), client()] {
        let binding = binding(client, &server).expect("TLS 1.3 has one");
        assert!(!seen.contains(&binding), "{binding:02x?}");
        seen.push(binding);
    }
}

#[test]
fn every_cipher_suite_of_tls13_has_a_channel_binding() {
    let suites: Vec<_> = DEFAULT_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_some()).collect();
    assert_eq!(suites.len(), 3);
    for suite in suites {
        let client = of_suites(&rustls::version::TLS13, &[*suite]);
        assert!(binding(&client, &plain_server()).is_some(), "{suite:?}");
    }
}

#[test]
fn tls12_has_no_channel_binding() {
    assert_eq!(binding(&of_tls12(), &plain_server()), None);
}

#[test]
fn a_key_log_is_written_as_before() {
    #[derive(Debug, Default)]
    struct Labels(Mutex<Vec<String>>);
    impl rustls::KeyLog for Labels {
        fn log(&self, label: &str, _: &[u8], _: &[u8]) {
            self.0.lock().unwrap().push(label.into());
        }
        fn will_log(&self, label: &str) -> bool {
            label.starts_with("CLIENT_")
        }
    }
    let mut config = rustls::ClientConfig::clone(client().config());
    let labels = Arc::new(Labels::default());
    config.key_log = Arc::<Labels>::clone(&labels);
    assert!(binding(&TlsClient::of(Arc::new(config), client().name().clone()), &plain_server()).is_some());
    assert_eq!(*labels.0.lock().unwrap(), ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"]);
}

fn both_ends_of_a_stream_have_the_same_channel_binding(engine: Engine) {
    let tls = plain_server();
    let (send, seen) = mpsc::channel();
    let handshake = server(engine).handshake(move |_: &ConnInfo| Handshake::new().tls_server(&tls));
    let running = Running::start(handshake, move |conn: &ConnInfo| {
        let info = conn.tls.as_ref().expect("it has TLS");
        send.send(info.exporter).unwrap();
        Echo
    });
    let Endpoint::Tcp(at) = running.handle.addresses()[0] else { panic!("TCP was asked for") };
    let address = Address::parse(&at.to_string(), 0).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut before = None;
    for (client, has_one) in [(client(), true), (client(), true), (&of_tls12(), false)] {
        let ours = runtime.block_on(async {
            let stream = dial(&address, DialOptions { timeout: PATIENCE, ..DialOptions::default() }).await.unwrap();
            let stream = stream.secure(client).await.unwrap();
            assert_eq!(stream.report().unread.is_some(), cfg!(unix), "with TLS too");
            stream.tls().expect("it has TLS").info().exporter
        });
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), ours);
        assert_eq!(ours.is_some(), has_one);
        assert_ne!(ours, before);
        before = ours;
    }
}

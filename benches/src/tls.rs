//! `cargo run --release --manifest-path benches/Cargo.toml -- tls`: what a message and a handshake cost with TLS, beside minimal servers on
//! tokio-rustls, Go and OpenSSL (the latter two where their compilers are there).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::server::{Running, Server};

/// Bytes of a message.
const MESSAGE: usize = 64;

pub(crate) fn run(rounds: u64, time: Duration) {
    let work = std::env::temp_dir().join(format!("resound-bench-{}", std::process::id()));
    std::fs::create_dir_all(&work).expect("a folder");
    let (cert, key) = certificate(&work);
    let servers = servers(&work, &cert, &key);
    println!(
        "{:<22} {:>12} {:>14} {:>16}",
        "", "us/message", "us/handshake", "KiB/connection"
    );
    for round in 0..rounds {
        println!("round {}", round + 1);
        for server in &servers {
            // One that serves a connection at a time can only be asked for handshakes.
            let many = !server.name.starts_with("OpenSSL");
            let message = if many {
                messages(server, &cert, 64, time)
            } else {
                f64::NAN
            };
            let memory = if many { idle(server, &cert, 1000) } else { f64::NAN };
            let handshake = handshakes(server, &cert, time);
            println!("{:<22} {message:>12.2} {handshake:>14.1} {memory:>16.1}", server.name);
        }
    }
    let _ = std::fs::remove_dir_all(work);
}

fn servers(work: &Path, cert: &Path, key: &Path) -> Vec<Server> {
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let mut servers = Vec::new();
    for (name, engine) in [("resound uring", "uring"), ("resound portable", "portable")] {
        servers.push(Server::resound(
            name,
            engine,
            &["--tls", "--cert", &cert, "--key", &key],
        ));
    }
    servers.push(Server::of(
        "tokio-rustls",
        vec![
            Server::ours(),
            "peer-tls".into(),
            cert.clone(),
            key.clone(),
            "PORT".into(),
        ],
    ));
    let source = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("peers")
            .join(name)
            .display()
            .to_string()
    };
    let built = |name: &str, command: &mut Command| {
        let done = command.status().is_ok_and(|status| status.success());
        if !done {
            println!("NOT MEASURED {name}: it cannot be built here");
        }
        done
    };
    let (go, c) = (
        work.join("go").display().to_string(),
        work.join("c").display().to_string(),
    );
    if built("Go", Command::new("go").args(["build", "-o", &go, &source("tls.go")])) {
        servers.push(Server::of("Go", vec![go, cert.clone(), key.clone(), "PORT".into()]));
    }
    if built(
        "OpenSSL",
        Command::new("cc").args(["-O2", "-o", &c, &source("tls.c"), "-lssl", "-lcrypto"]),
    ) {
        servers.push(Server::of("OpenSSL", vec![c, cert, key, "PORT".into()]));
    }
    for server in &mut servers {
        server.tls = true;
    }
    servers
}

fn certificate(work: &Path) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let made = rcgen::CertificateParams::new(vec!["localhost".into()]).and_then(|params| params.self_signed(&key));
    let files = (work.join("cert.pem"), work.join("key.pem"));
    std::fs::write(&files.0, made.expect("a certificate").pem()).expect("a file");
    std::fs::write(&files.1, key.serialize_pem()).expect("a file");
    files
}

/// TLS 1.3 with X25519, and every handshake a full one.
fn connector(cert: &Path) -> TlsConnector {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(cert).expect("a certificate"))
        .expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn connect(connector: &TlsConnector, running: &Running) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(running.address).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    connector
        .connect(ServerName::try_from("localhost").expect("a name"), stream)
        .await
        .expect("a handshake")
}

/// Microseconds of the server's processor for a message and its echo.
fn messages(server: &Server, cert: &Path, connections: usize, time: Duration) -> f64 {
    let (running, connector) = (server.start(), connector(cert));
    let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    runtime().block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let mut stream = connect(&connector, &running).await;
            let (count, over) = (Arc::clone(&count), Arc::clone(&over));
            tasks.push(tokio::spawn(async move {
                let (sent, mut got) = ([7; MESSAGE], [0; MESSAGE]);
                while !over.load(Relaxed) {
                    stream.write_all(&sent).await.expect("a write");
                    stream.read_exact(&mut got).await.expect("the echo");
                    count.fetch_add(1, Relaxed);
                }
            }));
        }
        tokio::time::sleep(time / 4).await;
        let (before, from) = (running.cpu(), count.load(Relaxed));
        tokio::time::sleep(time).await;
        let (cpu, messages) = (running.cpu() - before, count.load(Relaxed) - from);
        over.store(true, Relaxed);
        for task in tasks {
            task.await.expect("a client");
        }
        cpu.as_secs_f64() * 1e6 / messages as f64
    })
}

/// Microseconds of the server's processor for a connection that says nothing but its handshake and one byte.
fn handshakes(server: &Server, cert: &Path, time: Duration) -> f64 {
    let (running, connector) = (server.start(), connector(cert));
    runtime().block_on(async {
        let (mut count, mut from, start) = (0, None, Instant::now());
        while start.elapsed() < time + time / 4 {
            let mut stream = connect(&connector, &running).await;
            let mut byte = [0];
            stream.write_all(b"x").await.expect("a write");
            stream.read_exact(&mut byte).await.expect("the echo");
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut byte).await;
            if start.elapsed() > time / 4 {
                from.get_or_insert_with(|| running.cpu());
                count += 1;
            }
        }
        let before = from.unwrap_or_default();
        (running.cpu() - before).as_secs_f64() * 1e6 / f64::from(count - 1)
    })
}

/// KiB of the server's memory for a connection on which nothing happens any more.
fn idle(server: &Server, cert: &Path, connections: usize) -> f64 {
    let (running, connector) = (server.start(), connector(cert));
    runtime().block_on(async {
        let mut streams = Vec::new();
        let mut before = 0;
        for at in 0..connections + 100 {
            // What the first ones cost is not for each.
            if at == 100 {
                before = running.memory();
            }
            let mut stream = connect(&connector, &running).await;
            stream.write_all(b"x").await.expect("a write");
            stream.read_exact(&mut [0]).await.expect("the echo");
            streams.push(stream);
        }
        running.memory().saturating_sub(before) as f64 / 1024.0 / connections as f64
    })
}

/// The least that echoes on tokio-rustls.
pub(crate) fn serve(cert: &str, key: &str, port: u16) {
    crate::server::raise_descriptor_limit();
    let certificate = CertificateDer::from_pem_file(cert).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    runtime().block_on(async {
        let listener = tokio::net::TcpListener::from_std(crate::peers::listen(port)).expect("a listener");
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..n]).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
                let _ = stream.shutdown().await;
            });
        }
    });
}

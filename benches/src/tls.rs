//! `cargo run --release --manifest-path benches/Cargo.toml -- tls`: what a message and a handshake
//! cost with TLS, beside minimal servers on tokio-rustls, Go and OpenSSL (the latter two where
//! their compilers are there).

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::options;
use crate::report::{machine, median, write_result};
use crate::server::{RunningServer, ServerBench, built, connects, program, source, work_folder};

/// Connections that messages are sent on.
const MESSAGING: usize = 64;
/// Connections that are made at a time.
const CONNECTING: usize = 16;
/// Connections that are there and then idle, and those that there are before.
const IDLE: usize = 1000;
const SOME: usize = 100;

pub(crate) fn run() {
    let (rounds, time) = options::extent(3, 1.5);
    let work = work_folder();
    let (cert, key) = certificate(&work);
    let servers = servers(&work, &cert, &key);
    let machine = machine();
    let mut rows: Vec<(&str, [Vec<f64>; 3])> = Vec::new();
    for server in &servers {
        rows.push((server.name, Default::default()));
    }
    for round in 1..=rounds {
        for (server, row) in servers.iter().zip(&mut rows) {
            let figures = [
                messages(server, &cert, time),
                handshakes(server, &cert, time),
                idle(server, &cert),
            ];
            let [message, handshake, memory] = figures;
            eprintln!(
                "round {round}  {:<18} {message:>8.2} us/message {handshake:>8.1} us/handshake {memory:>7.1} \
                 KiB/connection",
                server.name
            );
            for (all, figure) in row.1.iter_mut().zip(figures) {
                all.push(figure);
            }
        }
    }
    let text = table(&machine, rounds, time, &rows);
    write_result("tls.md", &text);
    println!("{text}");
    let _ = std::fs::remove_dir_all(work);
}

/// Medians, in columns that stand below each other in plain text too.
fn table(machine: &str, rounds: u64, time: Duration, rows: &[(&str, [Vec<f64>; 3])]) -> String {
    let mut text = format!(
        "# TLS servers side by side\n\n{machine}\n\nMedians of {rounds} rounds of {:.1} s, servers in turns, one \
         thread each on a processor of its own, \
         `resound load --tls` on another. TLS 1.3, a P-256\ncertificate, X25519. CPU is what the server's own clock \
         says, the kernel's work for it \
         included.\n\n\
         - A message: 64 bytes and their echo, {MESSAGING} connections, a closed loop.\n\
         - A handshake: a full one, no session is resumed, {CONNECTING} connections at a time; with it the TCP \
         connection, one echo and the close.\n\
         - An idle connection: what {IDLE} more of them that have spoken once make the server allocate (RssAnon).\n\n",
        time.as_secs_f64()
    );
    let line = |cells: [&str; 4]| {
        format!(
            "| {:<16} | {:>14} | {:>16} | {:>19} |\n",
            cells[0], cells[1], cells[2], cells[3]
        )
    };
    text += &line(["server", "CPU us/message", "CPU us/handshake", "KiB/idle connection"]);
    text += &line(["---", "---:", "---:", "---:"]);
    for (name, figures) in rows {
        let [message, handshake, memory] = figures.each_ref().map(|all| median(all.iter().copied()));
        text += &line([
            name,
            &format!("{message:.2}"),
            &format!("{handshake:.1}"),
            &format!("{memory:.1}"),
        ]);
    }
    text
}

fn servers(work: &Path, cert: &Path, key: &Path) -> Vec<ServerBench> {
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let mut servers = Vec::new();
    for (name, engine) in [("resound uring", "uring"), ("resound portable", "portable")] {
        servers.push(ServerBench::resound(
            name,
            engine,
            &["--tls", "--cert", &cert, "--key", &key],
        ));
    }
    servers.push(ServerBench::of(
        "tokio-rustls",
        vec![
            ServerBench::ours(),
            "peer-tls".into(),
            cert.clone(),
            key.clone(),
            "PORT".into(),
        ],
    ));
    let (go, c) = (
        work.join("go").display().to_string(),
        work.join("c").display().to_string(),
    );
    if built("Go", Command::new("go").args(["build", "-o", &go, &source("tls.go")])) {
        servers.push(ServerBench::of(
            "Go",
            vec![go, cert.clone(), key.clone(), "PORT".into()],
        ));
    }
    if built(
        "OpenSSL",
        Command::new("cc").args(["-O2", "-o", &c, &source("tls.c"), "-lssl", "-lcrypto"]),
    ) {
        servers.push(ServerBench::of("OpenSSL", vec![c, cert, key, "PORT".into()]));
    }
    for server in &mut servers {
        server.ready = connects;
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

/// What the generator tells of a run while it goes on: one value a line.
struct Telling {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Telling {
    /// Loads a server from the processor that it is not on.
    fn start(running: &RunningServer, cert: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(["load", &running.address.to_string(), "--mode", "echo", "--workers", "1"])
            .args(["--tls", "--server-name", "localhost", "--tls-group", "x25519", "--ca"])
            .arg(cert)
            .args(["--json", "--quiet", "--interval", "200ms"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the generator starts");
        let stdout = child.stdout.take().expect("its output");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    /// The next fifth of a second, once it is over; nothing behind the last.
    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("a line");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        let errors = value["errors"].as_u64().or(value["total"]["errors"].as_u64());
        assert_eq!(errors, Some(0), "{line}");
        (value["event"] == "interval").then_some(value)
    }

    /// Microseconds of the server's processor for each of what is counted under this name, without
    /// the beginning of the run.
    fn cost(mut self, running: &RunningServer, name: &str, ticks: usize) -> f64 {
        for _ in 0..ticks.div_ceil(5) {
            self.next();
        }
        let (before, mut after, mut count) = (running.cpu(), Duration::ZERO, 0);
        while let Some(tick) = self.next() {
            // What comes after the end is a tick without length.
            if tick["length_s"].as_f64().is_some_and(|length| length > 0.0) {
                after = running.cpu();
                count += tick[name].as_u64().expect("a number");
            }
        }
        (after - before).as_secs_f64() * 1e6 / count as f64
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So long, as the generator is told, and how many fifths of a second that is.
fn lasting(time: Duration) -> (String, usize) {
    let milliseconds = time.as_millis();
    (format!("{milliseconds}ms"), milliseconds as usize / 200)
}

fn messages(server: &ServerBench, cert: &Path, time: Duration) -> f64 {
    let (running, (time, ticks)) = (server.start(), lasting(time));
    let connections = MESSAGING.to_string();
    Telling::start(&running, cert, &["-c", &connections, "-d", &time]).cost(&running, "received", ticks)
}

fn handshakes(server: &ServerBench, cert: &Path, time: Duration) -> f64 {
    let (running, (time, ticks)) = (server.start(), lasting(time));
    let connections = CONNECTING.to_string();
    let shape = ["--shape", "connect", "-c", &connections, "-d", &time];
    Telling::start(&running, cert, &shape).cost(&running, "opened", ticks)
}

/// KiB that the server allocates for a connection on which nothing happens any more.
fn idle(server: &ServerBench, cert: &Path) -> f64 {
    let running = server.start();
    // What the first ones cost is not for each.
    let [few, many] = [SOME, SOME + IDLE].map(|connections| {
        let connections = connections.to_string();
        let once = ["-c", &connections, "-d", "5s", "--think-time", "1h"];
        let mut telling = Telling::start(&running, cert, &once);
        // All have spoken in the first fifth of a second that is told, or the next.
        (0..4).for_each(|_| drop(telling.next()));
        running.allocated()
    });
    many.saturating_sub(few) as f64 / 1024.0 / IDLE as f64
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
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

//! A server with TLS, and a client that trusts its certificate: `cargo run --example tls_server`.
//!
//! The program makes a certificate for this one run, serves on a free port, and talks to the server
//! as its own client, which trusts the one certificate with this fingerprint and no other.

use std::time::Duration;

use resound::tls::{Identity, TlsClient, TlsServer, TlsServerSettings, Trust};
use resound::{Address, ConnInfo, DialOptions, Handshake, Reply, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A server with a certificate of an authority would call `Identity::load(certificate, key)`.
    let identity = Identity::development(&["localhost".into()])?;
    let fingerprint = identity.fingerprint();
    let tls = TlsServer::new(&TlsServerSettings::new(identity))?;

    let server = Server::new().listen("127.0.0.1:0")?.handshake(move |_conn| Handshake::new().tls_server(&tls)).serve(
        |conn: &ConnInfo| {
            if let Some(tls) = &conn.tls {
                println!("{} speaks {}", conn.peer, tls.version);
            }
            Reply::default()
        },
    )?;
    let address: Address = server.addresses()[0].to_string().parse()?;

    let client = TlsClient::new("localhost", Trust::Pin(fingerprint), None, &[])?;
    let mut stream = resound::dial(&address, DialOptions::default()).await?.secure(&client).await?;
    stream.write_all(b"Hello, server!\n").await?;
    stream.shutdown().await?; // close_notify, then FIN
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    print!("{answer}");

    server.drain(Duration::from_secs(10));
    server.finished().await;
    Ok(())
}

//! A server inside a tokio program, shut down by the program: `cargo run --example embed`.
//!
//! The program starts the server on a free port, talks to it as its own client, and drains it.

use std::time::Duration;

use resound::{Closed, ConnInfo, Observer, Reply, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Observes: the program's own log would hang here.
struct OwnLog;

impl Observer for OwnLog {
    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        println!("{} left: {}; messages: {}", conn.peer, how.reason, how.messages);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::new().listen("127.0.0.1:0")?.observe(|_worker| OwnLog).serve(|_conn| Reply::default())?;
    let address = server.addresses()[0].to_string();
    println!("serving on {address}");

    let mut client = TcpStream::connect(&address).await?;
    client.write_all(b"Hello, server!\n").await?;
    client.shutdown().await?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;
    print!("{answer}");

    server.drain(Duration::from_secs(10));
    let totals = server.finished().await;
    println!("connections: {}, messages: {}", totals.opened, totals.messages);
    Ok(())
}

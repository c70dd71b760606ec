//! A server behind HAProxy, or any other sender of the PROXY protocol.
//!
//!     cargo run --example proxy_behind_haproxy -- 127.0.0.1:9999
//!
//! and in haproxy.cfg:
//!
//!     frontend clients
//!         mode tcp
//!         bind 127.0.0.1:8888
//!         default_backend servers
//!     backend servers
//!         mode tcp
//!         server one 127.0.0.1:9999 send-proxy-v2
//!
//! Without an address the program plays HAProxy's part itself, and ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use resound::proxy::{Addresses, Header, Proxies, Version};
use resound::{ConnInfo, Cx, Framing, Handshake, Server, Service};

/// Answers each line with the address of the client, as the proxy has it.
struct WhoAmI;

impl Service for WhoAmI {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, _line: &[u8], cx: &mut Cx<'_>) {
        let conn: &ConnInfo = cx.conn();
        let proxy = conn.via.as_ref().map_or_else(|| "no proxy".into(), |via| via.peer.to_string());
        let answer = format!("you are {}, behind {proxy}\n", conn.peer);
        cx.send(answer.as_bytes());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    // Only proxies of this machine may say who the client is.
    let proxies = Proxies::local();
    let server = Server::new()
        .listen(address.as_deref().unwrap_or("127.0.0.1:0"))?
        .handshake(move |conn| Handshake::new().expect_header(proxies.header_reader(conn)))
        .serve(|_conn| WhoAmI)?;
    if address.is_some() {
        println!("Serving proxies on {}", server.addresses()[0]);
        server.wait();
        return Ok(());
    }

    let mut proxy = TcpStream::connect(server.addresses()[0].to_string())?;
    let client = Addresses::ip("192.0.2.7:54321".parse()?, "198.51.100.1:443".parse()?);
    proxy.write_all(&Header::new(Version::V2, client).encode()?)?;
    proxy.write_all(b"who am I?\n")?;
    proxy.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    proxy.read_to_string(&mut answer)?;
    print!("{answer}");
    server.drain(Duration::from_secs(10));
    server.wait();
    Ok(())
}

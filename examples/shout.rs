//! A service of one's own: answers each line in capitals.
//!
//! `cargo run --example shout`, and in another terminal `cargo run -- client 127.0.0.1 8888`.

use resound::{Cx, Framing, Server, Service};

struct Shout;

impl Service for Shout {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        cx.send(&line.to_ascii_uppercase());
    }
}

fn main() -> Result<(), resound::Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    let server = Server::new().listen(&address)?.serve(|_conn| Shout)?;
    println!("Shouting on {}", server.addresses()[0]);
    server.wait();
    Ok(())
}

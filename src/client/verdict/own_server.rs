//! [`OwnServer`]: a server in this process, to test it, or the checks themselves.

use anyhow::{Result, bail};
use resound::tls::{Fingerprint, Identity, TlsServer, TlsServerSettings};
use resound::{Address, Framing, Handle, Handshake, Reply, Server};
use resound_probe::{FarEnd, Sessions};

use crate::client::tls::{HandshakeOptions, TlsOptions};

/// A server on a free port of 127.0.0.1; it ends when this is dropped.
pub(crate) struct OwnServer {
    handle: Handle,
    pub(crate) address: Address,
    /// The certificate to trust, with TLS.
    pin: Option<Fingerprint>,
}

impl OwnServer {
    /// As `resound server` serves; with TLS it has a certificate of its own.
    pub(crate) fn start(has_tls: bool) -> Result<Self> {
        let mut server = Server::new().save_syns(true).listen("127.0.0.1:0")?;
        let mut pin = None;
        if has_tls {
            let identity = Identity::development(&["localhost".into()])?;
            pin = Some(identity.fingerprint());
            let tls = TlsServer::new(&TlsServerSettings::default().identity(identity))?;
            server = server.handshake(move |_| Handshake::new().tls_server(&tls));
        }
        let sessions = Sessions::new(None);
        let framing = Framing::Auto { max: Framing::DEFAULT_MAX_LINE };
        let handle =
            server.serve(move |_| FarEnd::new(Reply::new(Reply::PREFIX.as_bytes(), framing), sessions.clone()))?;
        let Some(endpoint) = handle.addresses().first() else { bail!("the server has no address") };
        let address = Address::parse(&endpoint.to_string(), 0)?;
        Ok(Self { handle, address, pin })
    }

    /// The TLS of its clients.
    pub(crate) fn tls(&self) -> Result<Option<TlsOptions>> {
        self.pin.map(|pin| TlsOptions::pinned(pin, &HandshakeOptions::default())).transpose()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

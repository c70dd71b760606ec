//! TLS for tests that use plain text: a peer writes to a local socket, and its bytes travel to the
//! server through tokio-rustls. So the whole suite runs against the TLS of every engine, with
//! another implementation's stream as the witness.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use resound::Handshake;
use resound::tls::{Identity, TlsClient, TlsServer, TlsServerSettings, Trust};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;

/// A certificate for the whole run.
pub(crate) fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| Identity::development(&["localhost".into(), "127.0.0.1".into()]).unwrap())
}

/// What the servers of these tests send a client that does not speak TLS.
pub(crate) const HINT: &[u8] = b"Error: this server speaks TLS (resound client --tls)\n";

/// The server's end of it.
pub(crate) fn handshake() -> impl Fn(&resound::ConnInfo) -> Handshake + Send + Sync + 'static {
    let server = TlsServer::new(&TlsServerSettings::new(identity().clone())).unwrap().hint(HINT);
    move |_| Handshake::new().tls_server(&server)
}

/// A client that trusts it.
pub(crate) fn client() -> &'static TlsClient {
    static CLIENT: OnceLock<TlsClient> = OnceLock::new();
    CLIENT.get_or_init(|| {
        TlsClient::new("localhost", Trust::Pin(identity().fingerprint()), None, &[]).unwrap().without_resumption()
    })
}

/// The thread on which the tunnels to one server run, so that a flood to another does not hold them
/// up. It ends with the last of them.
struct Tunnels {
    runtime: Handle,
    _are_needed: tokio::sync::oneshot::Sender<()>,
}

impl Tunnels {
    fn to(server: SocketAddr) -> Arc<Self> {
        static ALL: Mutex<Option<HashMap<SocketAddr, Weak<Tunnels>>>> = Mutex::new(None);
        let mut all = ALL.lock().unwrap();
        let all = all.get_or_insert_default();
        if let Some(tunnels) = all.get(&server).and_then(Weak::upgrade) {
            return tunnels;
        }
        all.retain(|_, tunnels| tunnels.strong_count() > 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (are_needed, end) = tokio::sync::oneshot::channel();
        let tunnels = Arc::new(Self { runtime: runtime.handle().clone(), _are_needed: are_needed });
        std::thread::spawn(move || drop(runtime.block_on(end)));
        all.insert(server, Arc::downgrade(&tunnels));
        tunnels
    }
}

/// A connection to a TLS server, as a plain socket.
pub(crate) fn through(outside: TcpStream) -> TcpStream {
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(door.local_addr().unwrap()).unwrap();
    let (inside, _) = door.accept().unwrap();
    for socket in [&outside, &inside] {
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
    }
    let tunnels = Tunnels::to(outside.peer_addr().unwrap());
    tunnels.runtime.clone().spawn(async move {
        // The thread stays as long as this does.
        let _tunnels = tunnels;
        let (outside, inside) =
            (tokio::net::TcpStream::from_std(outside).unwrap(), tokio::net::TcpStream::from_std(inside).unwrap());
        let connector = tokio_rustls::TlsConnector::from(client().config().clone());
        let Ok(tls) = connector.connect(client().name().clone(), outside).await else { return };
        let (mut from_server, mut to_server) = tokio::io::split(tls);
        let (mut from_peer, mut to_peer) = tokio::io::split(inside);
        let both = tokio::try_join!(carry(&mut from_peer, &mut to_server), carry(&mut from_server, &mut to_peer));
        if both.is_err() {
            // Whichever end was cut, the other one is.
            let (inside, tls) = (from_peer.unsplit(to_peer), from_server.unsplit(to_server));
            for socket in [&inside, tls.get_ref().0] {
                let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
            }
        }
    });
    near
}

async fn carry(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut buf = vec![0; 64 * 1024];
    loop {
        // An end without close_notify is an error here.
        let n = from.read(&mut buf).await?;
        if n == 0 {
            // The peer may have closed already, after its last byte.
            let _ = to.shutdown().await;
            return Ok(());
        }
        to.write_all(&buf[..n]).await?;
        to.flush().await?;
    }
}

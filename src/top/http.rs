//! One request to an admin server over HTTP/1.0, whose answers come whole or until the connection
//! ends. The answer may be another program's: each wait has an end, and so has each buffer.

use std::fmt;
use std::io;
use std::time::Duration;

use resound::client::FailureClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::document::cleaned;
use crate::client::ClientFailure;

/// How long connecting may take, and each wait for a part of an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
/// The longest body of an error.
const MOST_ERROR: usize = 4096;
const READ: usize = 16 * 1024;
const DEFAULT_PORT: u16 = 9464;

const START: &str = "Start the program with --admin, such as `resound server --admin 9464`, and give that address.";
const OTHER: &str = "Give the address of --admin: the program prints it when it starts.";
const SLOW: &str = "The program, or the path to it, is too slow or stuck.";

/// Where an admin server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAddress {
    host: String,
    port: u16,
}

impl AdminAddress {
    /// A port, `:PORT`, or a host with or without a port.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(text);
        if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
            let port = port.parse().map_err(|_| "a port is a number from 1 to 65535")?;
            return Ok(Self { host: "127.0.0.1".into(), port });
        }
        match resound::Address::parse(text, DEFAULT_PORT) {
            Ok(resound::Address::Tcp { host, port }) => Ok(Self { host: host.to_string(), port }),
            _ => Err("write HOST:PORT, such as 127.0.0.1:9464, or a port alone".into()),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// An answer, of which the head has come.
#[derive(Debug)]
pub(super) struct AdminReply {
    stream: TcpStream,
    address: AdminAddress,
    /// What has come of the body, and was not taken.
    bytes: Vec<u8>,
    /// Bytes of these that hold no end of a line.
    searched: usize,
    /// The length of the body, if the head tells it.
    length: Option<usize>,
}

impl AdminReply {
    /// Asks for a path, and reads the head of the answer. It is 200, or else an error.
    pub(super) async fn ask(address: &AdminAddress, path: &str) -> Result<Self, ClientFailure> {
        let connecting = TcpStream::connect((&*address.host, address.port));
        let stream = within(address, connecting).await.map_err(|failure| match failure.class {
            FailureClass::Refused => {
                ClientFailure::advised(FailureClass::Refused, format!("nothing listens on {address}"), START)
            }
            _ => failure,
        })?;
        // The server admits names only where it was told of them, because of browsers: the address
        // is always admitted.
        let host = stream.peer_addr().map_or_else(|_| address.to_string(), |peer| peer.to_string());
        let mut reply = Self { stream, address: address.clone(), bytes: Vec::new(), searched: 0, length: None };
        let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
        within(address, reply.stream.write_all(request.as_bytes())).await?;
        let status = match timeout(PATIENCE, reply.head()).await {
            Ok(status) => status?,
            Err(_) => return Err(too_slow(address)),
        };
        if status == 200 {
            return Ok(reply);
        }
        let said = reply.body(MOST_ERROR).await.ok().and_then(|body| error_of(&body));
        Err(match said {
            Some(said) => other(format!("{address} answers {status}: {said}")),
            None => other(format!("{address} answers {status} to {path}")),
        })
    }

    /// Reads the head; what follows stays in `bytes`.
    async fn head(&mut self) -> Result<u16, ClientFailure> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            match response.parse(&self.bytes) {
                Ok(httparse::Status::Complete(end)) => {
                    let find = |name| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
                    if find("transfer-encoding").is_some() {
                        return Err(other(format!("{} answers HTTP/1.0 in chunks", self.address)));
                    }
                    let length = find("content-length").map(|header| std::str::from_utf8(header.value));
                    self.length = length.and_then(|length| length.ok()?.trim().parse().ok());
                    let status = response.code.unwrap_or_default();
                    self.bytes.drain(..end);
                    return Ok(status);
                }
                Ok(httparse::Status::Partial) if self.bytes.len() < MOST_HEAD && self.read().await? => {}
                _ => return Err(other(format!("what listens on {} does not speak HTTP", self.address))),
            }
        }
    }

    /// Reads some more. False at the end.
    async fn read(&mut self) -> Result<bool, ClientFailure> {
        self.bytes.reserve(READ);
        let count = within(&self.address, self.stream.read_buf(&mut self.bytes)).await?;
        Ok(count > 0)
    }

    /// The rest of the body, at most `most` bytes.
    pub(super) async fn body(&mut self, most: usize) -> Result<Vec<u8>, ClientFailure> {
        let reading = async {
            while self.length.is_none_or(|length| self.bytes.len() < length) && self.bytes.len() <= most {
                if !self.read().await? {
                    break;
                }
            }
            Ok::<_, ClientFailure>(())
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err(too_slow(&self.address)))?;
        let body = std::mem::take(&mut self.bytes);
        match self.length {
            _ if body.len() > most => Err(other(format!("the answer of {} is too long", self.address))),
            Some(length) if body.len() < length => Err(left(&self.address)),
            _ => Ok(body),
        }
    }

    /// The next line of the body without its end, at most `most` bytes.
    pub(super) async fn line(&mut self, most: usize) -> Result<Vec<u8>, ClientFailure> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.bytes[self.searched..]) {
                let mut line: Vec<u8> = self.bytes.drain(..=self.searched + at).collect();
                self.searched = 0;
                line.pop();
                line.pop_if(|byte| *byte == b'\r');
                return Ok(line);
            }
            self.searched = self.bytes.len();
            if self.bytes.len() > most {
                return Err(other(format!("a line of {} is too long", self.address)));
            }
            if !self.read().await? {
                return Err(left(&self.address));
            }
        }
    }
}

/// The text of `{"error": "..."}`.
fn error_of(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct AdminError {
        error: String,
    }
    serde_json::from_slice(body).ok().map(|AdminError { error }| cleaned(&error))
}

/// Waits for a call on the socket.
async fn within<T>(address: &AdminAddress, call: impl Future<Output = io::Result<T>>) -> Result<T, ClientFailure> {
    match timeout(PATIENCE, call).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failure(address, &error)),
        Err(_) => Err(too_slow(address)),
    }
}

fn failure(address: &AdminAddress, error: &io::Error) -> ClientFailure {
    let class = FailureClass::of(error).unwrap_or(FailureClass::Dns);
    match class {
        FailureClass::Dns => ClientFailure::advised(class, format!("cannot find {address}: {error}"), OTHER),
        FailureClass::Reset => ClientFailure::advised(class, format!("{address} reset the connection"), OTHER),
        _ => ClientFailure::advised(class, format!("no connection to {address}: {error}"), START),
    }
}

pub(super) fn too_slow(address: &AdminAddress) -> ClientFailure {
    ClientFailure::advised(FailureClass::Timeout, format!("{address} does not answer"), SLOW)
}

fn left(address: &AdminAddress) -> ClientFailure {
    ClientFailure::advised(FailureClass::Eof, format!("{address} ended the connection"), SLOW)
}

pub(super) fn other(what: String) -> ClientFailure {
    ClientFailure::advised(FailureClass::Mismatch, what, OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_or_a_host() {
        for (text, want) in [
            ("9464", "127.0.0.1:9464"),
            (":7", "127.0.0.1:7"),
            ("db.internal:9000", "db.internal:9000"),
            ("db.internal", "db.internal:9464"),
            ("[::1]:5", "[::1]:5"),
            ("::1", "[::1]:9464"),
        ] {
            assert_eq!(AdminAddress::parse(text).map(|address| address.to_string()), Ok(want.into()));
        }
        for wrong in ["", "70000", "unix:/tmp/x", "a b", "http://127.0.0.1:9464/", "x:y", "a\r\nb:1"] {
            assert!(AdminAddress::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}

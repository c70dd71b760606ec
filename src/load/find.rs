//! Detects the mode of the target by sending one line.

use std::time::Duration;

use anyhow::Result;
use resound::client::FailureClass;
use resound::{Address, DialOptions, Endpoint, Reply, Stream};
use resound_load::Mode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::{ClientFailure, ConnectSetup};

/// A target that is silent for this long does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
const LINE: &[u8] = b"resound load: what do you do with a line?\n";
/// More than any known answer.
const MOST: usize = 1024;

/// The address of a target that accepts a connection and its handshakes. The test connection closes
/// at once.
pub(super) async fn reachable_address(address: &Address, how: DialOptions, before: &ConnectSetup) -> Result<Endpoint> {
    let mut stream = connect(address, how, before).await?;
    let target = stream.peer();
    let ended = async {
        stream.shutdown().await?;
        // An endless pattern counts as an end.
        receive(&mut stream, &mut Vec::new(), |received| received.len() > MOST).await
    };
    // A server rejects a client certificate after the handshake. The run itself detects other
    // errors.
    if let Ok(Err(error)) = timeout(PATIENCE, ended).await
        && FailureClass::of(&error) == Some(FailureClass::Tls)
    {
        return Err(ClientFailure::of(error, " within the TLS handshake"));
    }
    Ok(target)
}

/// The address that answered, and its mode.
pub(super) async fn mode(address: &Address, how: DialOptions, before: &ConnectSetup) -> Result<(Endpoint, Mode)> {
    let mut stream = connect(address, how, before).await?;
    let target = stream.peer();
    let mut answer = Vec::new();
    let asked = async {
        stream.write_all(LINE).await?;
        receive(&mut stream, &mut answer, is_complete).await
    };
    let ended = match timeout(PATIENCE, asked).await {
        Ok(Ok(ended)) => ended,
        // The bytes before the error decide.
        Ok(Err(_)) if !answer.is_empty() => true,
        Ok(Err(error)) => match FailureClass::of(&error) {
            Some(class @ (FailureClass::Reset | FailureClass::Eof)) => return Err(closed(class, before).into()),
            _ => return Err(ClientFailure::of(error, " when it was sent one line")),
        },
        Err(_) => false,
    };
    // Closes in order: the server may serve one connection at a time.
    let _ = timeout(PATIENCE, stream.shutdown()).await;
    drop(stream);
    match judge(&answer) {
        None if answer.is_empty() && ended => Err(closed(FailureClass::Eof, before).into()),
        // A server that hangs looks the same as one that discards.
        None if answer.is_empty() => Err(silent().into()),
        Some(mode) => Ok((target, mode)),
        None => Err(unsupported(&answer, address, how, before).await),
    }
}

async fn connect(address: &Address, how: DialOptions, before: &ConnectSetup) -> Result<Stream> {
    before.prepare(resound::dial(address, how).await?, how.timeout).await
}

/// Reads until `is_enough`. True if the target has closed.
async fn receive(stream: &mut Stream, answer: &mut Vec<u8>, is_enough: fn(&[u8]) -> bool) -> std::io::Result<bool> {
    while !is_enough(answer) {
        if stream.read_buf(answer).await? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The failure of a target that closed without an answer.
fn closed(class: FailureClass, before: &ConnectSetup) -> ClientFailure {
    let advice = match (&before.tls, &before.send_proxy) {
        (None, None) => {
            "It may want TLS (--tls) or a PROXY header (--send-proxy) first, or refuse this machine: see its log."
        }
        (None, Some(_)) => "It may want TLS (--tls) after the PROXY header, or no such header: see its log.",
        (Some(_), _) => {
            "It may want a certificate (--cert) or a PROXY header (--send-proxy), or refuse this machine: see its log."
        }
    };
    let did = if class == FailureClass::Reset { "reset" } else { "closed" };
    ClientFailure::advised(class, format!("the target {did} the connection instead of answering one line"), advice)
}

/// The failure of a target that takes one line and says nothing.
fn silent() -> ClientFailure {
    let what = format!("the target has not answered one line within {} s", PATIENCE.as_secs());
    let advice = "If it is to discard what it gets, choose --mode discard; otherwise it may hang: see its log.";
    ClientFailure::advised(FailureClass::Timeout, what, advice)
}

/// The failure of a target that the load generator does not support.
async fn unsupported(answer: &[u8], address: &Address, how: DialOptions, before: &ConnectSetup) -> anyhow::Error {
    let mismatch = |what: &str, advice| ClientFailure::advised(FailureClass::Mismatch, what, advice).into();
    if let Some((class, what, advice)) = known_server(answer) {
        return ClientFailure::advised(class, what, advice).into();
    }
    let shown = resound_console::escape::text(&answer[..answer.len().min(60)]);
    let is_header = |part: &[u8]| memchr::memmem::find(answer, part).is_some();
    if before.send_proxy.is_some() && (is_header(b"PROXY ") || is_header(b"\r\n\r\n\0\r\nQUIT\n")) {
        return mismatch(
            &format!("the target answered the PROXY header: {shown}"),
            "It expects none: leave out --send-proxy.",
        );
    }
    // Did the target send this without being asked?
    let mut greeting = Vec::new();
    if let Ok(mut stream) = connect(address, how, before).await {
        let _ = timeout(PATIENCE, receive(&mut stream, &mut greeting, |greeting| !greeting.is_empty())).await;
    }
    if greeting.is_empty() {
        let advice = "If it does echo, answer lines, discard or generate, choose its --mode.";
        return mismatch(&format!("the target has no known mode: it answered one line with {shown}"), advice);
    }
    let advice =
        "Mail, SSH and database servers do: resound load is for servers that echo, answer lines, discard or generate.";
    mismatch(&format!("the target speaks first, with {shown}"), advice)
}

/// Common servers that cannot be loaded: the class of the failure, what is wrong, and advice.
fn known_server(answer: &[u8]) -> Option<(FailureClass, &'static str, &'static str)> {
    // An alert (RFC 8446, 5.1), or the plain text of this server and of web servers.
    let speaks_tls = answer.starts_with(&[21, 3])
        || answer.starts_with(b"Error: this server speaks TLS")
        || memchr::memmem::find(answer, b"HTTPS").is_some();
    let head = answer.get(..9).unwrap_or(answer).to_ascii_lowercase();
    let speaks_http = [&b"http/"[..], b"<!doctype", b"<html"].iter().any(|start| head.starts_with(start));
    let tls = (FailureClass::Tls, "the target speaks TLS, and this connection does not", "Add --tls.");
    let http = (
        FailureClass::Mismatch,
        "the target is an HTTP server",
        "resound load is for servers that echo, answer lines, discard or generate: HTTP has its own generators.",
    );
    speaks_tls.then_some(tls).or(speaks_http.then_some(http))
}

fn reply() -> Vec<u8> {
    [Reply::PREFIX.as_bytes(), LINE].concat()
}

/// Is the answer decided?
fn is_complete(answer: &[u8]) -> bool {
    let may_become = |whole: &[u8]| answer.len() < whole.len() && whole.starts_with(answer);
    !(answer.is_empty() || may_become(LINE) || may_become(&reply()) || answer.len() < RING && is_generated(answer))
        || answer.len() >= MOST
}

/// This many bytes of the pattern are no accident. They fit into the first line of RFC 864.
const RING: usize = 60;

/// Is this the character pattern of RFC 864? It may start anywhere, and some servers leave out the
/// space between the last and the first character.
fn is_generated(answer: &[u8]) -> bool {
    let follows = |pair: &[u8]| match pair {
        [b'~', next] => matches!(next, b' ' | b'!'),
        [one, next] => *next == one + 1,
        _ => false,
    };
    let first = &answer[..answer.len().min(RING)];
    first.iter().all(|byte| matches!(byte, b' '..=b'~')) && first.windows(2).all(follows)
}

fn judge(answer: &[u8]) -> Option<Mode> {
    match answer {
        _ if answer == LINE => Some(Mode::Echo),
        _ if answer == reply() => Some(Mode::Reply),
        _ if answer.len() >= RING && is_generated(answer) => Some(Mode::Chargen),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_and_http_servers_are_recognized() {
        for (answer, want) in [
            (&b"\x15\x03\x01\0\x02\x02\x0a"[..], Some(FailureClass::Tls)),
            (b"Error: this server speaks TLS (resound client --tls)\n", Some(FailureClass::Tls)),
            (b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port", Some(FailureClass::Tls)),
            (b"HTTP/1.1 400 Bad Request\r\n", Some(FailureClass::Mismatch)),
            (b"<!DOCTYPE HTML>\n", Some(FailureClass::Mismatch)),
            (b"220 mail.example ESMTP\r\n", None),
            (b"\x15", None),
        ] {
            assert_eq!(known_server(answer).map(|(class, ..)| class), want, "{}", answer.escape_ascii());
        }
    }

    #[test]
    fn one_answer_reveals_the_mode() {
        assert_eq!(judge(b""), None);
        assert_eq!(judge(LINE), Some(Mode::Echo));
        assert_eq!(judge(&reply()), Some(Mode::Reply));
        let ring = |first: u8| (first..=b'~').chain(b'!'..first).take(RING).collect::<Vec<u8>>();
        for first in [b' ', b'!', b'A', b'~'] {
            assert_eq!(judge(&[&ring(first)[..], b"and more"].concat()), Some(Mode::Chargen));
        }
        assert_eq!(judge(b"220 mail.example ESMTP\r\n"), None);
        for whole in [LINE, &reply(), &ring(b' '), &ring(b'Z')] {
            assert!((0..whole.len()).all(|n| !is_complete(&whole[..n])));
            assert!(is_complete(whole));
        }
        assert!(is_complete(b"220 "));
    }
}

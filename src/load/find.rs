//! What the far end does, where nobody has said: found by sending one line.

use std::time::Duration;

use anyhow::Result;
use resound::client::FailureClass;
use resound::{Address, Dial, Endpoint, Reply, Stream};
use resound_load::Mode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::{ClientFailure, ConnectSetup};

/// A far end that has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
const LINE: &[u8] = b"resound load: what do you do with a line?\n";
/// More than any answer to it.
const MOST: usize = 1024;

/// The address of somebody with whom a conversation can begin. It is ended at once.
pub(super) async fn somebody(address: &Address, how: Dial, before: &ConnectSetup) -> Result<Endpoint> {
    let mut stream = connect(address, how, before).await?;
    let target = stream.peer();
    let ended = async {
        stream.shutdown().await?;
        // A pattern without end is as good as an end.
        listen(&mut stream, &mut Vec::new(), |said| said.len() > MOST).await
    };
    // What a server has to say against this end's certificate comes behind the handshake. Of other ends the run hears itself.
    if let Ok(Err(error)) = timeout(PATIENCE, ended).await
        && FailureClass::of(&error) == Some(FailureClass::Tls)
    {
        return Err(ClientFailure::of(error, " within the TLS handshake"));
    }
    Ok(target)
}

/// The address that answered, and what it does.
pub(super) async fn mode(address: &Address, how: Dial, before: &ConnectSetup) -> Result<(Endpoint, Mode)> {
    let mut stream = connect(address, how, before).await?;
    let target = stream.peer();
    let mut answer = Vec::new();
    let asked = async {
        stream.write_all(LINE).await?;
        listen(&mut stream, &mut answer, is_complete).await
    };
    let ended = match timeout(PATIENCE, asked).await {
        Ok(Ok(ended)) => ended,
        // What was said before that says more.
        Ok(Err(_)) if !answer.is_empty() => true,
        Ok(Err(error)) => match FailureClass::of(&error) {
            Some(class @ (FailureClass::Reset | FailureClass::Eof)) => return Err(closed(class, before).into()),
            _ => return Err(ClientFailure::of(error, " when it was sent one line")),
        },
        Err(_) => false,
    };
    // A server may serve one at a time; and it is told that this was all.
    let _ = timeout(PATIENCE, stream.shutdown()).await;
    drop(stream);
    match judge(&answer) {
        Some(Mode::Discard) if ended => Err(closed(FailureClass::Eof, before).into()),
        Some(mode) => Ok((target, mode)),
        None => Err(stranger(&answer, address, how, before).await),
    }
}

async fn connect(address: &Address, how: Dial, before: &ConnectSetup) -> Result<Stream> {
    before.prepare(resound::dial(address, how).await?, how.timeout).await
}

/// Reads until `is_enough`, and says whether the far end has ended it.
async fn listen(stream: &mut Stream, answer: &mut Vec<u8>, is_enough: fn(&[u8]) -> bool) -> std::io::Result<bool> {
    while !is_enough(answer) {
        if stream.read_buf(answer).await? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Nothing was said, and the connection is over.
fn closed(class: FailureClass, before: &ConnectSetup) -> ClientFailure {
    let advice = match (&before.tls, &before.send_proxy) {
        (None, None) => {
            "It may want TLS (--tls) or a PROXY header (--send-proxy) first, or not serve this machine: its log may say why."
        }
        (None, Some(_)) => "It may want TLS (--tls) behind the PROXY header, or no such header: its log may say why.",
        (Some(_), _) => {
            "It may want a certificate (--cert) or a PROXY header (--send-proxy), or not serve this machine: its log may say why."
        }
    };
    let did = if class == FailureClass::Reset { "reset" } else { "closed" };
    ClientFailure::advised(class, format!("the far end {did} the connection instead of answering one line"), advice)
}

/// Who answers like that is none of those that can be loaded.
async fn stranger(answer: &[u8], address: &Address, how: Dial, before: &ConnectSetup) -> anyhow::Error {
    let mismatch = |what: &str, advice| ClientFailure::advised(FailureClass::Mismatch, what, advice).into();
    match kind(answer) {
        Some(Kind::Tls) => {
            return ClientFailure::advised(
                FailureClass::Tls,
                "the far end speaks TLS, and was spoken to in plain",
                "Add --tls.",
            )
            .into();
        }
        Some(Kind::Http) => {
            let advice = "resound load speaks to servers that echo, answer lines, discard or generate: HTTP has generators of its own.";
            return mismatch("the far end is an HTTP server", advice);
        }
        None => {}
    }
    let said = crate::escape::text(&answer[..answer.len().min(60)]);
    let is_header = |part: &[u8]| memchr::memmem::find(answer, part).is_some();
    if before.send_proxy.is_some() && (is_header(b"PROXY ") || is_header(b"\r\n\r\n\0\r\nQUIT\n")) {
        return mismatch(
            &format!("the far end answered the PROXY header: {said}"),
            "It expects none: leave out --send-proxy.",
        );
    }
    // Was that an answer at all?
    let mut greeting = Vec::new();
    if let Ok(mut stream) = connect(address, how, before).await {
        let _ = timeout(PATIENCE, listen(&mut stream, &mut greeting, |greeting| !greeting.is_empty())).await;
    }
    if greeting.is_empty() {
        let advice = "If it does echo, answer lines, discard or generate, say which with --mode.";
        return mismatch(&format!("the far end is not known: it answered one line with {said}"), advice);
    }
    let advice = "Servers of mail, SSH and databases do: resound load speaks to those that echo, answer lines, discard or generate.";
    mismatch(&format!("the far end speaks first, with {said}"), advice)
}

/// Servers that are often met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tls,
    Http,
}

fn kind(answer: &[u8]) -> Option<Kind> {
    // An alert (RFC 8446, 5.1), or what our own server and web servers say in plain.
    let speaks_tls = answer.starts_with(&[21, 3])
        || answer.starts_with(b"Error: this server speaks TLS")
        || memchr::memmem::find(answer, b"HTTPS").is_some();
    let head = answer.get(..9).unwrap_or(answer).to_ascii_lowercase();
    match () {
        () if speaks_tls => Some(Kind::Tls),
        () if head.starts_with(b"http/") || head.starts_with(b"<!doctype") || head.starts_with(b"<html") => {
            Some(Kind::Http)
        }
        () => None,
    }
}

fn reply() -> Vec<u8> {
    [Reply::PREFIX.as_bytes(), LINE].concat()
}

/// Does more time tell nothing more?
fn is_complete(answer: &[u8]) -> bool {
    let may_become = |whole: &[u8]| answer.len() < whole.len() && whole.starts_with(answer);
    !(answer.is_empty() || may_become(LINE) || may_become(&reply()) || answer.len() < RING && is_generated(answer))
        || answer.len() >= MOST
}

/// So many bytes of a ring are no accident. They fit into the first line of RFC 864's pattern.
const RING: usize = 60;

/// Do printing characters follow each other as they do in RFC 864's pattern? A ring may begin with any of them, and some
/// have no space between the last and the first.
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
        [] => Some(Mode::Discard),
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
    fn who_cannot_be_loaded_is_recognised() {
        for (answer, who) in [
            (&b"\x15\x03\x01\0\x02\x02\x0a"[..], Some(Kind::Tls)),
            (b"Error: this server speaks TLS (resound client --tls)\n", Some(Kind::Tls)),
            (b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port", Some(Kind::Tls)),
            (b"HTTP/1.1 400 Bad Request\r\n", Some(Kind::Http)),
            (b"<!DOCTYPE HTML>\n", Some(Kind::Http)),
            (b"220 mail.example ESMTP\r\n", None),
            (b"\x15", None),
        ] {
            assert_eq!(kind(answer), who, "{}", answer.escape_ascii());
        }
    }

    #[test]
    fn one_line_tells_what_the_far_end_does() {
        assert_eq!(judge(b""), Some(Mode::Discard));
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

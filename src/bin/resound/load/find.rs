//! What the far end does, where nobody has said: found by sending one line.

use std::time::Duration;

use anyhow::{Result, bail};
use resound::load::Mode;
use resound::{Address, Dial, Endpoint, FailureClass, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::Failure;

/// Whoever has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_millis(500);
const LINE: &[u8] = b"resound load: what do you do with a line?\n";
/// More than any answer to it.
const MOST: usize = 1024;

/// The address that answered, and what it does.
pub(super) async fn mode(address: &Address, how: Dial) -> Result<(Endpoint, Mode)> {
    let mut stream = resound::dial(address, how).await?;
    let target = stream.peer();
    let lost = |error| Failure::of(error, " when it was sent one line");
    stream.write_all(LINE).await.map_err(lost)?;
    let mut answer = Vec::new();
    let mut ended = false;
    let listen = async {
        while !is_complete(&answer) {
            if stream.read_buf(&mut answer).await? == 0 {
                ended = true;
                break;
            }
        }
        std::io::Result::Ok(())
    };
    if let Ok(result) = timeout(PATIENCE, listen).await {
        result.map_err(lost)?;
    }
    match judge(&answer) {
        Some(mode) => Ok((target, mode)),
        None if ended && answer.is_empty() => {
            let what = "the far end closed the connection instead of answering one line";
            Err(Failure::new(FailureClass::Eof, what).into())
        }
        None => bail!(
            "the far end is not known: it answered one line with {}; say with --mode what it does (reply, echo, discard or chargen)",
            crate::escape::text(&answer[..answer.len().min(60)])
        ),
    }
}

fn reply() -> Vec<u8> {
    [Reply::PREFIX.as_bytes(), LINE].concat()
}

/// Does more time tell nothing more?
fn is_complete(answer: &[u8]) -> bool {
    let may_become = |whole: &[u8]| answer.len() < whole.len() && whole.starts_with(answer);
    !(answer.is_empty() || may_become(LINE) || may_become(&reply()) || may_become(generated())) || answer.len() >= MOST
}

/// How RFC 864's pattern begins.
fn generated() -> &'static [u8] {
    b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ"
}

fn judge(answer: &[u8]) -> Option<Mode> {
    match answer {
        [] => Some(Mode::Discard),
        _ if answer == LINE => Some(Mode::Echo),
        _ if answer == reply() => Some(Mode::Reply),
        _ if answer.starts_with(generated()) => Some(Mode::Chargen),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_what_the_far_end_does() {
        assert_eq!(judge(b""), Some(Mode::Discard));
        assert_eq!(judge(LINE), Some(Mode::Echo));
        assert_eq!(judge(&reply()), Some(Mode::Reply));
        assert_eq!(judge(&[generated(), b"and more"].concat()), Some(Mode::Chargen));
        assert_eq!(judge(b"220 mail.example ESMTP\r\n"), None);
        for whole in [LINE, &reply(), generated()] {
            assert!((0..whole.len()).all(|n| !is_complete(&whole[..n])));
            assert!(is_complete(whole));
        }
        assert!(is_complete(b"220 "));
    }
}

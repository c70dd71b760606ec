//! What the answer to a first line tells of a server.

use crate::far_session::changed_at_its_end;
use crate::report::{FarKind, PathDirection};
use crate::symptom::Symptom;
use resound_probe::{Damage, FarHello, PREFIX, ProbeAnswer, WrongBytes};

/// Who is there.
#[derive(Clone, Debug)]
pub(crate) enum Greeting {
    Probe(Box<FarHello>),
    /// It answered, or spoke first: this.
    Words(FarKind, Vec<u8>),
}

/// How a hello begins after its prefix. No other server's answer contains this.
const IN_HELLO: &[u8] = b"{\"hello\":{";
/// How much of it no other server's answer begins with.
const LEAST_OF_HELLO: usize = 8;
/// A line with fewer inverted bits than this is the same one, changed on its way.
const CHANGED_BITS: u32 = 16;

/// Whether an answer without a newline is the beginning of one that is known.
pub(super) fn may_go_on(answer: &[u8], request: &str) -> bool {
    let known = [request.as_bytes(), resound::Reply::PREFIX.as_bytes()];
    ProbeAnswer::may_be(answer) || known.iter().any(|known| known.iter().zip(answer).all(|(a, b)| a == b))
}

/// Who the server is by its answer to `request`.
pub(super) fn understood(request: &str, answer: &[u8]) -> Result<Greeting, Symptom> {
    let line_end = answer.iter().position(|&byte| byte == b'\n').map_or(answer.len(), |at| at + 1);
    let line = &answer[..line_end];
    if line == request.as_bytes() {
        return Ok(Greeting::Words(FarKind::Echo, b"echo".to_vec()));
    }
    match ProbeAnswer::parse(line) {
        Some(ProbeAnswer::Hello(hello)) => return Ok(Greeting::Probe(hello)),
        Some(ProbeAnswer::Error(why)) => return Err(Symptom::NotPlayed(why)),
        Some(ProbeAnswer::Garbled) => return Err(Symptom::Garbled(PathDirection::Out)),
        Some(ProbeAnswer::Session(_)) => return Err(Symptom::NotPlayed("its answer fits no question".into())),
        None => {}
    }
    if let Some(direction) = changed_at_its_end(line) {
        return Err(Symptom::Garbled(direction));
    }
    if line.strip_prefix(resound::Reply::PREFIX.as_bytes()) == Some(request.as_bytes()) {
        return Ok(Greeting::Words(FarKind::Reply, resound::Reply::PREFIX.trim_end().as_bytes().to_vec()));
    }
    // A hello that is cut off, or changed.
    let is_cut = answer.len() >= LEAST_OF_HELLO && line.last() != Some(&b'\n') && ProbeAnswer::may_be(answer);
    let hello = [PREFIX.as_bytes(), IN_HELLO].concat();
    let begins = line.get(..hello.len()).is_some_and(|begin| slightly_changed(begin, &hello).is_some());
    if is_cut || begins || line.windows(IN_HELLO.len()).any(|window| window == IN_HELLO) {
        return Err(Symptom::Garbled(PathDirection::In));
    }
    let reply = [resound::Reply::PREFIX.as_bytes(), request.as_bytes()].concat();
    for (known, prefix) in [(request.as_bytes(), 0), (&reply, resound::Reply::PREFIX.len())] {
        if let Some(at) = slightly_changed(line, known) {
            // Bytes of the line itself went both ways.
            let is_line_changed = line[prefix..] != known[prefix..];
            let direction = match (at < prefix, is_line_changed) {
                (true, false) => PathDirection::In,
                (true, true) => PathDirection::Both,
                (false, _) => PathDirection::Out,
            };
            return Err(Symptom::Wrong(direction, WrongBytes { at: at as u64, damage: Damage::Changed }));
        }
    }
    if let Some(at) = replied_otherwise(request, line) {
        let wrong = WrongBytes { at: at as u64, damage: Damage::Changed };
        return Err(Symptom::Wrong(PathDirection::Out, wrong));
    }
    Ok(Greeting::Words(FarKind::Answers, answer.to_vec()))
}

/// Where a reply in this project's form differs from the request, if it has its length. Another
/// length, or capitals, are habits of servers.
fn replied_otherwise(request: &str, line: &[u8]) -> Option<usize> {
    let (prefix, request) = (resound::Reply::PREFIX.as_bytes(), request.trim_end().as_bytes());
    let replied = line.strip_prefix(prefix)?.trim_ascii_end();
    if replied.len() != request.len() || replied.eq_ignore_ascii_case(request) {
        return None;
    }
    replied.iter().zip(request).position(|(came, sent)| came != sent).map(|at| prefix.len() + at)
}

/// Where a line first differs from a known one, if it is that one but for a few bits, or has the
/// same bytes in another order.
fn slightly_changed(line: &[u8], known: &[u8]) -> Option<usize> {
    let bits: u32 = line.iter().zip(known).map(|(a, b)| (a ^ b).count_ones()).sum();
    let is_same = line.len() == known.len() && (bits < CHANGED_BITS || in_order(line) == in_order(known));
    is_same.then(|| line.iter().zip(known).position(|(a, b)| a != b)).flatten()
}

fn in_order(line: &[u8]) -> Vec<u8> {
    let mut bytes = line.to_vec();
    bytes.sort_unstable();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "resound-probe/1 {\"play\":[],\"seed\":7}\n";

    fn changed(answer: &[u8]) -> Option<PathDirection> {
        understood(REQUEST, answer).err().and_then(|symptom| symptom.changed())
    }

    #[test]
    fn a_hello_that_was_changed_at_its_beginning_is_one() {
        let hello = b"resound-probe/1 {\"hello\":{\"resound\":\"9\"}}\n";
        for flipped in [&[0][..], &[1, 3, 20, 21], &[15, 16, 17, 18]] {
            let mut answer = hello.to_vec();
            flipped.iter().for_each(|&at| answer[at] ^= 4);
            assert_eq!(changed(&answer), Some(PathDirection::In), "{flipped:?}");
        }
        let swapped = [&hello[16..32], &hello[..16], &hello[32..]].concat();
        assert_eq!(changed(&swapped), Some(PathDirection::In));
    }

    #[test]
    fn a_line_whose_bytes_come_in_another_order_was_changed() {
        let request = REQUEST.as_bytes();
        let swapped = [&request[16..32], &request[..16], &request[32..]].concat();
        assert_eq!(changed(&swapped), Some(PathDirection::Out));
        let reply = [resound::Reply::PREFIX.as_bytes(), &swapped].concat();
        assert_eq!(changed(&reply), Some(PathDirection::Out));
    }

    #[test]
    fn a_line_that_comes_with_another_end_was_changed() {
        let with_cr = |line: String| line.replace('\n', "\r\n").into_bytes();
        let hello = resound_probe::ProbeAnswer::Hello(Box::default()).line();
        assert_eq!(changed(&with_cr(hello)), Some(PathDirection::In));
        let garbled = resound_probe::ProbeAnswer::Garbled.line();
        assert_eq!(changed(&with_cr(garbled)), Some(PathDirection::Both));
    }

    #[test]
    fn a_reply_to_another_line_shows_that_this_one_was_changed() {
        let reply = |line: &str| format!("{}{line}", resound::Reply::PREFIX).into_bytes();
        assert_eq!(changed(&reply("sdrntoe-qsncd/1 {\"qm`x\":[],\"rdde\":7}\n")), Some(PathDirection::Out));
        // Servers with habits of their own.
        let (upper, quoted) = (REQUEST.to_uppercase(), format!("'{}'\n", REQUEST.trim_end()));
        let other_end = REQUEST.replace('\n', "\r\n");
        for habit in [REQUEST.trim_end(), &REQUEST[..16], &other_end, &upper, &quoted, "37 bytes\n"] {
            assert_eq!(changed(&reply(habit)), None, "{habit:?}");
        }
    }

    #[test]
    fn another_servers_answer_is_its_own() {
        for answer in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"{\"error\":\"no such command\"}\n", b"-ERR\r\n"] {
            assert!(matches!(understood(REQUEST, answer), Ok(Greeting::Words(FarKind::Answers, _))), "{answer:?}");
        }
    }
}

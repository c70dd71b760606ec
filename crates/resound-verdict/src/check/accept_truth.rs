//! `accept-truth`: the far end itself accepts.

use super::CheckId;
use super::first_answer::Greeting;
use super::greet::{GreetTry, Greetings, elapsed};
use crate::report::{CheckReport, CheckVerdict, FarKind, PathDirection};
use crate::symptom::{NoHello, Symptom};
use crate::tries::TRIES;
use resound_probe::TcpFacts;

/// Retransmissions in a row that no system leaves without an acknowledgement.
const UNHEARD: u32 = 3;

/// `tries` are those of the greetings that are judged.
pub(crate) fn accept_truth(greetings: &Greetings, tries: &[GreetTry]) -> CheckReport {
    let id = CheckId::AcceptTruth;
    let tries: Vec<_> = tries.iter().filter(|tried| tried.connected_in.is_some()).collect();
    // A greeting that was changed on its way is one.
    let is_changed = |symptom: &&Symptom| symptom.changed().is_some();
    let symptoms: Vec<_> = tries.iter().filter_map(|tried| tried.result.as_ref().err()).collect();
    let symptoms: Vec<_> = symptoms.into_iter().filter(|symptom| !is_changed(symptom)).collect();
    let ok = tries.len() - symptoms.len();
    let report = match symptoms.first() {
        None if expects_tls(&tries) => CheckReport::new(id, CheckVerdict::Unknown, "the server expects TLS: --tls"),
        None => {
            let answered = tries.iter().filter_map(|tried| tried.answered_in).min();
            let summary = match (greetings.kind(), answered) {
                (FarKind::Probe, Some(time)) => format!("the far end answered in {}", elapsed(time)),
                (FarKind::SpeaksFirst, _) => "a server speaks".into(),
                (_, Some(time)) => format!("a server answered in {}", elapsed(time)),
                _ => "a server answered".into(),
            };
            CheckReport::new(id, CheckVerdict::Pass, summary)
        }
        Some(first) if ok > 0 => CheckReport::new(id, CheckVerdict::Flaky, first.to_string()),
        // A server that ends, or starts, refuses some and closes others.
        Some(Symptom::NoHello(NoHello::ResetAtOnce | NoHello::ClosedAtOnce))
            if tries.len() == greetings.tries.len() =>
        {
            CheckReport::new(id, CheckVerdict::Fail, format!("{}: no server stands behind it", symptoms[0]))
                .suspects("a proxy or a published port without a backend, such as rootless podman's")
                .suspects("an access list without this address")
        }
        Some(first) if greetings.ends_at_one_byte.is_some() => {
            CheckReport::new(id, CheckVerdict::Fail, format!("{first}, and after a single byte too"))
                .suspects("a box that ends connections at their first byte; no common server does")
        }
        Some(first @ (Symptom::NotPlayed(_) | Symptom::Local(_))) => {
            CheckReport::new(id, CheckVerdict::Error, first.to_string())
        }
        Some(_) if tries.len() >= TRIES && tries.iter().all(|tried| is_silent(tried) && !is_heard(tried)) => {
            let unheard: Vec<_> = tries.iter().copied().filter(|tried| is_unheard(tried)).collect();
            if unheard.is_empty() { unanswered(symptoms[0]) } else { self::unheard(&unheard) }
        }
        Some(first) => unanswered(first),
    };
    symptoms.iter().fold(report.tried(ok, tries.len()), |report, symptom| report.saw(symptom.to_string()))
}

/// Whether each answer to plain text is an alert of TLS (RFC 8446, 6), or the hint of
/// `resound server`.
fn expects_tls(tries: &[&GreetTry]) -> bool {
    let is_of_tls = |tried: &&GreetTry| match &tried.result {
        Ok(Greeting::Words(_, words)) => {
            words.starts_with(b"\x15\x03") || words.starts_with(b"Error: this server speaks TLS")
        }
        _ => false,
    };
    !tries.is_empty() && tries.iter().all(is_of_tls)
}

/// No server has answered, and none has ended the connection at once.
fn unanswered(first: &Symptom) -> CheckReport {
    CheckReport::new(CheckId::AcceptTruth, CheckVerdict::Unknown, format!("{first}: the server or the path"))
        .suspects("a server that expects another protocol, such as TLS (--tls), or a proxy without a backend")
}

fn is_silent(tried: &GreetTry) -> bool {
    matches!(tried.result, Err(Symptom::NoHello(NoHello::Silent)))
}

fn tcp(tried: &GreetTry) -> Option<&TcpFacts> {
    tried.near.as_ref().and_then(|near| near.socket.tcp.as_ref())
}

/// Whether a byte was acknowledged, or came. A server that hangs is heard: its system acknowledges
/// what it receives.
fn is_heard(tried: &GreetTry) -> bool {
    // A SYN counts as one.
    tcp(tried).is_some_and(|tcp| tcp.acknowledged > 1 || tcp.received > 0)
}

/// Whether a SYN-ACK came, and then no acknowledgement of bytes that were sent again and again.
fn is_unheard(tried: &GreetTry) -> bool {
    tcp(tried).is_some_and(|tcp| tcp.timeouts >= UNHEARD) && !is_heard(tried)
}

/// Connections are made, and no byte on them is acknowledged.
fn unheard(tries: &[&GreetTry]) -> CheckReport {
    let facts = || tries.iter().copied().filter_map(tcp);
    let again = facts().map(|tcp| tcp.timeouts).min().unwrap_or_default();
    let what = format!("the SYN is answered, but no later byte is acknowledged, though sent {} times", again + 1);
    let report = CheckReport::new(CheckId::AcceptTruth, CheckVerdict::Fail, what)
        .suspects("asymmetric routing through a firewall that has not seen the whole handshake")
        .suspects("a proxy of SYNs (a protection against floods) with nothing behind it");
    // Its sender waits for the end of the handshake.
    if facts().all(|tcp| tcp.segments_received > 1) {
        let report = report.towards(PathDirection::Out);
        return report.saw("the SYN-ACK came again: what this end sends after its SYN does not arrive");
    }
    report
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use resound::Endpoint;

    use super::*;
    use crate::near::NearFacts;
    use resound_probe::SocketFacts;

    #[test]
    fn a_server_that_starts_again_is_no_proxy_without_one() {
        let tried = |is_connected: bool| GreetTry {
            connected_in: is_connected.then_some(Duration::ZERO),
            answered_in: None,
            took: None,
            near: None,
            result: Err(Symptom::NoHello(NoHello::ClosedAtOnce)),
        };
        let verdict = |connected: [bool; 3]| {
            let tries = connected.map(tried).to_vec();
            let greetings = Greetings::of(tries);
            accept_truth(&greetings, &greetings.tries).verdict
        };
        assert_eq!(verdict([true; 3]), CheckVerdict::Fail);
        assert_eq!(verdict([true, false, false]), CheckVerdict::Unknown);
    }

    /// A connection on which nothing came, with so many bytes acknowledged, and the line sent so
    /// often again.
    fn silent(acknowledged: u64, timeouts: u32) -> GreetTry {
        let tcp = TcpFacts { acknowledged, timeouts, ..TcpFacts::default() };
        let endpoint = || Endpoint::Tcp("127.0.0.1:1".parse().unwrap());
        let near = NearFacts {
            local: endpoint(),
            remote: endpoint(),
            socket: SocketFacts { tcp: Some(tcp), ..SocketFacts::default() },
            timestamp_clock: None,
            age: Duration::ZERO,
            tls: None,
            certificate: None,
        };
        GreetTry {
            connected_in: Some(Duration::ZERO),
            answered_in: None,
            took: None,
            near: Some(near),
            result: Err(Symptom::NoHello(NoHello::Silent)),
        }
    }

    #[test]
    fn bytes_that_nothing_acknowledges_are_the_paths_where_no_try_is_heard() {
        let verdict = |tries: [GreetTry; 3]| {
            let greetings = Greetings::of(tries.to_vec());
            accept_truth(&greetings, &greetings.tries).verdict
        };
        assert_eq!(verdict([silent(1, 5), silent(1, 5), silent(1, 5)]), CheckVerdict::Fail);
        assert_eq!(verdict([silent(1, 5), silent(1, 2), silent(1, 2)]), CheckVerdict::Fail, "two were begun later");
        assert_eq!(verdict([silent(1, 5), silent(66, 0), silent(66, 0)]), CheckVerdict::Unknown, "a server hangs");
        assert_eq!(verdict([silent(1, 2), silent(1, 2), silent(1, 2)]), CheckVerdict::Unknown);
    }
}

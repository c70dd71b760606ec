//! `tls-split-hello`: a server answers a ClientHello in any segments. Keys that withstand quantum
//! computers make it longer than one segment, and some boxes expect it whole in the first
//! (<https://tldr.fail/>).

use std::sync::Arc;
use std::time::Duration;

use resound::tls::rustls::{ClientConnection, Error};
use resound::tls::{TlsClient, TlsFailure, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::CheckId;
use super::greet::SMALL_SEGMENT;
use crate::place::{PathEnd, Special};
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::{NoHello, Symptom};
use crate::tries::{TRIES, TriesJudgement, TryOutcome, all};

/// The group whose key share is small, and which servers of all ages know.
const SMALL_GROUP: &str = "x25519";
/// A ClientHello of this size is longer than a segment of an Ethernet.
const LARGE: usize = 1400;
/// Between the two segments of a ClientHello: a box has looked at the first by then.
const PAUSE: Duration = Duration::from_millis(60);

/// The ClientHellos that were tried.
pub(crate) struct SplitHellos {
    /// Larger than a segment.
    large: Vec<TryOutcome<usize>>,
    /// Small, in two segments.
    split: Vec<TryOutcome<usize>>,
    /// Small, in one segment: the control.
    small: Vec<TryOutcome<usize>>,
    /// This end's TLS with a ClientHello that fits into a small segment.
    short: Option<TlsClient>,
}

/// One handshake. Returns the size of its ClientHello once anything has answered it.
async fn shake(end: &PathEnd, client: &TlsClient, is_split: bool) -> Result<usize, Symptom> {
    // Whether full segments pass is the matter of another check.
    let special = Special { max_segment: Some(SMALL_SEGMENT), ..Special::default() };
    let (stream, _) = end.connect(special).await?;
    let local = |error: &dyn std::fmt::Display| Symptom::Local(error.to_string());
    let mut session =
        ClientConnection::new(Arc::clone(client.config()), client.name().clone()).map_err(|error| local(&error))?;
    let mut flight = Vec::new();
    session.write_tls(&mut flight).map_err(|error| local(&error))?;
    let bytes = flight.len();
    let lost = |error: &std::io::Error| match Symptom::of(error, 0, 0) {
        Symptom::Reset { .. } => Symptom::HelloLost(NoHello::Reset),
        Symptom::Closed { .. } => Symptom::HelloLost(NoHello::Closed),
        Symptom::Stalled { .. } => Symptom::HelloLost(NoHello::Silent),
        other => other,
    };
    let (mut reader, mut writer) = (&stream, &stream);
    if is_split {
        let rest = flight.split_off(bytes / 2);
        writer.write_all(&flight).await.map_err(|error| lost(&error))?;
        sleep(PAUSE).await;
        flight = rest;
    }
    let (mut chunk, mut is_answered) = (vec![0; 16 * 1024], false);
    loop {
        let sent = writer.write_all(&flight).await;
        if !is_answered {
            sent.map_err(|error| lost(&error))?;
        }
        if !session.is_handshaking() {
            flight.clear();
            session.send_close_notify();
            let _ = session.write_tls(&mut flight);
            let _ = writer.write_all(&flight).await;
            return Ok(bytes);
        }
        let n = match timeout(end.patience, reader.read(&mut chunk)).await {
            Ok(Ok(n)) if n > 0 => n,
            // What follows the first answer is not the matter of this check.
            _ if is_answered => return Ok(bytes),
            Ok(Ok(_)) => return Err(Symptom::HelloLost(NoHello::Closed)),
            Ok(Err(error)) => return Err(lost(&error)),
            Err(_) => return Err(Symptom::HelloLost(NoHello::Silent)),
        };
        is_answered = true;
        let mut wire = &chunk[..n];
        while !wire.is_empty() {
            let read = session.read_tls(&mut wire).map(|_| session.process_new_packets());
            match read {
                Ok(Ok(_)) => {}
                Ok(Err(error @ Error::InvalidMessage(_))) => {
                    return Err(Symptom::NoTls(TlsFailure::of(&error).to_string()));
                }
                // An alert is an answer, and a certificate is not the matter of this check.
                _ => return Ok(bytes),
            }
        }
        flight.clear();
        while session.wants_write() && session.write_tls(&mut flight).is_ok() {}
    }
}

async fn tries(end: &PathEnd, client: Option<&TlsClient>, is_split: bool) -> Vec<TryOutcome<usize>> {
    let Some(client) = client else { return Vec::new() };
    let results = all((0..TRIES).map(|_| shake(end, client, is_split))).await;
    results.into_iter().map(|result| TryOutcome { result, far: None }).collect()
}

/// Tries ClientHellos of different sizes and segments.
pub(crate) async fn find(end: &PathEnd) -> Option<SplitHellos> {
    let client = end.tls.as_ref()?;
    let name = client.name().to_str();
    let alpn = &client.config().alpn_protocols;
    let own_short = client.to_group(SMALL_GROUP).ok();
    // A certificate is not the matter of this check: any answer is one.
    let other = |group| TlsClient::with_group(group, &name, Trust::Unverified, None, alpn).ok();
    let short = own_short.clone().or_else(|| other(SMALL_GROUP));
    let is_large = client.config().crypto_provider().kx_groups.iter().any(|group| {
        let name = format!("{:?}", group.name());
        name.contains("MLKEM")
    });
    let large = if is_large { Some(client.clone().without_resumption()) } else { other("X25519MLKEM768") };
    let (large, split, small) = tokio::join!(
        tries(end, large.as_ref(), false),
        tries(end, short.as_ref(), true),
        tries(end, short.as_ref(), false)
    );
    Some(SplitHellos { large, split, small, short: own_short })
}

impl SplitHellos {
    /// This end's TLS with a small ClientHello, where each of these was answered: a server may know
    /// other groups alone.
    pub(crate) fn short(&self) -> Option<&TlsClient> {
        self.short.as_ref().filter(|_| self.small.iter().all(|tried| tried.result.is_ok()))
    }

    /// The same, where a run must go on with it since a large ClientHello is lost.
    pub(crate) fn remedy(&self) -> Option<&TlsClient> {
        let is_lost = |tried: &TryOutcome<usize>| matches!(tried.symptom(), Some(Symptom::HelloLost(_)));
        self.short().filter(|_| self.large.iter().all(is_lost))
    }
}

fn judged(tries: &[TryOutcome<usize>], small: &[TryOutcome<()>], what: &str) -> CheckReport {
    let id = CheckId::TlsSplitHello;
    let control = Some(("a small ClientHello in one segment", small));
    TriesJudgement { id, tries, control }.report(
        |good| {
            let bytes = good.first().map_or(0, |bytes| **bytes);
            let answered = format!("{what} is answered");
            CheckReport::new(id, CheckVerdict::Pass, answered).measure("client_hello_bytes", bytes)
        },
        |symptom| matches!(symptom, Symptom::HelloLost(_)),
        |mine| {
            let how = match mine[0] {
                Symptom::HelloLost(NoHello::Silent) => "gets no answer",
                Symptom::HelloLost(NoHello::Reset | NoHello::ResetAtOnce) => "is answered with a RST",
                _ => "is answered with a FIN",
            };
            CheckReport::new(
                id,
                CheckVerdict::Fail,
                format!("{what} {how}, and a small one in one segment is answered"),
            )
            .towards(PathDirection::Out)
            .suspects("a firewall or a load balancer that expects a ClientHello in one segment (tldr.fail)")
        },
    )
}

/// With what other checks have found: connections with a small ClientHello must not break as well,
/// after about as many bytes.
pub(crate) fn beside(report: CheckReport, is_met: bool, checks: &[CheckReport]) -> CheckReport {
    let breaks = |check: &&CheckReport| {
        let is_out = check.id == CheckId::Integrity && check.direction != Some(PathDirection::In);
        check.verdict == CheckVerdict::Fail && (is_out || check.id == CheckId::SpuriousReset)
    };
    let why = match checks.iter().find(breaks) {
        Some(check) => format!("'{}' failed too", check.id),
        None if !is_met => "with a small one no connection is greeted either".into(),
        None => return report,
    };
    if !matches!(report.verdict, CheckVerdict::Fail | CheckVerdict::Flaky) {
        return report;
    }
    let summary = format!("not judged, since {why}: {}", report.summary);
    CheckReport { verdict: CheckVerdict::Unknown, summary, ..report }
}

/// `tls-split-hello`; `None` in a run without TLS.
pub(crate) fn split_hello(hellos: Option<&SplitHellos>) -> CheckReport {
    let Some(SplitHellos { large, split, small, .. }) = hellos else {
        return CheckReport::new(CheckId::TlsSplitHello, CheckVerdict::Skip, "the connections have no TLS: --tls");
    };
    let control: Vec<_> = small
        .iter()
        .map(|tried| TryOutcome { result: tried.result.as_ref().map(drop).map_err(Clone::clone), far: None })
        .collect();
    let bytes = large.iter().find_map(|tried| tried.result.as_ref().ok()).copied();
    let size = bytes.map_or_else(|| format!("more than {LARGE} bytes"), |bytes| format!("{bytes} bytes"));
    let large = judged(large, &control, &format!("a ClientHello of {size}, in several segments,"));
    let split = judged(split, &control, "a ClientHello in two segments, with a pause between,");
    let rank = |report: &CheckReport| {
        CheckVerdict::ALL.iter().position(|verdict| *verdict == report.verdict).unwrap_or(CheckVerdict::ALL.len())
    };
    let (mut worse, other) = if rank(&large) <= rank(&split) { (large, split) } else { (split, large) };
    if worse.verdict == CheckVerdict::Pass {
        worse.summary = format!("a ClientHello of {size}, and one in two segments with a pause between, are answered");
    } else {
        worse.evidence.push(format!("{}: {}", other.verdict, other.summary));
    }
    let [ok, tries] = [worse.ok + other.ok, worse.tries + other.tries].map(|n| n as usize);
    worse.tried(ok, tries)
}

#[cfg(test)]
mod tests;

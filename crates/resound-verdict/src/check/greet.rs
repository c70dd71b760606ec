//! The first connections: who is there, and whether a server stands behind what accepts.

use std::time::{Duration, Instant};

use resound::Stream;
use resound::client::FailureClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::CheckId;
pub(crate) use super::first_answer::Greeting;
use super::first_answer::{may_go_on, understood};
use super::proxy_header::is_proxy_header;
use crate::far_session::{LINE_PATIENCE, LONGEST_LINE};
use crate::near::NearFacts;
use crate::place::{PathEnd, Special};
use crate::report::{CheckReport, CheckVerdict, FarKind, PathDirection};
use crate::symptom::{NoHello, Symptom};
use crate::tries::{TRIES, all};
use resound_probe::{FarHello, ProbeRequest};

/// A server that speaks first has this time on most ports.
const FIRST_WORD: Duration = Duration::from_millis(300);
/// The same on ports whose servers speak first: some resolve the client's name before they greet.
const FIRST_WORD_THERE: Duration = Duration::from_secs(5);
/// FTP, SSH, telnet, SMTP, POP3, NNTP, IMAP, rsync, MySQL, VNC.
const SPEAK_FIRST: [u16; 13] = [21, 22, 23, 25, 110, 119, 143, 465, 587, 873, 993, 3306, 5900];
/// If no answer comes within this time, it may be too large for the path.
const GRACE: Duration = Duration::from_secs(2);
/// What the tests show of an answer.
const SHOWN: usize = 60;
/// The MSS that each host accepts (RFC 9293, 3.7.1).
pub(crate) const SMALL_SEGMENT: u16 = 536;

/// How one connection was greeted.
#[derive(Clone, Debug)]
pub(crate) struct GreetTry {
    /// `None` without a connection.
    pub(crate) connected_in: Option<Duration>,
    /// Between the first line and its answer.
    pub(crate) answered_in: Option<Duration>,
    /// From the SYN to the answer, with TLS's handshake.
    pub(crate) took: Option<Duration>,
    /// The connection, as this end's system sees it after the answer.
    pub(crate) near: Option<NearFacts>,
    pub(crate) result: Result<Greeting, Symptom>,
}

/// The first connections of a run.
pub(crate) struct Greetings {
    pub(crate) tries: Vec<GreetTry>,
    /// The segments had to be this small for an answer.
    pub(crate) max_segment: Option<u16>,
    /// The connections before, of which some stayed silent in segments of the full size: by chance
    /// if no check finds that size to be lost.
    pub(crate) in_full_size: Vec<GreetTry>,
    /// A single byte ends a connection, by one of these.
    pub(crate) ends_at_one_byte: Option<NoHello>,
}

impl Greetings {
    pub(crate) fn of(tries: Vec<GreetTry>) -> Self {
        Self { tries, max_segment: None, in_full_size: Vec::new(), ends_at_one_byte: None }
    }

    fn in_small_segments(tries: Vec<GreetTry>, in_full_size: Vec<GreetTry>) -> Self {
        Self { max_segment: Some(SMALL_SEGMENT), in_full_size, ..Self::of(tries) }
    }

    /// The result that identifies the far end best.
    pub(crate) fn kind(&self) -> FarKind {
        let kinds = self.tries.iter().rev().filter_map(GreetTry::kind);
        kinds.max_by_key(|kind| telling(*kind)).unwrap_or(FarKind::None)
    }

    /// The shortest time between a line and its answer.
    pub(crate) fn rtt(&self) -> Duration {
        let times = self.tries.iter().filter_map(|tried| tried.answered_in.max(tried.connected_in));
        times.min().unwrap_or_default()
    }

    /// What a single connection takes from its SYN to the greeting.
    pub(crate) fn alone(&self) -> Duration {
        self.tries.iter().filter_map(|tried| tried.took).min().unwrap_or_default().max(self.rtt())
    }

    /// The name of what answers.
    pub(crate) fn name(&self) -> Option<String> {
        let words = || {
            self.tries.iter().find_map(|tried| match &tried.result {
                Ok(Greeting::Words(_, words)) => Some(shown(words)),
                _ => None,
            })
        };
        self.hello().map(|hello| format!("resound {}", hello.resound)).or_else(words)
    }

    /// A connection that met another server than a known one which others met has failed.
    fn with_strays(mut self) -> Self {
        let kind = self.kind();
        if matches!(kind, FarKind::Probe | FarKind::Echo | FarKind::Reply) {
            for tried in &mut self.tries {
                if let Ok(Greeting::Words(other, words)) = &tried.result
                    && *other != kind
                {
                    tried.result = Err(Symptom::Stray(shown(words)));
                }
            }
        }
        self
    }

    /// Connections were made, and TLS never was.
    pub(crate) fn has_no_tls(&self) -> bool {
        let is_tls = |symptom: &Symptom| matches!(symptom, Symptom::NoTls(_) | Symptom::HelloLost(_));
        self.tries.iter().all(|tried| tried.result.as_ref().is_err_and(is_tls))
    }

    /// Whether what the server says first is a PROXY header, which this end has not sent.
    pub(crate) fn shows_proxy_header(&self) -> bool {
        self.tries.iter().any(|tried| match &tried.result {
            Ok(Greeting::Words(FarKind::SpeaksFirst, words)) => is_proxy_header(words),
            _ => false,
        })
    }

    pub(crate) fn hello(&self) -> Option<&FarHello> {
        self.tries.iter().find_map(|tried| match &tried.result {
            Ok(Greeting::Probe(hello)) => Some(&**hello),
            _ => None,
        })
    }
}

impl GreetTry {
    /// What this connection met.
    fn kind(&self) -> Option<FarKind> {
        match &self.result {
            Ok(Greeting::Probe(_)) => Some(FarKind::Probe),
            Ok(Greeting::Words(words, _)) => Some(*words),
            // What was changed is a greeting nevertheless.
            Err(Symptom::Garbled(_)) => Some(FarKind::Probe),
            Err(Symptom::Wrong(..)) => Some(FarKind::Answers),
            Err(Symptom::NoHello(NoHello::Silent)) => Some(FarKind::Silent),
            Err(Symptom::NoHello(_)) => Some(FarKind::Hangs),
            Err(_) => None,
        }
    }
}

/// How much a kind tells of the far end.
fn telling(kind: FarKind) -> u8 {
    match kind {
        FarKind::Probe => 4,
        FarKind::Echo | FarKind::Reply => 3,
        FarKind::Answers | FarKind::SpeaksFirst => 2,
        _ => 1,
    }
}

/// The beginning of what a server says, for a terminal.
pub(crate) fn shown(words: &[u8]) -> String {
    let line = words.split(|&byte| byte == b'\n' || byte == b'\r').find(|line| !line.is_empty()).unwrap_or_default();
    let text: String = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).escape_debug().collect();
    if line.len() > SHOWN { format!("{text}...") } else { text }
}

/// How long a server on this port may take for its first word.
pub(crate) fn first_word(port: Option<u16>) -> Duration {
    if port.is_some_and(|port| SPEAK_FIRST.contains(&port)) { FIRST_WORD_THERE } else { FIRST_WORD }
}

/// Makes the first connections.
pub(crate) async fn greet(end: &PathEnd, port: Option<u16>) -> Greetings {
    let (first, small) = first_greeting(end, first_word(port)).await;
    let mut tries = vec![first];
    let is_words = |tried: &GreetTry| matches!(tried.result, Ok(Greeting::Words(..)));
    if let Some(small) = small {
        let limit = grace(&small);
        let others = all((1..TRIES).map(|_| timeout(limit, try_greet(end, Special::default(), Duration::ZERO)))).await;
        if others.iter().all(Result::is_err) {
            return Greetings::in_small_segments(vec![small], Vec::new()).with_strays();
        }
        tries.extend(others.into_iter().flatten());
    }
    if !is_words(&tries[0]) {
        // The first connection has shown that it does not speak first, or that it hangs up. Where
        // it was silent all are the same, whatever a box does with the first packets.
        let is_silent = matches!(tries[0].result, Err(Symptom::NoHello(NoHello::Silent)));
        let first_word = if is_silent { first_word(port) } else { Duration::ZERO };
        let left = TRIES.saturating_sub(tries.len());
        tries.extend(all((0..left).map(|_| try_greet(end, Special::default(), first_word))).await);
    } else {
        // One after the other: many a server talks with one client at a time.
        let speaks_first = matches!(tries[0].result, Ok(Greeting::Words(FarKind::SpeaksFirst, _)));
        let first_word = if speaks_first { first_word(port) } else { Duration::ZERO };
        while tries.len() < TRIES {
            tries.push(try_greet(end, Special::default(), first_word).await);
        }
    }
    if let Some(small) = in_small_segments(end, &tries).await {
        return Greetings::in_small_segments(small, tries).with_strays();
    }
    let is_all = |wanted: &dyn Fn(&Symptom) -> bool| tries.iter().all(|tried| tried.result.as_ref().is_err_and(wanted));
    let is_lost = |symptom: &Symptom| matches!(symptom, Symptom::HelloLost(NoHello::Reset | NoHello::Closed));
    let ended_at_once =
        |symptom: &Symptom| matches!(symptom, Symptom::NoHello(NoHello::ResetAtOnce | NoHello::ClosedAtOnce));
    let is_any_lost = tries.iter().any(|tried| tried.result.as_ref().is_err_and(is_lost));
    let may_be_at_once = is_any_lost && is_all(&|symptom| is_lost(symptom) || ended_at_once(symptom));
    let mut ends_at_byte = None;
    let is_cut = is_all(&|symptom| matches!(symptom, Symptom::NoHello(NoHello::Reset | NoHello::Closed)));
    // With TLS a single byte comes after a handshake.
    if is_cut && end.tls.is_none() {
        ends_at_byte = ends_at_one_byte(end).await;
    }
    // A RST that came after the ClientHello may have been sent before it.
    if may_be_at_once {
        let ends = all(tries.iter().map(|_| ends_at_once(end))).await;
        if ends.iter().all(Option::is_some) {
            for (tried, seen) in tries.iter_mut().zip(ends.into_iter().flatten()) {
                if tried.result.as_ref().is_err_and(is_lost) {
                    tried.result = Err(Symptom::NoHello(seen));
                }
            }
        }
    }
    Greetings { ends_at_one_byte: ends_at_byte, ..Greetings::of(tries) }.with_strays()
}

/// The greetings in small segments, where some others stayed silent and none of these does: some
/// packets of the others were too large.
async fn in_small_segments(end: &PathEnd, tries: &[GreetTry]) -> Option<Vec<GreetTry>> {
    let is_silent = |tried: &GreetTry| {
        let silent = |symptom: &Symptom| {
            matches!(symptom, Symptom::NoHello(NoHello::Silent) | Symptom::HelloLost(NoHello::Silent | NoHello::Reset))
        };
        tried.result.as_ref().is_err_and(silent)
    };
    let silent = tries.iter().filter(|tried| is_silent(tried)).count();
    let good = tries.iter().filter(|tried| tried.result.is_ok()).count();
    if silent == 0 || good == 0 || silent + good < tries.len() {
        return None;
    }
    let special = Special { max_segment: Some(SMALL_SEGMENT), ..Special::default() };
    // Chance would show among so many.
    let mut small = all((0..2 * TRIES).map(|_| try_greet(end, special, Duration::ZERO))).await;
    small.iter().all(|tried| tried.result.is_ok()).then(|| small.split_off(TRIES))
}

/// Whether a connection ends on which nothing is sent, not even a ClientHello.
async fn ends_at_once(end: &PathEnd) -> Option<NoHello> {
    let (stream, connected_in) = match end.connect(Special::default()).await {
        Ok(connected) => connected,
        Err(Symptom::NoConnection { class: FailureClass::Reset, .. }) => return Some(NoHello::ResetAtOnce),
        Err(_) => return None,
    };
    let mut reader = &stream;
    match timeout(FIRST_WORD + 2 * connected_in, reader.read(&mut [0])).await.ok()? {
        Ok(0) => Some(NoHello::ClosedAtOnce),
        Err(error) if FailureClass::of(&error) == Some(FailureClass::Reset) => Some(NoHello::ResetAtOnce),
        _ => None,
    }
}

/// How long another connection may take that has begun before this one.
fn grace(greeted: &GreetTry) -> Duration {
    let times = [greeted.connected_in, greeted.answered_in];
    GRACE + 10 * times.into_iter().flatten().sum::<Duration>()
}

/// The first connection, and one in small segments where those alone are answered: then the first
/// one counts as silent.
async fn first_greeting(end: &PathEnd, first_word: Duration) -> (GreetTry, Option<GreetTry>) {
    let mut first = std::pin::pin!(try_greet(end, Special::default(), first_word));
    if let Ok(first) = timeout(first_word + GRACE, &mut first).await {
        return (first, None);
    }
    // The answer may be too large for the path.
    let special = Special { max_segment: Some(SMALL_SEGMENT), ..Special::default() };
    let small = tokio::select! {
        first = &mut first => return (first, None),
        small = try_greet(end, special, Duration::ZERO) => small,
    };
    if small.result.is_err() {
        return (first.await, None);
    }
    match timeout(grace(&small), &mut first).await {
        Ok(first) => (first, None),
        Err(_) => {
            let silent = Err(Symptom::NoHello(NoHello::Silent));
            (GreetTry { answered_in: None, result: silent, ..small.clone() }, Some(small))
        }
    }
}

async fn try_greet(end: &PathEnd, special: Special, first_word: Duration) -> GreetTry {
    let broken =
        |symptom| GreetTry { connected_in: None, answered_in: None, took: None, near: None, result: Err(symptom) };
    let start = Instant::now();
    let (stream, connected_in) = match end.connect(special).await {
        Ok(connected) => connected,
        // A SYN is refused otherwise: this RST came after the SYN-ACK.
        Err(Symptom::NoConnection { class: FailureClass::Reset, after, .. }) => {
            return GreetTry { connected_in: Some(after), ..broken(Symptom::NoHello(NoHello::ResetAtOnce)) };
        }
        Err(symptom) => return broken(symptom),
    };
    let connected_in = Some(connected_in);
    let stream = match end.secure(stream).await {
        Ok(secured) => secured,
        Err(symptom) => return GreetTry { connected_in, ..broken(symptom) },
    };
    let (result, answered_in) = talk(end, &stream, first_word).await;
    let took = answered_in.map(|_| start.elapsed().saturating_sub(first_word));
    let near = Some(NearFacts::of(&stream, start));
    if let Ok(Greeting::Probe(hello)) = &result {
        end.greeted.add(hello);
    }
    GreetTry { connected_in, answered_in, took, near, result }
}

/// Waits for a first word, and sends one in its absence. Returns what came, and how long its answer
/// took.
async fn talk(end: &PathEnd, stream: &Stream, first_word: Duration) -> (Result<Greeting, Symptom>, Option<Duration>) {
    let (mut reader, mut writer) = (stream, stream);
    let mut words = vec![0; 64 * 1024];
    if !first_word.is_zero() {
        match timeout(first_word, reader.read(&mut words)).await {
            // The handshake of TLS was sent.
            Ok(Ok(0)) if end.tls.is_some() => return (Err(Symptom::NoHello(NoHello::Closed)), None),
            Ok(Err(error)) if end.tls.is_some() => return (Err(behind_the_line(&error)), None),
            Ok(Ok(0)) => return (Err(Symptom::NoHello(NoHello::ClosedAtOnce)), None),
            Ok(Ok(n)) => return (Ok(Greeting::Words(FarKind::SpeaksFirst, words[..n].to_vec())), None),
            Ok(Err(error)) => return (Err(at_once(&error)), None),
            Err(_) => {}
        }
    }
    // Without a name: no other client can ask about it.
    let request = ProbeRequest { play: Some(Vec::new()), seed: end.seed, ..ProbeRequest::default() }.line();
    let start = Instant::now();
    let sent = async {
        writer.write_all(request.as_bytes()).await?;
        writer.flush().await
    };
    if let Err(error) = sent.await {
        return (Err(behind_the_line(&error)), None);
    }
    let (mut answer, mut answered_in): (Vec<u8>, _) = (Vec::new(), None);
    let result = loop {
        match timeout(end.patience, reader.read(&mut words)).await {
            Ok(Ok(0)) if answer.is_empty() => break Err(Symptom::NoHello(NoHello::Closed)),
            Ok(Err(error)) if answer.is_empty() => break Err(behind_the_line(&error)),
            Err(_) if answer.is_empty() => break Err(Symptom::NoHello(NoHello::Silent)),
            Ok(Ok(n)) if n > 0 => answer.extend_from_slice(&words[..n]),
            // It has said something, and then no more.
            _ => break understood(&request, &answer),
        }
        answered_in = answered_in.or(Some(start.elapsed()));
        let is_too_much = answer.len() > LONGEST_LINE || start.elapsed() > LINE_PATIENCE * end.patience;
        if answer.contains(&b'\n') || is_too_much || !may_go_on(&answer, &request) {
            break understood(&request, &answer);
        }
    };
    (result, answered_in)
}

fn at_once(error: &std::io::Error) -> Symptom {
    match Symptom::of(error, 0, 0) {
        Symptom::Reset { .. } => Symptom::NoHello(NoHello::ResetAtOnce),
        Symptom::Closed { .. } => Symptom::NoHello(NoHello::ClosedAtOnce),
        other => other,
    }
}

fn behind_the_line(error: &std::io::Error) -> Symptom {
    match Symptom::of(error, 0, 0) {
        Symptom::Reset { .. } => Symptom::NoHello(NoHello::Reset),
        Symptom::Closed { .. } => Symptom::NoHello(NoHello::Closed),
        other => other,
    }
}

/// Whether one byte, whatever it is, ends each of three connections.
async fn ends_at_one_byte(end: &PathEnd) -> Option<NoHello> {
    let mut seen = None;
    // A server that expects a PROXY header or TLS waits for more after one of these.
    for byte in [b"P", b"\x16", b"r"] {
        let reached = end.reach(Special::default()).await.ok()?;
        let mut stream = &reached.stream;
        let patience = Duration::from_secs(1) + 4 * reached.connected_in;
        let mut word = [0; 16];
        stream.write_all(byte).await.ok()?;
        stream.flush().await.ok()?;
        let ended = match timeout(patience, stream.read(&mut word)).await.ok()? {
            Ok(0) => NoHello::Closed,
            Ok(_) => return None,
            Err(error) if FailureClass::of(&error) == Some(FailureClass::Reset) => NoHello::Reset,
            Err(_) => return None,
        };
        if seen.is_some_and(|seen| seen != ended) {
            return None;
        }
        seen = Some(ended);
    }
    seen
}

/// `connect`: a connection is made.
pub(crate) fn connect(greetings: &Greetings) -> CheckReport {
    let tries = &greetings.tries;
    let times: Vec<_> = tries.iter().filter_map(|tried| tried.connected_in).collect();
    let broken = tries.iter().filter(|tried| tried.connected_in.is_none());
    let broken: Vec<_> = broken.filter_map(|tried| tried.result.as_ref().err()).collect();
    let report = match (&times[..], &broken[..]) {
        ([], [Symptom::Local(what), ..]) => CheckReport::new(CheckId::Connect, CheckVerdict::Error, what.clone()),
        ([], [first, ..]) => {
            let report = CheckReport::new(CheckId::Connect, CheckVerdict::Fail, first.to_string());
            broken.iter().fold(report, |report, symptom| report.saw(symptom.to_string()))
        }
        (_, []) => {
            let fastest = times.iter().min().copied().unwrap_or_default();
            CheckReport::new(CheckId::Connect, CheckVerdict::Pass, format!("in {}", elapsed(fastest)))
                .measure("connect_ms", fastest.as_secs_f64() * 1000.0)
        }
        (_, [first, ..]) => CheckReport::new(CheckId::Connect, CheckVerdict::Flaky, first.to_string()),
    };
    report.tried(times.len(), tries.len())
}

/// `integrity`, where already the greetings were changed on their way and the far end cannot play.
pub(crate) fn changed_greetings(greetings: &Greetings) -> Option<CheckReport> {
    let changed = greetings.tries.iter().filter_map(|tried| match &tried.result {
        Err(symptom @ Symptom::Wrong(direction, _)) => Some((symptom, *direction)),
        _ => None,
    });
    let changed: Vec<_> = changed.collect();
    let (symptom, _) = *changed.first()?;
    let direction = changed.iter().map(|(_, direction)| *direction);
    let direction = direction.reduce(|all, one| if all == one { all } else { PathDirection::Both });
    // Without the prefix the change may have come on either way.
    let direction = direction.filter(|direction| *direction != PathDirection::Out);
    let wrong = match symptom {
        Symptom::Wrong(_, wrong) => wrong.to_string(),
        other => other.to_string(),
    };
    let verdict = if changed.len() == greetings.tries.len() { CheckVerdict::Fail } else { CheckVerdict::Flaky };
    let summary = format!("in the answer to the first line, {wrong}");
    let report = CheckReport::new(CheckId::Integrity, verdict, summary);
    let is_same = changed.iter().all(|(symptom, _)| *symptom == changed[0].0);
    let report = CheckReport { direction, ..report }.suspects(match is_same && changed.len() > 1 {
        true => "a server that answers so, or a box that rewrites text",
        false => "a box with bad memory that computes checksums anew",
    });
    Some(report.tried(greetings.tries.len() - changed.len(), greetings.tries.len()))
}

/// A time for the reader.
pub(crate) fn elapsed(time: Duration) -> String {
    match time.as_secs_f64() * 1e6 {
        micros if micros < 1000.0 => format!("{micros:.0} us"),
        micros if micros < 1e6 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{:.1} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(words: FarKind) -> GreetTry {
        let result = Ok(Greeting::Words(words, b"-ERR\r\n".to_vec()));
        GreetTry { connected_in: Some(Duration::ZERO), answered_in: None, took: None, near: None, result }
    }

    #[test]
    fn what_tells_most_decides_and_others_are_strays() {
        for order in
            [[FarKind::Echo, FarKind::Answers, FarKind::Echo], [FarKind::Answers, FarKind::Echo, FarKind::Echo]]
        {
            let greetings = Greetings::of(order.map(met).into()).with_strays();
            assert_eq!(greetings.kind(), FarKind::Echo, "{order:?}");
            let strays = greetings.tries.iter().filter_map(|tried| tried.result.as_ref().err());
            assert_eq!(strays.collect::<Vec<_>>(), [&Symptom::Stray("-ERR".into())], "{order:?}");
        }
        // Of servers that are not known, each may have words of its own.
        let others = Greetings::of([FarKind::Answers, FarKind::SpeaksFirst].map(met).into()).with_strays();
        assert!(others.tries.iter().all(|tried| tried.result.is_ok()));
    }
}

//! `options`: the SYN arrives with the options that it left with, and both ends believe the same.
//!
//! What this system sends is learnt from a listener of its own; what arrives, from the far end
//! (`TCP_SAVED_SYN`, tcp(7)). What comes back is inferred from what both systems have agreed on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use resound::server::Listener;
use resound::{Address, DialOptions, Family, dial};
use tokio::time::timeout;

use super::CheckId;
use super::address::{near, samples};
use super::greet::Greetings;
use super::one_connection::{OneConnection, of_endpoint};
use crate::near::NearFacts;
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use resound_probe::{FarHello, SynFacts, TcpFacts};

/// The code point of expedited forwarding (RFC 3246), which networks use for voice.
const MARK: u8 = 46;
/// A listener of one's own answers within this time.
const OWN_PATIENCE: Duration = Duration::from_secs(2);
/// The bytes that timestamps take of each segment.
const TIMESTAMPS: u32 = 12;

/// What is wrong with the options of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OptionsFinding {
    verdict: CheckVerdict,
    direction: PathDirection,
    /// What it is.
    what: String,
    /// What it costs.
    cost: &'static str,
}

/// An option that both ends must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreed {
    WindowScale,
    Sack,
    Timestamps,
}

impl Agreed {
    const ALL: [Self; 3] = [Self::WindowScale, Self::Sack, Self::Timestamps];

    fn name(self) -> &'static str {
        match self {
            Self::WindowScale => "window scaling",
            Self::Sack => "selective acknowledgements",
            Self::Timestamps => "timestamps",
        }
    }

    fn cost(self) -> &'static str {
        match self {
            Self::WindowScale => "a window has 64 KiB at most, so no more than that moves in one round trip",
            Self::Sack => "each round trip mends one lost segment at most",
            Self::Timestamps => "round trips are measured less often, and old segments are not recognized (RFC 7323)",
        }
    }

    fn is_in(self, syn: &SynFacts) -> bool {
        match self {
            Self::WindowScale => syn.window_scale.is_some(),
            Self::Sack => syn.sack,
            Self::Timestamps => syn.timestamps,
        }
    }

    fn is_used(self, tcp: &TcpFacts) -> bool {
        match self {
            Self::WindowScale => tcp.window_scale.is_some(),
            Self::Sack => tcp.sack,
            Self::Timestamps => tcp.timestamps,
        }
    }
}

/// What a run has learnt besides the greetings.
#[derive(Clone, Debug, Default)]
pub(crate) struct OptionsLook {
    /// The SYN that this system sends, but for its MSS.
    own: Option<SynFacts>,
    /// A connection whose packets were marked.
    marked: Option<(NearFacts, FarHello)>,
}

/// The MSS that this end has announced: once timestamps are agreed on, Linux counts without them.
fn announced(tcp: &TcpFacts) -> u32 {
    tcp.advertised_mss.saturating_add(if tcp.timestamps { TIMESTAMPS } else { 0 })
}

fn warned(what: impl Into<String>, cost: &'static str) -> OptionsFinding {
    OptionsFinding { verdict: CheckVerdict::Warn, direction: PathDirection::Out, what: what.into(), cost }
}

/// What this end offers and the connection goes without, where no SYN has been seen at the far end.
fn not_agreed(own: &SynFacts, tcp: &TcpFacts, by: &str) -> Vec<OptionsFinding> {
    let lacks = Agreed::ALL.into_iter().filter(|option| option.is_in(own) && !option.is_used(tcp));
    let lacks = lacks.map(|option| OptionsFinding {
        direction: PathDirection::Both,
        ..warned(format!("{} offered and not agreed on: {by}", option.name()), option.cost())
    });
    lacks.collect()
}

/// The SYN as it left against the SYN as it arrived.
fn changed(own: &SynFacts, mss: Option<u32>, arrived: &SynFacts) -> Vec<OptionsFinding> {
    let mut found = Vec::new();
    for option in Agreed::ALL {
        if option.is_in(own) && !option.is_in(arrived) {
            found.push(warned(format!("{} absent from the SYN that arrives", option.name()), option.cost()));
        }
    }
    if let (Some(left), Some(came)) = (own.window_scale, arrived.window_scale)
        && left != came
    {
        found.push(warned(
            format!("the window scale leaves as {left} and arrives as {came}"),
            "the far end misreads this end's window",
        ));
    }
    match (mss, arrived.mss.map(u32::from)) {
        (Some(left), Some(came)) if came > left => found.push(warned(
            format!("the MSS leaves as {left} and arrives as {came}, raised"),
            "the far end may send segments that are too large for this end's link",
        )),
        (Some(left), None) if left > 0 => {
            found.push(warned("the MSS is absent from the SYN that arrives", "the far end sends 536 bytes at a time"));
        }
        _ => {}
    }
    if own.ecn && !arrived.ecn {
        found.push(warned(
            "explicit congestion notification is taken from the SYN",
            "routers drop where they could mark",
        ));
    }
    let gone: Vec<_> = own.others.iter().filter(|kind| !arrived.others.contains(kind)).map(u8::to_string).collect();
    if !gone.is_empty() {
        found.push(warned(format!("options of kind {} absent from the SYN that arrives", gone.join(", ")), ""));
    }
    found
}

/// Where both ends' systems believe different things of one connection.
fn one_sided(near: &TcpFacts, far: &TcpFacts) -> Vec<OptionsFinding> {
    let failed = |direction, what, cost| OptionsFinding { verdict: CheckVerdict::Fail, direction, what, cost };
    let mut found = Vec::new();
    for option in Agreed::ALL {
        let (here, there) = (option.is_used(near), option.is_used(far));
        if here != there {
            let (user, direction) =
                if there { ("the far end", PathDirection::In) } else { ("this end", PathDirection::Out) };
            let cost = match option {
                Agreed::WindowScale => "one end misreads the other's windows by this factor",
                Agreed::Sack => "one end waits for acknowledgements that the other never sends",
                Agreed::Timestamps => "an end may drop segments without timestamps (RFC 7323, 3.2)",
            };
            found.push(failed(direction, format!("{user} alone uses {}", option.name()), cost));
        }
    }
    if let (Some((peer_here, own_here)), Some((peer_there, own_there))) = (near.window_scale, far.window_scale) {
        for (direction, sent, taken) in
            [(PathDirection::In, own_there, peer_here), (PathDirection::Out, own_here, peer_there)]
        {
            if sent != taken {
                let what = format!("windows on the way {direction} are scaled by {sent} bits and read as {taken}");
                found.push(failed(direction, what, "windows are misread"));
            }
        }
    }
    found
}

/// The findings of one connection, and in words what else it shows.
fn look_at(near: &NearFacts, far: &FarHello, own: Option<&SynFacts>) -> (Vec<OptionsFinding>, Option<String>) {
    let tcp = near.socket.tcp.as_ref();
    let one = OneConnection::of(near, far);
    let (mut found, mut note) = (Vec::new(), None);
    match (one, own, &far.socket.syn, tcp) {
        (OneConnection::Other(why), _, _, tcp) => {
            note = Some(format!("not compared, since {why}: a proxy ends this end's connection"));
            if let (Some(own), Some(tcp)) = (own, tcp) {
                found = not_agreed(own, tcp, "the proxy's system, or the path to it");
            }
        }
        (_, Some(own), Some(arrived), _) => found = changed(own, tcp.map(announced), arrived),
        (_, Some(own), None, Some(tcp)) => found = not_agreed(own, tcp, "the far end's system or the path"),
        _ => {}
    }
    let sides = (tcp, far.socket.tcp.as_ref());
    if let (OneConnection::Proven | OneConnection::SameAddresses, (Some(here), Some(there))) = (one, sides) {
        let differs = one_sided(here, there);
        if one == OneConnection::Proven {
            found.extend(differs);
        } else if let Some(first) = differs.first() {
            let what = format!("{}, if one connection leads from end to end, which is not shown", first.what);
            found.push(OptionsFinding { verdict: CheckVerdict::Unknown, what, ..first.clone() });
        }
    }
    if one == OneConnection::Unclear && note.is_none() {
        note = Some("a proxy may end this end's connection: what each end believes is not compared".into());
    }
    (found, note)
}

/// What a marked connection shows of the code point.
fn marked(near: &NearFacts, far: &FarHello) -> (Option<u8>, Option<OptionsFinding>) {
    let arrived = far.socket.syn.as_ref().map(|syn| syn.dscp);
    // With the same addresses at both ends, a box between has to pass a mark on, too.
    if !matches!(OneConnection::of(near, far), OneConnection::Proven | OneConnection::SameAddresses) {
        return (None, None);
    }
    let finding = arrived.filter(|dscp| *dscp != MARK).map(|dscp| {
        let what = match dscp {
            0 => format!("the DSCP {MARK} is set to 0 on the way"),
            dscp => format!("the DSCP {MARK} is set to {dscp} on the way"),
        };
        warned(what, "routers behind it treat marked packets like all others")
    });
    (arrived, finding)
}

fn in_words(syn: &SynFacts, mss: Option<u32>) -> String {
    let mss = mss.map(|mss| format!("MSS {mss}"));
    let scale = syn.window_scale.map(|scale| format!("window scale {scale}"));
    let sack = syn.sack.then(|| "SACK".to_string());
    let stamps = syn.timestamps.then(|| "timestamps".to_string());
    [mss, scale, sack, stamps].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn agreed_in_words(tcp: &TcpFacts) -> String {
    let used: Vec<_> = Agreed::ALL.into_iter().filter(|option| option.is_used(tcp)).map(Agreed::name).collect();
    if used.is_empty() { "no option".into() } else { used.join(", ") }
}

/// The findings of all connections, each once, with how often it was seen.
fn counted(all: Vec<Vec<OptionsFinding>>) -> Vec<(OptionsFinding, usize)> {
    let mut counts: Vec<(OptionsFinding, usize)> = Vec::new();
    for finding in all.into_iter().flatten() {
        match counts.iter_mut().find(|(known, _)| *known == finding) {
            Some((_, count)) => *count += 1,
            None => counts.push((finding, 1)),
        }
    }
    counts.sort_by_key(|(finding, _)| finding.verdict);
    counts
}

fn judged(samples: &[(&NearFacts, &FarHello)], look: &OptionsLook) -> CheckReport {
    let id = CheckId::Options;
    let own = look.own.as_ref();
    let (all, notes): (Vec<_>, Vec<_>) = samples.iter().map(|(near, far)| look_at(near, far, own)).unzip();
    let good = all.iter().filter(|found| found.is_empty()).count();
    let mut counts = counted(all);
    let mark = look.marked.as_ref().map(|(near, far)| marked(near, far)).unwrap_or_default();
    counts.extend(mark.1.clone().map(|finding| (finding, samples.len())));
    // The marked connection counts where it is the one that is wrong.
    let tries = samples.len() + usize::from(mark.1.is_some());
    let (near, far) = samples[0];
    let tcp = near.socket.tcp.as_ref();
    let mss = tcp.map(announced);
    let note = notes.into_iter().flatten().next();
    let mut report = match counts.first() {
        Some((first, count)) => {
            let is_flaky = *count < samples.len() && first.verdict == CheckVerdict::Fail;
            let verdict = if is_flaky { CheckVerdict::Flaky } else { first.verdict };
            let what: Vec<_> = counts.iter().map(|(finding, _)| finding.what.as_str()).collect();
            CheckReport::new(id, verdict, what.join("; ")).towards(direction(&counts))
        }
        None => CheckReport::new(id, CheckVerdict::Pass, passed(own, mss, tcp, far, note.as_deref())),
    };
    for (finding, count) in &counts {
        let seen =
            if *count < samples.len() { format!(" ({count} of {} connections)", samples.len()) } else { String::new() };
        let cost = if finding.cost.is_empty() { String::new() } else { format!(": {}", finding.cost) };
        report = report.saw(format!("on the way {}, {}{cost}{seen}", finding.direction, finding.what));
    }
    if let Some(note) = note.filter(|_| !counts.is_empty()) {
        report = report.saw(note);
    }
    if counts.iter().any(|(finding, _)| finding.verdict == CheckVerdict::Fail) {
        report = report.suspects("a firewall that takes options from the SYN-ACK alone, or rewrites them");
    } else if counts.iter().any(|(finding, _)| finding.what.contains("DSCP")) {
        report = report.suspects("a provider or a switch that trusts no mark");
    } else if !counts.is_empty() {
        report = report.suspects("a firewall that takes options from SYNs (normalization), or a proxy");
    }
    report.measured.extend(measured(near, far, own));
    if let Some(dscp) = mark.0 {
        report = report.measure("dscp_sent", u64::from(MARK)).measure("dscp_arrived", u64::from(dscp));
    }
    report.tried(good, tries)
}

fn direction(counts: &[(OptionsFinding, usize)]) -> PathDirection {
    let worst = counts[0].0.verdict;
    let directions =
        counts.iter().filter(|(finding, _)| finding.verdict == worst).map(|(finding, _)| finding.direction);
    directions.reduce(|all, one| if all == one { all } else { PathDirection::Both }).unwrap_or(PathDirection::Both)
}

fn passed(
    own: Option<&SynFacts>,
    mss: Option<u32>,
    tcp: Option<&TcpFacts>,
    far: &FarHello,
    note: Option<&str>,
) -> String {
    let (is_other, arrived) = (note.is_some_and(|note| note.starts_with("not compared")), &far.socket.syn);
    let lowered = match (mss, arrived.as_ref().and_then(|syn| syn.mss)) {
        (Some(left), Some(came)) if u32::from(came) < left && !is_other => {
            Some(format!("the MSS is lowered from {left} to {came}: a clamp"))
        }
        _ => None,
    };
    let first = match (own, arrived, tcp) {
        _ if is_other => tcp.map(|tcp| format!("this end has agreed on {}", agreed_in_words(tcp))),
        (Some(own), Some(_), _) if lowered.is_some() => Some(format!("the SYN arrives with {}", in_words(own, None))),
        (Some(own), Some(_), _) => Some(format!("the SYN arrives as it left: {}", in_words(own, mss))),
        (_, _, Some(tcp)) => Some(format!("both ends have agreed on {}; the SYN was not seen", agreed_in_words(tcp))),
        _ => Some("this system shows no TCP options".into()),
    };
    [first, lowered, note.map(Into::into)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn measured(near: &NearFacts, far: &FarHello, own: Option<&SynFacts>) -> BTreeMap<String, crate::MeasuredValue> {
    let mut report = CheckReport::new(CheckId::Options, CheckVerdict::Pass, "");
    if let Some(tcp) = &near.socket.tcp {
        report = report
            .measure("announced_mss_bytes", announced(tcp))
            .measure("send_mss_bytes", tcp.send_mss)
            .measure("sack", tcp.sack)
            .measure("timestamps", tcp.timestamps)
            .measure("ecn", tcp.ecn);
        if let Some((peer, own)) = tcp.window_scale {
            report = report.measure("window_scale_out", u64::from(own)).measure("window_scale_in", u64::from(peer));
        }
    }
    if let Some(tcp) = &far.socket.tcp {
        report = report.measure("far_send_mss_bytes", tcp.send_mss);
    }
    if let Some(syn) = &far.socket.syn {
        report = report.measure("syn_ttl", u64::from(syn.ttl)).measure("syn_ecn", syn.ecn);
        if let Some(mss) = syn.mss {
            report = report.measure("syn_mss_bytes", u64::from(mss));
        }
        // Where another system has sent the SYN, its TTL says nothing of this end's path.
        let is_ours = OneConnection::of(near, far) == OneConnection::Proven;
        if let Some(hops) = own.filter(|_| is_ours).and_then(|own| own.ttl.checked_sub(syn.ttl)) {
            report = report.measure("hops_out", u64::from(hops));
        }
    }
    report.measured
}

/// Whether both ends misread windows: then transfers stall.
pub(crate) fn explains_stalls(report: &CheckReport) -> bool {
    report.verdict == CheckVerdict::Fail && report.summary.contains("window")
}

/// What the options of this end's own connection show, where the far end says nothing.
fn from_this_end(near: &NearFacts, look: &OptionsLook) -> CheckReport {
    let id = CheckId::Options;
    let Some(tcp) = &near.socket.tcp else {
        return CheckReport::new(id, CheckVerdict::Skip, "this system shows no TCP options");
    };
    let found = look.own.as_ref().map(|own| not_agreed(own, tcp, "the server's system or the path"));
    let found = found.unwrap_or_default();
    let mut report = match &found[..] {
        [] => {
            let what = format!("both ends have agreed on {}; what arrives there is not known", agreed_in_words(tcp));
            CheckReport::new(id, CheckVerdict::Pass, what)
        }
        found => {
            let what: Vec<_> = found.iter().map(|finding| finding.what.as_str()).collect();
            CheckReport::new(id, CheckVerdict::Warn, what.join("; ")).towards(PathDirection::Both)
        }
    };
    for finding in &found {
        report = report.saw(format!("{}: {}", finding.what, finding.cost));
    }
    report.measured = measured(near, &FarHello::default(), None);
    report.tried(usize::from(found.is_empty()), 1)
}

/// `options`, of the connections that were greeted.
pub(crate) fn options(greetings: &Greetings, look: &OptionsLook) -> CheckReport {
    let samples = samples(greetings);
    if !samples.is_empty() {
        if samples[0].0.socket.tcp.is_none() {
            return CheckReport::new(CheckId::Options, CheckVerdict::Skip, "this system shows no TCP options");
        }
        return judged(&samples, look);
    }
    match near(greetings) {
        Some(near) => from_this_end(near, look),
        None => CheckReport::new(CheckId::Options, CheckVerdict::Skip, "nothing answers"),
    }
}

/// The SYN that this system sends: a listener of its own receives one.
async fn own_syn(end: &PathEnd, near: &NearFacts) -> Option<SynFacts> {
    let host = match of_endpoint(&near.remote)?.ip() {
        IpAddr::V4(_) => "127.0.0.1",
        IpAddr::V6(_) => "::1",
    };
    let listeners = Listener::bind(&Address::tcp(host, "0").ok()?, Family::Any).ok()?;
    let listener = listeners.first()?;
    listener.save_syns().ok()?;
    let address = Address::parse(&listener.address().to_string(), 0).ok()?;
    let how = DialOptions { receive_buffer: end.dial.receive_buffer, timeout: OWN_PATIENCE, ..DialOptions::default() };
    let both = async { tokio::join!(dial(&address, how), Listener::accept_one(listeners)) };
    let (near, far) = timeout(OWN_PATIENCE, both).await.ok()?;
    let (near, far) = (near.ok()?, far.ok()?);
    // Another program may have been faster.
    let is_ours = near.local() == far.peer();
    far.report().syn.filter(|_| is_ours).as_deref().and_then(SynFacts::read)
}

/// Looks at what this system sends, and at what becomes of a mark.
pub(crate) async fn look(end: &PathEnd, greetings: &Greetings) -> OptionsLook {
    let Some(near) = near(greetings) else { return OptionsLook::default() };
    let has_far_end = greetings.hello().is_some();
    let mark = async {
        if !has_far_end {
            return None;
        }
        let special = Special { traffic_class: Some(MARK << 2), ..Special::default() };
        let start = Instant::now();
        let probe = ProbeConnection::begin(end, special, &[]).await.ok()?;
        end.greeted.add(&probe.hello);
        Some((NearFacts::of(&probe.stream, start), probe.hello))
    };
    let (own, marked) = tokio::join!(own_syn(end, near), mark);
    OptionsLook { own, marked }
}

#[cfg(test)]
mod tests;

//! [`MtuFinding`]: what transfers in large segments mean.

use std::time::Duration;

use super::CheckId;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TRIES, TryOutcome, are_unmet, resets};

/// Bytes of a transfer: more than a few of the largest segments of an Ethernet.
pub(super) const BYTES: u64 = 64 * 1024;

/// The MTU that each link of IPv6 has at least (RFC 8200, 5).
const LEAST_OF_IPV6: u32 = 1280;
/// The headers of IP and TCP, which an MSS does not count: of IPv4 and IPv6.
const HEADERS: [u32; 2] = [40, 60];
/// A sender whose segments became smaller by more, with fewer bytes than the path's MTU allows, has
/// found their size by losing them.
const SHRUNK: u32 = 60;

/// No path outside a machine carries larger ones; those of loopback shrink to half of a window.
const LARGEST_FOUND: u32 = 16 * 1024;

/// A transfer that went well.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MtuTransfer {
    pub(super) time: Duration,
    /// The sender's segments as they were in the beginning, and in the end.
    pub(super) before: Option<u32>,
    pub(super) send_mss: Option<u32>,
    /// What the sender takes for the path's MTU: less than its link's after an ICMP message.
    pub(super) path_mtu: Option<u32>,
    pub(super) retransmits: u32,
}

impl MtuTransfer {
    /// The sizes before and after, where the sender's system has found a smaller one without an
    /// ICMP message.
    fn rescued(&self, header: u32) -> Option<(u32, u32)> {
        let (before, after, path) = (self.before?, self.send_mss?, self.path_mtu?);
        let much = after.saturating_add(SHRUNK);
        let is_smaller = much < before && much.saturating_add(header) < path;
        (is_smaller && after <= LARGEST_FOUND && self.retransmits >= 2).then_some((before, after))
    }
}

/// The edge of a black hole: an MSS that passes, and the next one that was tried and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostSize {
    pub(super) passes: u16,
    pub(super) lost: u16,
}

/// What was tried in one direction.
pub(crate) struct MtuFinding {
    pub(super) tries: Vec<TryOutcome<MtuTransfer>>,
    pub(super) edge: Option<LostSize>,
    /// How many stalled; the same number of later ones did not.
    pub(super) stalled_before: usize,
    /// The same in the smallest segments, where some of the tries have stalled.
    pub(super) small: Vec<TryOutcome<MtuTransfer>>,
    header: u32,
}

impl MtuFinding {
    pub(super) fn new(is_ipv6: bool) -> Self {
        let header = HEADERS[usize::from(is_ipv6)];
        Self { tries: Vec::new(), edge: None, stalled_before: 0, small: Vec::new(), header }
    }

    fn good(&self) -> impl Iterator<Item = &MtuTransfer> {
        self.tries.iter().filter_map(|tried| tried.result.as_ref().ok())
    }

    /// The sizes before and after, where each transfer that passed did so in smaller segments. A
    /// system may remember a size: then it finds it once.
    fn rescued(&self) -> Option<(u32, u32)> {
        let found = self.good().find_map(|transfer| transfer.rescued(self.header))?;
        self.good().all(|transfer| transfer.send_mss.is_some_and(|size| size < found.0)).then_some(found)
    }

    /// Whether an edge explains these transfers: those that stall, and those whose senders have
    /// found a smaller size.
    pub(super) fn is_explained<'a>(&self, mut tries: impl Iterator<Item = &'a TryOutcome<MtuTransfer>>) -> bool {
        let is_rescued = |transfer: &MtuTransfer| transfer.rescued(self.header).is_some();
        self.edge.is_some() && tries.all(|tried| tried.result.as_ref().map_or(true, is_rescued))
    }

    /// The MSS that works, where the largest does not.
    pub(crate) fn max_segment(&self) -> Option<u16> {
        // Senders whose systems do not know the size yet would wait for it again.
        let rescued = || self.rescued().and_then(|(_, after)| u16::try_from(after).ok());
        self.edge.map(|edge| edge.passes).or_else(rescued)
    }

    /// Bytes per second of the fastest transfer.
    pub(crate) fn rate(&self) -> Option<f64> {
        let fastest = self.good().map(|transfer| transfer.time).min()?;
        Some(BYTES as f64 / fastest.as_secs_f64().max(1e-6))
    }

    pub(crate) fn report(&self, direction: PathDirection) -> CheckReport {
        let id = if direction == PathDirection::Out { CheckId::MtuOut } else { CheckId::MtuIn };
        let ok = self.good().count();
        let report = if let (Some(edge), 0) = (self.edge, ok) {
            self.black_hole(id, edge)
        } else if self.edge.is_none() && (ok < self.tries.len() || ok == 0) {
            self.unclear(id)
        } else if let Some((before, after)) = self.rescued() {
            let summary = format!(
                "segments of {} bytes are lost without an ICMP message; \
                 the sender's system found out, and sends {} bytes",
                grouped(before),
                grouped(after)
            );
            CheckReport::new(id, CheckVerdict::Warn, summary).suspects(TUNNEL)
        } else {
            self.passing(id)
        };
        let report = report.towards(direction).tried(ok, self.tries.len());
        self.measured(report)
    }

    fn black_hole(&self, id: CheckId, edge: LostSize) -> CheckReport {
        let [passes, lost] = [edge.passes, edge.lost].map(|size| u32::from(size) + self.header);
        let mut summary = format!(
            "packets of {} bytes are lost without an ICMP message; {} bytes pass",
            grouped(lost),
            grouped(passes)
        );
        if self.header == HEADERS[1] && lost <= LEAST_OF_IPV6 {
            // A system heeds no message of less.
            summary = format!(
                "packets of {} bytes are lost, and each path of IPv6 must carry {}; {} bytes pass",
                grouped(lost),
                grouped(LEAST_OF_IPV6),
                grouped(passes)
            );
        }
        let report = CheckReport::new(id, CheckVerdict::Fail, summary)
            .measure("passing_packet_bytes", passes)
            .measure("lost_packet_bytes", lost)
            .control(&format!("the same in packets of {} bytes", grouped(passes)), TRIES, TRIES)
            .suspects(TUNNEL);
        self.with_symptoms(report)
    }

    fn passing(&self, id: CheckId) -> CheckReport {
        let size = self.good().filter_map(|transfer| transfer.send_mss).min();
        let path = self.good().filter_map(|transfer| transfer.path_mtu).min();
        let summary = match (size, path) {
            (Some(size), Some(path)) => {
                format!("segments of {} bytes arrive (path MTU {})", grouped(size), grouped(path))
            }
            _ => "segments of the full size arrive".into(),
        };
        let report = CheckReport::new(id, CheckVerdict::Pass, summary);
        match self.stalled_before {
            0 => report,
            n => report.saw(format!("{n} earlier transfers stood still for seconds; the same ones passed later")),
        }
    }

    /// Some or all transfers broke, and no size explains it.
    fn unclear(&self, id: CheckId) -> CheckReport {
        let Some(symptom) = self.tries.iter().find_map(TryOutcome::symptom) else {
            return CheckReport::new(id, CheckVerdict::Error, "it was not tried");
        };
        let stalls = self.tries.iter().filter(|tried| matches!(tried.symptom(), Some(Symptom::Stalled { .. }))).count();
        let ok = self.good().count();
        let small = self.small.iter().filter(|tried| tried.result.is_ok()).count();
        let is_size = stalls > 1 && stalls + ok == self.tries.len() && small == self.small.len() && small > 0;
        let report = if symptom.is_own() {
            CheckReport::new(id, CheckVerdict::Error, symptom.to_string())
        } else if is_size && ok > 0 {
            let summary = format!("large segments stand still on {stalls} of {} connections", self.tries.len());
            CheckReport::new(id, CheckVerdict::Flaky, summary)
                .suspects("several links, one of which drops large packets, with ICMP filtered")
        } else {
            let resets = resets(&self.tries);
            let never_reached_far_end = are_unmet(&self.tries);
            let report = CheckReport::new(id, CheckVerdict::Unknown, format!("not judged: {symptom}"));
            CheckReport { resets, never_reached_far_end, ..report }
        };
        let report = match self.small.len() {
            0 => report,
            tries => report.control("the same in the smallest segments", small, tries),
        };
        self.with_symptoms(report)
    }

    fn with_symptoms(&self, report: CheckReport) -> CheckReport {
        let mut seen: Vec<String> = self.tries.iter().filter_map(TryOutcome::symptom).map(Symptom::to_string).collect();
        seen.dedup();
        seen.into_iter().fold(report, CheckReport::saw)
    }

    fn measured(&self, mut report: CheckReport) -> CheckReport {
        if let Some(size) = self.good().filter_map(|transfer| transfer.send_mss).min() {
            report = report.measure("send_mss_bytes", size);
        }
        if let Some(path) = self.good().filter_map(|transfer| transfer.path_mtu).min() {
            report = report.measure("path_mtu_bytes", path);
        }
        match self.good().map(|transfer| transfer.retransmits).fold(0, u32::saturating_add) {
            0 => report,
            retransmits => report.measure("retransmits", retransmits),
        }
    }
}

const TUNNEL: &str = "a tunnel, VPN or PPPoE link whose router drops large packets, with ICMP filtered";

/// A number with its thousands apart.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(before: u32, send_mss: u32, path_mtu: u32, retransmits: u32) -> TryOutcome<MtuTransfer> {
        let known = |n| Some(n).filter(|n| *n > 0);
        let (before, send_mss, path_mtu) = (known(before), known(send_mss), known(path_mtu));
        let time = Duration::from_millis(100);
        TryOutcome { result: Ok(MtuTransfer { time, before, send_mss, path_mtu, retransmits }), far: None }
    }

    fn stalled() -> TryOutcome<MtuTransfer> {
        let symptom = Symptom::Stalled { sent: 65536, acknowledged: Some(1), received: 0, wanted: 1 };
        TryOutcome { result: Err(symptom), far: None }
    }

    fn finding(tries: Vec<TryOutcome<MtuTransfer>>) -> MtuFinding {
        MtuFinding { tries, ..MtuFinding::new(false) }
    }

    fn good() -> TryOutcome<MtuTransfer> {
        transfer(1448, 1448, 1500, 0)
    }

    #[test]
    fn any_number_of_the_far_end_has_a_meaning() {
        let most = || transfer(u32::MAX, u32::MAX, u32::MAX, u32::MAX);
        assert_eq!(finding(vec![most(), most()]).report(PathDirection::In).verdict, CheckVerdict::Pass);
    }

    #[test]
    fn an_edge_is_a_black_hole() {
        let finding = MtuFinding {
            edge: Some(LostSize { passes: 1360, lost: 1380 }),
            ..finding(vec![stalled(), stalled(), stalled()])
        };
        let report = finding.report(PathDirection::In);
        assert_eq!((report.id, report.verdict), (CheckId::MtuIn, CheckVerdict::Fail));
        assert_eq!(report.summary, "packets of 1,420 bytes are lost without an ICMP message; 1,400 bytes pass");
        assert_eq!(finding.max_segment(), Some(1360));
        let small = MtuFinding { edge: Some(LostSize { passes: 536, lost: 556 }), ..finding };
        let report = MtuFinding { header: 60, ..small }.report(PathDirection::Out);
        let what = "packets of 616 bytes are lost, and each path of IPv6 must carry 1,280; 596 bytes pass";
        assert_eq!((report.verdict, report.summary.as_str()), (CheckVerdict::Fail, what));
    }

    #[test]
    fn a_path_that_tells_its_size_passes() {
        let told = finding(vec![transfer(1448, 1348, 1400, 12), transfer(1348, 1348, 1400, 0)]);
        let report = told.report(PathDirection::Out);
        assert_eq!(
            (report.verdict, &*report.summary),
            (CheckVerdict::Pass, "segments of 1,348 bytes arrive (path MTU 1,400)")
        );
        assert_eq!(told.max_segment(), None);
        let clamped = finding(vec![transfer(1188, 1188, 1500, 9)]);
        assert_eq!(clamped.report(PathDirection::Out).verdict, CheckVerdict::Pass);
        assert_eq!(finding(vec![transfer(0, 0, 0, 0)]).report(PathDirection::In).verdict, CheckVerdict::Pass);
    }

    #[test]
    fn a_system_that_finds_the_size_by_itself_is_a_warning() {
        let rescued = finding(vec![transfer(1448, 1012, 1500, 5), transfer(1448, 1012, 1500, 5)]);
        let report = rescued.report(PathDirection::Out);
        assert_eq!(report.verdict, CheckVerdict::Warn, "{}", report.summary);
        assert_eq!(rescued.max_segment(), Some(1012));
    }

    #[test]
    fn a_system_that_needs_longer_than_the_search_is_one_as_well() {
        let rescued = transfer(1448, 1236, 1500, 6);
        let finding = MtuFinding {
            edge: Some(LostSize { passes: 1360, lost: 1380 }),
            ..finding(vec![stalled(), stalled(), rescued])
        };
        assert!(finding.is_explained(finding.tries.iter()));
        let report = finding.report(PathDirection::Out);
        assert_eq!((report.verdict, report.ok, report.tries), (CheckVerdict::Warn, 1, 3), "{}", report.summary);
        assert_eq!(finding.max_segment(), Some(1360));
        let passing = [stalled(), good()];
        assert!(!finding.is_explained(passing.iter()));
    }

    #[test]
    fn stalls_without_an_edge_are_not_of_the_size() {
        let verdict = |tries, small| MtuFinding { small, ..finding(tries) }.report(PathDirection::Out).verdict;
        let [pass, unknown, flaky] = [CheckVerdict::Pass, CheckVerdict::Unknown, CheckVerdict::Flaky];
        assert_eq!(verdict(vec![good(), good(), good()], vec![]), pass);
        assert_eq!(verdict(vec![stalled(), stalled(), stalled()], vec![]), unknown);
        assert_eq!(verdict(vec![stalled(), stalled()], vec![good(), good()]), unknown, "no size was found");
        assert_eq!(verdict(vec![stalled(), good(), stalled()], vec![good(), good()]), flaky);
        assert_eq!(verdict(vec![stalled(), good(), stalled()], vec![stalled(), good()]), unknown);
        assert_eq!(verdict(vec![stalled(), good(), good()], vec![good(), good()]), unknown);
        let broken = |symptom| TryOutcome { result: Err(symptom), far: None };
        let reset = || broken(Symptom::Reset { sent: 0, received: 0 });
        assert_eq!(verdict(vec![reset(), reset(), reset()], vec![]), unknown);
        assert_eq!(verdict(vec![broken(Symptom::Forgotten)], vec![]), CheckVerdict::Error);
        assert_eq!(verdict(vec![], vec![]), CheckVerdict::Error);
    }
}

//! `mtu-out`, `mtu-in`: large segments arrive (RFC 8899, RFC 4821). A black hole lets small ones
//! pass, and no ICMP message tells the sender.

use std::time::{Duration, Instant};

use super::CheckId;
use crate::place::{PathEnd, Special};
use crate::probe::Step;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use crate::tries::{TRIES, Tried, all, play};

/// Bytes of a transfer: more than a few of the largest segments of an Ethernet.
const BYTES: u64 = 64 * 1024;
/// Bytes of a transfer that looks for the size.
const SEARCH_BYTES: u64 = 16 * 1024;
/// The header of IP and TCP behind which an MSS counts.
const HEADERS: [u16; 2] = [40, 60];

/// What the tries of one direction have shown.
pub(crate) struct MtuFinding {
    tries: Vec<Tried<Duration>>,
    /// Of those that were tried: the largest MSS that passed, and the smallest that did not.
    passes: Option<u16>,
    fails: Option<u16>,
    send_mss: Option<u32>,
    path_mtu: Option<u32>,
    is_ipv6: bool,
}

impl MtuFinding {
    /// The MSS that works, where the largest does not.
    pub(crate) fn max_segment(&self) -> Option<u16> {
        self.fails.and(self.passes)
    }

    /// Bytes per second of the fastest transfer.
    pub(crate) fn rate(&self) -> Option<f64> {
        let fastest = self.tries.iter().filter_map(|tried| tried.result.as_ref().ok()).min()?;
        Some(BYTES as f64 / fastest.as_secs_f64().max(1e-6))
    }

    pub(crate) fn report(&self, direction: PathDirection) -> CheckReport {
        let id = if direction == PathDirection::Out { CheckId::MtuOut } else { CheckId::MtuIn };
        let ok = self.tries.iter().filter(|tried| tried.result.is_ok()).count();
        let mut report = match (ok == self.tries.len(), self.passes, self.fails) {
            (true, ..) => CheckReport::new(id, CheckVerdict::Pass, "segments of the full size arrive"),
            (false, Some(passes), Some(fails)) => {
                let header = HEADERS[usize::from(self.is_ipv6)];
                let [passes, fails] = [passes + header, fails + header];
                CheckReport::new(
                    id,
                    CheckVerdict::Fail,
                    format!("packets of {fails} bytes are lost without an ICMP message; {passes} bytes pass"),
                )
                .measure("passing_packet_bytes", u64::from(passes))
                .measure("lost_packet_bytes", u64::from(fails))
                .control(&format!("the same in packets of {passes} bytes"), TRIES, TRIES)
                .suspects("a tunnel, VPN or PPPoE link whose router drops large packets, with ICMP filtered")
            }
            _ => {
                let symptom = self.tries.iter().find_map(Tried::symptom);
                let (verdict, why) = match symptom {
                    Some(symptom) if symptom.is_own() => (CheckVerdict::Error, symptom.to_string()),
                    Some(symptom) => (CheckVerdict::Unknown, format!("not judged: {symptom}")),
                    None => (CheckVerdict::Unknown, "not judged".into()),
                };
                CheckReport::new(id, verdict, why)
            }
        };
        if let Some(mss) = self.send_mss {
            report = report.measure("send_mss_bytes", mss);
        }
        if let Some(mtu) = self.path_mtu {
            report = report.measure("path_mtu_bytes", mtu);
        }
        report.direction = Some(direction);
        report.tried(ok, self.tries.len())
    }
}

async fn transfer(
    end: &PathEnd,
    direction: PathDirection,
    bytes: u64,
    max_segment: Option<u16>,
) -> Tried<(Duration, u32, u32)> {
    let special = Special { max_segment, ..Special::default() };
    let steps = match direction {
        PathDirection::Out => [Step::Read(bytes), Step::Tell],
        _ => [Step::Send(bytes), Step::Read(1)],
    };
    play(end, special, &steps, async |played| {
        let start = Instant::now();
        if direction == PathDirection::Out {
            played.send(bytes).await?;
            played.told().await?;
        } else {
            played.receive(bytes).await?;
        }
        let tcp = played.tcp();
        Ok((start.elapsed(), tcp.map_or(0, |tcp| tcp.send_mss), tcp.map_or(0, |tcp| tcp.path_mtu)))
    })
    .await
}

/// Tries large segments in one direction, and looks for the size that passes where they do not.
pub(crate) async fn find(end: &PathEnd, direction: PathDirection, is_ipv6: bool) -> MtuFinding {
    let tries = all((0..TRIES).map(|_| transfer(end, direction, BYTES, None))).await;
    let known = tries.iter().find_map(|tried| tried.result.as_ref().ok());
    let (send_mss, path_mtu) = (known.map(|known| known.1), known.map(|known| known.2));
    let is_stall = |tried: &Tried<_>| matches!(tried.symptom(), Some(Symptom::Stalled { .. }));
    let stalls = tries.iter().all(is_stall);
    let tries = tries.into_iter().map(|Tried { result, far }| Tried { result: result.map(|known| known.0), far });
    let mut finding = MtuFinding {
        tries: tries.collect(),
        passes: None,
        fails: None,
        send_mss: send_mss.filter(|_| direction == PathDirection::Out),
        path_mtu,
        is_ipv6,
    };
    if !stalls {
        return finding;
    }
    // All at once: each that is lost costs the whole patience.
    let sizes: Vec<u16> = [536, 700, 900].into_iter().chain((1000..=1460).step_by(20)).chain([4000, 8940]).collect();
    let searched = all(sizes.iter().map(|&size| transfer(end, direction, SEARCH_BYTES, Some(size)))).await;
    let passed: Vec<_> =
        sizes.iter().zip(&searched).filter(|(_, tried)| tried.result.is_ok()).map(|(size, _)| *size).collect();
    let lost: Vec<_> =
        sizes.iter().zip(&searched).filter(|(_, tried)| is_stall(tried)).map(|(size, _)| *size).collect();
    let fails = lost.iter().min().copied();
    // A black hole has one edge: whatever is smaller passes.
    let passes = passed.iter().max().copied().filter(|passes| fails.is_some_and(|fails| *passes < fails));
    let Some(passes) = passes else { return finding };
    let control = all((0..TRIES).map(|_| transfer(end, direction, BYTES, Some(passes)))).await;
    if control.iter().all(|tried| tried.result.is_ok()) {
        (finding.passes, finding.fails) = (Some(passes), fails);
    }
    finding
}

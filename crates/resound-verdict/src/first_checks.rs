//! [`FirstChecks`]: the sizes that pass, and small writes, before anything loads the path.

use std::time::Duration;

use crate::check::mtu_finding::MtuFinding;
use crate::check::rtt::RoundTrips;
use crate::check::{CheckId, mtu, nagle, segmentation};
use crate::pace::ConnectPace;
use crate::path_run::PathRun;
use crate::permits::ConnectionPermits;
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::{CheckReport, PathDirection};

/// What these checks need.
pub(crate) struct FirstChecks<'a> {
    pub(crate) run: &'a PathRun<'a>,
    /// For the sizes: this end's part of a handshake is small.
    pub(crate) sized: PathEnd,
    /// For small writes: no large segments.
    pub(crate) small: PathEnd,
    pub(crate) trips: Option<&'a RoundTrips>,
    pub(crate) rtt: Duration,
    pub(crate) is_ipv6: bool,
}

/// What they have found.
pub(crate) struct FirstFindings {
    pub(crate) out: MtuFinding,
    pub(crate) back: MtuFinding,
    /// The reports that are not told yet: some tries never reached the far end.
    unreached: Vec<CheckReport>,
}

impl FirstFindings {
    /// The MSS that passes both ways, where the system's own does not.
    pub(crate) fn max_segment(&self) -> Option<u16> {
        [self.out.max_segment(), self.back.max_segment()].into_iter().flatten().min()
    }

    /// Bytes a second of the slower direction.
    pub(crate) fn rate(&self) -> Option<f64> {
        [self.out.rate(), self.back.rate()].into_iter().flatten().reduce(f64::min)
    }
}

impl FirstChecks<'_> {
    /// All of them, side by side: small writes need a machine with nothing else to do.
    pub(crate) async fn all(&self) -> FirstFindings {
        let (out, back, segmentation, nagle) = tokio::join!(
            self.sizes(&self.sized, PathDirection::Out),
            self.sizes(&self.sized, PathDirection::In),
            self.wanted(CheckId::Segmentation, segmentation::run(&self.small, self.trips)),
            self.wanted(CheckId::Nagle, nagle::run(&self.small, self.rtt)),
        );
        let sizes = [out.report(PathDirection::Out), back.report(PathDirection::In)];
        let reports = sizes.into_iter().chain(segmentation).chain(nagle);
        let (unreached, met): (Vec<_>, Vec<_>) = reports.partition(|report| report.never_reached_far_end);
        met.into_iter().for_each(|report| self.run.add(report));
        FirstFindings { out, back, unreached }
    }

    /// Repeats, one by one and at the path's pace, the checks that never reached the far end beside
    /// the others.
    pub(crate) async fn again(&self, found: &mut FirstFindings, pace: &ConnectPace, permits: &ConnectionPermits) {
        let paced = |end: &PathEnd| PathEnd { pace: pace.clone(), permits: permits.clone(), ..end.clone() };
        let (sized, small) = (paced(&self.sized), paced(&self.small));
        let unreached = std::mem::take(&mut found.unreached);
        let is_met =
            !unreached.is_empty() && Box::pin(ProbeConnection::begin(&small, Special::default(), &[])).await.is_ok();
        for report in unreached {
            if !is_met {
                self.run.add(report);
                continue;
            }
            let again = match report.id {
                CheckId::MtuOut => {
                    found.out = self.sizes(&sized, PathDirection::Out).await;
                    found.out.report(PathDirection::Out)
                }
                CheckId::MtuIn => {
                    found.back = self.sizes(&sized, PathDirection::In).await;
                    found.back.report(PathDirection::In)
                }
                CheckId::Segmentation => Box::pin(segmentation::run(&small, self.trips)).await,
                _ => Box::pin(nagle::run(&small, self.rtt)).await,
            };
            self.run.add(self.run.again(&report, again));
        }
    }

    async fn sizes(&self, end: &PathEnd, direction: PathDirection) -> MtuFinding {
        Box::pin(mtu::find(end, direction, self.rtt, self.is_ipv6)).await
    }

    async fn wanted(&self, id: CheckId, check: impl Future<Output = CheckReport>) -> Option<CheckReport> {
        if self.run.wants(id) && !self.run.has(id) { Some(Box::pin(check).await) } else { None }
    }
}

//! The checks that do not disturb each other, side by side; and once more, each alone, those that
//! never reached the far end among so many connections.

use std::cell::RefCell;
use std::time::Duration;

use crate::check::waits::{self, WaitsPlan};
use crate::check::{CheckId, close_tail, half_close, integrity, reset};
use crate::path_run::PathRun;
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::CheckReport;
use crate::tries;

/// The checks, by what they share.
#[derive(Clone, Copy)]
enum SideBySide {
    /// `integrity`, `both-ways`.
    Transfers,
    /// `slow-reader`, `hidden-buffer`, `split-tcp`.
    Held,
    HalfCloseOut,
    HalfCloseIn,
    ResetOut,
    ResetIn,
    CloseTail,
}

impl SideBySide {
    const ALL: [Self; 7] = [
        Self::Transfers,
        Self::Held,
        Self::HalfCloseOut,
        Self::HalfCloseIn,
        Self::ResetOut,
        Self::ResetIn,
        Self::CloseTail,
    ];

    fn ids(self) -> &'static [CheckId] {
        match self {
            Self::Transfers => &[CheckId::Integrity, CheckId::BothWays],
            Self::Held => &[CheckId::SlowReader, CheckId::HiddenBuffer, CheckId::SplitTcp],
            Self::HalfCloseOut => &[CheckId::HalfCloseOut],
            Self::HalfCloseIn => &[CheckId::HalfCloseIn],
            Self::ResetOut => &[CheckId::ResetOut],
            Self::ResetIn => &[CheckId::ResetIn],
            Self::CloseTail => &[CheckId::CloseTail],
        }
    }
}

/// What these checks need.
pub(crate) struct Together<'a> {
    pub(crate) run: &'a PathRun<'a>,
    pub(crate) end: &'a PathEnd,
    /// Bytes of a transfer.
    pub(crate) bytes: u64,
    pub(crate) rtt: Duration,
    pub(crate) waiting: &'a WaitsPlan,
}

impl Together<'_> {
    pub(crate) async fn all(&self) {
        let unreached = RefCell::new(Vec::new());
        let wanted = SideBySide::ALL.into_iter().filter(|checks| self.wants(*checks));
        tries::all(wanted.map(async |checks| {
            let reports = self.reports(checks).await;
            if reports.iter().any(|report| report.never_reached_far_end) {
                unreached.borrow_mut().push((checks, reports));
            } else {
                self.add(checks, reports);
            }
        }))
        .await;
        let mut is_met = true;
        for (checks, reports) in unreached.take() {
            // As many connections at once may be what the path does not take.
            is_met = is_met && Box::pin(ProbeConnection::begin(self.end, Special::default(), &[])).await.is_ok();
            let reports = match is_met {
                true => {
                    let again = self.reports(checks).await;
                    let of = |report: CheckReport| match reports.iter().find(|first| first.id == report.id) {
                        Some(first) => self.run.again(first, report),
                        None => report,
                    };
                    again.into_iter().map(of).collect()
                }
                false => reports,
            };
            self.add(checks, reports);
        }
    }

    fn wants(&self, checks: SideBySide) -> bool {
        checks.ids().iter().any(|id| self.run.wants(*id) && !self.run.has(*id))
    }

    async fn reports(&self, checks: SideBySide) -> Vec<CheckReport> {
        let Self { end, bytes, rtt, .. } = *self;
        // The others ask on a second connection. Without one, the far end would go on with its part
        // and keep the only one.
        if end.permits.at_once() == Some(1) && !matches!(checks, SideBySide::Transfers) {
            return checks.ids().iter().filter_map(|id| end.permits.lack(*id)).collect();
        }
        match checks {
            SideBySide::Transfers => Box::pin(integrity::run(end, bytes)).await.into(),
            SideBySide::Held => waits::held(end, self.waiting, rtt).await,
            SideBySide::HalfCloseOut => vec![Box::pin(half_close::run_out(end, bytes, rtt)).await],
            SideBySide::HalfCloseIn => vec![Box::pin(half_close::run_in(end, bytes)).await],
            SideBySide::ResetOut => vec![Box::pin(reset::run_out(end, bytes, rtt)).await],
            SideBySide::ResetIn => vec![Box::pin(reset::run_in(end, rtt)).await],
            SideBySide::CloseTail => vec![Box::pin(close_tail::run(end, bytes, rtt)).await],
        }
    }

    fn add(&self, checks: SideBySide, reports: Vec<CheckReport>) {
        match (checks, <[CheckReport; 2]>::try_from(reports)) {
            (SideBySide::Transfers, Ok(transfers)) => *self.run.transfers.borrow_mut() = Some(transfers),
            (_, Ok(reports)) => reports.into_iter().for_each(|report| self.run.add_or_keep(report)),
            (_, Err(reports)) => reports.into_iter().for_each(|report| self.run.add_or_keep(report)),
        }
    }

    /// The same check again, with nothing beside it.
    pub(crate) async fn once_more(&self, id: CheckId) -> Option<CheckReport> {
        let checks = SideBySide::ALL.into_iter().find(|checks| checks.ids().contains(&id))?;
        Box::pin(self.reports(checks)).await.into_iter().find(|report| report.id == id)
    }
}

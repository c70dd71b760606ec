//! [`TryOutcome`]: one try of a check, and what several of them mean together.

use std::time::Duration;

use resound::client::FailureClass;

use crate::check::CheckId;
use crate::far_session::FarSession;
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use resound_probe::{SessionLog, Step};

/// Tries per check.
pub(crate) const TRIES: usize = 3;

/// One try: what it measured or how it went wrong, and what the far end says of it.
#[derive(Clone, Debug)]
pub(crate) struct TryOutcome<M> {
    pub(crate) result: Result<M, Symptom>,
    pub(crate) far: Option<SessionLog>,
}

impl<M> TryOutcome<M> {
    pub(crate) fn symptom(&self) -> Option<&Symptom> {
        self.result.as_ref().err()
    }

    /// What the far end has seen, as a line of evidence.
    fn far_side(&self) -> Option<String> {
        let far = self.far.as_ref()?;
        let end = match (&far.closed, far.fin_at_ms) {
            (Some(closed), _) => format!("its connection ended: {closed}"),
            (None, Some(_)) => "it received a FIN".into(),
            (None, None) => "its connection is open".into(),
        };
        Some(format!("the far end received {} bytes and sent {}; {end}", far.received, far.sent))
    }
}

/// Plays steps on a connection of its own. Its parts are boxed: many tries run side by side on the
/// small stack of a thread. Where that goes wrong, the far end is asked what it saw.
pub(crate) async fn play<M>(
    end: &PathEnd,
    special: Special,
    steps: &[Step],
    act: impl AsyncFnOnce(&mut ProbeConnection) -> Result<M, Symptom>,
) -> TryOutcome<M> {
    let permit = end.permits.session().await;
    let mut record = end.ledger.begins();
    let begun = Box::pin(ProbeConnection::begin_with(permit, end, special, steps)).await;
    let mut probe = match begun {
        Ok(probe) => probe,
        Err(symptom) => {
            record.failed(&symptom);
            return TryOutcome { result: Err(symptom), far: None };
        }
    };
    end.greeted.add(&probe.hello);
    let result = Box::pin(act(&mut probe)).await;
    record.stops();
    let tried = Box::pin(explained(result, &probe.far(), probe.answered_in)).await;
    record.ended(steps, probe.lines, (probe.sent, probe.received()), tried.symptom(), tried.far.as_ref());
    tried
}

/// The same, where the try itself ends the connection.
pub(crate) async fn play_and_end<M>(
    end: &PathEnd,
    special: Special,
    steps: &[Step],
    act: impl AsyncFnOnce(ProbeConnection) -> Result<M, Symptom>,
) -> TryOutcome<M> {
    let permit = end.permits.session().await;
    let mut record = end.ledger.begins();
    let probe = match Box::pin(ProbeConnection::begin_with(permit, end, special, steps)).await {
        Ok(probe) => probe,
        Err(symptom) => {
            record.failed(&symptom);
            return TryOutcome { result: Err(symptom), far: None };
        }
    };
    end.greeted.add(&probe.hello);
    let (far, answered_in) = (probe.far(), probe.answered_in);
    let result = Box::pin(act(probe)).await;
    let tried = Box::pin(explained(result, &far, answered_in)).await;
    end.ledger.moved(tried.symptom());
    tried
}

/// What the far end says of a failed try.
async fn explained<M>(result: Result<M, Symptom>, far: &FarSession, rtt: Duration) -> TryOutcome<M> {
    let symptom = match result {
        Ok(measured) => return TryOutcome { result: Ok(measured), far: None },
        Err(symptom) => symptom,
    };
    let seen = if matches!(symptom, Symptom::Closed { .. } | Symptom::Cut { .. } | Symptom::Reset { .. }) {
        // Its own end may still be under way.
        let limit = 2 * rtt + Duration::from_millis(100);
        far.asked_within(limit, |log| log.closed.is_some() || log.fin_at_ms.is_some()).await
    } else {
        far.asked().await
    };
    // The far end may have restarted, which looks the same as an early end.
    let is_gone = match &seen {
        Err(Symptom::Forgotten) => true,
        Err(Symptom::NoConnection { class, .. }) => *class == FailureClass::Refused,
        _ => false,
    };
    let far = seen.ok();
    let closed = far.as_ref().and_then(|far| far.closed.as_deref());
    let has_fin = far.as_ref().is_some_and(|far| far.fin_at_ms.is_some());
    let symptom = match (closed, symptom) {
        // An end of the far end's own making is not the path's.
        (
            Some(closed),
            Symptom::Reset { .. }
            | Symptom::Closed { .. }
            | Symptom::Cut { .. }
            | Symptom::Added { .. }
            | Symptom::Own(_),
        ) if is_far_made(closed) => Symptom::NotPlayed(format!("it ended the connection by itself: {closed}")),
        // The far end's TLS has found it, and its alert may be lost after its RST.
        (
            Some("tls"),
            Symptom::Reset { .. }
            | Symptom::Closed { .. }
            | Symptom::Cut { .. }
            | Symptom::Stalled { .. }
            | Symptom::Own(_),
        ) => Symptom::BrokenRecord(PathDirection::Out),
        (Some("reset"), Symptom::Closed { sent, received } | Symptom::Stalled { sent, received, .. }) if !has_fin => {
            Symptom::FarReset { sent, received }
        }
        (_, Symptom::Closed { .. } | Symptom::Cut { .. } | Symptom::Own(_)) if is_gone => Symptom::Forgotten,
        (_, symptom) => symptom,
    };
    TryOutcome { result: Err(symptom), far }
}

/// Whether a server ends connections like this for reasons of its own (`CloseReason::name`).
pub(crate) fn is_far_made(closed: &str) -> bool {
    ["idle_timeout", "write_timeout", "drained", "cut", "panicked", "opening_timeout"].contains(&closed)
}

/// All at once.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut is_done = true;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(ready) => *output = Some(ready),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

/// Whether each try has gone wrong like this. Where some have not, chance is an explanation too.
pub(crate) fn all_are<M>(tries: &[TryOutcome<M>], is_mine: impl Fn(&Symptom) -> bool) -> bool {
    !tries.is_empty() && tries.iter().all(|tried| tried.symptom().is_some_and(&is_mine))
}

/// Whether some of these never reached the far end.
pub(crate) fn are_unmet<M>(tries: &[TryOutcome<M>]) -> bool {
    tries.iter().filter_map(TryOutcome::symptom).any(Symptom::never_reached_far_end)
}

/// How many of these a RST has ended that no end has sent. A far end that cannot be asked may have
/// ended itself.
pub(crate) fn resets<M>(tries: &[TryOutcome<M>]) -> u32 {
    let is_reset = |symptom: &Symptom| matches!(symptom, Symptom::Reset { .. } | Symptom::FarReset { .. });
    let count = tries.iter().filter(|tried| tried.far.is_some() && tried.symptom().is_some_and(is_reset)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What the tries of a check mean.
pub(crate) struct TriesJudgement<'a, M> {
    pub(crate) id: CheckId,
    pub(crate) tries: &'a [TryOutcome<M>],
    /// What was done as a control, and its tries; it is run where a try has failed.
    pub(crate) control: Option<(&'a str, &'a [TryOutcome<()>])>,
}

impl<M> TriesJudgement<'_, M> {
    /// The report: `pass` where each try went well. Otherwise `is_mine` says which symptoms this
    /// check is about; others are the matter of other checks.
    pub(crate) fn report(
        &self,
        pass: impl FnOnce(&[&M]) -> CheckReport,
        is_mine: impl Fn(&Symptom) -> bool,
        fail: impl FnOnce(&[&Symptom]) -> CheckReport,
    ) -> CheckReport {
        let good: Vec<_> = self.tries.iter().filter_map(|tried| tried.result.as_ref().ok()).collect();
        let (mine, others): (Vec<_>, Vec<_>) =
            self.tries.iter().filter_map(TryOutcome::symptom).partition(|symptom| is_mine(symptom));
        let (ok, count) = (good.len(), self.tries.len());
        let holds = self.control.is_none_or(|(_, tries)| tries.iter().all(|tried| tried.result.is_ok()));
        let report = if self.tries.is_empty() {
            CheckReport::new(self.id, CheckVerdict::Error, "it was not tried")
        } else if ok == count {
            pass(&good)
        } else if mine.is_empty() {
            let verdict =
                if others.iter().any(|symptom| symptom.is_own()) { CheckVerdict::Error } else { CheckVerdict::Unknown };
            CheckReport::new(self.id, verdict, format!("not judged: {}", others[0]))
        } else if !holds {
            let report = fail(&mine);
            let verdict = CheckVerdict::Unknown;
            CheckReport { verdict, summary: format!("not judged, since the control failed too: {}", mine[0]), ..report }
        } else if mine.len() == count {
            fail(&mine)
        } else {
            CheckReport { verdict: CheckVerdict::Flaky, ..fail(&mine) }
        };
        let mut report = report.tried(ok, count);
        let never_reached_far_end = are_unmet(self.tries) || self.control.is_some_and(|(_, tries)| are_unmet(tries));
        report.never_reached_far_end = report.verdict == CheckVerdict::Unknown && never_reached_far_end;
        report.resets = match mine.is_empty() {
            true => resets(self.tries),
            false => 0,
        };
        if ok < count {
            let mut seen: Vec<String> = Vec::new();
            for tried in self.tries {
                let Some(symptom) = tried.symptom() else { continue };
                let line = [Some(symptom.to_string()), tried.far_side()].into_iter().flatten().collect::<Vec<_>>();
                let line = line.join("; ");
                if !seen.contains(&line) {
                    seen.push(line);
                }
            }
            report.evidence.extend(seen);
            if let Some((what, tries)) = self.control.filter(|(_, tries)| !tries.is_empty()) {
                let good = tries.iter().filter(|tried| tried.result.is_ok()).count();
                report = report.control(what, good, tries.len());
            }
        }
        report
    }
}

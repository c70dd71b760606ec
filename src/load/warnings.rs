//! What a reader must know to judge the figures of a run.

use std::time::Duration;

use super::{Fault, Mode, Record, Shape, Timestamps};

/// The generator's workers were this busy, so that they may have been what was measured.
const BUSY: f64 = 0.9;
/// Messages that are sent this late are not what was planned.
const LATE: Duration = Duration::from_millis(1);

pub(super) fn warnings(record: &Record) -> Vec<String> {
    let mut warnings = Vec::new();
    let (settings, total) = (&record.settings, &record.total);
    // Whatever was raised or connected meanwhile: without a plan there is no lag.
    if !total.service.is_empty() && total.lag.is_empty() && settings.shape != Shape::Stream {
        let longest = total.service.max().unwrap_or_default();
        let usual = total.service.percentile(50.0).unwrap_or_default();
        let mut text = "a closed loop sends nothing while it waits: messages that would have waited with a late one are not in these times"
            .to_owned();
        if longest > (10 * usual).max(Duration::from_millis(10)) {
            let unseen = (longest.as_secs_f64() / usual.max(Duration::from_nanos(1)).as_secs_f64()) as u64;
            text += &format!(
                "; the longest wait, {longest:.1?}, is one sample and would have been about {unseen} on that connection alone"
            );
        }
        warnings.push(text + "; --rate plans each message, and counts its wait");
    }
    if !settings.verify && settings.mode != Mode::Discard {
        warnings.push("answers were not verified (--verify=off): only their length was counted".into());
    }
    if let Some(lag) = total.lag.percentile(99.0).filter(|lag| *lag >= LATE) {
        warnings.push(format!(
            "one message in a hundred was sent {lag:.1?} late or more: the generator could not keep the plan; its response times \
             hold that wait, and --busy-poll, more workers or fewer in flight may help"
        ));
    }
    let rest = total.service.count().saturating_sub(total.counts.by_kernel);
    if settings.timestamps == Timestamps::Kernel && rest > 0 {
        warnings.push(format!(
            "{rest} of {} service times are not the kernel's, which had none for them: they hold the way from the kernel to this program",
            total.service.count()
        ));
    }
    if total.counts.planned > total.counts.sent {
        warnings.push(format!("{} planned messages were never sent", total.counts.planned - total.counts.sent));
    }
    if total.counts.unanswered > 0 {
        let held = if total.response.is_empty() {
            "no time above holds their wait"
        } else {
            "response times hold the time for which each was waited"
        };
        warnings.push(format!("{} messages were never answered: {held}", total.counts.unanswered));
    }
    let cpu = (record.generator.cpu_user + record.generator.cpu_system).as_secs_f64();
    let time = record.elapsed.as_secs_f64() * record.generator.workers as f64;
    if settings.busy_poll.is_zero() && record.generator.engine != "threads" && time > 0.0 && cpu / time > BUSY {
        warnings.push(format!(
            "the generator's workers were busy {:.0} % of the time: it may itself be what limits the rate",
            100.0 * cpu / time
        ));
    }
    if total.counts.failed(Fault::Unreachable) > 0 && total.counts.opened > 0 {
        warnings.push("not all connections could be made; the failures say why".into());
    }
    warnings
}

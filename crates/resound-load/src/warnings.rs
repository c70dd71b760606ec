//! What a reader must know to judge the figures of a run.

use std::time::Duration;

use super::figures::{count, counted, latency, rate};
use super::{Counts, Fault, Interval, Mode, Record, Shape, Timestamps};

/// The generator's workers were this busy, so that they may have been what was measured.
const BUSY: f64 = 0.9;
/// A plan of which this share was not kept was not kept.
const SHARE: f64 = 0.01;
/// Where the times of messages of which nothing came are to be found.
const WAITED: &str = "times hold their wait up to the end of the run, which is the least that it can have been";

pub(super) fn warnings(record: &Record) -> Vec<String> {
    let mut warnings = Vec::new();
    let (settings, total) = (&record.settings, &record.total);
    let overload = overload(record);
    let is_overloaded = overload.is_some();
    warnings.extend(overload);
    // Whatever was raised or connected meanwhile: without a plan there is no lag.
    if !total.service.is_empty() && total.lag.is_empty() && settings.shape != Shape::Stream {
        let mut text = "a closed loop sends nothing while it waits: messages that would have waited with a late one are not in these times"
            .to_owned();
        if let Some(longest) = total.stalls().max() {
            let usual = total.service.percentile(50.0).unwrap_or_default().max(Duration::from_nanos(1));
            let unseen = (longest.as_secs_f64() / usual.as_secs_f64()) as u64;
            let waits = match total.stalls().count() {
                1 => "one wait was far longer than most: it lasted".into(),
                n => format!("{} waits were far longer than most: the longest lasted", count(n)),
            };
            text += &format!(
                "; {waits} {}, and in that time its connection would have sent about {} more",
                latency(longest),
                counted(unseen, "message")
            );
        }
        warnings.push(text + "; --rate plans each message, and counts its wait");
    }
    if !settings.verify && settings.mode != Mode::Discard {
        warnings.push("answers were not verified (--verify=off): only their length was counted".into());
    }
    if settings.tls.as_ref().is_some_and(|tls| !tls.is_checked) {
        warnings.push("the server's certificate was not checked (--insecure): anybody may have answered".into());
    }
    warnings.extend(lag(total));
    let answered = total.service.count().saturating_sub(total.bounds.service.count());
    let rest = answered.saturating_sub(total.counts.by_kernel);
    if settings.timestamps == Timestamps::Kernel && rest > 0 {
        warnings.push(format!(
            "{} of {} service times are not the kernel's, which had none for them: they hold the way from the kernel to this program",
            count(rest),
            count(answered)
        ));
    }
    let unsent = total.counts.failed(Fault::Unsent);
    if unsent > 0 && !is_overloaded {
        warnings.push(format!("{} never sent; {WAITED}", were(unsent, "planned message")));
    }
    if total.counts.lagged > 0 {
        warnings.push(format!(
            "the generator itself was too slow: {} of {} planned messages were never sent since it did not come \
             to them in time. That says nothing of the far end, and nothing can be judged by it; a lower --rate, more processors or several generators help",
            count(total.counts.lagged),
            count(total.counts.planned)
        ));
    }
    if total.counts.unanswered > 0 {
        warnings.push(format!("{} never answered; {WAITED}", were(total.counts.unanswered, "message")));
    }
    if total.counts.silent > 0 {
        warnings.push(format!(
            "{} of {} got no answer before the end of the run: their times say nothing of how long they would have \
             waited",
            count(total.counts.silent),
            counted(settings.most_connections(), "connection"),
        ));
    }
    let share = outage(record);
    if !settings.is_open() && share >= SHARE / 10.0 {
        warnings.push(format!(
            "for {:.1} % of the time of its connections nothing was answered: what would have been sent then only a \
             plan (--rate) counts",
            100.0 * share
        ));
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

/// That the plan was not kept: much of it was sent too late to be answered in time, or never.
fn overload(record: &Record) -> Option<String> {
    let (counts, seconds) = (&record.total.counts, record.elapsed.as_secs_f64());
    // A ramp is meant to come to this point, and says itself where it is.
    if record.settings.rate.is_none() || record.settings.shape == Shape::Ramp || seconds == 0.0 {
        return None;
    }
    let unsent = counts.failed(Fault::Unsent);
    let behind = unsent.saturating_add(counts.late);
    // What is on its way at the end is answered late wherever answering takes time. The shortest time is that of a far end with nothing else to do.
    let answered = record.total.service.without(&record.total.bounds.service);
    let answering = answered.min().unwrap_or_default().as_secs_f64();
    let planned = counts.planned as f64;
    // What the generator left undone is no word on the far end.
    if counts.lagged >= behind {
        return None;
    }
    if behind < 2 || behind as f64 <= planned * SHARE + 2.0 * answering * planned / seconds {
        return None;
    }
    let done = if record.settings.mode == Mode::Discard { counts.sent } else { counts.in_time() };
    let has_lost = [Fault::Refused, Fault::Timeout, Fault::Unreachable, Fault::Reset, Fault::Eof]
        .iter()
        .any(|class| counts.failed(*class) > 0);
    let never = match unsent {
        0 => String::new(),
        _ => format!(", and {} never sent; {WAITED}", were(unsent, "planned message")),
    };
    Some(format!(
        "the far end (or this machine) kept {} of {} planned messages per second: {}; {} answered after the end{never}",
        rate(done as f64 / seconds),
        rate(planned / seconds),
        if has_lost { "it was overloaded, or its connections were lost" } else { "it was overloaded" },
        if counts.late == 1 { "1 was".into() } else { format!("{} were", count(counts.late)) }
    ))
}

/// `1 message was`, `2 messages were`.
fn were(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what} was") } else { format!("{} {what}s were", count(n)) }
}

/// For which share of the time of its connections nothing was answered.
fn outage(record: &Record) -> f64 {
    let all = record.elapsed.as_secs_f64() * record.settings.most_connections() as f64;
    let silent = record.total.outage.saturating_add(record.total.stall).as_secs_f64();
    if all > 0.0 { (silent / all).min(1.0) } else { 0.0 }
}

/// That messages were sent late, and on whose account.
fn lag(total: &Interval) -> Option<String> {
    // Of those that were sent.
    let lags = total.lag.without(&total.bounds.lag);
    let lag = lags.percentile(99.0).filter(|lag| *lag >= Counts::LATE)?;
    let is_late = |from: u64| u128::from(from) >= Counts::LATE.as_nanos();
    let late: u64 = lags.buckets().filter(|bucket| is_late(bucket.from)).map(|bucket| bucket.count).sum();
    let held = total.counts.held.min(late);
    let few = |n: u64| n as f64 <= SHARE * lags.count() as f64;
    let waited = "for an answer (all of --depth were in flight), for room in the socket's buffer, or for a connection";
    let fault = match (few(held), few(late - held)) {
        (false, true) => {
            format!("they had to wait {waited}: the far end was behind, or this machine too busy to hear it")
        }
        (false, false) => format!(
            "{} had to wait {waited}: the far end was behind, or this machine too busy to hear it; {} were late because the generator woke late, which --busy-poll or more \
             workers may mend",
            count(held),
            count(late - held)
        ),
        (true, _) => "the generator woke late; --busy-poll, more workers or fewer in flight may help".into(),
    };
    Some(format!(
        "one message in a hundred was sent {} late or more: {fault}; response times hold that wait",
        latency(lag)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Latency;

    /// So many messages, as many of them 5 ms late, and some of these held up.
    fn told(messages: u64, late: u64, held: u64) -> Option<String> {
        lag(&Interval {
            counts: Counts { held, ..Counts::default() },
            lag: Latency::of([(10_000, messages - late), (5_000_000, late)]),
            ..Interval::default()
        })
    }

    #[test]
    fn a_lag_is_the_far_ends_or_our_own() {
        assert_eq!(told(1000, 5, 5), None);
        let said = |late, held| told(1000, late, held).unwrap();
        for (late, held, whose) in [
            (100, 0, "late or more: the generator woke late"),
            (100, 9, "late or more: the generator woke late"),
            (100, 100, "the far end was behind, or this machine too busy to hear it; response"),
            (100, 95, "the far end was behind, or this machine too busy to hear it; response"),
            (100, 60, "too busy to hear it; 40 were late because the generator woke late"),
        ] {
            assert!(said(late, held).contains(whose), "{}", said(late, held));
        }
    }
}

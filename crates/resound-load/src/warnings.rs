//! Warnings: what a reader must know to judge the figures of a run.

use std::time::Duration;

use super::figures::{count, counted, latency, rate};
use super::{Counts, Interval, LoadFailure, Mode, Record, Shape, Timestamps};

/// Workers that were busy for this share of the time may have limited the rate themselves.
const BUSY: f64 = 0.9;
/// A schedule was not kept if this share of its messages was late or never sent.
const SHARE: f64 = 0.01;
/// How times include the messages that were never sent or answered.
const WAITED: &str = "times include their wait up to the end of the run, as a lower bound";
/// What a blocked message waits for.
const BLOCKED: &str =
    "for an answer (the whole depth was in flight), for room in the socket's buffer, or for a connection";
/// Why a message is blocked.
const TARGET_BEHIND: &str = "the target was behind, or this machine too busy to read its answers";

pub(super) fn warnings(record: &Record) -> Vec<String> {
    let (settings, counts) = (&record.settings, &record.total.counts);
    let overload = overload(record);
    let is_overloaded = overload.is_some();
    let is_unchecked = settings.tls.as_ref().is_some_and(|tls| !tls.is_checked);
    let mut warnings: Vec<String> = [
        overload,
        closed_loop(record),
        (!settings.verify && settings.mode != Mode::Discard)
            .then(|| "answers were not verified: only their length was counted".into()),
        is_unchecked.then(|| "the server's certificate was not checked: any server may have answered".into()),
        lag(&record.total),
        not_by_kernel(record),
        never_sent(record).filter(|_| !is_overloaded),
        slow_generator(record),
    ]
    .into_iter()
    .flatten()
    .collect();
    if counts.unanswered > 0 {
        warnings.push(format!("{} never answered; {WAITED}", were(counts.unanswered, "message")));
    }
    if counts.silent > 0 {
        warnings.push(format!(
            "{} of {} got nothing before the end of the run: their times say nothing of how long they would have \
             waited",
            count(counts.silent),
            counted(settings.most_connections(), "connection"),
        ));
    }
    let share = outage(record);
    if !settings.is_open() && share >= SHARE / 10.0 {
        warnings.push(format!(
            "for {:.1} % of the time of its connections nothing was answered: only an open loop counts what would \
             have been sent then",
            100.0 * share
        ));
    }
    warnings.extend(busy_workers(record));
    if counts.failed(LoadFailure::Unreachable) > 0 && counts.opened > 0 {
        warnings.push("not all connections could be made; the failures say why".into());
    }
    warnings
}

/// A closed loop omits the messages that a stall delays.
fn closed_loop(record: &Record) -> Option<String> {
    let total = &record.total;
    // Only a schedule has lags, whatever the shape.
    if total.service.is_empty() || !total.lag.is_empty() || record.settings.shape == Shape::Stream {
        return None;
    }
    let mut text = "a closed loop sends nothing while it waits: messages that would have waited with a late one are \
                    not in these times"
        .to_owned();
    let stalls = total.stalls();
    if let Some(longest) = stalls.max() {
        let median = total.service.percentile(50.0).unwrap_or_default().max(Duration::from_nanos(1));
        let each = median.saturating_add(record.settings.think_time);
        let unseen = (longest.as_secs_f64() / each.as_secs_f64()) as u64;
        let waits = match stalls.count() {
            1 => "one wait was far longer than most: it lasted".into(),
            n => format!("{} waits were far longer than most: the longest lasted", count(n)),
        };
        text += &format!(
            "; {waits} {}, and in that time its connection would have sent about {} more",
            latency(longest),
            counted(unseen, "message")
        );
    }
    Some(text + "; an open loop plans each message, and counts its wait")
}

fn not_by_kernel(record: &Record) -> Option<String> {
    let total = &record.total;
    let answered = total.service.count().saturating_sub(total.bounds.service.count());
    let rest = answered.saturating_sub(total.counts.by_kernel);
    (record.settings.timestamps == Timestamps::Kernel && rest > 0).then(|| {
        format!(
            "{} of {} service times are not the kernel's, which had none for them: they hold the way from the kernel \
             to this program",
            count(rest),
            count(answered)
        )
    })
}

fn never_sent(record: &Record) -> Option<String> {
    let unsent = record.total.counts.failed(LoadFailure::Unsent);
    (unsent > 0).then(|| format!("{} never sent; {WAITED}", were(unsent, "planned message")))
}

fn slow_generator(record: &Record) -> Option<String> {
    let counts = &record.total.counts;
    (counts.lagged > 0).then(|| {
        format!(
            "the generator itself was too slow: {} of {} planned messages were never sent since it did not come to \
             them in time. That says nothing of the target, and nothing can be judged by it; a lower rate, more \
             processors or several generators help",
            count(counts.lagged),
            count(counts.planned)
        )
    })
}

fn busy_workers(record: &Record) -> Option<String> {
    let generator = &record.generator;
    let cpu = (generator.cpu_user + generator.cpu_system).as_secs_f64();
    let time = record.elapsed.as_secs_f64() * generator.workers as f64;
    // Workers that poll are always busy, and the threads engine has a worker per connection.
    let is_meaningful = record.settings.busy_poll.is_zero() && generator.engine != "threads" && time > 0.0;
    (is_meaningful && cpu / time > BUSY).then(|| {
        format!(
            "the generator's workers were busy {:.0} % of the time: it may itself be what limits the rate",
            100.0 * cpu / time
        )
    })
}

/// The schedule was not kept: many messages were sent too late to be answered in time, or never.
fn overload(record: &Record) -> Option<String> {
    let (counts, seconds) = (&record.total.counts, record.elapsed.as_secs_f64());
    // A ramp is meant to reach this point, and reports it itself.
    if record.settings.rate.is_none() || record.settings.shape == Shape::Ramp || seconds == 0.0 {
        return None;
    }
    let unsent = counts.failed(LoadFailure::Unsent);
    let behind = unsent.saturating_add(counts.late);
    // Messages in flight at the end are always answered late. The shortest service time is that of
    // an idle target.
    let answered = record.total.service.without(&record.total.bounds.service);
    let shortest = answered.min().unwrap_or_default().as_secs_f64();
    let planned = counts.planned as f64;
    // A generator that was too slow proves nothing about the target.
    if counts.lagged >= behind {
        return None;
    }
    if behind < 2 || behind as f64 <= planned * SHARE + 2.0 * shortest * planned / seconds {
        return None;
    }
    let done = if record.settings.mode == Mode::Discard { counts.sent } else { counts.in_time() };
    let has_lost =
        [LoadFailure::Refused, LoadFailure::Timeout, LoadFailure::Unreachable, LoadFailure::Reset, LoadFailure::Eof]
            .iter()
            .any(|class| counts.failed(*class) > 0);
    let never = never_sent(record).map(|text| format!(", and {text}")).unwrap_or_default();
    Some(format!(
        "the target (or this machine) kept {} of {} planned messages per second: {}; {} answered after the end{never}",
        rate(done as f64 / seconds),
        rate(planned / seconds),
        if has_lost { "it was overloaded, or its connections were lost" } else { "it was overloaded" },
        if counts.late == 1 { "1 was".into() } else { format!("{} were", count(counts.late)) }
    ))
}

/// `1 message was`, `2 messages were`.
fn were(n: u64, what: &str) -> String {
    format!("{} {}", counted(n, what), if n == 1 { "was" } else { "were" })
}

/// The share of the time of all connections in which nothing was answered.
fn outage(record: &Record) -> f64 {
    let all = record.elapsed.as_secs_f64() * record.settings.most_connections() as f64;
    let silent = record.total.outage.saturating_add(record.total.stall).as_secs_f64();
    if all > 0.0 { (silent / all).min(1.0) } else { 0.0 }
}

/// Messages were sent late: because they were blocked, or because the generator woke up late.
fn lag(total: &Interval) -> Option<String> {
    let sent = total.lag.without(&total.bounds.lag);
    let lag = sent.percentile(99.0).filter(|lag| *lag >= Counts::LATE)?;
    let is_late = |from: u64| u128::from(from) >= Counts::LATE.as_nanos();
    let late: u64 = sent.buckets().filter(|bucket| is_late(bucket.from)).map(|bucket| bucket.count).sum();
    let blocked = total.counts.held.min(late);
    let is_small = |n: u64| n as f64 <= SHARE * sent.count() as f64;
    let cause = match (is_small(blocked), is_small(late - blocked)) {
        (false, true) => format!("they had to wait {BLOCKED}: {TARGET_BEHIND}"),
        (false, false) => format!(
            "{} had to wait {BLOCKED}: {TARGET_BEHIND}; {} were late because the generator woke late, which busy \
             polling or more workers may mend",
            count(blocked),
            count(late - blocked)
        ),
        (true, _) => "the generator woke late; busy polling, more workers or fewer in flight may help".into(),
    };
    Some(format!(
        "one message in a hundred was sent {} late or more: {cause}; response times include that delay",
        latency(lag)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Latency;

    /// The warning if `late` of `messages` are sent 5 ms late, and `blocked` of these were blocked.
    fn warning(messages: u64, late: u64, blocked: u64) -> Option<String> {
        lag(&Interval {
            counts: Counts { held: blocked, ..Counts::default() },
            lag: Latency::of([(10_000, messages - late), (5_000_000, late)]),
            ..Interval::default()
        })
    }

    #[test]
    fn a_lag_is_the_targets_or_the_generators() {
        assert_eq!(warning(1000, 5, 5), None);
        for (late, blocked, cause) in [
            (100, 0, "late or more: the generator woke late"),
            (100, 9, "late or more: the generator woke late"),
            (100, 100, "the target was behind, or this machine too busy to read its answers; response"),
            (100, 95, "the target was behind, or this machine too busy to read its answers; response"),
            (100, 60, "too busy to read its answers; 40 were late because the generator woke late"),
        ] {
            let text = warning(1000, late, blocked).unwrap();
            assert!(text.contains(cause), "{text}");
        }
    }
}

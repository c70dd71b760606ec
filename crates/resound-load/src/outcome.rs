//! [`ConnectionOutcome`]: records what became of messages.

use std::time::Instant;

use resound_proto::Cx;

use super::LoadFailure;
use super::answers::{AnswerEvent, Answers, SendTimes};
use super::run_config::{Pace, RunConfig};
use super::tally::Tally;

/// When answers arrived.
#[derive(Clone, Copy)]
pub(super) struct AnswerTimes {
    /// By the kernel's timestamp, where there is one; else as `read`.
    pub(super) arrived: Instant,
    /// By this program's clock, read after that.
    pub(super) read: Instant,
}

impl AnswerTimes {
    /// The arrival of the bytes that are being handled.
    pub(super) fn of(cx: &Cx<'_>) -> Self {
        Self { arrived: cx.arrived().unwrap_or(cx.now()), read: cx.now() }
    }
}

/// What the connection has to act on.
pub(super) struct ConnectionOutcome {
    /// How many messages no longer wait for an answer.
    pub(super) settled: usize,
    /// The answer stream cannot be followed any further.
    pub(super) lost: bool,
}

impl ConnectionOutcome {
    /// Records all events that `settle` emits.
    pub(super) fn record(
        config: &RunConfig,
        answers: &mut Answers,
        at: AnswerTimes,
        tally: &mut Tally,
        settle: impl FnOnce(&mut Answers, &mut dyn FnMut(AnswerEvent)),
    ) -> Self {
        let (now, connection) = (config.time(at.arrived), answers.connection);
        let failure = |class, sequence, what| config.failure(class, at.arrived, connection, sequence, what);
        let mut outcome = Self { settled: 0, lost: false };
        settle(answers, &mut |event| match event {
            AnswerEvent::Answered(sent) => {
                outcome.settled += 1;
                record_answer(config, sent, now, tally);
                if is_measured(config, sent) {
                    tally.counts.verified += u64::from(config.rules.verify);
                    // An answer precedes its message only if the time of day was set in between.
                    let is_credible = now >= sent.sent;
                    let arrived = if is_credible { now } else { config.time(at.read) };
                    tally.counts.by_kernel += u64::from(sent.by_kernel && is_credible && at.arrived != at.read);
                    tally.service.record(arrived.saturating_sub(sent.sent));
                    if is_open(config) {
                        tally.response.record(now.saturating_sub(sent.planned));
                    }
                }
            }
            AnswerEvent::Wrong(sent, class, sequence, what) => {
                outcome.settled += 1;
                record_answer(config, sent, now, tally);
                tally.record_failure(failure(class, Some(sequence), what));
            }
            AnswerEvent::Missing(sent, sequence) => {
                outcome.settled += 1;
                record_unanswered(config, sent, now, tally);
                let what = "its answer never came, and later ones did".into();
                tally.record_failure(failure(LoadFailure::Missing, Some(sequence), what));
            }
            AnswerEvent::Unanswered(sent) => record_unanswered(config, sent, now, tally),
            AnswerEvent::Failure(class, sequence, what) => tally.record_failure(failure(class, sequence, what)),
            AnswerEvent::Lost => outcome.lost = true,
        });
        outcome
    }
}

fn is_measured(config: &RunConfig, sent: SendTimes) -> bool {
    sent.planned >= config.measure_from
}

fn is_open(config: &RunConfig) -> bool {
    matches!(config.pace, Pace::Open { .. })
}

fn record_answer(config: &RunConfig, sent: SendTimes, now: u64, tally: &mut Tally) {
    if is_measured(config, sent) {
        tally.counts.received += 1;
        tally.counts.late += u64::from(now >= config.end());
    }
}

/// Records the wait of a message without an answer too: its end is that of the run, however early
/// the message was given up. Without it the highest percentiles would be too low.
fn record_unanswered(config: &RunConfig, sent: SendTimes, now: u64, tally: &mut Tally) {
    if !is_measured(config, sent) {
        return;
    }
    tally.counts.unanswered += 1;
    if now < config.end() {
        tally.unfinished.unanswered_sent.add(sent.sent, 1);
        if is_open(config) {
            tally.unfinished.unanswered.add(sent.planned, 1);
        }
    } else {
        let (in_service, in_all) = (now.saturating_sub(sent.sent), now.saturating_sub(sent.planned));
        tally.service.record(in_service);
        tally.service_bounds.record(in_service);
        if is_open(config) {
            tally.response.record(in_all);
            tally.response_bounds.record(in_all);
        }
    }
}

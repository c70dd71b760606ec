//! [`ConnectionOutcome`]: what has become of messages, written down.

use std::time::Instant;

use resound_proto::Cx;

use super::Fault;
use super::answers::{AnswerEvent, Answers, SendTimes};
use super::run_config::{Pace, RunConfig};
use super::tally::Tally;

/// When answers came.
#[derive(Clone, Copy)]
pub(super) struct AnswerTimes {
    pub(super) when: Instant,
    /// When this program heard of them.
    pub(super) heard: Instant,
}

impl AnswerTimes {
    /// No earlier than this program hears of it.
    pub(super) fn now(now: Instant) -> Self {
        Self { when: now, heard: now }
    }

    /// As exactly as it is known.
    pub(super) fn of(cx: &Cx<'_>) -> Self {
        Self { when: cx.arrived().unwrap_or(cx.now()), heard: cx.now() }
    }
}

/// What a connection makes of it.
pub(super) struct ConnectionOutcome {
    /// So many messages are not waited for any more.
    pub(super) settled: usize,
    /// Nothing can be made of what comes any more.
    pub(super) lost: bool,
}

impl ConnectionOutcome {
    /// Writes down all that `look` tells of these answers.
    pub(super) fn note(
        course: &RunConfig,
        answers: &mut Answers,
        at: AnswerTimes,
        tally: &mut Tally,
        look: impl FnOnce(&mut Answers, &mut dyn FnMut(AnswerEvent)),
    ) -> Self {
        let (now, connection) = (course.time(at.when), answers.connection());
        let failure = |class, sequence, what| course.failure(class, at.when, connection, sequence, what);
        let mut outcome = Self { settled: 0, lost: false };
        look(answers, &mut |event| match event {
            AnswerEvent::Answered(sent) => {
                outcome.settled += 1;
                answered(course, sent, now, tally);
                if is_measured(course, sent) {
                    tally.counts.verified += u64::from(course.rules.verify);
                    // An answer is no earlier than its message, unless the time of day has been set meanwhile.
                    let is_credible = now >= sent.sent;
                    let came = if is_credible { now } else { course.time(at.heard) };
                    tally.counts.by_kernel += u64::from(sent.by_kernel && is_credible && at.when != at.heard);
                    tally.service(came.saturating_sub(sent.sent));
                    response(course, sent, now, tally);
                }
            }
            AnswerEvent::Wrong(sent, class, sequence, what) => {
                outcome.settled += 1;
                answered(course, sent, now, tally);
                tally.failed(failure(class, Some(sequence), what));
            }
            AnswerEvent::Missing(sent, sequence) => {
                outcome.settled += 1;
                unanswered(course, sent, now, tally);
                tally.failed(failure(
                    Fault::Missing,
                    Some(sequence),
                    "its answer never came, and later ones did".into(),
                ));
            }
            AnswerEvent::Unanswered(sent) => unanswered(course, sent, now, tally),
            AnswerEvent::Fault(class, sequence, what) => tally.failed(failure(class, sequence, what)),
            AnswerEvent::Lost => outcome.lost = true,
        });
        outcome
    }
}

fn is_measured(course: &RunConfig, sent: SendTimes) -> bool {
    sent.planned >= course.measure_from
}

fn answered(course: &RunConfig, sent: SendTimes, now: u64, tally: &mut Tally) {
    if is_measured(course, sent) {
        tally.counts.received += 1;
        tally.counts.late += u64::from(now >= course.end());
    }
}

/// It would have waited to the end of the run at least, however early it was given up: left out,
/// its wait would be missing where it is longest.
fn unanswered(course: &RunConfig, sent: SendTimes, now: u64, tally: &mut Tally) {
    if !is_measured(course, sent) {
        return;
    }
    tally.counts.unanswered += 1;
    let is_open = matches!(course.pace, Pace::Open { .. });
    if now < course.end() {
        tally.unsettled.unanswered_sent.add(sent.sent, 1);
        if is_open {
            tally.unsettled.unanswered.add(sent.planned, 1);
        }
    } else {
        tally.service_at_least(now.saturating_sub(sent.sent));
        if is_open {
            tally.response_at_least(now.saturating_sub(sent.planned));
        }
    }
}

fn response(course: &RunConfig, sent: SendTimes, now: u64, tally: &mut Tally) {
    if matches!(course.pace, Pace::Open { .. }) {
        tally.response(now.saturating_sub(sent.planned));
    }
}

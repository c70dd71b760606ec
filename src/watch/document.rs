//! The JSON of a watch: schema/watch.schema.json.

use resound_verdict::FarKind;
use resound_verdict::watch::{ConnectCounts, WatchCounts, WatchEpisode, WatchRecord, WatchSecond};
use serde::Serialize;

use super::WatchPlan;

/// A line of `resound test --watch --json`: a second, or last the totals. Names have their units:
/// _s seconds, _per_s per second.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "Output of resound test --watch"))]
pub(super) enum WatchLine {
    /// A second is over.
    Second(Box<SecondLine>),
    /// The watch has ended.
    End(Box<EndLine>),
}

/// A second of a watch.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct SecondLine {
    /// Its beginning, since the start of the watch.
    from_s: f64,
    /// Its end.
    to_s: f64,
    /// The held connections that were open and had answered, at its end.
    open: u64,
    counts: WatchCountsPart,
}

/// The totals of a watch.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct EndLine {
    address: String,
    /// What answers there: `probe` (a server of this program), `echo` or `reply`.
    far: &'static str,
    /// Its name.
    far_name: Option<String>,
    length_s: f64,
    /// Held connections.
    held: usize,
    /// Between two heartbeats of a connection.
    heartbeat_s: f64,
    /// New connections.
    new_per_s: u32,
    counts: WatchCountsPart,
    /// The times in which something went wrong, the first thousand.
    episodes: Vec<EpisodePart>,
    /// Further ones.
    further_episodes: u64,
    /// The first failure that is counted as failed, or as one of this machine.
    first_failure: Option<String>,
    gates: Vec<WatchGatePart>,
    exit: u8,
}

/// A time in which something went wrong.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct EpisodePart {
    from_s: f64,
    to_s: f64,
    counts: WatchCountsPart,
}

/// A judged gate.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct WatchGatePart {
    /// The condition as it was given.
    fail_if: String,
    /// The condition is true.
    broken: bool,
    /// The value with its unit.
    measured: String,
    /// The value as a number.
    value: f64,
    /// `s` or `count`.
    unit: &'static str,
}

/// What happened in some time.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct WatchCountsPart {
    heartbeats: HeartbeatsPart,
    held: HeldPart,
    /// Attempts to make held connections.
    reconnecting: ConnectPart,
    /// New connections.
    new: ConnectPart,
    /// New connections that were served after more than a second.
    late_new: u64,
    /// The longest time between the plan of a new connection and its answer.
    slowest_new_s: f64,
    /// The longest time in which no heartbeat was answered though one was due, on a held
    /// connection or a new one.
    gap_s: f64,
    /// The longest such time of one held connection.
    connection_gap_s: f64,
    /// The time in which this machine itself stalled.
    stalled_s: f64,
}

/// Heartbeats.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct HeartbeatsPart {
    due: u64,
    sent: u64,
    answered: u64,
    /// Answered after more than a second.
    late: u64,
    lost: u64,
    /// There was no connection.
    unsent: u64,
    /// Left out, because this machine stalled.
    skipped: u64,
    duplicated: u64,
    reordered: u64,
    /// Answers to no heartbeat of their connection.
    wrong: u64,
    /// The longest time between the plan of a heartbeat and its answer.
    slowest_s: f64,
}

/// Held connections that ended.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct HeldPart {
    reset: u64,
    closed: u64,
    /// Given up, since nothing came any more.
    silent: u64,
    /// Replaced: the new connection has answered.
    reconnects: u64,
    /// The longest time from the end of a connection to the first answer on its replacement.
    slowest_reconnect_s: f64,
}

/// Attempts to connect and to get one answer.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ConnectPart {
    tried: u64,
    served: u64,
    refused: u64,
    reset: u64,
    closed: u64,
    timed_out: u64,
    failed: u64,
    /// This machine could not do its part.
    own_failures: u64,
    /// Left out by this machine.
    skipped: u64,
}

impl ConnectPart {
    fn of(counts: &ConnectCounts) -> Self {
        Self {
            tried: counts.tried,
            served: counts.served,
            refused: counts.refused,
            reset: counts.reset,
            closed: counts.closed,
            timed_out: counts.timed_out,
            failed: counts.failed,
            own_failures: counts.own_failures,
            skipped: counts.skipped,
        }
    }
}

impl WatchCountsPart {
    fn of(counts: &WatchCounts) -> Self {
        let (beats, held) = (&counts.heartbeats, &counts.held);
        Self {
            heartbeats: HeartbeatsPart {
                due: beats.due,
                sent: beats.sent,
                answered: beats.answered,
                late: beats.late,
                lost: beats.lost,
                unsent: beats.unsent,
                skipped: beats.skipped,
                duplicated: beats.duplicated,
                reordered: beats.reordered,
                wrong: beats.wrong,
                slowest_s: beats.slowest.as_secs_f64(),
            },
            held: HeldPart {
                reset: held.reset,
                closed: held.closed,
                silent: held.silent,
                reconnects: held.reconnects,
                slowest_reconnect_s: held.slowest_reconnect.as_secs_f64(),
            },
            reconnecting: ConnectPart::of(&counts.reconnecting),
            new: ConnectPart::of(&counts.new),
            late_new: counts.late_new,
            slowest_new_s: counts.slowest_new.as_secs_f64(),
            gap_s: counts.gap.as_secs_f64(),
            connection_gap_s: counts.connection_gap.as_secs_f64(),
            stalled_s: counts.stalled.as_secs_f64(),
        }
    }
}

/// The line of a second.
pub(super) fn second(second: &WatchSecond) -> WatchLine {
    WatchLine::Second(Box::new(SecondLine {
        from_s: second.from.as_secs_f64(),
        to_s: second.to.as_secs_f64(),
        open: second.open,
        counts: WatchCountsPart::of(&second.counts),
    }))
}

/// The last line.
pub(super) fn end(plan: &WatchPlan, record: &WatchRecord, far: FarKind, name: Option<&str>, exit: u8) -> WatchLine {
    let episode = |episode: &WatchEpisode| EpisodePart {
        from_s: episode.from.as_secs_f64(),
        to_s: episode.to.as_secs_f64(),
        counts: WatchCountsPart::of(&episode.counts),
    };
    let gates = plan.gates.iter().map(|gate| {
        let judged = gate.judge(&record.total);
        WatchGatePart {
            fail_if: judged.text.into(),
            broken: judged.is_broken,
            measured: judged.measured,
            value: judged.value,
            unit: judged.unit,
        }
    });
    WatchLine::End(Box::new(EndLine {
        address: plan.connect.address.to_string(),
        far: match far {
            FarKind::Echo => "echo",
            FarKind::Reply => "reply",
            _ => "probe",
        },
        far_name: name.map(str::to_owned),
        length_s: record.length.as_secs_f64(),
        held: plan.held,
        heartbeat_s: plan.heartbeat.as_secs_f64(),
        new_per_s: plan.new_per_second,
        counts: WatchCountsPart::of(&record.total),
        episodes: record.episodes.iter().map(episode).collect(),
        further_episodes: record.further_episodes,
        first_failure: record.first_failure.clone(),
        gates: gates.collect(),
        exit,
    }))
}

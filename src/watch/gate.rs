//! [`WatchGate`]: `--fail-if 'gap>2s'` of a watch.

use std::cmp::Ordering;
use std::time::Duration;

use resound_verdict::watch::WatchCounts;

use crate::typed_condition::TypedCondition;
use crate::units;

/// A condition on the totals of a watch, which fails it if it is true.
#[derive(Clone, Debug)]
pub(crate) struct WatchGate {
    /// The text as typed.
    pub(super) text: String,
    metric: WatchMetric,
    orders: &'static [Ordering],
    limit: f64,
}

/// A figure that a condition may name.
#[derive(Clone, Copy, Debug)]
struct WatchMetric {
    name: &'static str,
    figure: WatchFigure,
}

#[derive(Clone, Copy, Debug)]
enum WatchFigure {
    Time(fn(&WatchCounts) -> Duration),
    Count(fn(&WatchCounts) -> u64),
}

/// A gate that was judged.
pub(super) struct JudgedGate<'a> {
    pub(super) text: &'a str,
    pub(super) is_broken: bool,
    pub(super) measured: String,
    /// In seconds, or a count.
    pub(super) value: f64,
    pub(super) unit: &'static str,
}

const fn time(name: &'static str, figure: fn(&WatchCounts) -> Duration) -> WatchMetric {
    WatchMetric { name, figure: WatchFigure::Time(figure) }
}

const fn number(name: &'static str, figure: fn(&WatchCounts) -> u64) -> WatchMetric {
    WatchMetric { name, figure: WatchFigure::Count(figure) }
}

const METRICS: [WatchMetric; 16] = [
    time("gap", |counts| counts.gap),
    time("connection-gap", |counts| counts.connection_gap),
    time("reconnect", |counts| counts.held.slowest_reconnect),
    time("slowest", |counts| counts.heartbeats.slowest.max(counts.slowest_new)),
    number("lost", |counts| counts.heartbeats.lost),
    number("unsent", |counts| counts.heartbeats.unsent),
    number("late", |counts| counts.heartbeats.late + counts.late_new),
    number("duplicated", |counts| counts.heartbeats.duplicated),
    number("reordered", |counts| counts.heartbeats.reordered),
    number("wrong", |counts| counts.heartbeats.wrong),
    number("reset", |counts| counts.held.reset + counts.reconnecting.reset + counts.new.reset),
    number("closed", |counts| counts.held.closed + counts.reconnecting.closed + counts.new.closed),
    number("silent", |counts| counts.held.silent),
    number("refused", |counts| counts.reconnecting.refused + counts.new.refused),
    number("timeout", |counts| counts.reconnecting.timed_out + counts.new.timed_out),
    number("failed", |counts| counts.reconnecting.failed + counts.new.failed),
];

impl WatchGate {
    /// Parses a name, one of `<` `<=` `>` `>=`, and a value with its unit.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let names = || METRICS.map(|metric| metric.name).join(", ");
        let Some(TypedCondition { name, orders, value }) = TypedCondition::split(text) else {
            return Err(format!("a condition is written like 'gap>2s' or 'lost>0'; there are: {}", names()));
        };
        let Some(metric) = METRICS.into_iter().find(|metric| metric.name == name) else {
            return Err(format!("there is no '{name}' to compare; there are: {}", names()));
        };
        let limit = match metric.figure {
            WatchFigure::Time(_) if value == "0" => 0.0,
            WatchFigure::Time(_) => humantime::parse_duration(value)
                .map_err(|_| format!("'{value}' is not a duration; write it like 250us, 5ms or 1s"))?
                .as_secs_f64(),
            WatchFigure::Count(_) => {
                let count: u32 = value.parse().map_err(|_| format!("'{value}' is not a number; write it like 10"))?;
                count.into()
            }
        };
        Ok(Self { text: text.trim().into(), metric, orders, limit })
    }

    pub(super) fn judge(&self, total: &WatchCounts) -> JudgedGate<'_> {
        let (value, measured, unit) = match self.metric.figure {
            WatchFigure::Time(figure) => {
                let time = figure(total);
                (time.as_secs_f64(), units::latency(time), "s")
            }
            WatchFigure::Count(figure) => {
                let count = figure(total);
                (count as f64, format!("{} {}", units::count(count), self.metric.name), "count")
            }
        };
        let is_broken = value.partial_cmp(&self.limit).is_some_and(|order| self.orders.contains(&order));
        JudgedGate { text: &self.text, is_broken, measured, value, unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_true_condition_fails() {
        let mut total = WatchCounts { gap: Duration::from_millis(1800), ..WatchCounts::default() };
        total.heartbeats.lost = 10;
        (total.held.reset, total.new.reset) = (3, 4);
        total.held.slowest_reconnect = Duration::from_secs(2);
        for (text, is_broken, measured) in [
            ("gap>2s", false, "1.80 s"),
            ("gap > 1s", true, "1.80 s"),
            ("lost>0", true, "10 lost"),
            ("lost>=11", false, "10 lost"),
            ("reset>6", true, "7 reset"),
            ("reconnect<=2s", true, "2.00 s"),
            ("refused>0", false, "0 refused"),
            ("gap>0", true, "1.80 s"),
        ] {
            let gate = WatchGate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let judged = gate.judge(&total);
            assert_eq!((judged.is_broken, &*judged.measured), (is_broken, measured), "{text}");
        }
    }

    #[test]
    fn an_invalid_condition_gets_the_valid_ones() {
        for (text, hint) in [
            ("gap", "written like 'gap>2s'"),
            ("p99>5ms", "there are: gap, connection-gap"),
            ("gap>2", "write it like 250us"),
            ("lost>many", "write it like 10"),
            ("lost>-1", "write it like 10"),
            ("", "there are: gap"),
        ] {
            let error = WatchGate::parse(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
